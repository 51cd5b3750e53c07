//! `list`: the complete backups of a cluster, newest first.

use super::{BackupSummary, JobError, window};
use crate::pipeline::Repository;

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
    if let Err(error) = window::restorable_until(repository, &mut summaries, &backups).await {
        // The backups themselves may well be whole, and someone needs one now.
        tracing::warn!(%error, "until when they can be restored is not known; run `backstay verify`");
    }
    Ok(summaries)
}
