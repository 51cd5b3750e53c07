//! Which backup is meant. What the audit chain says was committed must be there, as it was.

use super::JobError;
use crate::{
    format::{AuditRecord, Manifest},
    model::BackupId,
    pipeline::{Finding, Found, PipelineError, Repository, verify_chain},
};

/// The act that makes a backup, as the audit chain names it.
pub(super) const COMMITTED: &str = "backup-committed";

/// The manifest of the backup that was asked for, or of the newest one. When the newest one is
/// asked for and any one is damaged or gone, that might be it: an older one is never taken
/// for it in silence.
pub(super) async fn choose(
    repository: &Repository,
    id: Option<&BackupId>,
) -> Result<Found<Manifest>, JobError> {
    let url = repository.url();
    let (records, _, findings) = verify_chain(repository, None).await?;
    for Finding { object, why, .. } in findings {
        // The backup itself may well be whole, and someone needs it now.
        tracing::warn!(object, why, "the audit chain is damaged; run `backstay verify`");
    }
    let Some(id) = id else { return newest(repository, &records, &url).await };
    match repository.manifest(id).await? {
        Some(found) => match contradiction(&records, id, Some(&found)) {
            Some(why) => Err(refused(repository, id, why)),
            None => Ok(found),
        },
        None => match contradiction(&records, id, None) {
            Some(why) => Err(refused(repository, id, why)),
            None => Err(JobError::target(
                format!("{url} has no complete backup {id}"),
                "run `backstay list` to see what there is",
            )),
        },
    }
}

async fn newest(
    repository: &Repository,
    records: &[AuditRecord],
    url: &str,
) -> Result<Found<Manifest>, JobError> {
    let listed = repository.backups().await?;
    let missing = records
        .iter()
        .filter(|record| record.action == COMMITTED)
        .filter(|record| listed.iter().all(|(id, _)| id.as_str() != record.subject))
        .map(|record| (record.subject.clone(), "its manifest is missing".to_owned()));
    let damaged = listed.iter().filter_map(|(id, found)| match found {
        Ok(found) => Some((id.to_string(), contradiction(records, id, Some(found))?)),
        Err(error) => Some((id.to_string(), error.to_string())),
    });
    if let Some((id, why)) = missing.chain(damaged).next() {
        return Err(JobError::integrity(
            format!("backup {id} is damaged, and may be the newest: {why}"),
            "name the backup that you want; `backstay list` shows which are whole",
        ));
    }
    match listed.into_iter().next() {
        Some((_, found)) => Ok(found?),
        None => Err(JobError::target(
            format!("{url} has no complete backup"),
            "check --repo and --cluster, or take a backup first",
        )),
    }
}

fn refused(repository: &Repository, id: &BackupId, why: String) -> JobError {
    let object = crate::format::layout::manifest(repository.cluster(), id);
    PipelineError::Integrity { object, why }.into()
}

/// What the audit chain says against this manifest, or against there being none.
pub(super) fn contradiction(
    records: &[AuditRecord],
    id: &BackupId,
    found: Option<&Found<Manifest>>,
) -> Option<String> {
    let committed = |r: &&AuditRecord| r.action == COMMITTED && r.subject == id.as_str();
    let record = records.iter().find(committed)?;
    match found {
        None => Some(
            "the audit chain says that this backup was committed, and its manifest is missing"
                .into(),
        ),
        Some(found) if found.sha256 != record.record_sha256 => {
            Some("it is not the manifest that the audit chain says was committed".into())
        }
        Some(_) => None,
    }
}
