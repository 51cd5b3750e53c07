//! The key records of DEKs: which to believe, what must come out of them, and the next one.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use super::{
    Author, Finding, Found, PipelineError, Repository, candidates::Candidates,
    repository::SignedByRun as _,
};
use crate::{
    crypto::{
        Dek,
        kms::{KeyContext, Kms, KmsError},
    },
    format::{KeyRecord, MAX_RECORD_BYTES, Payload as _, Role, RunRecord, layout},
    model::{DekId, Sha256Digest, Timestamp, WrappedDek},
};

const NOT_ITS_RUN: &str = "it was not written by the DEK's own run";

/// The last generation that has a name.
const LAST_GENERATION: u32 = 99_999_999;

/// What the DEK of a run is for, in the KMS context.
#[must_use]
pub fn purpose(role: Role) -> &'static str {
    // That of a run that seals nothing is in no wrap, since it has no DEK.
    role.name()
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
        let keep = author.repository.keep_like(&self.object).await?;
        let written = Some((format!("{dek}/{generation:08}.json"), sha256));
        let is_it = |document: &serde_json::Value| document["generation"] == generation;
        if author.create_alone::<KeyRecord>(&name, stored, &keep, is_it).await? {
            return Ok(written);
        }
        match author.repository.generation(dek, &name).await {
            Ok((found, _)) if found.record == record => Ok(written),
            Ok(_) | Err(PipelineError::Integrity { .. }) => Ok(None),
            Err(error) => Err(error),
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
    /// SHA-256 of what is stored of each of these.
    pub digests: Vec<Sha256Digest>,
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
        let mut listed = self.store().list_versions(&folder, None);
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
    pub(super) async fn key_names(&self, dek: DekId) -> Result<Vec<String>, PipelineError> {
        let folder = layout::key_folder(self.cluster(), dek);
        let listed: Vec<_> = self.store().list_versions(&folder, None).try_collect().await?;
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
                Ok((Found { record, .. }, role)) => {
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
        let (generations, digests, findings) = (Vec::new(), Vec::new(), Vec::new());
        let mut records = KeyRecords { dek, generations, digests, findings };
        for object in names {
            match self.generation(dek, object).await {
                Ok((found, _)) => {
                    records.generations.push(found.record);
                    records.digests.push(found.sha256);
                }
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
    ) -> Result<(Found<KeyRecord>, Role), PipelineError> {
        let mut found = Candidates::of(self, object).await?;
        while let Some(bytes) = found.read(MAX_RECORD_BYTES).await? {
            let judged = self.generation_of(dek, object, &bytes).await;
            if let Some(believed) = found.judge(judged)? {
                return Ok(believed);
            }
        }
        found.none()?.ok_or_else(|| PipelineError::integrity(object, "it is missing"))
    }

    async fn generation_of(
        &self,
        dek: DekId,
        object: &str,
        bytes: &[u8],
    ) -> Result<(Found<KeyRecord>, Role), PipelineError> {
        let found = self.believe::<KeyRecord>(object, bytes).await?;
        let record = &found.record;
        if record.dek_id != dek || layout::key(self.cluster(), dek, record.generation) != object {
            let why = "it is the record of another DEK or generation";
            return Err(PipelineError::integrity(object, why));
        }
        let role = self.check_origin(record, object).await?;
        Ok((found, role))
    }

    /// A DEK is the one that its own run committed to in generation 1. Without this any other
    /// run could add a generation with a key of its choice, and volumes to go with it.
    async fn check_origin(&self, newest: &KeyRecord, object: &str) -> Result<Role, PipelineError> {
        let name = layout::key(self.cluster(), newest.dek_id, 1);
        let first = if newest.generation == 1 {
            newest.clone()
        } else {
            let is_it = |first: &KeyRecord, _: &RunRecord| {
                if (first.dek_id, first.generation) == (newest.dek_id, 1) {
                    return Ok(());
                }
                Err(PipelineError::integrity(&name, NOT_ITS_RUN))
            };
            let found = self.record_of_cluster(&name, is_it).await?;
            found.ok_or_else(|| PipelineError::integrity(&name, "it is missing"))?.record
        };
        let run = self.run(first.run_id).await?;
        if run.dek_id != Some(newest.dek_id) {
            return Err(PipelineError::integrity(name, NOT_ITS_RUN));
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
