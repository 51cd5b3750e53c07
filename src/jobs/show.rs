//! `show`: everything that a manifest says.

use super::{BackupMark, BackupSummary, JobError, choose};
use crate::{format::Manifest, model::BackupId, pipeline::Repository};

/// A backup in full.
#[derive(Debug, serde::Serialize)]
pub struct Shown {
    /// The summary, as `list` has it.
    #[serde(flatten)]
    pub summary: BackupSummary,
    /// SHA-256 of the stored manifest.
    pub manifest_sha256: String,
    /// The manifest.
    pub manifest: Manifest,
}

/// Shows a backup, the newest one unless another is named.
///
/// # Errors
/// When there is no such backup, or its manifest is not believed.
pub async fn run(repository: &Repository, id: Option<&BackupId>) -> Result<Shown, JobError> {
    let found = choose(repository, id).await?;
    let mut summary = BackupSummary::new(found.record.backup_id.clone(), Ok(&found.record));
    summary.mark = BackupMark::of(repository.standing(&found).await?);
    Ok(Shown { summary, manifest_sha256: found.sha256.to_string(), manifest: found.record })
}
