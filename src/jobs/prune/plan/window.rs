//! Which bases a window of time needs: every instant of it that can be reached now can be reached
//! then.

use std::collections::BTreeSet;

use super::Candidate;
use crate::{
    model::Timestamp,
    pipeline::log::{Coverage, End, Lines},
};

/// Bases before the window that are looked at beside the newest. One that ends early, at a fork
/// or because its transactions are not known exactly, is seldom followed by another.
const LOOKS: usize = 64;

/// The bases that are needed for all that can be reached since this instant, by their places
/// among the candidates, which come newest first: all that are younger, and of the older ones the
/// newest, and whatever reaches further into the window.
pub(super) fn bases(
    candidates: &[Candidate],
    lines: &Lines<'_>,
    since: Timestamp,
) -> BTreeSet<usize> {
    let first = candidates.partition_point(|candidate| candidate.finished_at > since);
    let mut kept: BTreeSet<usize> = (0..first).collect();
    if first == candidates.len() {
        return kept;
    }
    kept.insert(first);
    let newest = lines.walk(&candidates[first].base);
    if !may_others_reach_further(&newest.end) {
        return kept;
    }
    let mut reached = Reached::default();
    for candidate in &candidates[..first] {
        let coverage = lines.walk(&candidate.base);
        reached.add(reach(candidate, &coverage));
    }
    reached.add(reach(&candidates[first], &newest));
    for (at, candidate) in candidates.iter().enumerate().skip(first + 1).take(LOOKS) {
        let coverage = lines.walk(&candidate.base);
        let (earliest, until) = reach(candidate, &coverage);
        let inside = (earliest.max(since), until);
        if inside.0 < inside.1 && !reached.has(inside) {
            kept.insert(at);
            reached.add(inside);
        }
        if !may_others_reach_further(&coverage.end) {
            break;
        }
    }
    kept
}

/// Whether a way ends for a reason that is the base's own; a gap or the log's end stops all.
fn may_others_reach_further(end: &End) -> bool {
    match end {
        End::Current | End::Gap { .. } | End::History { .. } => false,
        End::Fork { .. } | End::Foreign { .. } | End::Inexact | End::NotArchived { .. } => true,
    }
}

/// The instants that can be reached from a base.
fn reach(candidate: &Candidate, coverage: &Coverage<'_>) -> (Timestamp, Timestamp) {
    let earliest = coverage.base_committed.unwrap_or(candidate.finished_at);
    (earliest, coverage.until().map_or(earliest, |until| until.max(earliest)))
}

/// Instants that can be reached, as stretches that neither touch nor overlap.
#[derive(Debug, Default)]
struct Reached(Vec<(Timestamp, Timestamp)>);

impl Reached {
    fn add(&mut self, (mut from, mut to): (Timestamp, Timestamp)) {
        self.0.retain(|&(a, b)| {
            let apart = b < from || to < a;
            if !apart {
                (from, to) = (from.min(a), to.max(b));
            }
            apart
        });
        self.0.push((from, to));
    }

    fn has(&self, (from, to): (Timestamp, Timestamp)) -> bool {
        self.0.iter().any(|&(a, b)| a <= from && to <= b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_join_and_contain() {
        let at = |second: i64| Timestamp::from_microseconds(second * 1_000_000).unwrap();
        let mut reached = Reached::default();
        reached.add((at(1), at(3)));
        reached.add((at(5), at(9)));
        assert!(reached.has((at(5), at(9))) && !reached.has((at(2), at(6))));
        reached.add((at(3), at(5)));
        assert!(reached.has((at(1), at(9))) && reached.0.len() == 1);
        assert!(!reached.has((at(1), at(10))));
    }
}
