//! The binlog log: what was lost in the period, and how far behind it was.

use futures::{StreamExt, TryStreamExt, stream};

use super::{PARALLEL, spread};
use crate::{
    format::{CHECKPOINT_EVERY, LogEntry, LogRecord, layout},
    jobs::report::{
        document::{Evidence, LossRow, MOST_ROWS, RecoveryPoint},
        facts::{LogFacts, Period},
    },
    model::{RunId, Timestamp},
    pipeline::{
        Finding, PipelineError, Repository,
        audit::capped,
        log::{Archive, read_archive, record},
    },
};

/// Checkpoints that are looked at.
const MOST: usize = 100;
/// Characters of a list of transactions.
const LONGEST: usize = 200;
const HOUR_SECONDS: f64 = 3600.0;

/// What the log says; a finding when it cannot be read; nothing when there is none.
pub(super) async fn read(
    repository: &Repository,
    period: Period,
) -> Result<Option<Result<LogFacts, Finding>>, PipelineError> {
    match facts(repository, period).await {
        Ok(facts) => Ok(facts.map(Ok)),
        Err(PipelineError::Integrity { object, why }) => {
            Ok(Some(Err(Finding { object, chunk: None, why })))
        }
        Err(error) => Err(error),
    }
}

async fn facts(repository: &Repository, period: Period) -> Result<Option<LogFacts>, PipelineError> {
    let archive = read_archive(repository).await?;
    let state = &archive.state;
    if state.head.number == 0 {
        return Ok(None);
    }
    let last_at = record(repository, state.head.number).await?.record.at;
    let of_period: Vec<&LogRecord> =
        archive.notes.iter().filter(|note| period.has(note.at)).collect();
    let (mut gaps, mut forks, mut epochs) = (Vec::new(), Vec::new(), Vec::new());
    for note in &of_period {
        let object = layout::log(repository.cluster(), note.number);
        let sha256 = record(repository, note.number).await?.sha256;
        match &note.entry {
            LogEntry::Gap(gap) => gaps.push(LossRow {
                at: note.at,
                record: note.number,
                object,
                sha256: Some(sha256),
                server: gap.server.to_string(),
                transactions: gap.transactions,
                which: capped(&gap.missing, LONGEST),
            }),
            LogEntry::Fork(fork) => forks.push(LossRow {
                at: note.at,
                record: note.number,
                object,
                sha256: Some(sha256),
                server: fork.left.to_string(),
                transactions: fork.transactions,
                which: capped(&fork.forked, LONGEST),
            }),
            LogEntry::Epoch(_) => {
                epochs.push((note.epoch, Evidence::new(object, sha256), note.at));
            }
            _ => {}
        }
    }
    for rows in [&mut gaps, &mut forks] {
        rows.reverse();
        rows.truncate(MOST_ROWS);
    }
    Ok(Some(LogFacts {
        head: state.head,
        archived_until: state.committed_until.max(state.quiet_until),
        epochs,
        longest: longest(&archive, last_at, period),
        gaps,
        forks,
        points: points(repository, &archive, period).await?,
    }))
}

/// The run that sealed with one DEK for the longest time, of those that did in the period.
fn longest(archive: &Archive, last_at: Timestamp, period: Period) -> Option<(RunId, f64)> {
    let claims: Vec<&LogRecord> =
        archive.notes.iter().filter(|note| matches!(note.entry, LogEntry::Epoch(_))).collect();
    let mut longest: Option<(RunId, f64)> = None;
    let mut began: Option<&LogRecord> = None;
    for (n, claim) in claims.iter().enumerate() {
        // A run can claim the log several times: its DEK is the same.
        let first = *began.filter(|began| began.run_id == claim.run_id).get_or_insert(claim);
        began = Some(first);
        let ended = claims.get(n + 1).map_or(last_at, |next| next.at);
        let hours = ended.seconds_since(first.at) / HOUR_SECONDS;
        if ended >= period.since
            && first.at <= period.until
            && longest.is_none_or(|(_, most)| hours > most)
        {
            longest = Some((claim.run_id, hours));
        }
    }
    longest
}

/// How far behind the archive was at some checkpoints of the period.
async fn points(
    repository: &Repository,
    archive: &Archive,
    period: Period,
) -> Result<Vec<RecoveryPoint>, PipelineError> {
    let last = archive.state.head.number / CHECKPOINT_EVERY;
    let first =
        archive.segments.first().map_or(1, |segment| segment.first_record / CHECKPOINT_EVERY);
    let first = first.max(archive.horizon.begins / CHECKPOINT_EVERY + 1);
    let numbers: Vec<u64> = (first..=last).map(|n| n * CHECKPOINT_EVERY).collect();
    // Twice as many as are wanted, since some may lie before the period.
    let read = spread(&numbers, 2 * MOST).into_iter().map(|number| record(repository, number));
    let read: Vec<_> = stream::iter(read).buffered(PARALLEL).try_collect().await?;
    let mut points: Vec<RecoveryPoint> = read
        .iter()
        .map(|found| &found.record)
        .filter(|record| period.has(record.at))
        .filter_map(|record| {
            let LogEntry::Checkpoint(entry) = &record.entry else { return None };
            Some(point(record, entry.committed_until.max(entry.quiet_until)?))
        })
        .collect();
    // And at the end, where there is no checkpoint.
    let head = record(repository, archive.state.head.number).await?.record;
    let until = archive.state.committed_until.max(archive.state.quiet_until);
    if period.has(head.at)
        && let Some(until) = until
    {
        points.push(point(&head, until));
    }
    Ok(spread(&points, MOST))
}

fn point(record: &LogRecord, archived_until: Timestamp) -> RecoveryPoint {
    let behind = record.at.seconds_since(archived_until).max(0.0);
    RecoveryPoint {
        at: record.at,
        archived_until,
        behind_seconds: (behind * 1000.0).round() / 1000.0,
        record: record.number,
    }
}
