//! Which backup is meant. What the audit chain says was committed must be there, as it was.

use std::collections::{BTreeMap, BTreeSet};

use super::JobError;
use crate::{
    format::{AuditRecord, Manifest},
    model::{BackupId, Sha256Digest},
    pipeline::{Finding, Found, Mark, PRUNED, PipelineError, Repository, Standing, verify_chain},
};

/// The act that makes a backup, as the audit chain names it.
pub(super) const COMMITTED: &str = "backup-committed";
/// The act that makes it in a copy of a repository.
pub(super) const COPIED: &str = "backup-copied";

/// The backups that the audit chain says are there, and the manifest of each.
#[derive(Debug, Default)]
pub(super) struct Committed(BTreeMap<String, Sha256Digest>);

impl Committed {
    /// What these records come to.
    pub(super) fn of(records: &[AuditRecord]) -> Self {
        let mut committed = Self::default();
        records.iter().for_each(|record| committed.take(record));
        committed
    }

    /// Takes the next record. What it says first of a backup counts, until that is pruned.
    pub(super) fn take(&mut self, record: &AuditRecord) {
        match record.action.as_str() {
            COMMITTED | COPIED => {
                self.0.entry(record.subject.clone()).or_insert(record.record_sha256);
            }
            PRUNED => drop(self.0.remove(&record.subject)),
            _ => {}
        }
    }

    /// The names of the backups.
    pub(super) fn subjects(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether it knows of a backup.
    pub(super) fn has(&self, id: &BackupId) -> bool {
        self.0.contains_key(id.as_str())
    }

    /// What it says against this manifest, or against there being none.
    pub(super) fn contradicts(
        &self,
        id: &BackupId,
        found: Option<&Found<Manifest>>,
    ) -> Option<String> {
        let committed = self.0.get(id.as_str())?;
        match found {
            None => Some(
                "the audit chain says that this backup was committed, and its manifest is missing"
                    .into(),
            ),
            Some(found) if found.sha256 != *committed => {
                Some("it is not the manifest that the audit chain says was committed".into())
            }
            Some(_) => None,
        }
    }
}

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
    let committed = Committed::of(&records);
    let Some(id) = id else { return newest(repository, &committed, &url).await };
    match repository.manifest(id).await? {
        Some(found) => match committed.contradicts(id, Some(&found)) {
            Some(why) => Err(refused(repository, id, why)),
            None => Ok(found),
        },
        None => match committed.contradicts(id, None) {
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
    committed: &Committed,
    url: &str,
) -> Result<Found<Manifest>, JobError> {
    let listed = repository.backups().await?;
    let swept = repository.swept().await?;
    let there = listed.iter().map(|(id, _)| id).chain(&swept).map(BackupId::as_str);
    let there: BTreeSet<&str> = there.collect();
    let missing = committed
        .subjects()
        .filter(|subject| !there.contains(subject))
        .map(|subject| (subject.to_owned(), "its manifest is missing".to_owned()));
    let damaged = listed.iter().filter_map(|(id, found)| match found {
        Ok(found) => Some((id.to_string(), committed.contradicts(id, Some(found))?)),
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

/// Refuses a backup that is to be removed: its bytes may go while it is read.
pub(super) async fn uncondemned(
    repository: &Repository,
    found: &Found<Manifest>,
) -> Result<(), JobError> {
    match repository.standing(found).await? {
        Standing::Free | Standing::Held(_) => Ok(()),
        Standing::Tombstoned(mark) => Err(JobError::target(
            condemned(&found.record.backup_id, &mark),
            format!(
                "`backstay hold {}` keeps it, and then it can be restored",
                found.record.backup_id
            ),
        )),
        Standing::Swept(mark) => Err(JobError::target(
            format!("backup {} has been removed since {}", found.record.backup_id, mark.at),
            "restore another one; `backstay list` shows what there is",
        )),
    }
}

/// What is said of a backup with a tombstone.
pub(super) fn condemned(id: &BackupId, mark: &Mark) -> String {
    format!("backup {id} has had a tombstone since {}, and will be removed", mark.at)
}
