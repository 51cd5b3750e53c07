//! Which backup is meant. What the audit chain says was committed must be there, as it was.

use std::collections::{BTreeMap, BTreeSet};

use super::JobError;
use crate::{
    format::{AuditRecord, Manifest, Role, audit::action},
    model::{BackupId, Sha256Digest},
    pipeline::{
        Finding, Found, Mark, PipelineError, Repository, Standing, Vouched,
        audit::{Chain, scan},
    },
};

/// Findings of a damaged chain that a restore warns of one by one.
const WARNED_OF: usize = 3;

/// The backups that the audit chain says are there, and the manifest of each. Nothing else of
/// the chain is kept, however long it is.
#[derive(Debug, Default)]
pub(super) struct Committed(BTreeMap<String, Sha256Digest>);

impl Committed {
    /// Reads the chain. The backups themselves may well be whole when it is damaged, and someone
    /// needs one now: that is told, and no error.
    pub(super) async fn read(repository: &Repository) -> Result<Self, JobError> {
        let mut committed = Self::default();
        let take = |found: &Found<AuditRecord>, run: &Vouched| -> Result<(), PipelineError> {
            committed.take(&found.record, run);
            Ok(())
        };
        let Chain { findings, more_findings, .. } = scan(repository, 0, None, take).await?;
        let more = more_findings + findings.len().saturating_sub(WARNED_OF) as u64;
        for Finding { object, why, .. } in findings.into_iter().take(WARNED_OF) {
            tracing::warn!(object, why, more, "the audit chain is damaged; run `backstay verify`");
        }
        Ok(committed)
    }

    /// Takes the next record. What it says first of a backup counts, until the backup is removed;
    /// only who may remove backups can say that.
    pub(super) fn take(&mut self, record: &AuditRecord, run: &Vouched) {
        match (record.action.as_str(), record.record_sha256) {
            (action::BACKUP_COMMITTED | action::COPY_BACKUP, Some(sha256)) => {
                self.0.entry(record.subject.clone()).or_insert(sha256);
            }
            (action::PRUNE_SWEPT, _) if run.record.role == Role::Prune => {
                self.0.remove(&record.subject);
            }
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
    let committed = Committed::read(repository).await?;
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
