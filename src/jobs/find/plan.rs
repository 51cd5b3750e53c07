//! Which ranges to open: those whose commits can match, in runs that are searched side by side.

use crate::{format::LogRange, model::Timestamp, pipeline::log::ArchivedFile};

/// Bytes of a run at which it ends: small enough that several are searched at once, and that
/// the newest are done soon; large enough that little is opened twice.
const RUN_BYTES: u64 = 128 << 20;

/// The instants between which commits are looked for, both included.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Between {
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

impl Between {
    pub(super) fn has(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at <= until)
    }

    /// Whether a transaction that ends in this range can match.
    fn meets(&self, range: &LogRange) -> bool {
        range.committed.is_some_and(|span| {
            self.since.is_none_or(|since| span.last >= since)
                && self.until.is_none_or(|until| span.first <= until)
        })
    }
}

/// Neighbouring ranges of one file, read one behind the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) file: &'a ArchivedFile<'a>,
    /// By index.
    pub(super) first: usize,
    pub(super) last: usize,
    /// Transactions that end behind this byte are this run's; the others are the run's before.
    pub(super) behind: u64,
}

impl<'a> Run<'a> {
    pub(super) fn ranges(&self) -> &'a [(u64, &'a LogRange)] {
        self.file.ranges.get(self.first..=self.last).unwrap_or_default()
    }
}

/// The runs of all files, the newest first.
pub(super) fn runs<'a>(files: &'a [ArchivedFile<'a>], between: &Between) -> Vec<Run<'a>> {
    files.iter().rev().flat_map(|file| of_file(file, between)).collect()
}

fn of_file<'a>(file: &'a ArchivedFile<'a>, between: &Between) -> Vec<Run<'a>> {
    let range = |at: usize| file.ranges[at].1;
    let size = |at: usize| range(at).end.saturating_sub(range(at).start);
    let mut runs = Vec::new();
    let mut last = file.ranges.len();
    while let Some(end) = last.checked_sub(1) {
        if !between.meets(range(end)) {
            last = end;
            continue;
        }
        let (mut first, mut bytes) = (end, size(end));
        while first > 0 && bytes < RUN_BYTES && between.meets(range(first - 1)) {
            first -= 1;
            bytes += size(first);
        }
        let before = first.checked_sub(1).map(range);
        let behind = before.map_or(0, |before| before.end);
        last = first;
        // The transaction that goes on into the first range began in the one before, or earlier
        // where no transaction ends in that.
        while first > 0 && range(first - 1).cut {
            first -= 1;
            if range(first).transactions > 0 {
                break;
            }
        }
        runs.push(Run { file, first, last: end, behind });
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::CommitSpan,
        model::{Flavor, GtidState, HistoryId},
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_microseconds(second * 1_000_000).unwrap()
    }

    /// Ranges of 64 MiB: how many transactions end in each, between which seconds; whether one is cut.
    fn ranges(of: &[(u64, i64, i64, bool)]) -> Vec<LogRange> {
        let size = 64 << 20;
        let ranges = (0..).zip(of).map(|(n, &(transactions, first, last, cut))| LogRange {
            server: "id-1".parse().unwrap(),
            file: "bin.000001".parse().unwrap(),
            created: at(0),
            start: n * size,
            end: (n + 1) * size,
            transactions,
            gtids: GtidState::empty(Flavor::Mysql),
            committed: (transactions > 0).then(|| CommitSpan { first: at(first), last: at(last) }),
            last_group: None,
            cut,
            opening: None,
            closed: false,
        });
        ranges.collect()
    }

    fn planned(
        ranges: &[LogRange],
        since: Option<i64>,
        until: Option<i64>,
    ) -> Vec<(usize, usize, u64)> {
        let file = ArchivedFile {
            history: HistoryId::from_bytes([1; 16]),
            is_current: true,
            ranges: (1..).zip(ranges).collect(),
            forks: Vec::new(),
        };
        let between = Between { since: since.map(at), until: until.map(at) };
        let runs = of_file(&file, &between);
        runs.iter().map(|run| (run.first, run.last, run.behind >> 26)).collect()
    }

    #[test]
    fn all_is_read_in_runs_the_newest_first() {
        let whole =
            ranges(&[(5, 1, 2, false), (5, 3, 4, false), (5, 5, 6, false), (0, 0, 0, false)]);
        assert_eq!(planned(&whole, None, None), [(1, 2, 1), (0, 0, 0)]);
    }

    #[test]
    fn what_cannot_match_stays_closed() {
        let whole = ranges(&[(5, 1, 2, false), (5, 3, 4, false), (5, 5, 6, false)]);
        assert_eq!(planned(&whole, Some(3), Some(4)), [(1, 1, 1)]);
        assert_eq!(planned(&whole, Some(7), None), []);
        assert_eq!(planned(&whole, None, Some(1)), [(0, 0, 0)]);
    }

    #[test]
    fn a_transaction_over_several_ranges_is_read_from_its_beginning() {
        let cut = ranges(&[(5, 1, 2, false), (5, 3, 4, true), (0, 0, 0, true), (1, 5, 6, false)]);
        assert_eq!(planned(&cut, Some(5), None), [(1, 3, 3)]);
        let from_start = ranges(&[(0, 0, 0, true), (0, 0, 0, true), (1, 5, 6, false)]);
        assert_eq!(planned(&from_start, None, None), [(0, 2, 2)]);
    }
}
