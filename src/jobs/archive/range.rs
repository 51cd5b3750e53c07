//! What a run of captured bytes is, told by the events in it.

use crate::{
    format::{CommitSpan, GroupMark, LogRange, Opening},
    model::{BinlogName, GtidState, ServerName, Timestamp},
    mysql::replication::Group,
};

/// The file that is being read.
#[derive(Debug, Clone)]
pub(super) struct FileId {
    pub(super) server: ServerName,
    pub(super) file: BinlogName,
    pub(super) created: Timestamp,
}

/// A range that grows event by event.
#[derive(Debug, Clone)]
pub(super) struct RangeBuilder {
    start: u64,
    transactions: u64,
    gtids: GtidState,
    committed: Option<CommitSpan>,
    last_group: Option<GroupMark>,
    opening: Option<Opening>,
}

impl RangeBuilder {
    pub(super) fn new(start: u64, flavor: crate::model::Flavor) -> Self {
        Self {
            start,
            transactions: 0,
            gtids: GtidState::empty(flavor),
            committed: None,
            last_group: None,
            opening: None,
        }
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn opening(&mut self, opening: Opening) {
        self.opening = Some(opening);
    }

    /// A transaction has ended.
    pub(super) fn group(&mut self, group: &Group, mark: GroupMark) {
        self.transactions += 1;
        if let Some(gtid) = &group.gtid {
            self.gtids.add(gtid);
        }
        let at = group.committed_at;
        let span = self.committed.get_or_insert(CommitSpan { first: at, last: at });
        span.first = span.first.min(at);
        span.last = span.last.max(at);
        self.last_group = Some(mark);
    }

    /// The range up to `end`.
    pub(super) fn finish(self, file: &FileId, end: u64, cut: bool, closed: bool) -> LogRange {
        LogRange {
            server: file.server.clone(),
            file: file.file.clone(),
            created: file.created,
            start: self.start,
            end,
            transactions: self.transactions,
            gtids: self.gtids,
            committed: self.committed,
            last_group: self.last_group,
            cut,
            opening: self.opening,
            closed,
        }
    }
}
