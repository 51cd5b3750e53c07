//! What a restore will do, before anything is touched: which base, which pieces of the log, and
//! before which transaction it ends.

mod base;
mod look;
mod selection;
mod target;

use std::{collections::BTreeSet, sync::Arc};

use serde::Serialize;

pub(super) use look::format_description;
pub(super) use selection::{PieceRule, Selection, Stop, Verdict};
pub use target::Target;

use super::{JobError, Recorded};
use crate::{
    crypto::kms::Kms,
    format::Manifest,
    model::{BackupId, Gtid, GtidState, HistoryId, Sha256Digest, Timestamp},
    mysql::replication::Group,
    pipeline::{
        Progress, Repository,
        log::{Coverage, Line, Lines, RangeOpener},
    },
};

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub(super) target: Target,
    pub(super) line: Line,
    pub(super) backup: Option<&'a BackupId>,
    pub(super) skip: &'a [Gtid],
    /// Backups that have turned out to be damaged.
    pub(super) without: &'a BTreeSet<BackupId>,
}

/// What a restore will do.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) manifest: Manifest,
    /// SHA-256 of its stored bytes.
    pub(super) manifest_sha256: Sha256Digest,
    /// What the base stands on when it is an increment, the full backup first.
    pub(super) stands_on: Vec<Manifest>,
    pub(super) target: Target,
    /// The way; no more of it than is needed.
    pub(super) coverage: Coverage<'a>,
    stop: Option<Stop>,
    skip: BTreeSet<Gtid>,
    /// The last transaction that belongs to the result, where it was looked at.
    last: Option<Neighbour>,
    /// The first one that does not.
    next: Option<Neighbour>,
    /// Whether later ones bear stamps from before the instant that was asked for.
    stamps_go_back: bool,
    /// Newer backups that are damaged.
    passed_over: Vec<BackupId>,
}

/// A transaction beside the point where a restore ends.
#[derive(Debug, Clone, Serialize)]
pub struct Neighbour {
    /// Its name.
    pub gtid: String,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// The server's file.
    pub binlog_file: String,
    /// Where it begins in it.
    pub binlog_position: u64,
}

/// A plan, for people and programs.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    /// Version of this object.
    pub version: u32,
    /// `planned`.
    pub status: &'static str,
    /// What was asked for.
    pub target: String,
    /// The base backup.
    pub backup_id: BackupId,
    /// When the base was finished.
    pub backup_finished_at: Timestamp,
    /// The backups that it stands on when it is an increment, the full one first.
    pub stands_on: Vec<BackupId>,
    /// Bytes of volumes to be fetched, of all of them.
    pub stored_bytes: u64,
    /// Bytes of files in them.
    pub payload_bytes: u64,
    /// The history that is restored.
    pub history: Option<HistoryId>,
    /// Pieces of the log to be replayed.
    pub pieces: usize,
    /// Bytes of binary log in them.
    pub bytes: u64,
    /// Transactions in them at most; what the base has already is left out.
    pub transactions_at_most: u64,
    /// Transactions to be left out.
    pub skip: Vec<String>,
    /// The last transaction that belongs to the result, where it was looked up.
    pub last: Option<Neighbour>,
    /// The first transaction that does not belong to the result; nothing when all do.
    pub next: Option<Neighbour>,
    /// Whether transactions behind it bear commit stamps from before the time that was asked for:
    /// they are not in the result, since the order is that of the binary log.
    pub stamps_go_back: bool,
    /// Newer backups that are damaged; the base leads to the same point.
    pub passed_over: Vec<BackupId>,
    /// Whether this was recorded; a restore says it of itself.
    #[serde(flatten)]
    pub recorded: Recorded,
}

impl Plan<'_> {
    /// What has to be judged transaction by transaction.
    pub(super) fn selection(&self) -> Selection {
        Selection::new(self.coverage.begins.clone(), self.skip.clone(), self.stop)
    }

    fn links(&self) -> impl Iterator<Item = &Manifest> {
        self.stands_on.iter().chain([&self.manifest])
    }

    /// Bytes of files that the base needs on the disk: an increment lies there beside what it is
    /// applied to.
    pub(super) fn payload_bytes(&self) -> u64 {
        let increments = self.links().skip(1).map(|link| link.payload_bytes);
        let largest = increments.max().unwrap_or_default();
        self.links().fold(largest, |sum, link| sum.saturating_add(link.payload_bytes))
    }

    /// Bytes of binary log to be replayed.
    pub(super) fn bytes(&self) -> u64 {
        self.coverage.pieces.iter().map(|piece| piece.range.end - piece.range.start).sum()
    }

    /// Transactions in them, which are at least as many as there are to be replayed.
    pub(super) fn transactions(&self) -> u64 {
        self.coverage.pieces.iter().map(|piece| piece.range.transactions).sum()
    }

    pub(super) fn told(&self) -> Planned {
        let pieces = &self.coverage.pieces;
        Planned {
            version: 1,
            status: "planned",
            target: self.target.to_string(),
            backup_id: self.manifest.backup_id.clone(),
            backup_finished_at: self.manifest.finished_at,
            stands_on: self.stands_on.iter().map(|base| base.backup_id.clone()).collect(),
            stored_bytes: self.links().map(|link| link.bytes_stored).sum(),
            payload_bytes: self.links().map(|link| link.payload_bytes).sum(),
            history: self.coverage.history,
            pieces: pieces.len(),
            bytes: self.bytes(),
            transactions_at_most: self.transactions(),
            skip: self.skip.iter().map(ToString::to_string).collect(),
            last: self.last.clone(),
            next: self.next.clone(),
            stamps_go_back: self.stamps_go_back,
            passed_over: self.passed_over.clone(),
            recorded: Recorded::default(),
        }
    }

    /// Makes a plan. Nothing is touched; the archive is read as far as is needed.
    pub(super) async fn make<'l>(
        repository: &Repository,
        kms: &dyn Kms,
        lines: &Lines<'l>,
        request: &Wanted<'_>,
        progress: &Arc<Progress>,
    ) -> Result<Plan<'l>, JobError> {
        let base::Chosen { found, stands_on, mut coverage, passed_over } =
            base::find(repository, lines, request).await?;
        if request.target == Target::Backup {
            coverage.pieces.clear();
            coverage.reached = coverage.begins.clone();
        }
        for gtid in request.skip {
            skippable(gtid, &coverage)?;
        }
        let mut plan = Plan {
            manifest: found.record,
            manifest_sha256: found.sha256,
            stands_on,
            target: request.target.clone(),
            coverage,
            stop: None,
            skip: request.skip.iter().cloned().collect(),
            last: None,
            next: None,
            stamps_go_back: false,
            passed_over,
        };
        let opener = RangeOpener::new(repository, kms, Arc::clone(progress));
        plan.resolve(&opener).await?;
        Ok(plan)
    }

    /// Finds the transaction before which the restore ends, and forgets the pieces behind it.
    async fn resolve(&mut self, opener: &RangeOpener<'_>) -> Result<(), JobError> {
        if matches!(self.target, Target::Latest | Target::Backup) {
            return Ok(());
        }
        let mut probe = Selection::new(self.coverage.begins.clone(), BTreeSet::new(), None);
        let pieces = &self.coverage.pieces;
        for at in 0..pieces.len() {
            let piece = &pieces[at];
            let behind = probe.behind(piece);
            let last = piece.range.committed.map(|span| span.last);
            if !self.target.may_end_in(&behind.result, last) {
                probe = behind;
                continue;
            }
            let mut before = probe.result.clone();
            let groups = look::transactions(opener, pieces, at, &mut probe).await?;
            let neighbour = |group: &Group| Neighbour {
                gtid: group.gtid.as_ref().map(ToString::to_string).unwrap_or_default(),
                committed_at: group.committed_at,
                binlog_file: piece.range.file.to_string(),
                binlog_position: group.begin,
            };
            for (n, group) in groups.iter().enumerate() {
                if !self.target.ends_before(group, &before) {
                    group.gtid.iter().for_each(|gtid| before.add(gtid));
                    continue;
                }
                self.stop = Some(Stop { record: piece.number, begin: group.begin });
                self.next = Some(neighbour(group));
                self.last = n.checked_sub(1).map(|last| neighbour(&groups[last]));
                if let Target::Time(asked) = self.target {
                    let early = |at: Timestamp| at <= asked;
                    let firsts = pieces[at + 1..].iter().filter_map(|piece| piece.range.committed);
                    self.stamps_go_back = groups[n..].iter().any(|group| early(group.committed_at))
                        || firsts.map(|span| span.first).any(early);
                }
                self.coverage.pieces.truncate(at + 1);
                return Ok(());
            }
            if let (Target::Gtid(wanted), Some(last)) = (&self.target, groups.last())
                && wanted.is_within(&before)
            {
                self.last = Some(neighbour(last));
                self.coverage.pieces.truncate(at + 1);
                return Ok(());
            }
            if let Target::Before(gtid) = &self.target {
                return Err(JobError::target(
                    format!("{gtid} is in no archived transaction, though later ones are"),
                    "look for it with `backstay find`",
                ));
            }
        }
        Ok(())
    }
}

/// Refuses to leave out what is in the base, or does not come.
fn skippable(gtid: &Gtid, coverage: &Coverage<'_>) -> Result<(), JobError> {
    if coverage.begins.has(gtid) {
        return Err(JobError::target(
            format!("{gtid} is in the base backup already, and cannot be left out"),
            "choose an older --backup",
        ));
    }
    if !coverage.reached.has(gtid) {
        return Err(JobError::target(
            format!("{gtid} is not archived on this way, so it cannot be left out"),
            "look for it with `backstay find`",
        ));
    }
    Ok(())
}

impl Target {
    /// Whether the end can lie in a piece behind which this is the state.
    fn may_end_in(&self, behind: &GtidState, last: Option<Timestamp>) -> bool {
        match self {
            Self::Latest | Self::Backup => false,
            Self::Time(at) => last.is_some_and(|last| last > *at),
            Self::Gtid(wanted) => wanted.is_within(behind),
            Self::Before(gtid) => behind.has(gtid),
        }
    }

    /// Whether a restore with these transactions ends before this one.
    fn ends_before(&self, group: &Group, before: &GtidState) -> bool {
        match self {
            Self::Latest | Self::Backup => false,
            Self::Time(at) => group.committed_at > *at,
            Self::Gtid(wanted) => wanted.is_within(before),
            Self::Before(gtid) => group.gtid.as_ref() == Some(gtid),
        }
    }
}
