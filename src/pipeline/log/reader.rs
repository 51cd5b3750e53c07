//! Reading the log: where it ends, what it says, what it covers.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    state::{LogState, Owner, TailRef},
    stored::{self, FoundRecord},
};
use crate::{
    format::{CHECKPOINT_EVERY, LogEntry, LogRecord, SegmentSummary, layout},
    pipeline::{ChainHead, Horizon, PipelineError, Repository, repository::key, search},
    store::Versions,
};

/// Requests in flight.
const PARALLEL: usize = 64;

/// The log, as far back as it goes.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    /// All segments in order.
    pub segments: Vec<SegmentSummary>,
    /// All epoch, gap and fork records in order.
    pub notes: Vec<LogRecord>,
    /// The log up to its head, with the tails that no segment supersedes.
    pub state: LogState,
    /// How much of it is still there.
    pub horizon: Horizon,
}

/// The log's end, from its last checkpoint on.
///
/// # Errors
/// When the store fails, or a record is not believed or does not follow from those before it.
pub async fn tip(repository: &Repository) -> Result<LogState, PipelineError> {
    let horizon = repository.horizon().await?.horizon;
    tip_within(repository, horizon).await
}

async fn tip_within(repository: &Repository, horizon: Horizon) -> Result<LogState, PipelineError> {
    let Some(last) = last_checkpoint(repository, horizon).await? else {
        let mut state = LogState::default();
        let listed = listed(repository, 0).await?;
        take(repository, &mut state, listed, horizon).await?;
        return match horizon.pending.filter(|_| state.head.number == 0) {
            Some(pending) => Err(unfinished(repository, pending)),
            None => Ok(state),
        };
    };
    let found = checkpoint(repository, last).await?;
    resume(repository, &found, horizon).await
}

/// Takes the records that came since. Returns how many there were.
///
/// # Errors
/// As [`tip`].
pub async fn refresh(repository: &Repository, state: &mut LogState) -> Result<u64, PipelineError> {
    let listed = listed(repository, state.head.number).await?;
    take(repository, state, listed, Horizon::default()).await
}

/// Takes these records, as far as they follow.
async fn take(
    repository: &Repository,
    state: &mut LogState,
    listed: Vec<(u64, Versions)>,
    horizon: Horizon,
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
            if horizon.pending.is_some() {
                // What a copy that was not finished has brought so far says nothing yet.
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
    let horizon = repository.horizon().await?.horizon;
    let Some(last) = last_checkpoint(repository, horizon).await? else {
        let state = tip_within(repository, horizon).await?;
        return with_notes(repository, Vec::new(), Vec::new(), state, horizon).await;
    };
    let first = first_checkpoint(repository, horizon).await?.unwrap_or(last);
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
    let state = resume(repository, &newest, horizon).await?;
    with_notes(repository, segments, notes, state, horizon).await
}

async fn with_notes(
    repository: &Repository,
    mut segments: Vec<SegmentSummary>,
    mut notes: Vec<u64>,
    state: LogState,
    horizon: Horizon,
) -> Result<Archive, PipelineError> {
    segments.extend(state.segments.iter().cloned());
    notes.extend(state.notes.iter().copied());
    let notes = stream::iter(notes.into_iter().map(|number| record(repository, number)));
    let notes = notes.buffered(PARALLEL).map_ok(|found| found.record).try_collect().await?;
    Ok(Archive { segments, notes, state, horizon })
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

/// The same, as it is stored: its envelope, and for a tail the sealed bytes behind it.
///
/// # Errors
/// As [`record`].
pub async fn stored_record(
    repository: &Repository,
    number: u64,
) -> Result<(FoundRecord, bytes::Bytes), PipelineError> {
    let found = stored::read_whole(repository, number).await?;
    let object = || layout::log(repository.cluster(), number);
    found.ok_or_else(|| PipelineError::integrity(object(), "it is missing"))
}

/// A checkpoint that has to be there.
///
/// # Errors
/// When it is not, is none, or is not believed.
pub async fn checkpoint(
    repository: &Repository,
    number: u64,
) -> Result<FoundRecord, PipelineError> {
    let found = record(repository, number).await?;
    if matches!(found.record.entry, LogEntry::Checkpoint(_)) {
        return Ok(found);
    }
    Err(PipelineError::integrity(layout::log(repository.cluster(), number), "it is no checkpoint"))
}

/// The state behind a checkpoint and all that follows.
async fn resume(
    repository: &Repository,
    found: &FoundRecord,
    horizon: Horizon,
) -> Result<LogState, PipelineError> {
    let (mut state, listed) = behind(repository, found).await?;
    take(repository, &mut state, listed, horizon).await?;
    Ok(state)
}

/// The state behind a checkpoint, and the records that follow.
pub(super) async fn behind(
    repository: &Repository,
    found: &FoundRecord,
) -> Result<(LogState, Vec<(u64, Versions)>), PipelineError> {
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
    let mut listed = listed(repository, first).await?;
    let before: HashMap<u64, Versions> =
        listed.iter().filter(|(number, _)| *number < last).cloned().collect();
    let tails = stream::iter(numbers.map(|number| tail(repository, number, &before)));
    let tails = tails.buffered(PARALLEL).try_collect().await?;
    let head = ChainHead { number: last, sha256: found.sha256 };
    let state = LogState::resume(head, entry, owner, tails).map_err(|why| {
        PipelineError::integrity(layout::log(repository.cluster(), head.number), why)
    })?;
    listed.retain(|(number, _)| *number > last);
    Ok((state, listed))
}

/// A log of which a copy has brought a part, and no part that can be read yet.
fn unfinished(repository: &Repository, pending: u64) -> PipelineError {
    let object = layout::log(repository.cluster(), pending);
    let why = "the copy of the binary logs has not come to it: finish it with `backstay copy`, or \
               restore a backup alone, with --backup";
    PipelineError::integrity(object, why)
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

/// The number of the last checkpoint. Numbers have no holes, so nothing has to list millions of
/// records.
async fn last_checkpoint(
    repository: &Repository,
    horizon: Horizon,
) -> Result<Option<u64>, PipelineError> {
    if horizon.pending.is_some() {
        // Behind a hole there may be checkpoints that a copy has brought already.
        return Ok((horizon.thinned > 0).then_some(horizon.thinned));
    }
    let Some(first) = first_checkpoint(repository, horizon).await? else { return Ok(None) };
    let first = first.max(horizon.thinned);
    let is_there = |n: u64| exists(repository, n.saturating_mul(CHECKPOINT_EVERY));
    let last = search::last(first / CHECKPOINT_EVERY, is_there).await?;
    Ok(Some(last * CHECKPOINT_EVERY))
}

/// The oldest checkpoint that is still there: records before it may have been forgotten.
async fn first_checkpoint(
    repository: &Repository,
    horizon: Horizon,
) -> Result<Option<u64>, PipelineError> {
    if let Some(first) = horizon.first_checkpoint() {
        return Ok(Some(first));
    }
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

/// Whether the log has a record of this number, whatever it says.
pub(in crate::pipeline) async fn exists(
    repository: &Repository,
    number: u64,
) -> Result<bool, PipelineError> {
    let place = key(&layout::log(repository.cluster(), number))?;
    let versions = repository.store().versions(&place).await?;
    Ok(!versions.versions.is_empty() && !stored::is_strange(repository, number, &versions).await?)
}

pub(super) fn number_of(folder: &str, key: &str) -> Option<u64> {
    key.strip_prefix(folder).filter(|name| name.len() == 20)?.parse().ok()
}
