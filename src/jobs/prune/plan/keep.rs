//! Which backups the policy keeps, and by which of its rules.

use std::collections::{BTreeMap, HashMap};

use super::{Candidate, Policy, window};
use crate::{
    model::{BackupId, Timestamp},
    pipeline::{Standing, log::Lines},
};

/// For each candidate, why it stays; nothing when no rule keeps it. Candidates come newest first.
pub(super) fn reasons(
    candidates: &[Candidate],
    policy: &Policy,
    lines: &Lines<'_>,
    now: Timestamp,
) -> Vec<Vec<String>> {
    let mut reasons: Vec<Vec<String>> = vec![Vec::new(); candidates.len()];
    last(candidates, policy, &mut reasons);
    within(candidates, policy, now, &mut reasons);
    periods(candidates, policy, &mut reasons);
    if let Some(age) = policy.window {
        for at in window::bases(candidates, lines, now.minus(age.duration())) {
            reasons[at].push(format!("window of {age}"));
        }
    }
    last_good(candidates, &mut reasons);
    for (candidate, reasons) in candidates.iter().zip(&mut reasons) {
        if let Standing::Held(mark) = &candidate.standing {
            reasons.push(format!("held: {}", mark.reason));
        }
    }
    needed(candidates, &mut reasons);
    reasons
}

fn last(candidates: &[Candidate], policy: &Policy, reasons: &mut [Vec<String>]) {
    let count = policy.last.unwrap_or_default();
    for (_, reasons) in candidates.iter().zip(reasons).take(count as usize) {
        reasons.push(format!("last {count}"));
    }
}

fn within(candidates: &[Candidate], policy: &Policy, now: Timestamp, reasons: &mut [Vec<String>]) {
    let Some(age) = policy.within else { return };
    let from = now.minus(age.duration());
    for (candidate, reasons) in candidates.iter().zip(reasons) {
        if candidate.finished_at >= from {
            reasons.push(format!("within {age}"));
        }
    }
}

/// The newest backup of each of the last periods that have one.
fn periods(candidates: &[Candidate], policy: &Policy, reasons: &mut [Vec<String>]) {
    for (period, name, count) in policy.periods() {
        let mut left = count.unwrap_or_default();
        let mut seen: Option<String> = None;
        for (candidate, reasons) in candidates.iter().zip(&mut *reasons) {
            if left == 0 {
                break;
            }
            let this = candidate.finished_at.period(period);
            if seen.as_ref() != Some(&this) {
                reasons.push(format!("{name} {this}"));
                left -= 1;
                seen = Some(this);
            }
        }
    }
}

/// The newest backup of all stays, and the newest whose engine was seen to end well.
fn last_good(candidates: &[Candidate], reasons: &mut [Vec<String>]) {
    let proven = candidates.iter().position(|candidate| candidate.is_proven);
    for at in proven.into_iter().chain((!candidates.is_empty()).then_some(0)) {
        if reasons[at].is_empty() {
            reasons[at].push("the last good backup".into());
        }
    }
}

/// What a backup that stays was built on stays with it.
fn needed(candidates: &[Candidate], reasons: &mut [Vec<String>]) {
    let places: HashMap<&BackupId, usize> =
        candidates.iter().enumerate().map(|(at, candidate)| (&candidate.id, at)).collect();
    let mut kept: Vec<usize> =
        (0..candidates.len()).filter(|at| !reasons[*at].is_empty()).collect();
    let mut told: BTreeMap<usize, usize> = BTreeMap::new();
    while let Some(at) = kept.pop() {
        let Some(parent) = candidates[at].needs.as_ref().and_then(|id| places.get(id)) else {
            continue;
        };
        if reasons[*parent].is_empty() {
            kept.push(*parent);
        }
        // One child is enough to say why.
        if *told.entry(*parent).or_insert(at) == at {
            reasons[*parent].push(format!("needed by {}", candidates[at].id));
        }
    }
}
