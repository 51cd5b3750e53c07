//! The horizon of the binlog log: how much of it is still there.

use futures::TryStreamExt;

use super::{Author, Class, Finding, Found, PipelineError, Repository, log, repository::digest};
use crate::{
    format::{CHECKPOINT_EVERY, HorizonRecord, Payload as _, Role, RunRecord, layout},
    model::{Sha256Digest, Timestamp},
};

/// What of the log is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Horizon {
    /// All records up to this number are forgotten; a checkpoint's, or 0.
    pub begins: u64,
    /// Of the records up to this number, a checkpoint's, only those are there that it, or a
    /// checkpoint before it, names. 0 when all are.
    pub thinned: u64,
    /// A newer horizon, whose checkpoint is not there yet: a copy that was not finished. Behind the
    /// first record that is missing nothing counts then.
    pub pending: Option<u64>,
}

impl Horizon {
    /// The number of the first checkpoint, if this horizon tells it.
    #[must_use]
    pub fn first_checkpoint(&self) -> Option<u64> {
        (self.thinned > 0).then_some(self.begins + CHECKPOINT_EVERY)
    }
}

/// A horizon that was read, and the numbers of all that are there.
#[derive(Debug, Clone, Default)]
pub struct Horizons {
    /// The one that counts.
    pub horizon: Horizon,
    /// The number of its record; 0 when there is none.
    pub number: u64,
    /// What is wrong with those that are not believed.
    pub findings: Vec<Finding>,
    /// The number of the last one that is believed, whether it counts yet or not.
    last: u64,
    /// All names that are taken.
    taken: Vec<u64>,
}

impl Horizons {
    /// Numbers of records that say nothing any more.
    pub fn superseded(&self) -> impl Iterator<Item = u64> {
        self.taken.iter().copied().filter(|number| *number < self.number)
    }
}

impl Repository {
    /// The horizon of the log.
    ///
    /// # Errors
    /// When the store fails. A record that is not believed is passed over, and told.
    pub async fn horizon(&self) -> Result<Horizons, PipelineError> {
        let folder = layout::horizons(self.cluster());
        let mut listed = self.store().list_versions(&folder, None);
        let mut found = Horizons::default();
        while let Some(there) = listed.try_next().await? {
            let name = there.key.as_str().strip_prefix(&folder).filter(|name| name.len() == 20);
            found.taken.extend(name.and_then(|name| name.parse::<u64>().ok()));
        }
        let numbers: Vec<u64> = found.taken.iter().rev().copied().collect();
        for number in &numbers {
            let record = match self.horizon_record(*number).await {
                Ok(Some(there)) => there.record,
                Ok(None) => continue,
                Err(error @ PipelineError::Integrity { .. }) => {
                    let object = layout::horizon(self.cluster(), *number);
                    let why = error.to_string();
                    tracing::warn!(%error, "a horizon record is not believed; an older one is taken");
                    found.findings.push(Finding { object, chunk: None, why });
                    continue;
                }
                Err(error) => return Err(error),
            };
            found.last = found.last.max(*number);
            if log::exists(self, record.thinned).await? {
                found.number = *number;
                found.horizon.begins = record.begins;
                found.horizon.thinned = record.thinned;
                return Ok(found);
            }
            found.horizon.pending.get_or_insert(record.thinned);
        }
        Ok(found)
    }

    async fn horizon_record(
        &self,
        number: u64,
    ) -> Result<Option<Found<HorizonRecord>>, PipelineError> {
        let object = layout::horizon(self.cluster(), number);
        let is_it = |record: &HorizonRecord, run: &RunRecord| {
            let HorizonRecord { begins, thinned, .. } = *record;
            let checkpoints = [begins, thinned].iter().all(|n| n.is_multiple_of(CHECKPOINT_EVERY));
            if record.number != number || !checkpoints || begins >= thinned {
                let why = "it contradicts itself or its name";
                return Err(PipelineError::integrity(&object, why));
            }
            if !matches!(run.role, Role::Prune | Role::Copy) {
                return Err(PipelineError::integrity(&object, "its run may not write horizons"));
            }
            Ok(())
        };
        self.record_of_cluster(&object, is_it).await
    }
}

impl Author {
    /// Moves the horizon, behind those that were read. It never goes back. Returns the hash of the
    /// record; nothing when somebody else was quicker: then read it again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn move_horizon(
        &self,
        behind: &Horizons,
        begins: u64,
        thinned: u64,
        at: Timestamp,
    ) -> Result<Option<Sha256Digest>, PipelineError> {
        // What is junk behind the last that is believed is passed over.
        let free = (behind.last.saturating_add(1)..).find(|n| !behind.taken.contains(n));
        let number = free.unwrap_or(u64::MAX);
        let record = HorizonRecord {
            version: HorizonRecord::VERSION,
            cluster_uuid: self.cluster,
            number,
            run_id: self.id,
            at,
            begins: begins.max(behind.horizon.begins),
            thinned: thinned.max(behind.horizon.thinned),
        };
        let stored = self.sign(&record)?;
        let sha256 = digest(&stored);
        let object = layout::horizon(self.repository.cluster(), number);
        let keep = self.repository.keep(Class::Key);
        let belongs = |document: &serde_json::Value| document["number"] == number;
        let alone = self.create_alone::<HorizonRecord>(&object, stored, &keep, belongs).await?;
        Ok(alone.then_some(sha256))
    }
}
