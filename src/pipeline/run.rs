//! A run that writes: its key, its DEK, and the records that readers will check it by.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{Author, Class, Introduction, PipelineError, keys::purpose, repository::Repository};
use crate::{
    crypto::{
        self, Dek,
        kms::{KeyContext, Kms},
        signer::Signer,
    },
    format::{ClusterRecord, KeyRecord, Payload, Role, RunIdentity, layout},
    model::{ClusterUuid, DekId, RunId, Sha256Digest, Timestamp},
    store::probe_create_only,
};

/// What a run needs to begin.
#[derive(Debug)]
pub struct RunRequest<'a> {
    /// Wraps the DEK. No right to unwrap is needed.
    pub kms: &'a dyn Kms,
    /// Wrap the DEK, too, each by itself: any one of them opens it.
    pub also: &'a [Box<dyn Kms>],
    /// Vouches for the run's key.
    pub signer: &'a dyn Signer,
    /// What the run will write.
    pub role: Role,
    /// Who runs it.
    pub identity: RunIdentity,
    /// When it began.
    pub started_at: Timestamp,
}

/// A run that seals and has begun: its record and its key record are stored.
#[derive(Debug)]
pub struct Run {
    author: Author,
    /// Its DEK's id.
    pub dek_id: DekId,
    /// Its DEK.
    pub dek: Dek,
    sealed: AtomicU64,
    has_segments: AtomicBool,
}

/// A run is an author that has a DEK.
impl Deref for Run {
    type Target = Author;

    fn deref(&self) -> &Author {
        &self.author
    }
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
        probe_create_only(
            &**repository.store(),
            &format!("{}/", repository.cluster()),
            &id.to_string(),
        )
        .await?;
        repository.probe_keep(&id.to_string()).await?;
        let known = repository.uuid().await?;
        match known {
            Some(_) => repository.renew_locks().await?,
            None => refuse_headless(&repository).await?,
        }
        let cluster = match known {
            Some(uuid) => uuid,
            None => ClusterUuid::from_bytes(crypto::random()?),
        };
        let context = KeyContext { cluster, dek: dek_id, purpose: purpose(request.role) };
        let (dek, wrapped) = request.kms.generate(&context).await?;
        let mut wraps = vec![wrapped];
        for kms in request.also {
            // One that fails fails the run: nobody would miss a wrap before the day it is needed.
            wraps.push(kms.wrap(&context, &dek).await?);
        }
        let author = Author::new(repository, cluster, id)?;
        let (sealed, has_segments) = (AtomicU64::new(0), AtomicBool::new(false));
        let run = Self { author, dek_id, dek, sealed, has_segments };
        let introduction = Introduction {
            signer: request.signer,
            identity: request.identity.clone(),
            started_at: request.started_at,
        };
        run.introduce(&introduction, request.role, Some(dek_id)).await?;
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
            wraps,
        };
        let name = layout::key(run.repository.cluster(), dek_id, 1);
        run.create(&name, run.sign(&record)?, Class::Key).await?;
        Ok(run)
    }

    /// The number of the next object of the log that this run seals, from 0.
    pub fn next_sequence(&self) -> u64 {
        self.sealed.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether it has stored a segment before; from then on it has.
    pub(super) fn has_segments(&self) -> bool {
        self.has_segments.swap(true, Ordering::Relaxed)
    }

    /// Creates the cluster record; false when another run has.
    async fn create_cluster(&self, created_at: Timestamp) -> Result<bool, PipelineError> {
        let record = ClusterRecord {
            version: ClusterRecord::VERSION,
            cluster_uuid: self.cluster,
            run_id: self.id,
            created_at,
        };
        let object = layout::cluster(self.repository.cluster());
        let keep = self.repository.keep(Class::Evidence);
        Ok(self
            .create_alone::<ClusterRecord>(&object, self.sign(&record)?, &keep, |_| true)
            .await?
            || self.repository.uuid().await? == Some(self.cluster))
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
