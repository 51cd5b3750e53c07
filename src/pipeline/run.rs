//! A run that writes: its key, its DEK, and the records that readers will check it by.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

use super::{
    PipelineError,
    keys::purpose,
    repository::{Repository, key},
};
use crate::{
    crypto::{
        self, Dek, RunKey,
        kms::{KeyContext, Kms},
        signer::Signer,
    },
    format::{ClusterRecord, Envelope, KeyRecord, Payload, Role, RunIdentity, RunRecord, layout},
    model::{ClusterUuid, DekId, RunId, Sha256Digest, Timestamp},
    store::{StoreErrorKind, probe_create_only},
};

/// What a run needs to begin.
#[derive(Debug)]
pub struct RunRequest<'a> {
    /// Wraps the DEK. No right to unwrap is needed.
    pub kms: &'a dyn Kms,
    /// Vouches for the run's key.
    pub signer: &'a dyn Signer,
    /// What the run will write.
    pub role: Role,
    /// Who runs it.
    pub identity: RunIdentity,
    /// When it began.
    pub started_at: Timestamp,
}

/// A run that has begun: its record and its key record are stored.
#[derive(Debug)]
pub struct Run {
    /// The repository that it writes to.
    pub repository: Arc<Repository>,
    /// The cluster.
    pub cluster: ClusterUuid,
    /// The run.
    pub id: RunId,
    /// Its DEK's id.
    pub dek_id: DekId,
    /// Its DEK.
    pub dek: Dek,
    key: RunKey,
    sealed: AtomicU64,
}

impl Run {
    /// Probes the store, creates the cluster when it is new, and stores the run's records.
    ///
    /// # Errors
    /// When the store ignores create-only writes, or it, the KMS or the signer fails.
    pub async fn begin(
        repository: Arc<Repository>,
        request: &RunRequest<'_>,
    ) -> Result<Self, PipelineError> {
        let id = RunId::from_bytes(crypto::random()?);
        let dek_id = DekId::from_bytes(crypto::random()?);
        let run_key = RunKey::generate()?;
        probe_create_only(
            &**repository.store(),
            &format!("{}/", repository.cluster()),
            &id.to_string(),
        )
        .await?;
        let known = repository.uuid().await?;
        if known.is_none() {
            refuse_headless(&repository).await?;
        }
        let cluster = match known {
            Some(uuid) => uuid,
            None => ClusterUuid::from_bytes(crypto::random()?),
        };
        let (dek, wrapped) = request
            .kms
            .generate(&KeyContext { cluster, dek: dek_id, purpose: purpose(request.role) })
            .await?;
        let mut run =
            Self { repository, cluster, id, dek_id, dek, key: run_key, sealed: AtomicU64::new(0) };
        run.store_run_record(request).await?;
        if known.is_none() && !run.create_cluster(request.started_at).await? {
            // Another first run was quicker: this run's records name a cluster that is not; begin again.
            return Box::pin(Self::begin(Arc::clone(&run.repository), request)).await;
        }
        let record = KeyRecord {
            version: KeyRecord::VERSION,
            cluster_uuid: cluster,
            dek_id,
            generation: 1,
            run_id: id,
            created_at: request.started_at,
            commitment: Sha256Digest(run.dek.commitment(dek_id.as_bytes())),
            wraps: vec![wrapped],
        };
        let name = layout::key(run.repository.cluster(), dek_id, 1);
        run.create(&name, run.sign(&record)?).await?;
        run.cluster = cluster;
        Ok(run)
    }

    /// The number of the next object of the log that this run seals, from 0.
    pub fn next_sequence(&self) -> u64 {
        self.sealed.fetch_add(1, Ordering::Relaxed)
    }

    /// A record as it is stored, signed by this run.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn sign<P: Payload>(&self, record: &P) -> Result<Bytes, PipelineError> {
        let bad = |e| PipelineError::format(P::WHAT, &e);
        let (payload, signed) = Envelope::prepare(record).map_err(bad)?;
        let stored = Envelope::seal::<P>(&payload, &self.id.to_string(), &self.key.sign(&signed))
            .map_err(bad)?;
        Ok(stored.into())
    }

    /// Stores a record under a name that is this run's own.
    pub(super) async fn create(&self, object: &str, stored: Bytes) -> Result<(), PipelineError> {
        Ok(self.repository.store().create(&key(object)?, stored).await?)
    }

    async fn store_run_record(&self, request: &RunRequest<'_>) -> Result<(), PipelineError> {
        let record = RunRecord {
            version: RunRecord::VERSION,
            run_id: self.id,
            cluster_uuid: self.cluster,
            role: request.role,
            public_key: Sha256Digest(self.key.public_key()),
            dek_id: self.dek_id,
            started_at: request.started_at,
            identity: request.identity.clone(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let bad = |e| PipelineError::format(RunRecord::WHAT, &e);
        let (payload, signed) = Envelope::prepare(&record).map_err(bad)?;
        let signature = request.signer.sign(&signed).await?;
        let stored =
            Envelope::seal::<RunRecord>(&payload, request.signer.id(), &signature).map_err(bad)?;
        self.create(&layout::run(self.repository.cluster(), self.id), stored.into()).await
    }

    /// Creates the cluster record; false when another run has.
    async fn create_cluster(&self, created_at: Timestamp) -> Result<bool, PipelineError> {
        let record = ClusterRecord {
            version: ClusterRecord::VERSION,
            cluster_uuid: self.cluster,
            run_id: self.id,
            created_at,
        };
        let object = key(&layout::cluster(self.repository.cluster()))?;
        match self.repository.store().create(&object, self.sign(&record)?).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// A folder with backups and without a cluster record has lost it; a new one would make strangers
/// of them all. Runs alone prove nothing: the first run's record comes before the cluster's.
async fn refuse_headless(repository: &Repository) -> Result<(), PipelineError> {
    let folder = format!("{}/", repository.cluster());
    let there = repository.store().list_folders(&folder).await?;
    match there
        .iter()
        .find(|name| matches!(name.as_str(), "audit" | "backups" | "keys" | "log" | "segments"))
    {
        // A quicker first run may have created the cluster between the two looks.
        Some(name) if repository.uuid().await?.is_none() => Err(PipelineError::integrity(
            layout::cluster(repository.cluster()),
            format!(
                "it is missing, and {folder}{name}/ is there: put it back from a copy, or choose another --cluster"
            ),
        )),
        _ => Ok(()),
    }
}
