//! The whole log, record by record: for whoever believes no checkpoint.

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    reader,
    state::{Applied, LogState},
    stored::{self, FoundRecord},
};
use crate::{
    format::{
        CHECKPOINT_EVERY, CheckpointEntry, LogEntry, SegmentData, SegmentEntry, SegmentSummary,
        layout,
    },
    pipeline::{ChainHead, Finding, Horizon, PipelineError, Repository, repository::key},
};

/// Requests in flight.
const PARALLEL: usize = 32;

/// Whether the log has this very record.
///
/// # Errors
/// When the store fails, the record is not believed, or it was pruned, so that nobody can tell.
pub async fn contains(repository: &Repository, head: ChainHead) -> Result<bool, PipelineError> {
    if let Some((found, _)) = stored::read(repository, head.number).await? {
        return Ok(found.sha256 == head.sha256);
    }
    let horizon = repository.horizon().await?.horizon;
    if head.number > 0 && head.number <= horizon.begins.max(horizon.thinned) {
        let object = layout::log(repository.cluster(), head.number);
        let why = "it was pruned, so this head of the log can be compared with nothing: give a \
                   newer one, or a head of the audit chain";
        return Err(PipelineError::integrity(object, why));
    }
    Ok(false)
}

/// What a look at the whole log has shown.
#[derive(Debug)]
pub struct Scanned {
    /// The log as far as it is good.
    pub state: LogState,
    /// What is wrong behind that.
    pub broken: Option<Finding>,
    /// How much of it is still there.
    pub horizon: Horizon,
}

/// Reads every record from the first on, in order, and shows it. Ends at the first one that is
/// missing, not believed, or does not follow from those before it: a finding tells which. What was
/// pruned is no finding; what the checkpoints name has to be there.
///
/// # Errors
/// When the store fails.
pub async fn scan(
    repository: &Repository,
    mut show: impl FnMut(&FoundRecord, Applied),
) -> Result<Scanned, PipelineError> {
    let horizon = repository.horizon().await?.horizon;
    let mut state = LogState::default();
    if horizon.thinned > 0 {
        match thinned(repository, horizon, &mut show).await {
            Ok(behind) => state = behind,
            Err(PipelineError::Integrity { object, why }) => {
                let broken = Some(Finding { object, chunk: None, why });
                return Ok(Scanned { state, broken, horizon });
            }
            Err(error) => return Err(error),
        }
    }
    let broken = fold(repository, &mut state, horizon, show).await?;
    Ok(Scanned { state, broken, horizon })
}

/// Everything behind a state.
async fn fold(
    repository: &Repository,
    state: &mut LogState,
    horizon: Horizon,
    mut show: impl FnMut(&FoundRecord, Applied),
) -> Result<Option<Finding>, PipelineError> {
    let folder = layout::log_folder(repository.cluster());
    let number = state.head.number;
    let after =
        (number > 0).then(|| key(&layout::log(repository.cluster(), number))).transpose()?;
    let listed = repository.store().list_versions(&folder, after.as_ref());
    let numbered = listed.map_err(PipelineError::from).try_filter_map(|found| {
        let number = reader::number_of(&folder, found.key.as_str());
        async move { Ok(number.map(|number| (number, found))) }
    });
    let read = numbered.map_ok(|(number, versions)| async move {
        match stored::read_own(repository, number, versions).await {
            Ok(found) => Ok((number, Ok(found))),
            Err(PipelineError::Integrity { object, why }) => {
                Ok((number, Err(Finding { object, chunk: None, why })))
            }
            Err(error) => Err(error),
        }
    });
    let mut read = std::pin::pin!(read.try_buffered(PARALLEL));
    while let Some((number, found)) = read.try_next().await? {
        let Some(found) = found.transpose() else { continue };
        let expected = state.head.number + 1;
        let bad = |number: u64, why: String| Finding {
            object: layout::log(repository.cluster(), number),
            chunk: None,
            why,
        };
        if number != expected {
            let why = match horizon.pending {
                Some(_) => "it is missing: a copy of the log was not finished".to_owned(),
                None => format!("it is missing, and record {number} is there"),
            };
            return Ok(Some(bad(expected, why)));
        }
        let found = match found {
            Ok(found) => found,
            Err(finding) => return Ok(Some(finding)),
        };
        match state.apply(&found.record, found.sha256) {
            Ok(applied) => show(&found, applied),
            Err(why) => return Ok(Some(bad(number, why))),
        }
    }
    Ok(None)
}

/// What is left of the log before the horizon's last checkpoint: a chain of checkpoints, and all
/// that they name. Returns the state behind it.
async fn thinned(
    repository: &Repository,
    horizon: Horizon,
    show: &mut impl FnMut(&FoundRecord, Applied),
) -> Result<LogState, PipelineError> {
    let first = horizon.begins / CHECKPOINT_EVERY + 1;
    let numbers = (first..=horizon.thinned / CHECKPOINT_EVERY).map(|n| n * CHECKPOINT_EVERY);
    let read = stream::iter(numbers.map(|number| reader::checkpoint(repository, number)));
    let mut read = read.buffered(PARALLEL);
    let mut last: Option<FoundRecord> = None;
    while let Some(found) = read.try_next().await? {
        let LogEntry::Checkpoint(entry) = &found.record.entry else { continue };
        let previous = last.as_ref().map(|last| last.sha256);
        if previous.is_some_and(|previous| previous != entry.previous_checkpoint) {
            let object = layout::log(repository.cluster(), found.record.number);
            let why = "it does not follow the checkpoint before it";
            return Err(PipelineError::integrity(object, why));
        }
        named(repository, entry, show).await?;
        show(&found, Applied::Counted);
        last = Some(found);
    }
    let Some(last) = last else { return Err(PipelineError::Worker) };
    let (state, _) = reader::behind(repository, &last).await?;
    for tail in state.files.iter().flat_map(|file| &file.tails) {
        show(&reader::record(repository, tail.number).await?, Applied::Counted);
    }
    Ok(state)
}

/// The records that a checkpoint names: its segments, the tails that some of them are made of, and
/// its notes.
async fn named(
    repository: &Repository,
    entry: &CheckpointEntry,
    show: &mut impl FnMut(&FoundRecord, Applied),
) -> Result<(), PipelineError> {
    let segments = entry.segments.iter().map(|summary| segment(repository, summary));
    let mut segments = stream::iter(segments).buffered(PARALLEL);
    while let Some((found, tails)) = segments.try_next().await? {
        show(&found, Applied::Counted);
        tails.iter().for_each(|tail| show(tail, Applied::Counted));
    }
    let notes = entry.notes.iter().map(|number| reader::record(repository, *number));
    let mut notes = stream::iter(notes).buffered(PARALLEL);
    while let Some(found) = notes.try_next().await? {
        if !matches!(found.record.entry, LogEntry::Epoch(_) | LogEntry::Gap(_) | LogEntry::Fork(_))
        {
            let object = layout::log(repository.cluster(), found.record.number);
            let why = "a checkpoint names it as an epoch, a gap or a fork, and it is none";
            return Err(PipelineError::integrity(object, why));
        }
        show(&found, Applied::Counted);
    }
    Ok(())
}

/// A segment's record, and those of the tails that it is made of.
async fn segment(
    repository: &Repository,
    summary: &SegmentSummary,
) -> Result<(FoundRecord, Vec<FoundRecord>), PipelineError> {
    let found = reader::record(repository, summary.number).await?;
    let object = || layout::log(repository.cluster(), summary.number);
    let LogEntry::Segment(SegmentEntry { range, data }) = &found.record.entry else {
        return Err(PipelineError::integrity(object(), "it is no segment"));
    };
    if *range != summary.range {
        return Err(PipelineError::integrity(
            object(),
            "it has another range than its checkpoint says",
        ));
    }
    let mut tails = Vec::new();
    if let SegmentData::Tails(runs) = data {
        for number in runs.iter().flat_map(|&(first, last)| first..=last) {
            let tail = reader::record(repository, number).await?;
            if !matches!(tail.record.entry, LogEntry::Tail(_)) {
                let object = layout::log(repository.cluster(), number);
                return Err(PipelineError::integrity(object, "it is no tail"));
            }
            tails.push(tail);
        }
    }
    Ok((found, tails))
}
