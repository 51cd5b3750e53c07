//! Where a base stands in the archive.

use std::{collections::BTreeMap, ops::Range};

use super::{Base, Lines, lines::Held, way::Way};
use crate::model::{Flavor, GtidSet, GtidState};

/// A base whose own place in its server's files is archived.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// The file, by index.
    pub(super) file: usize,
    /// Its offset in it.
    pub(super) offset: u64,
    /// Whether as much of the file is archived.
    is_archived: bool,
    /// The range that it lies within; nothing when it is the end of one.
    pub(super) within: Option<Held<'a>>,
    /// What the server had before that range.
    pub(super) before: GtidState,
    /// What it had behind that range.
    pub(super) behind: GtidState,
}

/// The last transaction of each domain of MariaDB; nothing for MySQL.
pub(super) fn positions(state: &GtidState) -> BTreeMap<u32, (u32, u64)> {
    match state.position() {
        GtidSet::Mariadb(domains) => domains,
        GtidSet::Mysql(_) => BTreeMap::new(),
    }
}

/// Finds the base's own place in these stretches. A server can have had several files of one name: the newest
/// that was there when the base was taken, and that begins with nothing that the base lacks.
pub(super) fn find<'a>(
    lines: &Lines<'a>,
    stretches: &Range<usize>,
    base: &Base,
) -> Option<Found<'a>> {
    let place = base.place.as_ref()?;
    let (file, previous) = lines
        .files
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, file)| stretches.contains(&file.stretch))
        .filter(|(_, file)| {
            let id = file.id();
            (&id.server, &id.file) == (&place.server, &place.file) && id.created <= base.finished_at
        })
        .filter_map(|(at, file)| Some((at, file.previous()?)))
        .find(|(_, previous)| base.gtids.as_ref().is_none_or(|gtids| holds(gtids, previous)))?;
    let is_archived = place.offset <= lines.files[file].end();
    let is_known = base.exact && base.gtids.is_some();
    if !(is_archived || is_known) {
        // What lies between is not archived, so nobody knows what the base has of it.
        return None;
    }
    let mut before = previous.clone();
    let mut within = None;
    for held in &lines.files[file].ranges {
        if held.range.end <= place.offset {
            before.merge(&held.range.gtids);
        } else if held.range.start < place.offset {
            within = Some(*held);
        }
    }
    let mut behind = before.clone();
    if let Some(held) = &within {
        behind.merge(&held.range.gtids);
    }
    Some(Found { file, offset: place.offset, is_archived, within, before, behind })
}

/// Whether a base with these GTIDs has everything in a state. Of a base of MariaDB only the last
/// transaction of each domain is known; in a domain numbers grow from server to server.
fn holds(base: &GtidState, state: &GtidState) -> bool {
    if let GtidState::Mysql(_) = base {
        return state.is_within(base);
    }
    let positions = positions(base);
    state
        .last_numbers()
        .all(|(domain, _, last)| positions.get(&domain).is_some_and(|&(_, at)| last <= at))
}

/// The transactions in a base, as the way counts them.
pub(super) fn state(way: &Way<'_, '_>, base: &Base, found: Option<&Found<'_>>) -> GtidState {
    let gtids = match (&base.gtids, found) {
        (Some(gtids), _) if base.exact => gtids,
        (_, Some(found)) => return found.before.clone(),
        (_, None) => return GtidState::empty(Flavor::Mysql),
    };
    if let GtidState::Mysql(_) = gtids {
        return gtids.clone();
    }
    let mut state = GtidState::empty(Flavor::Mariadb);
    for (domain, (server, last)) in positions(gtids) {
        let located;
        let (before, after) = if let Some(found) = found.filter(|found| found.is_archived) {
            (&found.before, &found.behind)
        } else {
            located = locate(way, domain, server, last);
            (&located.0, &located.1)
        };
        // What other servers wrote in this domain up to there.
        for (_, other, most) in after.last_numbers().filter(|(d, ..)| *d == domain) {
            let number = before.sequence(domain, other).max(most.min(last));
            if number > 0 && other != server {
                state.add_mariadb(domain, other, number);
            }
        }
        state.add_mariadb(domain, server, last);
    }
    state
}

/// What is archived before and behind the file's beginning or range that brings a transaction.
fn locate(way: &Way<'_, '_>, domain: u32, server: u32, last: u64) -> (GtidState, GtidState) {
    let mut line = GtidState::empty(Flavor::Mariadb);
    for (_, file) in way.files() {
        let steps = file.previous().into_iter();
        for step in steps.chain(file.ranges.iter().map(|held| &held.range.gtids)) {
            let step = way.clip(step, file.stretch);
            if line.sequence(domain, server) < last && step.sequence(domain, server) >= last {
                let before = line.clone();
                line.merge(&step);
                return (before, line);
            }
            line.merge(&step);
        }
    }
    // It is not there yet, or it is from before the archive.
    (GtidState::empty(Flavor::Mariadb), line)
}
