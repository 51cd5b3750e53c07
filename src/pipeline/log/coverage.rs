//! What the log covers from a base backup on: which of its ranges to apply, in which order, and
//! where and why that ends. Decided from the records alone; nothing is read here.
//!
//! Files stand in the order in which they became durable. A file is taken when everything before
//! it (its own `opening.previous`) is in the base or was taken before; otherwise the way ends there:
//! at a gap, or because the archive does not reach back to the base. What is archived twice is
//! told by its GTIDs and taken once. A fork and a new history leave transactions behind: a base
//! without any of them goes on without them; a base with some of them ends where they end. No way
//! leads from one history into another, since there the same GTIDs may name other transactions.

mod base;
mod begin;
mod choose;
mod lines;
mod listing;
#[cfg(test)]
mod tests;
mod walk;
mod way;

use std::collections::{BTreeSet, HashMap};

use super::reader::Archive;
use crate::{
    format::LogRange,
    model::{BinlogName, GtidState, HistoryId, Missing, ServerName, Timestamp},
};
use lines::{File, History, Stretch};
pub use listing::ArchivedFile;

/// Where a way begins: what is known of a base backup.
#[derive(Debug, Clone)]
pub struct Base {
    /// The transactions in it: a set of MySQL; of MariaDB the last transaction of each domain.
    pub gtids: Option<GtidState>,
    /// Whether these are all. What an engine recorded by itself can lack the last ones.
    pub exact: bool,
    /// Its place in the binary log of the server that it was taken from.
    pub place: Option<Place>,
    /// When the job began, by the clock of the machine that took it.
    pub started_at: Timestamp,
    /// When it had ended, by the same clock.
    pub finished_at: Timestamp,
}

/// The end of a transaction in a server's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The server.
    pub server: ServerName,
    /// The file.
    pub file: BinlogName,
    /// The offset.
    pub offset: u64,
}

/// A range to apply, or a part of it.
#[derive(Debug, Clone)]
pub struct Piece<'a> {
    /// The record that holds it: a segment or a tail.
    pub number: u64,
    /// What it holds.
    pub range: &'a LogRange,
    /// The record that holds the beginning of the file, with its format description.
    pub head: Option<u64>,
    /// Where in the file reading begins: at the range's start, or where the base was taken. What
    /// ends before is in the base.
    pub from: u64,
    /// Only transactions in this state belong to the way; all of them when there is none.
    pub within: Option<GtidState>,
}

/// Why a way ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Nothing more is archived.
    Current,
    /// Transactions are missing, and none behind them can be had.
    Gap {
        /// The record that tells of the gap.
        record: Option<u64>,
        /// The server whose file begins too late.
        server: ServerName,
        /// That file.
        file: BinlogName,
        /// What is missing.
        missing: Missing,
    },
    /// The base has transactions that were left behind at this fork record.
    Fork {
        /// The fork record.
        record: u64,
    },
    /// The base has transactions that the way never had: they were committed and lost before
    /// they were archived, so nothing that is archived can follow it.
    Foreign {
        /// These.
        transactions: Missing,
    },
    /// Which transactions the base has is not known exactly, and its own place is not archived.
    Inexact,
    /// A new history began with this epoch record.
    History {
        /// The epoch record.
        record: u64,
    },
    /// The archive does not continue this base.
    NotArchived {
        /// What lies between the two, when that can be told.
        missing: Option<Missing>,
    },
}

/// What can be reached from a base.
#[derive(Debug, Clone)]
pub struct Coverage<'a> {
    /// The history that the base belongs to; nothing when it is in none.
    pub history: Option<HistoryId>,
    /// What to apply, in order. A transaction counts when its piece's `within` has it, and the
    /// transactions before it, in `begins` and in the pieces, do not.
    pub pieces: Vec<Piece<'a>>,
    /// The transactions before the first piece: those of the base. For MariaDB this has what the
    /// base's own position leaves out.
    pub begins: GtidState,
    /// The transactions behind the last piece.
    pub reached: GtidState,
    /// The latest commit stamp in the base, when the archive can tell.
    pub base_committed: Option<Timestamp>,
    /// The latest commit stamp in the pieces. Where a piece is taken in part, its earliest stamp
    /// stands for it: this instant is reached, and maybe a later one.
    pub committed: Option<Timestamp>,
    /// Up to when nothing was committed behind the last piece, where that is known.
    pub quiet_until: Option<Timestamp>,
    /// Transactions of the base that the archive does not have: not yet, or they are foreign.
    pub beyond: Option<Missing>,
    /// Why it ends.
    pub end: End,
}

impl Coverage<'_> {
    /// The latest instant that can be reached behind the base.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        self.committed.max(self.base_committed).max(self.quiet_until)
    }
}

/// Which line of life a way follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Line {
    /// The one that is archived now.
    #[default]
    Newest,
    /// A history, to its end.
    History(HistoryId),
    /// What was left behind at this fork record, to its end.
    Fork(u64),
}

impl Line {
    /// Whether a way along this line that ends so leaves nothing of it out.
    #[must_use]
    pub fn ends_with(self, end: &End) -> bool {
        match (self, end) {
            (Self::Newest | Self::History(_), End::Current)
            | (Self::History(_), End::History { .. }) => true,
            (Self::Fork(asked), End::Fork { record }) => asked == *record,
            _ => false,
        }
    }
}

/// Records that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("log record {number}: {why}")]
pub struct Broken {
    /// The record that does not fit.
    pub number: u64,
    /// Why.
    pub why: String,
}

/// The archive as lines of files: what every way is made of.
#[derive(Debug)]
pub struct Lines<'a> {
    histories: Vec<History>,
    stretches: Vec<Stretch<'a>>,
    /// In the order in which they became durable.
    files: Vec<File<'a>>,
    /// Gaps behind which nothing is archived yet.
    open_gaps: Vec<lines::Gap<'a>>,
    /// `server_id` of the servers that were read.
    server_ids: HashMap<&'a ServerName, u32>,
    quiet_until: Option<Timestamp>,
}

impl<'a> Lines<'a> {
    /// Puts an archive in order.
    ///
    /// # Errors
    /// When its records do not fit together: a range does not begin where the one before it
    /// in its file ended.
    pub fn of(archive: &'a Archive) -> Result<Self, Broken> {
        lines::of(archive, 0)
    }

    /// The same of an archive whose records up to this number are forgotten.
    ///
    /// # Errors
    /// As [`Lines::of`].
    pub fn behind(archive: &'a Archive, number: u64) -> Result<Self, Broken> {
        lines::of(archive, number)
    }

    /// Whether nothing is archived.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether there is this line.
    #[must_use]
    pub fn has(&self, line: Line) -> bool {
        match line {
            Line::Newest => true,
            Line::History(id) => self.histories.iter().any(|history| history.id == id),
            Line::Fork(record) => self.fork(record).is_some(),
        }
    }

    /// The servers that were archived, in the order of their names.
    #[must_use]
    pub fn servers(&self) -> BTreeSet<&'a ServerName> {
        self.files.iter().map(|file| &file.id().server).collect()
    }

    /// The stretch that a fork record left behind, and its history, by index.
    fn fork(&self, record: u64) -> Option<(usize, usize)> {
        let begins = |stretch: &Stretch<'_>| stretch.record == record && stretch.fork.is_some();
        let left = self.stretches.iter().position(begins)?.checked_sub(1)?;
        let holds = |history: &History| history.stretches.contains(&left);
        Some((self.histories.iter().position(holds)?, left))
    }

    /// The way from a base to the latest point that it reaches.
    #[must_use]
    pub fn walk(&self, base: &Base) -> Coverage<'a> {
        choose::walk(self, base)
    }

    /// The way from a base along a line; no way at all when the base does not lie on it.
    #[must_use]
    pub fn along(&self, base: &Base, line: Line) -> Coverage<'a> {
        choose::along(self, base, line)
    }
}
