//! Reading the log: where it ends, what it says, what it covers.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    state::{LogState, Owner, TailRef},
    stored::{self, FoundRecord},
};
use crate::{
    format::{CHECKPOINT_EVERY, LogEntry, LogRecord, SegmentSummary, layout},
    pipeline::{ChainHead, PipelineError, Repository, repository::key},
    store::Versions,
};

/// Requests in flight.
const PARALLEL: usize = 64;
/// Places that are looked at in one round of the search for the last checkpoint.
const PROBES: u64 = 16;

/// The log, as far back as it goes.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    /// All segments in order.
    pub segments: Vec<SegmentSummary>,
    /// All epoch, gap and fork records in order.
    pub notes: Vec<LogRecord>,
    /// The log up to its head, with the tails that no segment supersedes.
    pub state: LogState,
}

/// The log's end, from its last checkpoint on.
///
/// # Errors
/// When the store fails, or a record is not believed or does not follow from those before it.
pub async fn tip(repository: &Repository) -> Result<LogState, PipelineError> {
    let Some(last) = last_checkpoint(repository).await? else {
        let mut state = LogState::default();
        refresh(repository, &mut state).await?;
        return Ok(state);
    };
    let found = checkpoint(repository, last).await?;
    resume(repository, &found).await
}

/// Takes the records that came since. Returns how many there were.
///
/// # Errors
/// As [`tip`].
pub async fn refresh(repository: &Repository, state: &mut LogState) -> Result<u64, PipelineError> {
    let listed = listed(repository, state.head.number).await?;
    take(repository, state, listed).await
}

/// Takes these records, as far as they follow.
async fn take(
    repository: &Repository,
    state: &mut LogState,
    listed: Vec<(u64, Versions)>,
) -> Result<u64, PipelineError> {
    let before = state.head.number;
    let records = listed.into_iter().filter(|(number, _)| *number > before);
    let records = records.map(|(number, versions)| stored::read_own(repository, number, versions));
    let mut records = std::pin::pin!(stream::iter(records).buffered(PARALLEL));
    while let Some(found) = records.try_next().await? {
        let Some(found) = found else { continue };
        let next = state.head.number + 1;
        if found.record.number != next {
            if stored::read(repository, next).await?.is_some() {
                // It was written while the folder was listed: the next look finds it.
                break;
            }
            let object = layout::log(repository.cluster(), next);
            let why = format!("it is missing, and record {} is there", found.record.number);
            return Err(PipelineError::integrity(object, why));
        }
        apply(repository, state, &found)?;
    }
    Ok(state.head.number - before)
}

/// The records behind a number, in order: their numbers, and what is stored under them.
async fn listed(
    repository: &Repository,
    after: u64,
) -> Result<Vec<(u64, Versions)>, PipelineError> {
    let folder = layout::log_folder(repository.cluster());
    // Nothing stands before the first number, so no `after` is needed there.
    let after = (after > 0).then(|| key(&layout::log(repository.cluster(), after))).transpose()?;
    let mut names = repository.store().list_versions(&folder, after.as_ref());
    let mut listed = Vec::new();
    while let Some(found) = names.try_next().await? {
        listed.extend(number_of(&folder, found.key.as_str()).map(|number| (number, found)));
    }
    Ok(listed)
}

/// Everything that the log says.
///
/// # Errors
/// As [`tip`].
pub async fn read_archive(repository: &Repository) -> Result<Archive, PipelineError> {
    let Some(last) = last_checkpoint(repository).await? else {
        let state = tip(repository).await?;
        return with_notes(repository, Vec::new(), Vec::new(), state).await;
    };
    let first = first_checkpoint(repository).await?.unwrap_or(last);
    let numbers =
        (first / CHECKPOINT_EVERY..=last / CHECKPOINT_EVERY).map(|n| n * CHECKPOINT_EVERY);
    let read = stream::iter(numbers.map(|number| checkpoint(repository, number)));
    let mut read = read.buffered(PARALLEL);
    let (mut segments, mut notes, mut previous, mut newest) = (Vec::new(), Vec::new(), None, None);
    while let Some(found) = read.try_next().await? {
        let LogEntry::Checkpoint(entry) = &found.record.entry else { continue };
        if previous.is_some_and(|previous| previous != entry.previous_checkpoint) {
            let object = layout::log(repository.cluster(), found.record.number);
            return Err(PipelineError::integrity(
                object,
                "it does not follow the checkpoint before it",
            ));
        }
        previous = Some(found.sha256);
        segments.extend(entry.segments.iter().cloned());
        notes.extend(entry.notes.iter().copied());
        newest = Some(found);
    }
    let Some(newest) = newest else { return Err(PipelineError::Worker) };
    // What came since the last checkpoint adds up in the state itself.
    let state = resume(repository, &newest).await?;
    with_notes(repository, segments, notes, state).await
}

async fn with_notes(
    repository: &Repository,
    mut segments: Vec<SegmentSummary>,
    mut notes: Vec<u64>,
    state: LogState,
) -> Result<Archive, PipelineError> {
    segments.extend(state.segments.iter().cloned());
    notes.extend(state.notes.iter().copied());
    let notes = stream::iter(notes.into_iter().map(|number| record(repository, number)));
    let notes = notes.buffered(PARALLEL).map_ok(|found| found.record).try_collect().await?;
    Ok(Archive { segments, notes, state })
}

/// A record that another one says is there.
///
/// # Errors
/// When it is not, or is not believed.
pub async fn record(repository: &Repository, number: u64) -> Result<FoundRecord, PipelineError> {
    let found = stored::read(repository, number).await?;
    let Some((found, _)) = found else {
        return Err(PipelineError::integrity(
            layout::log(repository.cluster(), number),
            "it is missing",
        ));
    };
    Ok(found)
}

async fn checkpoint(repository: &Repository, number: u64) -> Result<FoundRecord, PipelineError> {
    let found = record(repository, number).await?;
    if matches!(found.record.entry, LogEntry::Checkpoint(_)) {
        return Ok(found);
    }
    Err(PipelineError::integrity(layout::log(repository.cluster(), number), "it is no checkpoint"))
}

/// The state behind a checkpoint and all that follows.
async fn resume(repository: &Repository, found: &FoundRecord) -> Result<LogState, PipelineError> {
    let LogEntry::Checkpoint(entry) = &found.record.entry else {
        return Err(PipelineError::Worker);
    };
    let claimed = record(repository, entry.epoch_record).await?.record;
    let LogEntry::Epoch(epoch) = claimed.entry else {
        let object = layout::log(repository.cluster(), entry.epoch_record);
        return Err(PipelineError::integrity(object, "it is no epoch record"));
    };
    if claimed.epoch != found.record.epoch || claimed.number >= found.record.number {
        let object = layout::log(repository.cluster(), found.record.number);
        return Err(PipelineError::integrity(object, "it is of another epoch than it names"));
    }
    let owner = Owner {
        epoch: claimed.epoch,
        record: claimed.number,
        run: claimed.run_id,
        server: epoch.server,
        history: epoch.history,
    };
    let numbers = entry.files.iter().flat_map(|file| &file.tails).flat_map(|&(a, b)| a..=b);
    // Listing takes long where folders have millions of files, so it is done once.
    let last = found.record.number;
    let first = numbers.clone().next().map_or(last, |first| first - 1);
    let listed = listed(repository, first).await?;
    let before: HashMap<u64, Versions> =
        listed.iter().filter(|(number, _)| *number < last).cloned().collect();
    let tails = stream::iter(numbers.map(|number| tail(repository, number, &before)));
    let tails = tails.buffered(PARALLEL).try_collect().await?;
    let head = ChainHead { number: last, sha256: found.sha256 };
    let mut state = LogState::resume(head, entry, owner, tails).map_err(|why| {
        PipelineError::integrity(layout::log(repository.cluster(), head.number), why)
    })?;
    take(repository, &mut state, listed).await?;
    Ok(state)
}

async fn tail(
    repository: &Repository,
    number: u64,
    listed: &HashMap<u64, Versions>,
) -> Result<TailRef, PipelineError> {
    let object = layout::log(repository.cluster(), number);
    let Some(versions) = listed.get(&number) else {
        return Err(PipelineError::integrity(object, "it is missing"));
    };
    let found = stored::read_envelope(repository, number, versions.clone()).await?;
    let LogEntry::Tail(entry) = found.record.entry else {
        return Err(PipelineError::integrity(object, "it is no tail"));
    };
    Ok(TailRef { number, range: entry.range, bytes: entry.sealed.bytes })
}

fn apply(
    repository: &Repository,
    state: &mut LogState,
    found: &FoundRecord,
) -> Result<(), PipelineError> {
    state.apply(&found.record, found.sha256).map(drop).map_err(|why| {
        PipelineError::integrity(layout::log(repository.cluster(), found.record.number), why)
    })
}

/// The number of the last checkpoint. Numbers have no holes, so it is searched for in rounds of a
/// few requests at once, and nothing has to list millions of records.
async fn last_checkpoint(repository: &Repository) -> Result<Option<u64>, PipelineError> {
    let Some(first) = first_checkpoint(repository).await? else { return Ok(None) };
    let first = first / CHECKPOINT_EVERY;
    // Known to be there, known to be missing: in checkpoints.
    let (mut there, mut missing): (u64, Option<u64>) = (first, None);
    loop {
        let probes: Vec<u64> = match missing {
            None => (0..PROBES).map(|n| there + (1 << n)).collect(),
            Some(missing) if there + 1 == missing => return Ok(Some(there * CHECKPOINT_EVERY)),
            Some(missing) => {
                let step = (missing - there).div_ceil(PROBES + 1).max(1);
                (1..=PROBES).map(|n| there + n * step).filter(|n| *n < missing).collect()
            }
        };
        let looks = stream::iter(probes.iter().map(|n| exists(repository, n * CHECKPOINT_EVERY)));
        let found: Vec<bool> = looks.buffered(PARALLEL).try_collect().await?;
        for (probe, found) in probes.into_iter().zip(found) {
            if found {
                there = probe;
            } else {
                missing = Some(probe);
                break;
            }
        }
    }
}

/// The oldest checkpoint that is still there: records before it may have been forgotten.
async fn first_checkpoint(repository: &Repository) -> Result<Option<u64>, PipelineError> {
    // Mostly nothing has been forgotten, and no listing is needed.
    if exists(repository, CHECKPOINT_EVERY).await? {
        return Ok(Some(CHECKPOINT_EVERY));
    }
    let folder = layout::log_folder(repository.cluster());
    let mut listed = repository.store().list_versions(&folder, None);
    let mut oldest = None;
    while let Some(info) = listed.try_next().await? {
        oldest = number_of(&folder, info.key.as_str());
        if oldest.is_some() {
            break;
        }
    }
    let Some(oldest) = oldest else { return Ok(None) };
    let first = oldest.next_multiple_of(CHECKPOINT_EVERY);
    Ok(exists(repository, first).await?.then_some(first))
}

async fn exists(repository: &Repository, number: u64) -> Result<bool, PipelineError> {
    let place = key(&layout::log(repository.cluster(), number))?;
    let versions = repository.store().versions(&place).await?;
    Ok(!versions.versions.is_empty() && !stored::is_strange(repository, number, &versions).await?)
}

pub(super) fn number_of(folder: &str, key: &str) -> Option<u64> {
    key.strip_prefix(folder).filter(|name| name.len() == 20)?.parse().ok()
}
