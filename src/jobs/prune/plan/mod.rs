//! What to keep and what to remove: decided from the records alone, at a given time.

mod keep;
mod log;
mod policy;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{BTreeSet, HashMap};

pub use log::SettledCheckpoint;
pub use policy::Policy;

use crate::{
    format::Manifest,
    model::{Age, BackupId, ProofKind, Protection, Timestamp},
    pipeline::{
        Found, Horizon, Standing, is_locked,
        log::{Archive, Base, Lines},
    },
};

/// A complete backup that is believed.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its name.
    pub id: BackupId,
    /// When it was stored.
    pub finished_at: Timestamp,
    /// Bytes of its volumes.
    pub bytes_stored: u64,
    /// Where it stands in the binary logs.
    pub base: Base,
    /// The backup that it was built on, without which it is worth nothing.
    pub needs: Option<BackupId>,
    /// Whether its engine was seen to end well.
    pub is_proven: bool,
    /// What was decided about it before.
    pub standing: Standing,
}

impl Candidate {
    /// A backup, and what was decided about it before.
    #[must_use]
    pub fn of(found: &Found<Manifest>, standing: Standing) -> Self {
        let manifest = &found.record;
        Self {
            id: manifest.backup_id.clone(),
            finished_at: manifest.finished_at,
            bytes_stored: manifest.bytes_stored,
            base: Base::from(manifest),
            needs: needs(manifest),
            is_proven: manifest.proof != ProofKind::Framing,
            standing,
        }
    }
}

/// What a manifest says that its backup was built on.
pub(in crate::jobs) fn needs(manifest: &Manifest) -> Option<BackupId> {
    manifest.base.as_ref().map(|base| base.backup_id.clone())
}

/// The bases that are needed for all that can be reached since an instant, by their places among
/// the candidates, which come newest first.
pub(in crate::jobs) fn bases_since(
    candidates: &[Candidate],
    lines: &Lines<'_>,
    since: Timestamp,
) -> BTreeSet<usize> {
    window::bases(candidates, lines, since)
}

/// How much of a log is needed for all that can be reached since an instant, or from any base:
/// nothing behind the last checkpoint is left out.
pub(in crate::jobs) fn horizon_since(
    candidates: &[Candidate],
    archive: &Archive,
    lines: &Lines<'_>,
    last: &SettledCheckpoint,
    since: Option<Timestamp>,
) -> Horizon {
    log::horizon(archive, Some(last), candidates, since, lines)
}

/// Whether a backup stays, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The rules that keep it; none when it may go.
    pub reasons: Vec<String>,
}

/// What is done about a backup now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it stays.
    Keep,
    /// Its tombstone is taken away: it stays after all.
    Revoke,
    /// It gets a tombstone.
    Tombstone,
    /// Nothing: its time of grace lasts until then, or something that is built on it is still there.
    Wait(Timestamp),
    /// It is removed.
    Sweep,
    /// Nothing: a lock of the store holds it, until then if it ends by itself.
    Locked(Option<Timestamp>),
}

/// What to keep of the backups, and how far the log's horizon can move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decisions {
    /// One for each candidate.
    pub backups: Vec<Decision>,
    /// The horizon of the log.
    pub horizon: Horizon,
}

/// The candidates that are still there once those have gone that are to go now.
#[must_use]
pub fn left(candidates: &[Candidate], steps: &[Step], grace: Age) -> Vec<Candidate> {
    let stays = |step: &Step| match step {
        Step::Sweep => false,
        // Without a time of grace what gets its tombstone goes at once.
        Step::Tombstone => !grace.duration().is_zero(),
        Step::Keep | Step::Revoke | Step::Wait(_) | Step::Locked(_) => true,
    };
    let left = candidates.iter().zip(steps).filter(|(_, step)| stays(step));
    left.map(|(candidate, _)| candidate.clone()).collect()
}

/// From when on everything that can be reached has to stay so; whoever restores to an instant at the
/// window's far end may still be at it for a while.
pub(super) fn since(policy: &Policy, grace: Age, now: Timestamp) -> Option<Timestamp> {
    policy.window.map(|age| now.minus(age.duration()).minus(grace.duration()))
}

/// Decides what stays. Candidates come newest first, `settled` is the newest checkpoint older than
/// the time of grace.
#[must_use]
pub fn decide(
    candidates: &[Candidate],
    archive: &Archive,
    lines: &Lines<'_>,
    settled: Option<&SettledCheckpoint>,
    policy: &Policy,
    grace: Age,
    now: Timestamp,
) -> Decisions {
    let reasons = keep::reasons(candidates, policy, lines, now);
    let since = since(policy, grace, now);
    Decisions {
        backups: reasons.into_iter().map(|reasons| Decision { reasons }).collect(),
        horizon: log::horizon(archive, settled, candidates, since, lines),
    }
}

/// What to do about each candidate now. Of those that may go `locks` says what protects them.
#[must_use]
pub fn steps(
    candidates: &[Candidate],
    decisions: &[Decision],
    locks: &HashMap<BackupId, Protection>,
    grace: Age,
    now: Timestamp,
) -> Vec<Step> {
    let step = |(candidate, decision): (&Candidate, &Decision)| {
        let stays = !decision.reasons.is_empty();
        let at = match &candidate.standing {
            Standing::Tombstoned(_) if stays => return Step::Revoke,
            _ if stays => return Step::Keep,
            Standing::Tombstoned(mark) => Some(mark.at),
            _ => None,
        };
        let lock = locks.get(&candidate.id).copied().unwrap_or_default();
        let until = lock.retention.map(|retention| retention.until);
        let over = at.unwrap_or(now).plus(grace.duration());
        match at {
            // A tombstone keeps a backup from being restored: none is set long before it can go.
            None if is_locked(&lock, over) => Step::Locked(until.filter(|_| !lock.legal_hold)),
            None => Step::Tombstone,
            Some(_) if over > now => Step::Wait(over),
            Some(_) if is_locked(&lock, now) => Step::Locked(until.filter(|_| !lock.legal_hold)),
            Some(_) => Step::Sweep,
        }
    };
    let mut steps: Vec<Step> = candidates.iter().zip(decisions).map(step).collect();
    wait_for_children(candidates, &mut steps, now);
    steps
}

/// What something is built on is not removed before it.
fn wait_for_children(candidates: &[Candidate], steps: &mut [Step], now: Timestamp) {
    let places: HashMap<&BackupId, usize> =
        candidates.iter().enumerate().map(|(at, candidate)| (&candidate.id, at)).collect();
    // The children of a backup are younger, and stand before it.
    for (at, candidate) in candidates.iter().enumerate() {
        if let Some(parent) = candidate.needs.as_ref().and_then(|id| places.get(id))
            && steps[at] != Step::Sweep
            && steps[*parent] == Step::Sweep
        {
            steps[*parent] = Step::Wait(now);
        }
    }
}
