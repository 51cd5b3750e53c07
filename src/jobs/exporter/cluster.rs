//! One cluster, looked at again and again.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures::TryStreamExt as _;
use tokio::time::Instant;

use super::state::{ArchiveSeen, BackupSeen, KekSeen, Seen, WindowSeen};
use crate::{
    format::{DrillRecord, KeyRecord, LogEntry, Manifest, layout},
    jobs::{
        keys,
        window::{self, LastDrill},
    },
    model::{BackupId, ClusterName, DekId, Timestamp},
    pipeline::{
        ChainHead, Found, PipelineError, Repository, broken_chain,
        log::{Archive, Lines, read_archive, record, refresh},
        watch::{log_goes_on, next_audit},
    },
};

/// What was read of a cluster so far.
#[derive(Debug)]
pub(super) struct Cluster {
    repository: Repository,
    /// When the backups and the keys were listed.
    listed_at: Option<Instant>,
    /// The manifests; nothing for those that are not believed.
    backups: BTreeMap<BackupId, Option<Found<Manifest>>>,
    /// The newest drills, newest first.
    drills: Vec<DrillRecord>,
    /// Key records by DEK, with the names that they were read from.
    deks: HashMap<DekId, (Vec<String>, Vec<KeyRecord>)>,
    archive: Archive,
    /// How many of the archive's segments stand before its last checkpoint.
    settled: usize,
    last_record_at: Option<Timestamp>,
    audit: ChainHead,
    audit_broken: bool,
    /// When each act was recorded last.
    acts: BTreeMap<String, Timestamp>,
}

impl Cluster {
    pub(super) fn new(repository: Repository) -> Self {
        Self {
            repository,
            listed_at: None,
            backups: BTreeMap::new(),
            drills: Vec::new(),
            deks: HashMap::new(),
            archive: Archive::default(),
            settled: 0,
            last_record_at: None,
            audit: ChainHead::EMPTY,
            audit_broken: false,
            acts: BTreeMap::new(),
        }
    }

    pub(super) fn name(&self) -> &ClusterName {
        self.repository.cluster()
    }

    /// Reads what came since.
    pub(super) async fn look(&mut self, list_every: Duration) -> Result<(), PipelineError> {
        let acted = self.follow_audit().await?;
        // Every backup and every rewrap is an act, so what they leave behind is listed then; and now
        // and again, since what is removed is not looked for otherwise.
        if acted || self.listed_at.is_none_or(|at| at.elapsed() >= list_every) {
            self.list_backups().await?;
            self.list_keys().await?;
            self.drills = window::drills(&self.repository).await?;
            self.listed_at = Some(Instant::now());
        }
        self.follow_log().await
    }

    /// Whether anything was done.
    async fn follow_audit(&mut self) -> Result<bool, PipelineError> {
        let before = self.audit;
        loop {
            match next_audit(&self.repository, self.audit).await {
                Ok(Some((record, head))) => {
                    let last = self.acts.entry(record.action).or_insert(record.at);
                    *last = record.at.max(*last);
                    self.audit = head;
                    self.audit_broken = false;
                }
                Ok(None) => break,
                Err(PipelineError::Integrity { object, why }) => {
                    if !self.audit_broken {
                        tracing::error!(object, why, "the audit chain is broken");
                    }
                    self.audit_broken = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(before != self.audit)
    }

    async fn list_backups(&mut self) -> Result<(), PipelineError> {
        let folder = layout::backups(self.repository.cluster());
        let mut listed = self.repository.store().list_versions(&folder, None);
        let mut ids = Vec::new();
        while let Some(info) = listed.try_next().await? {
            let id = info.key.as_str().strip_prefix(&folder);
            ids.extend(
                id.and_then(|id| id.strip_suffix("/manifest.json")?.parse::<BackupId>().ok()),
            );
        }
        drop(listed);
        let swept = self.repository.swept().await?;
        ids.retain(|id| !swept.contains(id));
        self.backups.retain(|id, _| ids.contains(id));
        for id in ids {
            // What was not believed is read again: its signer may be trusted by now.
            if self.backups.get(&id).is_some_and(Option::is_some) {
                continue;
            }
            match self.repository.manifest(&id).await {
                Ok(Some(found)) => self.backups.insert(id, Some(found)),
                Ok(None) => None,
                Err(PipelineError::Integrity { .. }) => self.backups.insert(id, None),
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    async fn list_keys(&mut self) -> Result<(), PipelineError> {
        let deks = self.repository.deks().await?;
        self.deks.retain(|dek, _| deks.contains_key(dek));
        for (dek, names) in deks {
            if self.deks.get(&dek).is_some_and(|(known, _)| *known == names) {
                continue;
            }
            let found = self.repository.key_records(dek, &names).await?;
            self.deks.insert(dek, (names, found.generations));
        }
        Ok(())
    }

    async fn follow_log(&mut self) -> Result<(), PipelineError> {
        let head = self.archive.state.head.number;
        if !log_goes_on(&self.repository, head).await? {
            return Ok(());
        }
        let checkpoint = self.archive.state.checkpoint;
        if head > 0 {
            refresh(&self.repository, &mut self.archive.state).await?;
        }
        if head == 0 || self.archive.state.checkpoint != checkpoint {
            // What stood before the checkpoint is told by it alone.
            self.archive = read_archive(&self.repository).await?;
            self.settled = self.archive.segments.len() - self.archive.state.segments.len();
        } else {
            let archive = &mut self.archive;
            archive.segments.truncate(self.settled);
            archive.segments.extend(archive.state.segments.iter().cloned());
            let last = archive.notes.last().map_or(0, |note| note.number);
            for number in archive.state.notes.iter().filter(|number| **number > last) {
                archive.notes.push(record(&self.repository, *number).await?.record);
            }
        }
        let head = self.archive.state.head.number;
        self.last_record_at = Some(record(&self.repository, head).await?.record.at);
        Ok(())
    }

    /// The backups that can be restored, newest first.
    fn complete(&self) -> Vec<&Manifest> {
        let believed: BTreeMap<_, _> = self
            .backups
            .iter()
            .filter_map(|(id, found)| Some((id.clone(), found.clone()?)))
            .collect();
        let whole = self.backups.values().flatten();
        let cluster = self.repository.cluster();
        let whole = whole.filter(|found| broken_chain(cluster, found, &believed).is_none());
        let mut complete: Vec<_> = whole.map(|found| &found.record).collect();
        complete.sort_by_key(|manifest| std::cmp::Reverse(manifest.finished_at));
        complete
    }

    /// What is known now.
    pub(super) fn seen(&self, now: Timestamp) -> Seen {
        let complete = self.complete();
        let newest = complete.first();
        let lines = Lines::of(&self.archive);
        let reached = lines.as_ref().map_or_else(
            |_| Vec::new(),
            |lines| complete.iter().map(|manifest| window::reached(manifest, lines)).collect(),
        );
        let (mut gaps, mut gap_transactions, mut forks) = (0, 0, 0);
        for note in &self.archive.notes {
            match &note.entry {
                LogEntry::Gap(gap) => {
                    gaps += 1;
                    gap_transactions += gap.transactions;
                }
                LogEntry::Fork(_) => forks += 1,
                _ => {}
            }
        }
        let state = &self.archive.state;
        let generations = self.deks.values().map(|(_, records)| records.clone());
        let keys = keys::status::of_records(generations.filter(|g| !g.is_empty()), now);
        Seen {
            complete: complete.len() as u64,
            damaged: (self.backups.len() - complete.len()) as u64,
            recovery: lines
                .as_ref()
                .ok()
                .and_then(|lines| window::recovery(&complete, lines, &self.drills)),
            last_drill: self.drills.first().map(LastDrill::from),
            newest: newest.map(|manifest| BackupSeen {
                id: manifest.backup_id.clone(),
                engine: manifest.engine.kind,
                proof: manifest.proof,
                started_at: manifest.started_at,
                finished_at: manifest.finished_at,
                bytes_read: manifest.bytes_read,
                bytes_stored: manifest.bytes_stored,
            }),
            window: unbroken(reached),
            archive: state.owner.is_some().then(|| ArchiveSeen {
                archived_until: state.committed_until.max(state.quiet_until),
                last_record_at: self.last_record_at,
                released: state.released,
                epoch: state.epoch(),
                gaps,
                gap_transactions,
                forks,
                in_order: lines.is_ok(),
            }),
            audit_records: self.audit.number,
            audit_broken: self.audit_broken,
            acts: self.acts.clone(),
            deks: keys.deks,
            deks_with_one_kek: keys.deks_with_one_kek,
            keks: keys
                .keks
                .into_iter()
                .map(|kek| KekSeen {
                    kek: kek.kek,
                    version: kek.kek_version,
                    deks: kek.deks,
                    oldest_wrap: kek.oldest_wrap,
                    newest_wrap: kek.newest_wrap,
                    in_use: kek.in_use,
                })
                .collect(),
        }
    }
}

/// From when on every instant up to the latest one can be restored.
fn unbroken(mut reached: Vec<(Timestamp, Timestamp)>) -> Option<WindowSeen> {
    reached.sort_by_key(|(earliest, latest)| std::cmp::Reverse((*latest, *earliest)));
    let mut windows = reached.into_iter();
    let (mut earliest, latest) = windows.next()?;
    for (from, until) in windows {
        if until >= earliest {
            earliest = earliest.min(from);
        }
    }
    Some(WindowSeen { earliest, latest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_microseconds(second * 1_000_000).unwrap()
    }

    #[test]
    fn a_window_goes_back_as_far_as_it_has_no_hole() {
        let of = |windows: &[(i64, i64)]| {
            let seen = unbroken(windows.iter().map(|(a, b)| (at(*a), at(*b))).collect())?;
            Some((seen.earliest, seen.latest))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(10, 10)]), Some((at(10), at(10))));
        assert_eq!(of(&[(10, 90), (50, 90), (30, 90)]), Some((at(10), at(90))));
        // Before a gap lies another window, which does not count.
        assert_eq!(of(&[(50, 90), (10, 40)]), Some((at(50), at(90))));
        assert_eq!(of(&[(50, 90), (10, 40), (30, 60)]), Some((at(10), at(90))));
    }
}
