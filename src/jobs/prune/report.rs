//! What a plan says, and what became of it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{LeftAlone, Planned, Policy, plan::Step};
use crate::{
    model::{Age, BackupId, RunId, Timestamp},
    pipeline::{Removed, Standing},
};

/// What was removed, what stays, and why.
#[derive(Debug, Clone, Serialize)]
pub struct Pruned {
    /// Version of this object.
    pub version: u32,
    /// `planned`: nothing was touched. `complete`: all was done that is due now. `stopped` by a signal.
    pub status: &'static str,
    /// The time that was planned for.
    pub at: Timestamp,
    /// What is to be kept.
    pub policy: Policy,
    /// How long a tombstone stands before its backup is removed.
    pub grace_seconds: Age,
    /// The complete backups, newest first.
    pub backups: Vec<PrunedBackup>,
    /// Backups that no policy touches.
    pub left_alone: Vec<LeftAlone>,
    /// The binlog log.
    pub log: PrunedLog,
    /// What nothing refers to.
    pub leftovers: PrunedLeftovers,
    /// Objects that were removed.
    pub objects_removed: u64,
    /// Their bytes, as far as they are known.
    pub bytes_removed: u64,
    /// Objects that were to be removed, and that a lock of the store still holds.
    pub objects_locked: u64,
    /// The latest end of these locks, where they have one.
    pub locked_until: Option<Timestamp>,
    /// The run that has signed tombstones; none when there was nothing to do.
    pub run_id: Option<RunId>,
    /// The head of the audit chain, when the run has written to it.
    pub audit_head: Option<String>,
}

/// What becomes of a backup.
#[derive(Debug, Clone, Serialize)]
pub struct PrunedBackup {
    /// The backup.
    pub backup_id: BackupId,
    /// When it was stored.
    pub finished_at: Timestamp,
    /// Bytes of its volumes.
    pub bytes_stored: u64,
    /// `keep`, `delete`, or `locked`: no rule keeps it, and the store does.
    pub verdict: &'static str,
    /// The rules that keep it.
    pub reasons: Vec<String>,
    /// What is done about it in this run: `none`, `tombstone`, `wait`, `sweep`, `revoke`.
    pub step: &'static str,
    /// Since when it has had a tombstone.
    pub tombstoned_at: Option<Timestamp>,
    /// From when on it is removed.
    pub sweep_after: Option<Timestamp>,
    /// Until when the store protects it.
    pub locked_until: Option<Timestamp>,
    /// Whether a legal hold of the store is on it, which has no end.
    pub legal_hold: bool,
}

/// What becomes of the binlog log.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PrunedLog {
    /// The number of its last record.
    pub records: u64,
    /// Records up to this number are forgotten.
    pub begins: u64,
    /// They will be up to this one.
    pub begins_next: u64,
    /// Records up to this number are thinned: what is superseded is gone.
    pub thinned: u64,
    /// They will be up to this one.
    pub thinned_next: u64,
    /// Records that were removed.
    pub records_removed: u64,
}

/// What nothing refers to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PrunedLeftovers {
    /// Runs that came to nothing, with what they have stored.
    pub runs: u64,
    /// Segments that no record names, or whose records are forgotten.
    pub segments: u64,
    /// What tests of the store have left.
    pub probes: u64,
    /// Uploads that were begun and never completed.
    pub uploads_aborted: u64,
}

/// What a plan says.
pub(super) fn planned(planned: &Planned, policy: &Policy, grace: Age) -> Pruned {
    let gathered = &planned.gathered;
    let backups = gathered.candidates.iter().zip(&planned.decisions.backups).zip(&planned.steps);
    let backups = backups.map(|((candidate, decision), step)| {
        let lock = planned.locks.get(&candidate.id).copied().unwrap_or_default();
        let tombstoned_at = match &candidate.standing {
            Standing::Tombstoned(mark) => Some(mark.at),
            _ => None,
        };
        let (verdict, step_name) = match step {
            Step::Keep => ("keep", "none"),
            Step::Revoke => ("keep", "revoke"),
            Step::Tombstone => ("delete", "tombstone"),
            Step::Wait(_) => ("delete", "wait"),
            Step::Sweep => ("delete", "sweep"),
            Step::Locked(_) => ("locked", "none"),
        };
        PrunedBackup {
            backup_id: candidate.id.clone(),
            finished_at: candidate.finished_at,
            bytes_stored: candidate.bytes_stored,
            verdict,
            reasons: decision.reasons.clone(),
            step: step_name,
            tombstoned_at,
            sweep_after: match step {
                Step::Tombstone => Some(planned.now.plus(grace.duration())),
                Step::Wait(until) => Some(*until),
                _ => None,
            },
            locked_until: lock.retention.map(|held| held.until).filter(|at| *at > planned.now),
            legal_hold: lock.legal_hold,
        }
    });
    let now = gathered.archive.horizon;
    let next = planned.horizon;
    let leftovers = &planned.leftovers;
    Pruned {
        version: 1,
        status: "planned",
        at: planned.now,
        policy: *policy,
        grace_seconds: grace,
        backups: backups.collect(),
        left_alone: gathered.left_alone.clone(),
        log: PrunedLog {
            records: gathered.archive.state.head.number,
            begins: now.begins,
            begins_next: next.begins,
            thinned: now.thinned,
            thinned_next: next.thinned,
            records_removed: 0,
        },
        leftovers: PrunedLeftovers {
            runs: leftovers.runs.len() as u64,
            segments: leftovers.segments.len() as u64,
            probes: leftovers.probes.len() as u64,
            uploads_aborted: 0,
        },
        objects_removed: 0,
        bytes_removed: 0,
        objects_locked: 0,
        locked_until: None,
        run_id: None,
        audit_head: None,
    }
}

impl Pruned {
    pub(super) fn add(&mut self, removed: Removed) {
        self.objects_removed += removed.objects;
        self.bytes_removed += removed.bytes;
        self.objects_locked += removed.locked;
        self.locked_until = self.locked_until.max(removed.locked_until);
    }

    /// How many backups there are of each verdict.
    #[must_use]
    pub fn verdicts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for backup in &self.backups {
            *counts.entry(backup.verdict).or_default() += 1;
        }
        counts
    }
}
