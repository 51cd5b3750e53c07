//! The walk along one way.

use std::borrow::Cow;

use super::{
    Base, Coverage, End, Piece,
    begin::{self, Found},
    lines::{File, Gap, Held},
    way::Way,
};
use crate::model::{Flavor, GtidState, Missing};

pub(super) fn along<'a>(way: &Way<'_, 'a>, base: &Base, found: Option<&Found<'a>>) -> Coverage<'a> {
    let begins = begin::state(way, base, found);
    let gtids = base.gtids.as_ref().filter(|_| base.exact);
    let mut walk = Walk {
        way,
        found,
        seen: GtidState::empty(Flavor::Mysql),
        told: true,
        coverage: Coverage {
            history: Some(way.history.id),
            pieces: Vec::new(),
            reached: begins.clone(),
            base_committed: None,
            committed: None,
            quiet_until: None,
            beyond: gtids.and_then(|gtids| gtids.missing_from(way.line())),
            end: End::Current,
            begins,
        },
    };
    if let (Some(found), None) = (found, gtids) {
        walk.begin_within(found);
    }
    let ended = walk.files();
    let Walk { mut coverage, told, .. } = walk;
    coverage.end = ended.unwrap_or(End::Current);
    if !told || coverage.beyond.is_some() {
        coverage.base_committed = None;
    }
    if let (Some(gtids), Some(transactions)) = (gtids, &coverage.beyond)
        && !coverage.pieces.is_empty()
        && was_lost(gtids, way)
    {
        coverage.end = End::Foreign { transactions: transactions.clone() };
        coverage.pieces.clear();
        coverage.reached.clone_from(&coverage.begins);
        coverage.committed = None;
    }
    coverage
}

/// Whether what a base has beyond a way was written by a server of this way. A replica of
/// MySQL may well have transactions of its own beside; within a domain of MariaDB it may not.
fn was_lost(base: &GtidState, way: &Way<'_, '_>) -> bool {
    let GtidState::Mysql(_) = base else { return true };
    base.sources().any(|source| {
        let wrote = |file: &File<'_>| source.starts_with(file.id().server.as_str());
        base.of_source(source).is_some_and(|of| !of.is_within(way.line()))
            && (way.line().of_source(source).is_some() || way.files().any(|(_, file)| wrote(file)))
    })
}

struct Walk<'w, 'l, 'a> {
    way: &'w Way<'l, 'a>,
    found: Option<&'w Found<'a>>,
    /// What was passed so far, taken or not.
    seen: GtidState,
    /// Whether the latest commit in the base can be told.
    told: bool,
    coverage: Coverage<'a>,
}

impl<'a> Walk<'_, '_, 'a> {
    /// What the base's GTIDs do not tell its place does: it goes on in the middle of a range, and
    /// behind that range it is known again what there is.
    fn begin_within(&mut self, found: &Found<'a>) {
        if let Some(held) = &found.within {
            self.take(&self.way.lines.files[found.file], held, found.offset);
        }
    }

    /// Goes from file to file. Returns what stops it. What is missing before a file may stand in
    /// a later one, which another server wrote: so it is tried again as long as that helps.
    fn files(&mut self) -> Option<End> {
        let way = self.way;
        loop {
            let taken = self.coverage.pieces.len();
            let (mut stopped, mut begun) = (None, false);
            for (_, file) in way.files() {
                let ended = match self.before(file) {
                    Some(Ok(())) => {
                        begun = true;
                        self.file(file)
                    }
                    None if file.ranges.iter().any(|held| self.is_fresh(file, held)) => {
                        Some(End::NotArchived { missing: None })
                    }
                    None => self.file(file),
                    Some(Err(missing)) => {
                        let record = file.gaps.first().map(|gap| gap.record);
                        Some(if begun || record.is_some() {
                            gap(file, record, missing)
                        } else {
                            End::NotArchived { missing: Some(missing) }
                        })
                    }
                };
                stopped = stopped.or(ended);
            }
            if stopped.is_none() {
                break;
            }
            if taken == self.coverage.pieces.len() {
                return stopped.filter(|_| !way.line().is_within(&self.coverage.reached));
            }
        }
        let reached = &self.coverage.reached;
        let open = way.open_gaps().find(|(gap, within)| !is_covered(reached, gap, *within))?.0;
        Some(End::Gap {
            record: Some(open.record),
            server: open.entry.server.clone(),
            file: open.entry.file.clone(),
            missing: missing(open),
        })
    }

    /// What is missing of all that was before a file; nothing when its beginning is not archived.
    fn before(&mut self, file: &File<'_>) -> Option<Result<(), Missing>> {
        let previous = self.way.clip(file.previous()?, file.stretch);
        if let Some(missing) = previous.missing_from(&self.coverage.reached) {
            return Some(Err(missing));
        }
        self.seen.merge(&previous);
        Some(Ok(()))
    }

    fn file(&mut self, file: &File<'a>) -> Option<End> {
        // It may have been read from its beginning several times.
        let found = self.found.filter(|found| {
            let (a, b) = (self.way.lines.files[found.file].id(), file.id());
            (&a.server, &a.file, a.created) == (&b.server, &b.file, b.created)
        });
        // The ranges that the next one continues a transaction of.
        let mut cut: Vec<Held<'a>> = Vec::new();
        for held in &file.ranges {
            let within = self.way.within(file.stretch);
            let behind = |gap: &&Gap<'_>| {
                held.number > gap.record && !is_covered(&self.coverage.reached, gap, within)
            };
            if let Some(open) = file.gaps.iter().find(behind) {
                return Some(gap(file, Some(open.record), missing(open)));
            }
            let range = held.range;
            if !self.is_fresh(file, held) {
                self.pass(held);
                if range.transactions > 0 || !range.cut {
                    cut.clear();
                }
                if range.cut {
                    cut.push(*held);
                }
                continue;
            }
            let from = found.map_or(range.start, |found| found.offset.max(range.start));
            for before in cut.drain(..).filter(|_| from == range.start) {
                self.take(file, &before, before.range.start);
            }
            self.take(file, held, from);
        }
        None
    }

    fn is_fresh(&self, file: &File<'_>, held: &Held<'_>) -> bool {
        !self.way.clip(&held.range.gtids, file.stretch).is_within(&self.coverage.reached)
    }

    /// A range with nothing new.
    fn pass(&mut self, held: &Held<'_>) {
        self.seen.merge(&held.range.gtids);
        if held.range.gtids.is_within(&self.coverage.begins) {
            let last = held.range.committed.map(|span| span.last);
            self.coverage.base_committed = self.coverage.base_committed.max(last);
        }
    }

    fn take(&mut self, file: &File<'_>, held: &Held<'a>, from: u64) {
        let range = held.range;
        let gtids = self.way.clip(&range.gtids, file.stretch);
        let whole = matches!(gtids, Cow::Borrowed(_));
        self.told &= from == range.start && !self.is_partly_in_base(&range.gtids);
        let committed = range.committed.map(|s| if whole { s.last } else { s.first });
        self.coverage.committed = self.coverage.committed.max(committed);
        self.coverage.reached.merge(&gtids);
        self.seen.merge(&range.gtids);
        self.coverage.pieces.push(Piece {
            number: held.number,
            range,
            head: file.head(),
            from,
            within: if whole { None } else { self.way.within(file.stretch).cloned() },
        });
    }

    fn is_partly_in_base(&self, gtids: &GtidState) -> bool {
        let begins = &self.coverage.begins;
        if let GtidState::Mysql(_) = gtids {
            return gtids.meets(begins);
        }
        gtids.last_numbers().any(|(d, s, _)| begins.sequence(d, s) > self.seen.sequence(d, s))
    }
}

fn gap(file: &File<'_>, record: Option<u64>, missing: Missing) -> End {
    let id = file.id();
    End::Gap { record, server: id.server.clone(), file: id.file.clone(), missing }
}

fn missing(gap: &Gap<'_>) -> Missing {
    Missing { text: gap.entry.missing.clone(), count: gap.entry.transactions }
}

/// Whether a state has what a gap lacks, as far as that counts.
fn is_covered(state: &GtidState, gap: &Gap<'_>, within: Option<&GtidState>) -> bool {
    let missing = &gap.entry.missing;
    if let Ok(set) = GtidState::parse(Flavor::Mysql, missing) {
        let needed = within.map_or(set.clone(), |within| set.shared_with(within));
        return needed.is_within(state);
    }
    // `domain-server-first…last`: in a domain numbers grow from server to server.
    let most = |state: &GtidState, domain: u64| {
        let numbers = state.last_numbers().filter(|(d, ..)| u64::from(*d) == domain);
        numbers.map(|(_, _, last)| last).max().unwrap_or_default()
    };
    missing.split(',').all(|part| {
        let numbers: Vec<u64> = part.split(['-', '…']).filter_map(|n| n.parse().ok()).collect();
        let (domain, first, last) = match numbers[..] {
            [domain, _, one] => (domain, one, one),
            [domain, _, first, last] => (domain, first, last),
            _ => return false,
        };
        last <= most(state, domain) || within.is_some_and(|within| most(within, domain) < first)
    })
}
