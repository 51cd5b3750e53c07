//! A cluster's folder as a reader sees it: nothing is believed before its signature is.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OnceCell};

use super::{
    Intruder, LockPolicy, PipelineError, Standing,
    candidates::{Candidates, Met},
    chain, marked_backup,
};
use crate::{
    crypto::{signer::Trust, verify},
    format::{
        AuditRecord, ClusterRecord, DrillRecord, Envelope, HorizonRecord, KeyRecord, LogRecord,
        MAX_RECORD_BYTES, Manifest, MarkRecord, Payload, Role, RunRecord, VolumeRecord, layout,
    },
    model::{Access, BackupId, ClusterName, ClusterUuid, RunId, Sha256Digest, Timestamp},
    store::{Key, Store, Versions},
};

/// Requests in flight while listing.
const PARALLEL: usize = 8;

/// A record that its run signs.
pub(super) trait SignedByRun: Payload {
    /// Whether a run may write it that adds nothing to what is backed up.
    const BY_KEEPERS: bool;
    fn run_id(&self) -> RunId;
    fn cluster(&self) -> ClusterUuid;
}

macro_rules! signed_by_run {
    ($($name:ident: $keepers:literal),*) => {$(
        impl SignedByRun for $name {
            const BY_KEEPERS: bool = $keepers;

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
    ClusterRecord: false, KeyRecord: false, AuditRecord: true, Manifest: false, LogRecord: false,
    MarkRecord: true, HorizonRecord: true, DrillRecord: true
);

/// A record that has been believed, and the hash of its stored bytes.
#[derive(Debug, Clone)]
pub struct Found<P> {
    /// The record.
    pub record: P,
    /// SHA-256 of what is stored.
    pub sha256: Sha256Digest,
}

/// A run, and who stands behind it.
#[derive(Debug, Clone)]
pub struct Vouched {
    /// Its record.
    pub record: RunRecord,
    /// SHA-256 of what is stored.
    pub sha256: Sha256Digest,
    /// The trusted signer that vouches for it.
    pub signer: String,
}

/// Runs that were believed lately. A chain of a million acts has half as many runs, and those of one
/// run stand close together: when the young ones are many they become the old ones, and those go.
#[derive(Debug, Default)]
struct Runs {
    young: HashMap<RunId, Arc<Vouched>>,
    old: HashMap<RunId, Arc<Vouched>>,
}

impl Runs {
    /// How many young ones are many.
    const MANY: usize = 4096;

    fn get(&mut self, id: RunId) -> Option<Arc<Vouched>> {
        if let Some(known) = self.young.get(&id) {
            return Some(Arc::clone(known));
        }
        let known = self.old.remove(&id)?;
        self.put(id, Arc::clone(&known));
        Some(known)
    }

    fn put(&mut self, id: RunId, run: Arc<Vouched>) {
        if self.young.len() >= Self::MANY {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, run);
    }
}

/// One cluster in a repository, read with the eyes of someone who trusts these signers.
#[derive(Debug)]
pub struct Repository {
    store: Arc<dyn Store>,
    cluster: ClusterName,
    trust: Trust,
    uuid: Mutex<Option<ClusterUuid>>,
    runs: Mutex<Runs>,
    audit: AtomicU64,
    access: OnceCell<Access>,
    met: Met,
    pub(super) policy: Option<LockPolicy>,
    /// The bucket's own retention: nothing is locked for less.
    pub(super) least: OnceLock<Duration>,
}

impl Repository {
    /// Looks at a cluster; nothing is read yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, cluster: ClusterName, trust: Trust) -> Self {
        Self {
            store,
            cluster,
            trust,
            uuid: Mutex::default(),
            runs: Mutex::default(),
            audit: AtomicU64::default(),
            access: OnceCell::new(),
            met: Met::default(),
            policy: None,
            least: OnceLock::new(),
        }
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

    /// As whom the store knew us when it was first asked.
    ///
    /// # Errors
    /// When it does not, or the credentials are not to be had.
    pub async fn access(&self) -> Result<&Access, PipelineError> {
        self.access.get_or_try_init(|| async { Ok(self.store.access().await?) }).await
    }

    /// `<repository>/<cluster>`, for people.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/{}", self.store.url().trim_end_matches('/'), self.cluster)
    }

    /// What was written over the objects that were read so far, or deleted: the originals were read.
    #[must_use]
    pub fn intruders(&self) -> Vec<Intruder> {
        self.met.all()
    }

    /// Whether a signer that we believe has signed this.
    pub(super) fn trusts(&self, message: &[u8], signature: &[u8]) -> bool {
        self.trust.verify(message, signature).is_ok()
    }

    /// Notes what a listing shows of intruders: more than one version, or deletions. What was
    /// looked at more closely before stays as it was found.
    pub fn look_for_intruders(&self, listed: &Versions) {
        if let Some(oldest) = listed.versions.first()
            && !self.met.knows(&listed.key)
        {
            self.met.note(listed, oldest);
        }
    }

    pub(super) fn met(&self) -> &Met {
        &self.met
    }

    /// The cluster's uuid; nothing when there is no such cluster yet.
    ///
    /// # Errors
    /// When the record cannot be read or believed.
    pub async fn uuid(&self) -> Result<Option<ClusterUuid>, PipelineError> {
        let mut known = self.uuid.lock().await;
        if known.is_some() {
            return Ok(*known);
        }
        let object = layout::cluster(&self.cluster);
        let mut found = Candidates::of(self, &object).await?;
        while let Some(bytes) = found.read(MAX_RECORD_BYTES).await? {
            let judged = self.believe_alone::<ClusterRecord>(&object, &bytes).await;
            let judged = judged.and_then(|believed| self.as_pinned(&object, believed));
            if let Some(believed) = found.judge(judged)? {
                *known = Some(believed.record.cluster_uuid);
                return Ok(*known);
            }
        }
        found.nothing_of_ours::<ClusterRecord>(|_| true).await?;
        match self.trust.pinned(&self.cluster) {
            None => Ok(None),
            Some(pin) => Err(PipelineError::integrity(
                object,
                format!("it is missing, and the trust file pins this cluster: {pin}"),
            )),
        }
    }

    /// A signer vouches for all its clusters: which of them has this name only the reader knows.
    fn as_pinned(
        &self,
        object: &str,
        found: Found<ClusterRecord>,
    ) -> Result<Found<ClusterRecord>, PipelineError> {
        let uuid = found.record.cluster_uuid;
        match self.trust.pinned(&self.cluster) {
            Some(pin) if pin != uuid => Err(PipelineError::integrity(
                object,
                format!("it is cluster {uuid}, and the trust file pins {pin} under this name"),
            )),
            _ => Ok(found),
        }
    }

    /// When the cluster was made; nothing when there is no such cluster.
    ///
    /// # Errors
    /// When the record cannot be read or believed.
    pub async fn created_at(&self) -> Result<Option<Timestamp>, PipelineError> {
        let object = layout::cluster(&self.cluster);
        let mut found = Candidates::of(self, &object).await?;
        while let Some(bytes) = found.read(MAX_RECORD_BYTES).await? {
            let judged = self.believe_alone::<ClusterRecord>(&object, &bytes).await;
            let judged = judged.and_then(|believed| self.as_pinned(&object, believed));
            if let Some(believed) = found.judge(judged)? {
                return Ok(Some(believed.record.created_at));
            }
        }
        found.none()
    }

    /// The run that has created the cluster.
    ///
    /// # Errors
    /// When the record cannot be read or believed, or is not there.
    pub async fn founder(&self) -> Result<RunId, PipelineError> {
        let object = layout::cluster(&self.cluster);
        match self.record_of_cluster::<ClusterRecord>(&object, |_, _| Ok(())).await? {
            Some(found) => Ok(found.record.run_id),
            None => Err(PipelineError::integrity(object, "it is missing")),
        }
    }

    /// The manifest of a backup, believed; nothing when the backup is not complete.
    ///
    /// # Errors
    /// When it cannot be read, or is not this backup's manifest of this cluster.
    pub async fn manifest(&self, id: &BackupId) -> Result<Option<Found<Manifest>>, PipelineError> {
        let object = layout::manifest(&self.cluster, id);
        let is_it = |manifest: &Manifest, run: &RunRecord| {
            if manifest.backup_id != *id {
                let why = format!(
                    "it is the manifest of backup {}: it belongs somewhere else",
                    manifest.backup_id
                );
                return Err(PipelineError::integrity(&object, why));
            }
            let totals = (0u32..).zip(&manifest.volumes).all(|(n, v)| v.sequence == n)
                && sum(&manifest.volumes, |v| v.plain_bytes) == Some(manifest.bytes_read)
                && sum(&manifest.volumes, |v| v.bytes) == Some(manifest.bytes_stored);
            if run.dek_id != Some(manifest.dek_id) || run.role != Role::Backup || !totals {
                return Err(PipelineError::integrity(&object, "it contradicts itself or its run"));
            }
            Ok(())
        };
        match self.record_of_cluster(&object, is_it).await {
            Err(error @ PipelineError::Integrity { .. }) => {
                let belongs = |document: &serde_json::Value| document["backup_id"] == id.as_str();
                let strange = self.has_only_strangers::<Manifest>(&object, belongs).await?;
                if strange { Ok(None) } else { Err(error) }
            }
            found => found,
        }
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

    /// All complete backups, newest first, each with its manifest or why that is not believed: an
    /// increment is not when something is wrong with the manifests that it stands on. One that is
    /// being removed is complete no more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn backups(
        &self,
    ) -> Result<Vec<(BackupId, Result<Found<Manifest>, PipelineError>)>, PipelineError> {
        if self.trust.pinned(&self.cluster).is_some() {
            // Another cluster's backups are not damaged: they are not meant at all.
            self.uuid().await?;
        }
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
        chain::judge(&self.cluster, &mut found);
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
        Ok(self.vouched(id).await?.record.clone())
    }

    /// The same, and who vouches for it.
    ///
    /// # Errors
    /// As [`Repository::run`].
    pub async fn vouched(&self, id: RunId) -> Result<Arc<Vouched>, PipelineError> {
        if let Some(known) = self.runs.lock().await.get(id) {
            return Ok(known);
        }
        let object = layout::run(&self.cluster, id);
        let mut found = Candidates::of(self, &object).await?;
        while let Some(bytes) = found.read(MAX_RECORD_BYTES).await? {
            if let Some(vouched) = found.judge(self.vouched_for(&object, id, &bytes))? {
                let vouched = Arc::new(vouched);
                self.runs.lock().await.put(id, Arc::clone(&vouched));
                return Ok(vouched);
            }
        }
        let missing = || PipelineError::integrity(&object, "the run's record is missing");
        found.none()?.ok_or_else(missing)
    }

    /// A run's record, when a trusted signer has signed it.
    fn vouched_for(&self, object: &str, id: RunId, bytes: &[u8]) -> Result<Vouched, PipelineError> {
        let bad = |e| PipelineError::format(object, &e);
        let opened = Envelope::decode::<RunRecord>(bytes).map_err(bad)?;
        let signer = self.trust.verify(&opened.signed, &opened.signature).map_err(|_| {
            PipelineError::integrity(
                object,
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
            let why = "a run seals with a DEK, or seals nothing and has none";
            return Err(PipelineError::integrity(object, why));
        }
        if !self.trust.allows(signer, record.role.name()) {
            let why = format!("signer {signer} may not vouch for a run of role {}", record.role);
            return Err(PipelineError::integrity(object, why));
        }
        Ok(Vouched { record, sha256: digest(bytes), signer: signer.to_owned() })
    }

    /// Whether it would believe a run's record with this signature.
    pub(super) fn believes(&self, text: &[u8], signature: &[u8], id: &str, role: Role) -> bool {
        let signer = self.trust.verify(text, signature);
        signer.is_ok_and(|signer| signer == id) && self.trust.allows(id, role.name())
    }

    /// The greatest number of the audit chain that this process has seen; 0 for none.
    pub(super) fn seen_audit(&self) -> u64 {
        self.audit.load(Ordering::Relaxed)
    }

    pub(super) fn saw_audit(&self, number: u64) {
        self.audit.fetch_max(number, Ordering::Relaxed);
    }

    /// A record signed by its run, of this cluster, that is what it should be.
    pub(super) async fn record_of_cluster<P: SignedByRun>(
        &self,
        object: &str,
        check: impl Fn(&P, &RunRecord) -> Result<(), PipelineError>,
    ) -> Result<Option<Found<P>>, PipelineError> {
        let mut found = Candidates::of(self, object).await?;
        while let Some(bytes) = found.read(MAX_RECORD_BYTES).await? {
            let judged = match self.believe::<P>(object, &bytes).await {
                Ok(believed) => match self.run(believed.record.run_id()).await {
                    Ok(run) => check(&believed.record, &run).map(|()| believed),
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            if let Some(believed) = found.judge(judged)? {
                return Ok(Some(believed));
            }
        }
        found.none()
    }

    /// The same, of bytes that were read already.
    pub(super) async fn believe<P: SignedByRun>(
        &self,
        object: &str,
        stored: &[u8],
    ) -> Result<Found<P>, PipelineError> {
        let found = self.believe_alone::<P>(object, stored).await?;
        match self.uuid().await? {
            Some(uuid) if uuid == found.record.cluster() => Ok(found),
            Some(_) => Err(PipelineError::integrity(object, "it belongs to another cluster")),
            None => Err(PipelineError::integrity(layout::cluster(&self.cluster), "it is missing")),
        }
    }

    /// The same, of whichever cluster it says.
    pub(super) async fn believe_alone<P: SignedByRun>(
        &self,
        object: &str,
        bytes: &[u8],
    ) -> Result<Found<P>, PipelineError> {
        let bad = |e| PipelineError::format(object, &e);
        let opened = Envelope::decode::<P>(bytes).map_err(bad)?;
        let record: P = opened.document().map_err(bad)?;
        let run = &self.vouched(record.run_id()).await?.record;
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
        match run.role {
            _ if P::BY_KEEPERS => {}
            Role::Backup | Role::Archive | Role::Rewrap => {}
            Role::Read => {
                let why = "its run may write audit records alone";
                return Err(PipelineError::integrity(object, why));
            }
            Role::Prune | Role::Copy | Role::Drill => {
                let why = format!("its run is one of role {}: it may not write this", run.role);
                return Err(PipelineError::integrity(object, why));
            }
        }
        Ok(Found { record, sha256: digest(bytes) })
    }

    /// What counts under the name of a record that was read before, as it is stored; nothing when it
    /// has gone.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn stored_bytes(&self, object: &str) -> Result<Option<bytes::Bytes>, PipelineError> {
        self.read(object).await
    }

    /// What lies under a name, whatever it is: the oldest version, where there are several.
    pub(super) async fn read(&self, object: &str) -> Result<Option<bytes::Bytes>, PipelineError> {
        Candidates::of(self, object).await?.read(MAX_RECORD_BYTES).await
    }
}

/// The SHA-256 of stored bytes.
pub(super) fn digest(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest(Sha256::digest(bytes).into())
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
