//! `list`: the complete backups of a cluster, newest first.

use super::{BackupMark, BackupSummary, JobError, window};
use crate::pipeline::{Repository, marked_backup};

/// Lists backups. It needs Get and List on the store, and no right to decrypt.
///
/// # Errors
/// When the store fails. A backup whose manifest is not believed is listed as damaged.
pub async fn run(repository: &Repository) -> Result<Vec<BackupSummary>, JobError> {
    let backups = repository.backups().await?;
    let mut summaries: Vec<_> = backups
        .iter()
        .map(|(id, found)| BackupSummary::new(id.clone(), found.as_ref().map(|f| &f.record)))
        .collect();
    let marks = repository.backup_marks().await?;
    for (summary, (id, found)) in summaries.iter_mut().zip(&backups) {
        let (Some(marks), Ok(found)) = (marks.get(id), found) else { continue };
        summary.mark = BackupMark::of(marks.standing(&marked_backup(found)));
    }
    if let Err(error) = window::restorable_until(repository, &mut summaries, &backups).await {
        // The backups themselves may well be whole, and someone needs one now.
        tracing::warn!(%error, "until when they can be restored is not known; run `backstay verify`");
    }
    Ok(summaries)
}
