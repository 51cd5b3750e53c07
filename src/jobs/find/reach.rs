//! From which backup a restore reaches a transaction.

use crate::{
    jobs::JobError,
    model::{BackupId, Gtid, HistoryId},
    pipeline::{
        Repository,
        log::{Base, Coverage, Lines},
    },
};

/// What each backup reaches, the newest first.
pub(super) struct Reach<'a>(Vec<(BackupId, Coverage<'a>)>);

impl<'a> Reach<'a> {
    /// Of the backups whose manifests are believed.
    pub(super) async fn of(repository: &Repository, lines: &Lines<'a>) -> Result<Self, JobError> {
        let backups = repository.backups().await?;
        let walked = backups.into_iter().filter_map(|(id, found)| {
            let coverage = lines.walk(&Base::from(&found.ok()?.record));
            Some((id, coverage))
        });
        Ok(Self(walked.collect()))
    }

    /// The newest backup without this transaction, from which the way leads to it.
    pub(super) fn backup(&self, history: HistoryId, gtid: &Gtid) -> Option<BackupId> {
        let reaches = |(_, coverage): &&(BackupId, Coverage<'_>)| {
            coverage.history == Some(history)
                && !coverage.begins.has(gtid)
                && coverage.reached.has(gtid)
        };
        self.0.iter().find(reaches).map(|(id, _)| id.clone())
    }
}
