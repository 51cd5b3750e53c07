//! The binlog log: its horizon moves first, and then what lies behind it goes.

use std::collections::HashSet;

use futures::TryStreamExt;

use super::Work;
use crate::{
    format::{CHECKPOINT_EVERY, LogEntry, SegmentData, audit::action, layout},
    jobs::prune::{Planned, Pruned},
    pipeline::{
        Horizon, PipelineError, key,
        log::{Archive, checkpoint, record},
    },
    store::Key,
};

/// Records that are removed before others are listed.
const CHUNK: usize = 1000;
/// How often to look again when another run moves the horizon, too.
const RACES: u32 = 16;

/// Moves the horizon where the plan puts it, and removes what lies behind it.
pub(super) async fn sweep(
    work: &Work<'_>,
    planned: &Planned,
    told: &mut Pruned,
) -> Result<(), PipelineError> {
    let horizon = move_to(work, planned.horizon).await?;
    if horizon.thinned == 0 || horizon.thinned > planned.gathered.archive.state.head.number {
        return Ok(());
    }
    let repository = &work.request.repository;
    let named = named(work, &planned.gathered.archive, horizon).await?;
    let folder = layout::log_folder(repository.cluster());
    let mut last: Option<Key> = None;
    loop {
        work.go_on()?;
        let (mut objects, mut whole) = (Vec::new(), false);
        {
            let mut listed = repository.stored(&folder, last.as_ref());
            while objects.len() < CHUNK {
                let Some(info) = listed.try_next().await? else {
                    whole = true;
                    break;
                };
                let name = info.key.as_str().strip_prefix(&folder).filter(|n| n.len() == 20);
                let Some(number) = name.and_then(|n| n.parse::<u64>().ok()) else { continue };
                if number > horizon.thinned {
                    whole = true;
                    break;
                }
                last = Some(info.key.clone());
                let is_needed = number > horizon.begins
                    && (number.is_multiple_of(CHECKPOINT_EVERY) || named.contains(&number));
                if !is_needed {
                    objects.push((info.key, info.size));
                }
            }
        }
        let removed = repository.remove(objects).await?;
        told.log.records_removed += removed.objects;
        told.add(removed);
        if whole {
            return Ok(());
        }
    }
}

/// Writes down how far the log may be forgotten, unless that is known. Returns how far it may.
async fn move_to(work: &Work<'_>, wanted: Horizon) -> Result<Horizon, PipelineError> {
    let repository = &work.request.repository;
    for _ in 0..RACES {
        let known = repository.horizon().await?;
        if known.horizon.pending.is_some() {
            // In a copy that was not finished nothing is touched.
            return Ok(Horizon::default());
        }
        let Horizon { begins, thinned, .. } = known.horizon;
        if begins >= wanted.begins && thinned >= wanted.thinned {
            let old = known.superseded().map(|n| layout::horizon(repository.cluster(), n));
            let old: Vec<_> =
                old.map(|name| Ok((key(&name)?, 0))).collect::<Result<_, PipelineError>>()?;
            repository.remove(old).await?;
            return Ok(known.horizon);
        }
        let author = work.author().await?;
        let moved = author.move_horizon(&known, wanted.begins, wanted.thinned, work.now).await?;
        if let Some(sha256) = moved {
            let subject = format!("{}:{}", wanted.begins, wanted.thinned);
            work.audit(action::PRUNE_LOG, &subject, sha256).await?;
        }
    }
    let folder = layout::horizons(repository.cluster());
    Err(PipelineError::integrity(folder, format!("others moved the horizon {RACES} times")))
}

/// The records before the horizon's last checkpoint that it, or one before it, names.
async fn named(
    work: &Work<'_>,
    archive: &Archive,
    horizon: Horizon,
) -> Result<HashSet<u64>, PipelineError> {
    let repository = &work.request.repository;
    let is_inside = |number: &u64| *number > horizon.begins && *number <= horizon.thinned;
    let mut named: HashSet<u64> =
        archive.notes.iter().map(|note| note.number).filter(is_inside).collect();
    let epochs: Vec<u64> = archive
        .notes
        .iter()
        .filter(|note| matches!(note.entry, LogEntry::Epoch(_)))
        .map(|note| note.number)
        .collect();
    for segment in archive.segments.iter().filter(|segment| is_inside(&segment.number)) {
        named.insert(segment.number);
        // It can only be made of tails when they are of an epoch before its own.
        let at = epochs.partition_point(|epoch| *epoch < segment.first_record);
        let is_doubtful = at == 0 || epochs.get(at).is_some_and(|epoch| *epoch <= segment.number);
        if !is_doubtful {
            continue;
        }
        if let LogEntry::Segment(entry) = record(repository, segment.number).await?.record.entry
            && let SegmentData::Tails(tails) = entry.data
        {
            named.extend(tails.into_iter().flat_map(|(first, last)| first..=last));
        }
    }
    let last = checkpoint(repository, horizon.thinned).await?.record;
    if let LogEntry::Checkpoint(entry) = last.entry {
        let tails = entry.files.into_iter().flat_map(|file| file.tails);
        named.extend(tails.flat_map(|(first, last)| first..=last));
        named.insert(entry.epoch_record);
    }
    Ok(named)
}
