//! From records to files in the order in which they became durable, cut at forks and histories.

use std::{collections::HashMap, ops::Range};

use super::{Broken, Lines};
use crate::{
    format::{EpochEntry, ForkEntry, GapEntry, LogEntry, LogRange, LogRecord, SegmentSummary},
    model::{BinlogName, Flavor, GtidState, HistoryId, ServerName, Timestamp},
    pipeline::log::{LogState, reader::Archive},
};

/// A range, and the records that made it durable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held<'a> {
    /// The record that holds it.
    pub(super) number: u64,
    /// The first record that held a part of it.
    pub(super) first: u64,
    pub(super) range: &'a LogRange,
}

/// A gap that was recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap<'a> {
    pub(super) record: u64,
    pub(super) entry: &'a GapEntry,
}

/// A file, once for each time that it was read from its beginning.
#[derive(Debug)]
pub(super) struct File<'a> {
    /// Its stretch, by index.
    pub(super) stretch: usize,
    /// Its ranges without a break; at least one.
    pub(super) ranges: Vec<Held<'a>>,
    /// Gaps before it or in it.
    pub(super) gaps: Vec<Gap<'a>>,
}

impl<'a> File<'a> {
    /// The first of its ranges, which names it.
    pub(super) fn id(&self) -> &'a LogRange {
        self.ranges[0].range
    }

    /// The record that holds its beginning.
    pub(super) fn head(&self) -> Option<u64> {
        self.ranges.first().filter(|held| held.range.start == 0).map(|held| held.number)
    }

    /// What was before it; nothing when its beginning has been forgotten.
    pub(super) fn previous(&self) -> Option<&'a GtidState> {
        let first = self.id();
        first.opening.as_ref().filter(|_| first.start == 0).map(|opening| &opening.previous)
    }

    pub(super) fn end(&self) -> u64 {
        self.ranges.last().map_or(0, |held| held.range.end)
    }
}

/// Files between two places where transactions were left behind.
#[derive(Debug)]
pub(super) struct Stretch<'a> {
    /// The fork or epoch record that it begins with.
    pub(super) record: u64,
    /// The fork that it begins with; nothing at the beginning of a history.
    pub(super) fork: Option<&'a ForkEntry>,
    /// What is archived on the way to its end.
    pub(super) line: GtidState,
    /// What is archived up to its end on any way.
    pub(super) ever: GtidState,
}

/// A line of life.
#[derive(Debug)]
pub(super) struct History {
    pub(super) id: HistoryId,
    /// The epoch record that it begins with.
    pub(super) record: u64,
    /// When that was written, by the archiver's clock; nothing when that has been forgotten.
    pub(super) began_at: Option<Timestamp>,
    /// What it had then of the history that it branched off from.
    pub(super) at: GtidState,
    /// Its stretches, by index.
    pub(super) stretches: Range<usize>,
}

/// What of an archive is put in order: all behind some record.
#[derive(Clone, Copy)]
struct Part<'a> {
    notes: &'a [LogRecord],
    segments: &'a [SegmentSummary],
    state: &'a LogState,
    /// Records up to this number are forgotten.
    begins: u64,
}

pub(super) fn of(archive: &Archive, begins: u64) -> Result<Lines<'_>, Broken> {
    let note = archive.notes.partition_point(|note| note.number <= begins);
    let segment = archive.segments.partition_point(|segment| segment.number <= begins);
    let part = Part {
        notes: &archive.notes[note..],
        segments: &archive.segments[segment..],
        state: &archive.state,
        begins: begins.max(archive.horizon.begins),
    };
    let (histories, mut stretches) = stretches(part);
    let mut files = files(part, &stretches)?;
    let open_gaps = attach_gaps(part, &stretches, &mut files);
    for history in &histories {
        sum_up(history, &mut stretches, &files);
    }
    let read = part.notes.iter().filter_map(|note| match &note.entry {
        LogEntry::Epoch(epoch) => Some((&epoch.server.name, epoch.server.server_id)),
        _ => None,
    });
    let server_ids = read.collect();
    let quiet_until = part.state.quiet_until;
    Ok(Lines { histories, stretches, files, open_gaps, server_ids, quiet_until })
}

/// Where histories and forks begin.
fn stretches(part: Part<'_>) -> (Vec<History>, Vec<Stretch<'_>>) {
    let Some(owner) = &part.state.owner else { return (Vec::new(), Vec::new()) };
    let stretch = |record, fork| Stretch {
        record,
        fork,
        line: GtidState::empty(Flavor::Mysql),
        ever: GtidState::empty(Flavor::Mysql),
    };
    let mut notes = part.notes.iter().peekable();
    let first = match notes.peek() {
        Some(LogRecord { number: 1, at, entry: LogEntry::Epoch(epoch), .. }) => {
            notes.next();
            let branch = GtidState::empty(Flavor::Mysql);
            let began_at = Some(*at);
            History { id: epoch.history, record: 1, began_at, at: branch, stretches: 0..1 }
        }
        // What stood at the beginning has been forgotten.
        _ => {
            let mut epochs = part.notes.iter().filter_map(|note| match &note.entry {
                LogEntry::Epoch(epoch) => Some(epoch),
                _ => None,
            });
            let id = epochs.next().map_or(owner.history, |epoch| {
                epoch.parent.as_ref().map_or(epoch.history, |parent| parent.history)
            });
            let at = GtidState::empty(Flavor::Mysql);
            History { id, record: 0, began_at: None, at, stretches: 0..1 }
        }
    };
    let mut stretches = vec![stretch(first.record, None)];
    let mut histories = vec![first];
    for note in notes {
        let at = stretches.len();
        match (&note.entry, histories.last_mut()) {
            (LogEntry::Epoch(EpochEntry { history, parent: Some(parent), .. }), _) => {
                histories.push(History {
                    id: *history,
                    record: note.number,
                    began_at: Some(note.at),
                    at: parent.at.clone(),
                    stretches: at..at + 1,
                });
                stretches.push(stretch(note.number, None));
            }
            (LogEntry::Fork(fork), Some(history)) => {
                history.stretches.end += 1;
                stretches.push(stretch(note.number, Some(fork)));
            }
            _ => {}
        }
    }
    (histories, stretches)
}

fn files<'a>(part: Part<'a>, stretches: &[Stretch<'_>]) -> Result<Vec<File<'a>>, Broken> {
    let segments = part.segments.iter().map(|segment| Held {
        number: segment.number,
        first: segment.first_record,
        range: &segment.range,
    });
    let tails = part.state.files.iter().flat_map(|file| &file.tails);
    let tails = tails.filter(|tail| tail.number > part.begins);
    let tails =
        tails.map(|tail| Held { number: tail.number, first: tail.number, range: &tail.range });
    let mut held: Vec<_> = segments.chain(tails).collect();
    held.sort_by_key(|held| held.first);

    let mut files: Vec<File<'a>> = Vec::new();
    let mut newest: HashMap<(&ServerName, &BinlogName, Timestamp), usize> = HashMap::new();
    for held in held {
        let Held { number, first, range } = held;
        let broken = |why: String| Err(Broken { number, why });
        let stretch = stretch_of(stretches, first);
        let id = (&range.server, &range.file, range.created);
        // Of a log that was pruned the beginning of any file may be forgotten.
        let forgotten = part.begins > 0 && !newest.contains_key(&id);
        if range.start == 0 || files.is_empty() || forgotten {
            newest.insert(id, files.len());
            files.push(File { stretch, ranges: vec![held], gaps: Vec::new() });
            continue;
        }
        let file = newest.get(&id).and_then(|at| files.get_mut(*at));
        let Some(file) = file else {
            return broken(format!("the beginning of {} is not in the log", range.file));
        };
        // A tail may begin within the segment before it.
        if file.end() < range.start {
            return broken(format!(
                "its bytes of {} begin at {}, and those before it end at {}",
                range.file,
                range.start,
                file.end()
            ));
        }
        if file.stretch != stretch {
            return broken(format!("{} goes on behind a fork or in another history", range.file));
        }
        file.ranges.push(held);
    }
    Ok(files)
}

/// The stretch that a record stands in.
pub(super) fn stretch_of(stretches: &[Stretch<'_>], record: u64) -> usize {
    stretches.partition_point(|stretch| stretch.record < record).saturating_sub(1)
}

/// Gives every gap to the file that follows it. Returns those that nothing follows yet.
fn attach_gaps<'a>(
    part: Part<'a>,
    stretches: &[Stretch<'_>],
    files: &mut [File<'a>],
) -> Vec<Gap<'a>> {
    let mut open = Vec::new();
    for note in part.notes {
        let LogEntry::Gap(entry) = &note.entry else { continue };
        let gap = Gap { record: note.number, entry };
        let stretch = stretch_of(stretches, note.number);
        let follows = |file: &&mut File<'_>| {
            let id = file.id();
            (&id.server, &id.file) == (&entry.server, &entry.file)
                && file.stretch == stretch
                && file.ranges.iter().any(|held| held.number > note.number)
        };
        match files.iter_mut().find(follows) {
            Some(file) => file.gaps.push(gap),
            None => open.push(gap),
        }
    }
    open
}

/// What is archived at the end of each stretch of a history.
fn sum_up(history: &History, stretches: &mut [Stretch<'_>], files: &[File<'_>]) {
    for at in history.stretches.clone() {
        let (before, now) = stretches.split_at_mut(at);
        let Some(now) = now.first_mut() else { return };
        if let Some(last) = before.last() {
            now.ever = last.ever.clone();
            if let Some(fork) = now.fork {
                now.line = last.line.shared_with(&fork.frontier);
            }
        }
        let first = at == history.stretches.start;
        let mut more = GtidState::empty(Flavor::Mysql);
        if first && !history.at.is_empty() {
            more.merge(&history.at);
        }
        for file in files.iter().filter(|file| file.stretch == at) {
            if let Some(previous) = file.previous() {
                more.merge(previous);
            }
            file.ranges.iter().for_each(|held| more.merge(&held.range.gtids));
        }
        now.line.merge(&more);
        now.ever.merge(&more);
    }
}
