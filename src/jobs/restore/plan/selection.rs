//! Which transactions of a way belong to the result: pure.

use std::collections::BTreeSet;

use crate::{
    model::{Gtid, GtidState},
    mysql::replication::Group,
    pipeline::log::Piece,
};

/// Where a way is left: before the transaction that begins here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::jobs::restore) struct Stop {
    /// The record of the piece in which the transaction ends.
    pub(in crate::jobs::restore) record: u64,
    /// Where it begins in its file.
    pub(in crate::jobs::restore) begin: u64,
}

/// What to do with a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::jobs::restore) enum Verdict {
    /// It is applied.
    Take,
    /// It is in the base, was there before, is of another line, or is to be skipped.
    Leave,
    /// It and all that follows are left.
    Stop,
}

/// A piece, as far as it matters here.
#[derive(Debug, Clone)]
pub(in crate::jobs::restore) struct PieceRule {
    /// Its record.
    pub(in crate::jobs::restore) record: u64,
    /// What begins before is in the base.
    pub(in crate::jobs::restore) from: Option<u64>,
    /// Only what is in here counts.
    pub(in crate::jobs::restore) within: Option<GtidState>,
}

/// What is in the result so far, and what will be.
#[derive(Debug, Clone)]
pub(in crate::jobs::restore) struct Selection {
    /// Everything that was passed, taken or not.
    passed: GtidState,
    /// What the result has.
    pub(in crate::jobs::restore) result: GtidState,
    /// Transactions to leave out.
    skip: BTreeSet<Gtid>,
    stop: Option<Stop>,
    /// Whether the end was reached.
    pub(in crate::jobs::restore) done: bool,
}

impl Selection {
    /// Behind a base with these transactions.
    pub(in crate::jobs::restore) fn new(
        begins: GtidState,
        skip: BTreeSet<Gtid>,
        stop: Option<Stop>,
    ) -> Self {
        let result = begins.clone();
        Self { passed: begins, result, skip, stop, done: false }
    }

    /// Judges the next transaction of the way. They have to come in its order.
    pub(in crate::jobs::restore) fn judge(
        &mut self,
        piece: &PieceRule,
        gtid: &Gtid,
        group: &Group,
    ) -> Verdict {
        if self.done {
            return Verdict::Stop;
        }
        if piece.within.as_ref().is_some_and(|within| !within.has(gtid)) {
            return Verdict::Leave;
        }
        let behind = piece.from.is_none_or(|from| group.begin >= from);
        if !behind || self.passed.has(gtid) {
            self.passed.add(gtid);
            return Verdict::Leave;
        }
        if self.stop == Some(Stop { record: piece.record, begin: group.begin }) {
            self.done = true;
            return Verdict::Stop;
        }
        self.passed.add(gtid);
        if self.skip.contains(gtid) {
            return Verdict::Leave;
        }
        self.result.add(gtid);
        Verdict::Take
    }

    /// The same behind a whole piece.
    pub(in crate::jobs::restore) fn behind(&self, piece: &Piece<'_>) -> Self {
        let gtids = &piece.range.gtids;
        let counts = piece.within.as_ref().map(|within| gtids.shared_with(within));
        let mut behind = self.clone();
        behind.passed.merge(counts.as_ref().unwrap_or(gtids));
        behind.result.merge(counts.as_ref().unwrap_or(gtids));
        behind
    }
}
