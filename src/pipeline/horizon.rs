//! The horizon of the binlog log: how much of it is still there.

use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use super::{Author, Finding, Found, PipelineError, Repository, repository::key};
use crate::{
    format::{CHECKPOINT_EVERY, HorizonRecord, Payload as _, Role, layout},
    model::{Sha256Digest, Timestamp},
    store::StoreErrorKind,
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
        let mut listed = self.store().list(&folder, None);
        let mut found = Horizons::default();
        while let Some(info) = listed.try_next().await? {
            let name = info.key.as_str().strip_prefix(&folder).filter(|name| name.len() == 20);
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
            if self.has_log_record(record.thinned).await? {
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
        let found = self.record_of_cluster::<HorizonRecord>(object.clone()).await?;
        let Some(found) = found else { return Ok(None) };
        let HorizonRecord { begins, thinned, .. } = found.record;
        let checkpoints = [begins, thinned].iter().all(|n| n.is_multiple_of(CHECKPOINT_EVERY));
        if found.record.number != number || !checkpoints || begins >= thinned {
            return Err(PipelineError::integrity(object, "it contradicts itself or its name"));
        }
        if !matches!(self.run(found.record.run_id).await?.role, Role::Prune | Role::Copy) {
            return Err(PipelineError::integrity(object, "its run may not write horizons"));
        }
        Ok(Some(found))
    }

    /// Whether the log has a record of this number, whatever it is.
    pub(super) async fn has_log_record(&self, number: u64) -> Result<bool, PipelineError> {
        match self.store().head(&key(&layout::log(self.cluster(), number))?).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
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
        let sha256 = Sha256Digest(Sha256::digest(&stored).into());
        let object = layout::horizon(self.repository.cluster(), number);
        match self.repository.store().create(&key(&object)?, stored).await {
            Ok(()) => Ok(Some(sha256)),
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
