//! A cluster's folder as a reader sees it: nothing is believed before its signature is.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::{PipelineError, Standing, marked_backup};
use crate::{
    crypto::{signer::Trust, verify},
    format::{
        AuditRecord, ClusterRecord, Envelope, HorizonRecord, KeyRecord, LogRecord,
        MAX_RECORD_BYTES, Manifest, MarkRecord, Payload, Role, RunRecord, VolumeRecord, layout,
    },
    model::{BackupId, ClusterName, ClusterUuid, RunId, Sha256Digest},
    store::{Key, Store, StoreErrorKind},
};

/// Requests in flight while listing.
const PARALLEL: usize = 8;

/// A record that its run signs.
pub(super) trait SignedByRun: Payload {
    fn run_id(&self) -> RunId;
    fn cluster(&self) -> ClusterUuid;
}

macro_rules! signed_by_run {
    ($($name:ident),*) => {$(
        impl SignedByRun for $name {
            fn run_id(&self) -> RunId {
                self.run_id
            }

            fn cluster(&self) -> ClusterUuid {
                self.cluster_uuid
            }
        }
    )*};
}

signed_by_run!(
    ClusterRecord,
    KeyRecord,
    AuditRecord,
    Manifest,
    LogRecord,
    MarkRecord,
    HorizonRecord
);

/// A record that has been believed, and the hash of its stored bytes.
#[derive(Debug, Clone)]
pub struct Found<P> {
    /// The record.
    pub record: P,
    /// SHA-256 of what is stored.
    pub sha256: Sha256Digest,
}

/// One cluster in a repository, read with the eyes of someone who trusts these signers.
#[derive(Debug)]
pub struct Repository {
    store: Arc<dyn Store>,
    cluster: ClusterName,
    trust: Trust,
    uuid: Mutex<Option<ClusterUuid>>,
    runs: Mutex<HashMap<RunId, RunRecord>>,
}

impl Repository {
    /// Looks at a cluster; nothing is read yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, cluster: ClusterName, trust: Trust) -> Self {
        Self { store, cluster, trust, uuid: Mutex::default(), runs: Mutex::default() }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// `<repository>/<cluster>`, for people.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/{}", self.store.url().trim_end_matches('/'), self.cluster)
    }

    /// The cluster's uuid; nothing when there is no such cluster yet.
    ///
    /// # Errors
    /// When the record cannot be read or believed.
    pub async fn uuid(&self) -> Result<Option<ClusterUuid>, PipelineError> {
        let mut known = self.uuid.lock().await;
        if known.is_none()
            && let Some(found) =
                self.record::<ClusterRecord>(layout::cluster(&self.cluster)).await?
        {
            *known = Some(found.record.cluster_uuid);
        }
        Ok(*known)
    }

    /// The run that has created the cluster.
    ///
    /// # Errors
    /// When the record cannot be read or believed, or is not there.
    pub async fn founder(&self) -> Result<RunId, PipelineError> {
        let object = layout::cluster(&self.cluster);
        match self.record::<ClusterRecord>(object.clone()).await? {
            Some(found) => Ok(found.record.run_id),
            None => Err(PipelineError::integrity(object, "it is missing")),
        }
    }

    /// The manifest of a backup, believed; nothing when the backup is not complete.
    ///
    /// # Errors
    /// When it cannot be read, or is not this backup's manifest of this cluster.
    pub async fn manifest(&self, id: &BackupId) -> Result<Option<Found<Manifest>>, PipelineError> {
        let key = layout::manifest(&self.cluster, id);
        let Some(found) = self.record_of_cluster::<Manifest>(key.clone()).await? else {
            return Ok(None);
        };
        let manifest = &found.record;
        if manifest.backup_id != *id {
            let why = format!(
                "it is the manifest of backup {}: it belongs somewhere else",
                manifest.backup_id
            );
            return Err(PipelineError::integrity(key, why));
        }
        let run = self.run(manifest.run_id).await?;
        let totals = (0u32..).zip(&manifest.volumes).all(|(n, v)| v.sequence == n)
            && sum(&manifest.volumes, |v| v.plain_bytes) == Some(manifest.bytes_read)
            && sum(&manifest.volumes, |v| v.bytes) == Some(manifest.bytes_stored);
        if run.dek_id != Some(manifest.dek_id) || run.role != Role::Backup || !totals {
            return Err(PipelineError::integrity(key, "it contradicts itself or its run"));
        }
        Ok(Some(found))
    }

    /// Every id below `backups/`, complete or not, in ascending order.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ids(&self) -> Result<Vec<BackupId>, PipelineError> {
        let folders = self.store.list_folders(&layout::backups(&self.cluster)).await?;
        let mut ids: Vec<BackupId> = folders.iter().filter_map(|name| name.parse().ok()).collect();
        ids.sort();
        Ok(ids)
    }

    /// All complete backups, newest first, each with its manifest or why that is not believed.
    /// One that is being removed is complete no more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn backups(
        &self,
    ) -> Result<Vec<(BackupId, Result<Found<Manifest>, PipelineError>)>, PipelineError> {
        let ids = self.ids().await?;
        let marks = self.backup_marks().await?;
        let read = stream::iter(ids.into_iter().map(|id| async move {
            match self.manifest(&id).await {
                Ok(None) => Ok(None),
                Ok(Some(found)) => Ok(Some((id, Ok(found)))),
                Err(error @ PipelineError::Integrity { .. }) => Ok(Some((id, Err(error)))),
                Err(error) => Err(error),
            }
        }));
        let mut found: Vec<_> =
            read.buffered(PARALLEL).try_filter_map(|b| async { Ok(b) }).try_collect().await?;
        found.retain(|(id, found)| {
            let (Some(marks), Ok(found)) = (marks.get(id), found) else { return true };
            !matches!(marks.standing(&marked_backup(found)), Standing::Swept(_))
        });
        found.sort_by_key(|(id, manifest)| {
            std::cmp::Reverse((manifest.as_ref().map(|m| m.record.finished_at).ok(), id.clone()))
        });
        Ok(found)
    }

    /// A run's record, believed when a trusted signer vouches for it.
    ///
    /// # Errors
    /// When the store fails, or no trusted signer vouches for it.
    pub async fn run(&self, id: RunId) -> Result<RunRecord, PipelineError> {
        if let Some(known) = self.runs.lock().await.get(&id) {
            return Ok(known.clone());
        }
        let object = layout::run(&self.cluster, id);
        let Some(bytes) = self.read(&object).await? else {
            return Err(PipelineError::integrity(object, "the run's record is missing"));
        };
        let bad = |e| PipelineError::format(&object, &e);
        let opened = Envelope::decode::<RunRecord>(&bytes).map_err(bad)?;
        let signer = self.trust.verify(&opened.signed, &opened.signature).map_err(|_| {
            PipelineError::integrity(
                &object,
                format!("no trusted signer signed it (it names {})", printable(&opened.keyid)),
            )
        })?;
        if signer != opened.keyid {
            return Err(PipelineError::integrity(object, "it names another signer than signed it"));
        }
        let record: RunRecord = opened.document().map_err(bad)?;
        if record.run_id != id {
            return Err(PipelineError::integrity(object, "it is the record of another run"));
        }
        if record.dek_id.is_some() != record.role.seals() {
            let why = "a run seals with a DEK, or rewraps and has none";
            return Err(PipelineError::integrity(object, why));
        }
        self.runs.lock().await.insert(id, record.clone());
        Ok(record)
    }

    /// A record signed by its run, of this cluster.
    pub(super) async fn record_of_cluster<P: SignedByRun>(
        &self,
        object: String,
    ) -> Result<Option<Found<P>>, PipelineError> {
        let found = self.record::<P>(object.clone()).await?;
        if let Some(Found { record, .. }) = &found {
            self.check_cluster(object, record).await?;
        }
        Ok(found)
    }

    /// The same, of bytes that were read already.
    pub(super) async fn believe<P: SignedByRun>(
        &self,
        object: &str,
        stored: &[u8],
    ) -> Result<Found<P>, PipelineError> {
        let found = self.signed::<P>(object, stored).await?;
        self.check_cluster(object.to_owned(), &found.record).await?;
        Ok(found)
    }

    async fn check_cluster<P: SignedByRun>(
        &self,
        object: String,
        record: &P,
    ) -> Result<(), PipelineError> {
        match self.uuid().await? {
            Some(uuid) if uuid == record.cluster() => Ok(()),
            Some(_) => Err(PipelineError::integrity(object, "it belongs to another cluster")),
            None => Err(PipelineError::integrity(layout::cluster(&self.cluster), "it is missing")),
        }
    }

    async fn record<P: SignedByRun>(
        &self,
        object: String,
    ) -> Result<Option<Found<P>>, PipelineError> {
        let Some(bytes) = self.read(&object).await? else { return Ok(None) };
        self.signed(&object, &bytes).await.map(Some)
    }

    async fn signed<P: SignedByRun>(
        &self,
        object: &str,
        bytes: &[u8],
    ) -> Result<Found<P>, PipelineError> {
        let bad = |e| PipelineError::format(object, &e);
        let opened = Envelope::decode::<P>(bytes).map_err(bad)?;
        let record: P = opened.document().map_err(bad)?;
        let run = self.run(record.run_id()).await?;
        verify(&run.public_key.0, &opened.signed, &opened.signature)
            .map_err(|e| PipelineError::integrity(object, e))?;
        if opened.keyid != run.run_id.to_string() {
            return Err(PipelineError::integrity(object, "it names another key than signed it"));
        }
        if run.cluster_uuid != record.cluster() {
            return Err(PipelineError::integrity(
                object,
                "it belongs to another cluster than its run",
            ));
        }
        Ok(Found { record, sha256: Sha256Digest(Sha256::digest(bytes).into()) })
    }

    /// A small object; nothing when it is not there.
    async fn read(&self, object: &str) -> Result<Option<bytes::Bytes>, PipelineError> {
        match self.store.get(&key(object)?, MAX_RECORD_BYTES).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
            Err(error) => Err(PipelineError::reading(error)),
        }
    }
}

/// A sum that does not wrap round.
fn sum(volumes: &[VolumeRecord], of: fn(&VolumeRecord) -> u64) -> Option<u64> {
    volumes.iter().try_fold(0u64, |total, volume| total.checked_add(of(volume)))
}

/// A key from the layout; its parts were checked when they were parsed.
///
/// # Errors
/// When a record that was read holds a name that is none.
pub fn key(text: &str) -> Result<Key, PipelineError> {
    Key::new(text).map_err(|e| PipelineError::integrity(text, e))
}

fn printable(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(64).collect()
}
