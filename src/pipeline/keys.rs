//! The key records of DEKs: which to believe, what must come out of them, and the next one.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use super::{
    Author, Finding, Found, PipelineError, Repository,
    repository::{SignedByRun as _, key},
};
use crate::{
    crypto::{
        Dek,
        kms::{KeyContext, Kms, KmsError},
    },
    format::{KeyRecord, Payload as _, Role, layout},
    model::{DekId, Sha256Digest, Timestamp, WrappedDek},
    store::StoreErrorKind,
};

/// The last generation that has a name.
const LAST_GENERATION: u32 = 99_999_999;

/// What the DEK of a run is for, in the KMS context.
#[must_use]
pub fn purpose(role: Role) -> &'static str {
    match role {
        Role::Backup => "backup",
        Role::Archive => "archive",
        // Such a run has no DEK, so no wrap bears these.
        Role::Rewrap => "rewrap",
        Role::Prune => "prune",
        Role::Copy => "copy",
    }
}

/// The record of a DEK that counts: the newest that is believed.
#[derive(Debug, Clone)]
pub struct NewestKey {
    /// The object's key.
    pub object: String,
    /// The record.
    pub record: KeyRecord,
    /// The role of the DEK's own run.
    pub role: Role,
    /// Names that are taken, whether what is there is believed or not.
    taken: Vec<String>,
}

impl NewestKey {
    /// The wrap that this KEK has made.
    #[must_use]
    pub fn wrap_by(&self, kms: &dyn Kms) -> Option<&WrappedDek> {
        self.record.wraps.iter().find(|wrap| kms.made(wrap))
    }

    /// What the wraps of this DEK are bound to.
    #[must_use]
    pub fn context(&self) -> KeyContext {
        KeyContext {
            cluster: self.record.cluster(),
            dek: self.record.dek_id,
            purpose: purpose(self.role),
        }
    }

    /// The DEK, unwrapped by this KEK, and the one that the record commits to.
    ///
    /// # Errors
    /// When there is no wrap of this KEK, it does not open, or what comes out is another key.
    pub async fn unwrap(&self, kms: &dyn Kms) -> Result<Dek, PipelineError> {
        let Some(wrapped) = self.wrap_by(kms) else {
            let wraps = self.record.wraps.iter();
            let found = wraps.map(|wrap| wrap.kek.as_str()).collect::<Vec<_>>().join(", ");
            return Err(KmsError::OtherKek { kek: kms.name().to_owned(), found }.into());
        };
        self.open(kms, wrapped).await
    }

    /// The same, of a wrap that is not stored yet.
    ///
    /// # Errors
    /// As [`NewestKey::unwrap`].
    pub async fn open(&self, kms: &dyn Kms, wrapped: &WrappedDek) -> Result<Dek, PipelineError> {
        let key = kms.unwrap(&self.context(), wrapped).await?;
        if key.commitment(self.record.dek_id.as_bytes()) != self.record.commitment.0 {
            let why = "the KEK gave another key than the one committed to";
            return Err(PipelineError::integrity(&self.object, why));
        }
        Ok(key)
    }

    /// Writes the next generation, with these wraps. Returns its name below `keys/` and its hash;
    /// nothing when another run was quicker.
    ///
    /// # Errors
    /// When the store fails, or there is no further generation.
    pub async fn supersede(
        &self,
        author: &Author,
        wraps: Vec<WrappedDek>,
    ) -> Result<Option<(String, Sha256Digest)>, PipelineError> {
        let (cluster, dek) = (author.repository.cluster(), self.record.dek_id);
        // Numbers may have holes, and junk behind one must not keep us from the next.
        let free = (self.record.generation.saturating_add(1)..=LAST_GENERATION)
            .map(|generation| (generation, layout::key(cluster, dek, generation)))
            .find(|(_, name)| !self.taken.contains(name));
        let Some((generation, name)) = free else {
            return Err(PipelineError::integrity(&self.object, "no generation can follow it"));
        };
        let record = KeyRecord {
            version: KeyRecord::VERSION,
            generation,
            run_id: author.id,
            created_at: Timestamp::now(),
            wraps,
            ..self.record.clone()
        };
        let stored: Bytes = author.sign(&record)?;
        let sha256 = Sha256Digest(Sha256::digest(&stored).into());
        match author.repository.store().create(&key(&name)?, stored).await {
            Ok(()) => Ok(Some((format!("{dek}/{generation:08}.json"), sha256))),
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// All records of a DEK.
#[derive(Debug)]
pub struct KeyRecords {
    /// The DEK.
    pub dek: DekId,
    /// Those that are believed, the oldest first.
    pub generations: Vec<KeyRecord>,
    /// What is wrong with the others.
    pub findings: Vec<Finding>,
}

impl Repository {
    /// Every DEK, with the names of its records, in their order.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn deks(&self) -> Result<BTreeMap<DekId, Vec<String>>, PipelineError> {
        let folder = layout::keys(self.cluster());
        let mut listed = self.store().list(&folder, None);
        let mut deks: BTreeMap<DekId, Vec<String>> = BTreeMap::new();
        while let Some(info) = listed.try_next().await? {
            let name = info.key.to_string();
            let below = name.strip_prefix(&folder).and_then(|rest| rest.split_once('/'));
            if let Some(dek) = below.and_then(|(dek, _)| dek.parse().ok()) {
                deks.entry(dek).or_default().push(name);
            }
        }
        Ok(deks)
    }

    /// The names of a DEK's records, in their order.
    async fn key_names(&self, dek: DekId) -> Result<Vec<String>, PipelineError> {
        let folder = layout::key_folder(self.cluster(), dek);
        let listed: Vec<_> = self.store().list(&folder, None).try_collect().await?;
        Ok(listed.iter().map(|info| info.key.to_string()).collect())
    }

    /// The DEK of a run, unwrapped by this KEK.
    ///
    /// # Errors
    /// When no believed record has a wrap that this KEK opens, or what comes out is another key.
    pub async fn dek(&self, dek: DekId, kms: &dyn Kms) -> Result<Dek, PipelineError> {
        self.newest_key(dek).await?.unwrap(kms).await
    }

    /// The record of a DEK that counts.
    ///
    /// # Errors
    /// When none is believed, or the store fails.
    pub async fn newest_key(&self, dek: DekId) -> Result<NewestKey, PipelineError> {
        let names = self.key_names(dek).await?;
        self.newest_key_of(dek, names).await
    }

    /// The same, when the names of its records are known.
    ///
    /// # Errors
    /// As [`Repository::newest_key`].
    pub async fn newest_key_of(
        &self,
        dek: DekId,
        names: Vec<String>,
    ) -> Result<NewestKey, PipelineError> {
        // An intruder who may write could add junk as the newest generation: the newest that is
        // believed counts, and what is not is told.
        let mut refused = None;
        for object in names.iter().rev() {
            match self.generation(dek, object).await {
                Ok((record, role)) => {
                    return Ok(NewestKey { object: object.clone(), record, role, taken: names });
                }
                Err(error @ PipelineError::Integrity { .. }) => {
                    tracing::warn!(%error, "a key record is not believed; an older one is tried");
                    refused.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| {
            let folder = layout::key_folder(self.cluster(), dek);
            PipelineError::integrity(folder, "the DEK has no key record")
        }))
    }

    /// What is wrong with the records of a DEK: a restore takes the newest that it believes, and
    /// somebody should know of the others.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn key_findings(&self, dek: DekId) -> Result<Vec<Finding>, PipelineError> {
        let names = self.key_names(dek).await?;
        Ok(self.key_records(dek, &names).await?.findings)
    }

    /// All records of a DEK by their names, and what is wrong with those that are not believed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn key_records(
        &self,
        dek: DekId,
        names: &[String],
    ) -> Result<KeyRecords, PipelineError> {
        let mut records = KeyRecords { dek, generations: Vec::new(), findings: Vec::new() };
        for object in names {
            match self.generation(dek, object).await {
                Ok((record, _)) => records.generations.push(record),
                Err(PipelineError::Integrity { object: other, why }) => {
                    // Whatever it rests on that is not believed, this is what somebody must look at.
                    let why = if other == *object { why } else { format!("{other}: {why}") };
                    records.findings.push(Finding { object: object.clone(), chunk: None, why });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// One generation of a DEK's record, believed, and the role of the DEK's own run.
    async fn generation(
        &self,
        dek: DekId,
        object: &str,
    ) -> Result<(KeyRecord, Role), PipelineError> {
        let found = self.record_of_cluster::<KeyRecord>(object.to_owned()).await?;
        let Some(Found { record, .. }) = found else {
            return Err(PipelineError::integrity(object, "it is missing"));
        };
        if record.dek_id != dek || layout::key(self.cluster(), dek, record.generation) != object {
            let why = "it is the record of another DEK or generation";
            return Err(PipelineError::integrity(object, why));
        }
        let role = self.check_origin(&record, object).await?;
        Ok((record, role))
    }

    /// A DEK is the one that its own run committed to in generation 1. Without this any other
    /// run could add a generation with a key of its choice, and volumes to go with it.
    async fn check_origin(&self, newest: &KeyRecord, object: &str) -> Result<Role, PipelineError> {
        let name = layout::key(self.cluster(), newest.dek_id, 1);
        let first = if newest.generation == 1 {
            newest.clone()
        } else {
            let found = self.record_of_cluster::<KeyRecord>(name.clone()).await?;
            found.ok_or_else(|| PipelineError::integrity(&name, "it is missing"))?.record
        };
        let run = self.run(first.run_id).await?;
        if run.dek_id != Some(newest.dek_id)
            || (first.dek_id, first.generation) != (newest.dek_id, 1)
        {
            return Err(PipelineError::integrity(name, "it was not written by the DEK's own run"));
        }
        if first.commitment != newest.commitment {
            return Err(PipelineError::integrity(
                object,
                "it commits to another key than generation 1",
            ));
        }
        Ok(run.role)
    }
}
