//! What a DEK seals.

use std::{collections::HashMap, fmt};

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use crate::{
    format::{LogEntry, SegmentData},
    model::{BackupId, DekId, RunId},
    pipeline::{
        PipelineError, Repository,
        log::{Archive, read_archive, record},
    },
};

/// Requests in flight.
const PARALLEL: usize = 16;

/// Backups that are named in a sentence; JSON has all of them.
const SHOWN: usize = 10;

/// What a DEK seals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Base backups.
    pub backups: Vec<BackupId>,
    /// Epochs of the binlog log.
    pub epochs: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Tails of the log that no segment supersedes.
    pub tails: u64,
}

impl Usage {
    pub(super) fn add(&mut self, other: &Self) {
        self.backups.extend_from_slice(&other.backups);
        self.epochs += other.epochs;
        self.segments += other.segments;
        self.tails += other.tails;
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match self.backups.as_slice() {
            [] => {}
            [one] => parts.push(format!("backup {one}")),
            more => {
                let shown: Vec<_> = more.iter().take(SHOWN).map(ToString::to_string).collect();
                let rest = more.len() - shown.len();
                let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
                parts.push(format!("{} backups: {}{rest}", more.len(), shown.join(", ")));
            }
        }
        if self.epochs + self.segments + self.tails > 0 {
            parts.push(format!(
                "of the binlog log: epochs {}, segments {}, tails {}",
                self.epochs, self.segments, self.tails
            ));
        }
        if parts.is_empty() {
            // Of an attempt at a backup that failed, or an archiver that never claimed the log.
            parts.push("nothing that counts".into());
        }
        f.write_str(&parts.join("; "))
    }
}

/// What each DEK of an archiver seals.
pub(super) async fn of_log(
    repository: &Repository,
) -> Result<HashMap<DekId, Usage>, PipelineError> {
    let archive = read_archive(repository).await?;
    let owners = Owners::of(&archive);
    let mut by_run: HashMap<RunId, Usage> = HashMap::new();
    for (_, run) in &owners.0 {
        by_run.entry(*run).or_default().epochs += 1;
    }
    let tails = archive.state.files.iter().flat_map(|file| &file.tails);
    for run in tails.filter_map(|tail| owners.at(tail.number)) {
        by_run.entry(run).or_default().tails += 1;
    }
    // A segment is sealed by the owner that writes its record, unless it is made of an earlier
    // owner's tails: only where an epoch begins can that be, so few records have to be read.
    let doubtful =
        |at: &&crate::format::SegmentSummary| owners.at(at.first_record) != owners.at(at.number);
    let read = archive.segments.iter().filter(doubtful).map(|at| record(repository, at.number));
    let read: Vec<_> = stream::iter(read).buffered(PARALLEL).try_collect().await?;
    let promoted = read.iter().filter_map(|found| match &found.record.entry {
        LogEntry::Segment(segment) => match &segment.data {
            SegmentData::Tails(tails) => Some((found.record.number, tails.first()?.0)),
            SegmentData::Object { .. } => None,
        },
        _ => None,
    });
    let promoted: HashMap<u64, u64> = promoted.collect();
    for segment in &archive.segments {
        let sealed_at = promoted.get(&segment.number).unwrap_or(&segment.number);
        if let Some(run) = owners.at(*sealed_at) {
            by_run.entry(run).or_default().segments += 1;
        }
    }
    let mut by_dek: HashMap<DekId, Usage> = HashMap::new();
    for (run, usage) in by_run {
        if let Some(dek) = repository.run(run).await?.dek_id {
            by_dek.entry(dek).or_default().add(&usage);
        }
    }
    Ok(by_dek)
}

/// Which run owned the log from which record on, in order.
struct Owners(Vec<(u64, RunId)>);

impl Owners {
    fn of(archive: &Archive) -> Self {
        let epochs = archive.notes.iter().filter(|note| matches!(note.entry, LogEntry::Epoch(_)));
        Self(epochs.map(|note| (note.number, note.run_id)).collect())
    }

    fn at(&self, number: u64) -> Option<RunId> {
        let after = self.0.partition_point(|(from, _)| *from <= number);
        self.0.get(after.checked_sub(1)?).map(|(_, run)| *run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_the_last_that_claimed() {
        let run = |n| RunId::from_bytes([n; 16]);
        let owners = Owners(vec![(1, run(1)), (7, run(2))]);
        let at = |number| owners.at(number);
        assert_eq!(
            [at(0), at(1), at(6), at(7), at(99)],
            [None, Some(run(1)), Some(run(1)), Some(run(2)), Some(run(2))]
        );
    }

    #[test]
    fn a_long_list_of_backups_is_cut() {
        let backups: Vec<BackupId> = (0..12).map(|n| format!("b{n:02}").parse().unwrap()).collect();
        let text = Usage { backups, ..Usage::default() }.to_string();
        assert!(
            text.starts_with("12 backups: b00, ") && text.ends_with("b09 and 2 more"),
            "{text}"
        );
    }
}
