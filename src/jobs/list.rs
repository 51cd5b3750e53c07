//! `list`: the complete backups of a cluster, newest first.

use super::{BackupSummary, JobError};
use crate::pipeline::Repository;

/// Lists backups. It needs Get and List on the store, and no right to decrypt.
///
/// # Errors
/// When the store fails. A backup whose manifest is not believed is listed as damaged.
pub async fn run(repository: &Repository) -> Result<Vec<BackupSummary>, JobError> {
    let backups = repository.backups().await?;
    Ok(backups
        .into_iter()
        .map(|(id, found)| BackupSummary::new(id, found.as_ref().map(|f| &f.record)))
        .collect())
}
