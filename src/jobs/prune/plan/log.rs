//! How much of the binlog log nobody needs any more.
//!
//! What is forgotten of the log is its beginning, up to a checkpoint; and before another one,
//! further on, whatever that and the checkpoints before it do not name: tails that segments have
//! superseded, and signs of life.

use std::collections::HashMap;

use super::{Candidate, window};
use crate::{
    format::{CHECKPOINT_EVERY, CheckpointEntry, LogEntry, LogRange},
    model::{BinlogName, GtidSet, GtidState, ServerName, Timestamp},
    pipeline::{
        Horizon,
        log::{Archive, Base, Coverage, Lines},
    },
};

/// A checkpoint that is older than the time of grace: whoever began before it was written has
/// long ended.
#[derive(Debug, Clone)]
pub struct SettledCheckpoint {
    /// Its number.
    pub number: u64,
    /// What it says.
    pub entry: CheckpointEntry,
}

/// Where the horizon can go: it never goes back.
pub(super) fn horizon(
    archive: &Archive,
    settled: Option<&SettledCheckpoint>,
    candidates: &[Candidate],
    since: Option<Timestamp>,
    lines: &Lines<'_>,
) -> Horizon {
    let now = archive.horizon;
    let Some(settled) = settled.filter(|settled| settled.number >= now.thinned) else { return now };
    let thinned = Horizon { thinned: settled.number, ..now };
    // Without a backup nobody knows what will be needed.
    let needing = needing(candidates, since, lines);
    let Some(oldest) = needing.last() else { return thinned };
    let search = Search { archive, settled, full: lines };
    let mut begins = search.below(search.first_needed(&lines.walk(&oldest.base)));
    // Each round lowers it, or ends.
    while begins > now.begins {
        match search.lower(begins, &needing) {
            None => return Horizon { begins, ..thinned },
            Some(lower) => begins = search.before_straddlers(lower),
        }
    }
    thinned
}

/// The bases whose binary logs are needed, newest first: with a window those that it needs, else
/// all.
fn needing<'c>(
    candidates: &'c [Candidate],
    since: Option<Timestamp>,
    lines: &Lines<'_>,
) -> Vec<&'c Candidate> {
    match since {
        None => candidates.iter().collect(),
        Some(since) => {
            window::bases(candidates, lines, since).into_iter().map(|at| &candidates[at]).collect()
        }
    }
}

struct Search<'s, 'a> {
    archive: &'a Archive,
    settled: &'s SettledCheckpoint,
    full: &'s Lines<'a>,
}

impl Search<'_, '_> {
    /// The first record that a way needs. Whatever makes the bytes of a piece durable stays with it.
    fn first_needed(&self, coverage: &Coverage<'_>) -> u64 {
        let pieces = coverage.pieces.iter();
        let numbers = pieces.flat_map(|piece| [Some(piece.number), piece.head]).flatten();
        numbers.map(|number| self.first_record(number)).min().unwrap_or(u64::MAX)
    }

    /// The first record that held a part of what this one holds.
    fn first_record(&self, number: u64) -> u64 {
        let segments = &self.archive.segments;
        match segments.binary_search_by_key(&number, |segment| segment.number) {
            Ok(at) => segments[at].first_record,
            Err(_) => number,
        }
    }

    /// The greatest checkpoint before all these: it and everything before it can go.
    fn below(&self, needed: u64) -> u64 {
        let SettledCheckpoint { number, entry } = self.settled;
        // Reading begins at the settled checkpoint: its owner's claim and its tails are needed.
        let tails = entry.files.iter().flat_map(|file| &file.tails).map(|(first, _)| *first);
        // What is read on begins with a file's head, however long ago that was.
        let heads = self.archive.state.files.iter().filter_map(|file| {
            let open = &file.open;
            let is_head = |range: &LogRange| {
                (&range.server, &range.file, range.created, range.start)
                    == (&open.server, &open.file, open.created, 0)
            };
            let segments = self.archive.segments.iter().rev();
            segments.clone().find(|s| is_head(&s.range)).map(|s| s.first_record)
        });
        let needed = tails.chain(heads).fold(needed.min(entry.epoch_record), u64::min);
        // The epoch in force there tells who sealed what follows.
        let epochs = self
            .archive
            .notes
            .iter()
            .filter(|note| matches!(note.entry, LogEntry::Epoch(_)) && note.number <= needed);
        let needed = epochs.last().map_or(needed, |epoch| epoch.number);
        let begins = needed.saturating_sub(1) / CHECKPOINT_EVERY * CHECKPOINT_EVERY;
        let begins = begins.min(number - CHECKPOINT_EVERY);
        self.before_straddlers(begins)
    }

    /// A segment can be made of an older owner's tails: these do not go before it does.
    fn before_straddlers(&self, mut begins: u64) -> u64 {
        let is_epoch = |number: u64, from: u64| {
            self.archive.notes.iter().any(|note| {
                matches!(note.entry, LogEntry::Epoch(_)) && (from..=number).contains(&note.number)
            })
        };
        let behind = |begins| {
            let at = self.archive.segments.partition_point(|segment| segment.number <= begins);
            self.archive.segments[at..].iter()
        };
        // Their tails lie within one file's time, so few have to be looked at; all are.
        while let Some(straddler) = behind(begins).find(|segment| {
            segment.first_record <= begins && is_epoch(segment.number, segment.first_record)
        }) {
            let first = straddler.first_record.saturating_sub(1);
            begins = first / CHECKPOINT_EVERY * CHECKPOINT_EVERY;
        }
        begins
    }

    /// A lower number when something that can be reached could not be reached any more; nothing
    /// when all is well.
    fn lower(&self, begins: u64, needing: &[&Candidate]) -> Option<u64> {
        let Ok(lines) = Lines::behind(self.archive, begins) else {
            return Some(begins - CHECKPOINT_EVERY);
        };
        let oldest = needing.last()?;
        let way = Way::of(&lines.walk(&oldest.base));
        let restarts =
            self.archive.notes.iter().any(
                |note| matches!(&note.entry, LogEntry::Epoch(epoch) if epoch.parent.is_some()),
            );
        let mut needed = u64::MAX;
        for candidate in needing {
            let is_oldest = candidate.id == oldest.id;
            if !is_oldest && way.is_entered_by(&candidate.base, &oldest.base) {
                continue;
            }
            let (now, full) = (lines.walk(&candidate.base), self.full.walk(&candidate.base));
            let first = self.first_needed(&full);
            // The same transactions may come from another file in which they are, too; but not where
            // numbers have begun anew, and may name others.
            if !leads_alike(&now, &full) || (restarts && first <= begins) {
                needed = needed.min(first);
            }
        }
        if needed == u64::MAX {
            return None;
        }
        Some(self.below(needed).min(begins.saturating_sub(CHECKPOINT_EVERY)))
    }
}

/// Whether two ways from one base bring the same.
fn leads_alike(one: &Coverage<'_>, other: &Coverage<'_>) -> bool {
    if one.pieces.is_empty() && other.pieces.is_empty() {
        return true;
    }
    (&one.end, &one.begins, &one.reached) == (&other.end, &other.begins, &other.reached)
}

/// The way from the oldest base on. Most of the others enter it later, and go where it goes: that
/// is told without walking it again.
struct Way {
    /// The files on it, by server and name; nothing for a name that stands for two files.
    files: HashMap<(ServerName, BinlogName), Option<Stretch>>,
    reached: GtidState,
}

/// A part of a file.
struct Stretch {
    created: Timestamp,
    start: u64,
    end: u64,
}

impl Way {
    fn of(coverage: &Coverage<'_>) -> Self {
        let mut files: HashMap<_, Option<Stretch>> = HashMap::new();
        for piece in coverage.pieces.iter().filter(|piece| piece.within.is_none()) {
            let range = piece.range;
            let (created, start, end) = (range.created, piece.from, range.end);
            let name = (range.server.clone(), range.file.clone());
            let known = files.entry(name).or_insert(Some(Stretch { created, start, end }));
            match known {
                Some(known) if known.created == created => {
                    (known.start, known.end) = (known.start.min(start), known.end.max(end));
                }
                _ => *known = None,
            }
        }
        Self { files, reached: coverage.reached.clone() }
    }

    /// Whether a base surely lies on it. Nothing is said by a no.
    fn is_entered_by(&self, base: &Base, oldest: &Base) -> bool {
        let has_none_beside = |gtids: &GtidState| gtids.is_within(&self.reached);
        if base.gtids.as_ref().is_some_and(|gtids| !has_none_beside(gtids)) {
            return false;
        }
        match &base.place {
            Some(place) => {
                let name = (place.server.clone(), place.file.clone());
                let stretch = self.files.get(&name).and_then(Option::as_ref);
                stretch.is_some_and(|on| (on.start..on.end).contains(&place.offset))
            }
            None => holds_all_of(base, oldest),
        }
    }
}

/// Whether a base surely has every transaction that an older one has. Nothing is said by a no.
fn holds_all_of(base: &Base, older: &Base) -> bool {
    let exact = |base: &'_ Base| base.exact && base.gtids.is_some();
    let (true, true, Some(has), Some(had)) = (exact(base), exact(older), &base.gtids, &older.gtids)
    else {
        return false;
    };
    if let GtidState::Mysql(_) = had {
        return had.is_within(has);
    }
    let positions = |state: &GtidState| -> HashMap<u32, u64> {
        match state.position() {
            GtidSet::Mariadb(domains) => {
                domains.into_iter().map(|(domain, (_, last))| (domain, last)).collect()
            }
            GtidSet::Mysql(_) => HashMap::new(),
        }
    };
    let has = positions(has);
    positions(had).iter().all(|(domain, last)| has.get(domain).is_some_and(|at| at >= last))
}
