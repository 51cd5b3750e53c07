//! From which backup a restore reaches a transaction.

use std::collections::HashMap;

use crate::{
    jobs::JobError,
    model::{BackupId, Gtid, HistoryId},
    pipeline::{
        Repository,
        log::{Base, Coverage, Line, Lines},
    },
};

/// What each backup reaches, the newest first.
pub(super) struct Reach<'l, 'a> {
    lines: &'l Lines<'a>,
    bases: Vec<(BackupId, Base)>,
    /// Along the lines that were asked for already.
    known: HashMap<Option<u64>, Vec<Coverage<'a>>>,
}

impl<'l, 'a> Reach<'l, 'a> {
    /// Of the backups whose manifests are believed.
    pub(super) async fn of(
        repository: &Repository,
        lines: &'l Lines<'a>,
    ) -> Result<Self, JobError> {
        let backups = repository.backups().await?;
        let believed = backups.into_iter();
        let bases = believed.filter_map(|(id, found)| Some((id, Base::from(&found.ok()?.record))));
        Ok(Self { lines, bases: bases.collect(), known: HashMap::new() })
    }

    /// The newest backup without this transaction, from which the way leads to it: through its
    /// history, or through what was left behind at a fork record of it.
    pub(super) fn backup(
        &mut self,
        history: HistoryId,
        fork: Option<u64>,
        gtid: &Gtid,
    ) -> Option<BackupId> {
        let line = fork.map_or(Line::Newest, Line::Fork);
        let (lines, bases) = (self.lines, &self.bases);
        let walked = || bases.iter().map(|(_, base)| lines.along(base, line)).collect();
        let coverages = self.known.entry(fork).or_insert_with(walked);
        let reaches = |coverage: &Coverage<'_>| {
            coverage.history == Some(history)
                && !coverage.begins.has(gtid)
                && coverage.reached.has(gtid)
        };
        let at = coverages.iter().position(reaches)?;
        bases.get(at).map(|(id, _)| id.clone())
    }
}
