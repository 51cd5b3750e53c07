//! Which history a base belongs to, and which of its lines.

use std::ops::Range;

use super::{
    Base, Coverage, End, Line, Lines,
    begin::{self, Found, positions},
    lines::File,
    walk,
    way::Way,
};
use crate::model::{Flavor, GtidState};

/// A primary has what was committed so many seconds before a base of it was begun, whichever
/// machine's clock is asked.
const SKEW: f64 = 60.0;

pub(super) fn walk<'a>(lines: &Lines<'a>, base: &Base) -> Coverage<'a> {
    let mut nearest = None;
    for (at, _) in lines.histories.iter().enumerate().rev() {
        let newer = lines.histories.get(at + 1).and_then(|newer| newer.began_at);
        if newer.is_some_and(|began_at| began_at <= base.started_at) {
            // It is of the newer one, and cannot be found there.
            break;
        }
        let all = lines.histories[at].stretches.clone();
        let found = begin::find(lines, &all, base);
        let coverage = in_history(lines, at, base, found.as_ref(), all);
        if !matches!(coverage.end, End::NotArchived { .. } | End::Inexact) {
            return coverage;
        }
        nearest.get_or_insert(coverage);
        if found.is_some() {
            // Its file is of this history, so it is of no older one.
            break;
        }
    }
    nearest.unwrap_or_else(|| nowhere(base, End::NotArchived { missing: None }))
}

/// The way along a line that somebody has asked for.
pub(super) fn along<'a>(lines: &Lines<'a>, base: &Base, line: Line) -> Coverage<'a> {
    let newest = walk(lines, base);
    let (at, ends) = match line {
        Line::Newest => return newest,
        Line::History(id) => match lines.histories.iter().position(|history| history.id == id) {
            Some(at) => (at, lines.histories[at].stretches.clone()),
            None => return nowhere(base, End::NotArchived { missing: None }),
        },
        Line::Fork(record) => match lines.fork(record) {
            Some((at, left)) => (at, left..left + 1),
            None => return nowhere(base, End::NotArchived { missing: None }),
        },
    };
    let history = &lines.histories[at];
    let is_newest = newest.history == Some(history.id);
    // Names of MySQL are given once in a lifetime: whoever has nothing else is on that line, too.
    // MariaDB gives them again.
    let whole = base.gtids.as_ref().filter(|_| base.exact);
    let is_within = |line: &GtidState| {
        matches!(line, GtidState::Mysql(_)) && whole.is_some_and(|has| has.is_within(line))
    };
    if !is_newest && !is_within(&lines.stretches[history.stretches.end - 1].line) {
        return nowhere(base, End::NotArchived { missing: None });
    }
    // The servers of a line can have been read again behind it.
    let found = begin::find(lines, &(history.stretches.start..ends.end), base);
    in_history(lines, at, base, found.as_ref(), ends)
}

fn nowhere<'a>(base: &Base, end: End) -> Coverage<'a> {
    let state = base.gtids.clone().unwrap_or_else(|| GtidState::empty(Flavor::Mysql));
    Coverage {
        history: None,
        pieces: Vec::new(),
        begins: state.clone(),
        reached: state,
        base_committed: None,
        committed: None,
        quiet_until: None,
        beyond: None,
        end,
    }
}

/// The way through a history, on the newest line that the base lies on and that ends with one
/// of these stretches.
fn in_history<'a>(
    lines: &Lines<'a>,
    at: usize,
    base: &Base,
    found: Option<&Found<'a>>,
    ends: Range<usize>,
) -> Coverage<'a> {
    let history = &lines.histories[at];
    // What it has at least, and at most.
    let (least, most) = match (&base.gtids, found) {
        (Some(gtids), _) if base.exact => (gtids, gtids),
        (_, Some(found)) => (&found.before, &found.behind),
        (_, None) => return nowhere(base, End::Inexact),
    };
    let stretch = |found: &Found<'_>| lines.files[found.file].stretch;
    let first = found.map_or(ends.start, |found| stretch(found).max(ends.start));
    for last in (first..ends.end).rev() {
        let on_line = is_on_line(lines, last, least);
        if on_line != is_on_line(lines, last, most) {
            return nowhere(base, End::Inexact);
        }
        if !on_line {
            continue;
        }
        let way = Way::new(lines, history, last);
        if lines.histories.len() > 1 && contradicts(&way, at, base, least) {
            break;
        }
        let mut coverage = walk::along(&way, base, found);
        if coverage.end == End::Current {
            coverage.end = match lines.histories.get(at + 1) {
                _ if last + 1 < history.stretches.end => {
                    End::Fork { record: lines.stretches[last + 1].record }
                }
                Some(newer) => End::History { record: newer.record },
                None => {
                    coverage.quiet_until = lines.quiet_until;
                    End::Current
                }
            };
        }
        return coverage;
    }
    nowhere(base, End::NotArchived { missing: None })
}

/// Whether a base has nothing that was archived and left behind on the way to this stretch's
/// end, and has something in common with it.
fn is_on_line(lines: &Lines<'_>, stretch: usize, base: &GtidState) -> bool {
    let (line, ever) = (&lines.stretches[stretch].line, &lines.stretches[stretch].ever);
    if base.is_empty() || line.is_empty() {
        return base.shared_with(ever).is_within(line);
    }
    if let GtidState::Mysql(_) = base {
        return base.meets(line) && base.shared_with(ever).is_within(line);
    }
    let positions = positions(base);
    let common = line.last_numbers().any(|(domain, ..)| positions.contains_key(&domain));
    common
        && positions.iter().all(|(&domain, &(server, last))| {
            last.min(ever.sequence(domain, server)) <= line.sequence(domain, server)
        })
}

/// Whether a base cannot be of a history though its GTIDs could: after a reset, or a crash that
/// lost transactions, they name others.
fn contradicts(way: &Way<'_, '_>, history: usize, base: &Base, has: &GtidState) -> bool {
    let after = |file: &File<'_>| file.id().created > base.finished_at;
    // The server began anew after the base was taken.
    let later = history > 0 && way.files().next().is_some_and(|(_, file)| after(file));
    // Transactions that a server wrote, as their first, into a file that it began later. (Those
    // of other servers reach a replica's files late.)
    let younger = way.files().filter(|(_, file)| after(file)).any(|(_, file)| {
        file.ranges
            .iter()
            .any(|held| has_own(way.lines, has, file, &way.clip(&held.range.gtids, file.stretch)))
    });
    // A primary of that history, without what it had committed before.
    let is_old = history + 1 < way.lines.histories.len();
    let ours =
        |file: &File<'_>| base.place.as_ref().is_some_and(|place| place.server == file.id().server);
    let poorer = is_old
        && way.files().filter(|(_, file)| ours(file)).any(|(_, file)| {
            file.ranges.iter().any(|held| {
                let last = held.range.committed.map(|span| span.last);
                last.is_some_and(|last| base.started_at.seconds_since(last) > SKEW)
                    && !has_all(has, &way.clip(&held.range.gtids, file.stretch))
            })
        });
    later || younger || poorer
}

/// Whether a base has transactions of a range that the file's own server was the first to write.
/// Of MariaDB, the last of a domain: that others are in the base is known by it alone.
fn has_own(lines: &Lines<'_>, base: &GtidState, file: &File<'_>, range: &GtidState) -> bool {
    let name = &file.id().server;
    if let GtidState::Mysql(_) = base {
        let mut own = range.sources().filter(|source| source.starts_with(name.as_str()));
        return own.any(|source| range.of_source(source).is_some_and(|of| of.meets(base)));
    }
    let before = |d, s| file.previous().map_or(0, |previous| previous.sequence(d, s));
    positions(base).iter().any(|(&domain, &(server, last))| {
        lines.server_ids.get(name) == Some(&server)
            && before(domain, server) < last
            && last <= range.sequence(domain, server)
    })
}

fn has_all(base: &GtidState, range: &GtidState) -> bool {
    if let GtidState::Mysql(_) = base {
        return range.is_within(base);
    }
    let positions = positions(base);
    range.last_numbers().all(|(d, _, last)| positions.get(&d).is_some_and(|&(_, at)| last <= at))
}
