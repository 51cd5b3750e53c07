//! The binlog log. Tails that segments have superseded are left behind, so the copy's log is thinned
//! up to the original's last checkpoint: its horizon says so before that checkpoint is there, and
//! until then readers take the copy's log as it was.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};

use super::{CopiedLog, execute::Work, plan::PlannedLog};
use crate::{
    format::{CHECKPOINT_EVERY, LogEntry, SegmentData, SegmentEntry, audit::action, layout},
    model::Timestamp,
    pipeline::{
        Class, PipelineError, SealedObject, carry_record, key,
        log::{checkpoint, record, stored_record, tip},
    },
};

/// Records that are in work at once.
const PARALLEL: usize = 8;

pub(super) async fn copy(
    work: &Work<'_>,
    log: &PlannedLog,
    told: &mut CopiedLog,
) -> Result<(), PipelineError> {
    let head = log.archive.state.head;
    let there = log.there.head;
    continues(work, log).await?;
    if there == head {
        return Ok(());
    }
    work.author().await?;
    let last = log.last.as_ref().map_or(0, |last| last.number);
    let restarts = log.horizon.begins > there.number;
    let known = if restarts { log.horizon.begins } else { there.number };
    let moves = last > known;
    let named: Vec<u64> = if moves {
        named(work, log).await?.into_iter().filter(|number| *number > known).collect()
    } else {
        Vec::new()
    };
    let rest = last.max(known) + 1..=head.number;
    // Whatever the records rest on, and name.
    for number in named.iter().copied().chain(rest.clone()) {
        told.segments_copied += u64::from(beneath(work, number).await?);
    }
    if moves {
        move_horizon(work, log).await?;
        // A checkpoint comes when all is there that it names; with the last one the horizon counts.
        for names in named.chunk_by(|number, _| !number.is_multiple_of(CHECKPOINT_EVERY)) {
            let (checkpoint, before): (Vec<u64>, Vec<u64>) =
                names.iter().partition(|number| number.is_multiple_of(CHECKPOINT_EVERY));
            for numbers in [before, checkpoint] {
                let each = numbers.into_iter().map(|number| one(work, number));
                let mut copied = stream::iter(each).buffer_unordered(PARALLEL);
                while let Some(is_new) = copied.try_next().await? {
                    told.records_copied += u64::from(is_new);
                }
            }
        }
    }
    // One after another: at every moment the log has no hole.
    for number in rest {
        told.records_copied += u64::from(one(work, number).await?);
    }
    let arrived = tip(&work.request.to).await?.head;
    if arrived.number < head.number || (arrived.number == head.number && arrived != head) {
        let object = layout::log(work.request.to.cluster(), head.number);
        return Err(PipelineError::integrity(object, "the copy's log does not come to it"));
    }
    work.audit(action::COPY_LOG, &head.number.to_string(), head.sha256).await
}

/// Makes sure that the copy's log is a part of the original's.
async fn continues(work: &Work<'_>, log: &PlannedLog) -> Result<(), PipelineError> {
    let (from, to) = (&work.request.from, &work.request.to);
    let (head, there) = (log.archive.state.head, log.there.head);
    let differs = |number: u64| PipelineError::Taken {
        id: layout::log(to.cluster(), number),
        why: format!("{} has another log than {}", to.url(), from.url()),
    };
    if there.number > head.number || (there.number == head.number && there != head) {
        return Err(differs(there.number));
    }
    let common = there.number / CHECKPOINT_EVERY * CHECKPOINT_EVERY;
    let begins = log.archive.horizon.begins.max(log.horizon.begins);
    if common > begins
        && checkpoint(from, common).await?.sha256 != checkpoint(to, common).await?.sha256
    {
        return Err(differs(common));
    }
    Ok(())
}

/// The numbers of the records up to the last checkpoint that it, or one before it, names, in order.
async fn named(work: &Work<'_>, log: &PlannedLog) -> Result<BTreeSet<u64>, PipelineError> {
    let Some(last) = &log.last else { return Ok(BTreeSet::new()) };
    let begins = log.horizon.begins;
    let is_inside = |number: &u64| *number > begins && *number <= last.number;
    let checkpoints = (begins / CHECKPOINT_EVERY + 1..=last.number / CHECKPOINT_EVERY)
        .map(|n| n * CHECKPOINT_EVERY);
    let mut named: BTreeSet<u64> = checkpoints.collect();
    let notes = log.archive.notes.iter().map(|note| note.number);
    named.extend(notes.filter(is_inside));
    let segments = log.archive.segments.iter().map(|segment| segment.number);
    let read = segments.filter(is_inside).map(|number| record(&work.request.from, number));
    let mut read = stream::iter(read).buffered(PARALLEL);
    while let Some(found) = read.try_next().await? {
        named.insert(found.record.number);
        if let LogEntry::Segment(SegmentEntry { data: SegmentData::Tails(tails), .. }) =
            found.record.entry
        {
            named.extend(tails.into_iter().flat_map(|(first, last)| first..=last));
        }
    }
    let tails = last.entry.files.iter().flat_map(|file| &file.tails);
    named.extend(tails.flat_map(|&(first, last)| first..=last));
    named.insert(last.entry.epoch_record);
    // Who died on the way to an earlier checkpoint has said that the log would begin there.
    let pending = log.horizons_there.horizon.pending.filter(|pending| *pending != last.number);
    if let Some(pending) = pending.filter(is_inside)
        && let LogEntry::Checkpoint(entry) =
            checkpoint(&work.request.from, pending).await?.record.entry
    {
        let tails = entry.files.iter().flat_map(|file| &file.tails);
        for number in tails.flat_map(|&(first, last)| first..=last) {
            match record(&work.request.from, number).await {
                Ok(_) => drop(named.insert(number)),
                // It was superseded, and pruned: then that checkpoint is of no use for a moment.
                Err(PipelineError::Integrity { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(named)
}

/// What a record rests on: its run, its DEK, and for a segment the object. True when that was copied.
async fn beneath(work: &Work<'_>, number: u64) -> Result<bool, PipelineError> {
    let from = &work.request.from;
    let found = record(from, number).await?.record;
    work.run(found.run_id).await?;
    if let Some(dek) = from.run(found.run_id).await?.dek_id {
        work.dek(dek).await?;
    }
    let LogEntry::Segment(SegmentEntry { range, data: SegmentData::Object { id, sealed } }) =
        found.entry
    else {
        return Ok(false);
    };
    let cluster = work.request.to.cluster();
    let name = layout::segment(cluster, &range.server, &range.file, range.start, id);
    let object = SealedObject { key: key(&name)?, bytes: sealed.bytes, sha256: sealed.sha256 };
    work.sealed(&object).await
}

/// One record, as it is. True when it was not there.
async fn one(work: &Work<'_>, number: u64) -> Result<bool, PipelineError> {
    work.go_on()?;
    let (from, to) = (&work.request.from, &work.request.to);
    let (found, bytes) = stored_record(from, number).await?;
    let class = match found.record.entry {
        LogEntry::Epoch(_) => Class::Key,
        _ => Class::Data,
    };
    let object = key(&layout::log(to.cluster(), number))?;
    let size = bytes.len() as u64;
    let is_new = carry_record(to, &object, bytes, &to.keep(class)).await?;
    if is_new {
        work.count(1, size);
    }
    Ok(is_new)
}

/// Says how much of the log the copy will have. Who died behind that has said it already.
async fn move_horizon(work: &Work<'_>, log: &PlannedLog) -> Result<(), PipelineError> {
    let known = &log.horizons_there;
    if known.horizon.pending == Some(log.horizon.thinned) {
        return Ok(());
    }
    let author = work.author().await?;
    let (begins, thinned) = (log.horizon.begins, log.horizon.thinned);
    match author.move_horizon(known, begins, thinned, Timestamp::now()).await? {
        Some(_) => Ok(()),
        None => Err(PipelineError::Taken {
            id: layout::horizons(work.request.to.cluster()),
            why: "another copy or prune has moved the horizon meanwhile: run it again".into(),
        }),
    }
}
