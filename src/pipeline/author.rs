//! Who writes: a run's id and its key, for which a signer vouches.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;

use super::{
    Class, PipelineError,
    repository::{Repository, SignedByRun, digest, key},
};
use crate::{
    crypto::{
        self, RunKey,
        signer::{Signer, SignerError},
    },
    format::{Envelope, Payload, Role, RunIdentity, RunRecord, layout},
    model::{ClusterUuid, DekId, RunId, Sha256Digest, Timestamp},
    store::{Keep, StoreErrorKind, probe_create_only},
};

/// Who stands behind a run.
#[derive(Debug)]
pub struct Introduction<'a> {
    /// Vouches for the run's key.
    pub signer: &'a dyn Signer,
    /// Who runs it; as whom the store knows it is found out.
    pub identity: RunIdentity,
    /// When it began.
    pub started_at: Timestamp,
}

/// A run that signs what it writes.
#[derive(Debug)]
pub struct Author {
    /// The repository that it writes to.
    pub repository: Arc<Repository>,
    /// The cluster.
    pub cluster: ClusterUuid,
    /// The run.
    pub id: RunId,
    key: RunKey,
    record: OnceLock<Sha256Digest>,
}

impl Author {
    /// A fresh run, of which nobody knows yet.
    pub(super) fn new(
        repository: Arc<Repository>,
        cluster: ClusterUuid,
        id: RunId,
    ) -> Result<Self, PipelineError> {
        Ok(Self { repository, cluster, id, key: RunKey::generate()?, record: OnceLock::new() })
    }

    /// A run that reads, and writes audit records about it. Its record is stored.
    ///
    /// # Errors
    /// When the store or the signer fails.
    pub async fn reading(
        repository: Arc<Repository>,
        cluster: ClusterUuid,
        by: Introduction<'_>,
    ) -> Result<Self, PipelineError> {
        let id = RunId::from_bytes(crypto::random()?);
        let store = repository.store();
        // Where versions are kept the oldest counts, whatever becomes of a condition.
        if !store.keeps_versions().await? {
            let folder = format!("{}/", repository.cluster());
            probe_create_only(&**store, &folder, &id.to_string()).await?;
        }
        let author = Self::new(repository, cluster, id)?;
        author.introduce(&by, Role::Read, None).await?;
        Ok(author)
    }

    /// A run of another role that seals nothing; otherwise the same.
    ///
    /// # Errors
    /// When the store or the signer fails.
    pub async fn begin(
        repository: Arc<Repository>,
        cluster: ClusterUuid,
        role: Role,
        by: Introduction<'_>,
    ) -> Result<Self, PipelineError> {
        let id = RunId::from_bytes(crypto::random()?);
        repository.probe_keep(&id.to_string()).await?;
        repository.renew_locks().await?;
        let author = Self::new(repository, cluster, id)?;
        author.introduce(&by, role, None).await?;
        Ok(author)
    }

    /// SHA-256 of the run's stored record, once there is one.
    #[must_use]
    pub fn record_sha256(&self) -> Option<Sha256Digest> {
        self.record.get().copied()
    }

    /// Stores the run's record, signed by the signer, whom readers must believe.
    pub(super) async fn introduce(
        &self,
        by: &Introduction<'_>,
        role: Role,
        dek_id: Option<DekId>,
    ) -> Result<(), PipelineError> {
        let access = self.repository.access().await?;
        let identity = RunIdentity {
            principal: access.principal.clone(),
            access: Some(access.kind),
            ..by.identity.clone()
        };
        let record = RunRecord {
            version: RunRecord::VERSION,
            run_id: self.id,
            cluster_uuid: self.cluster,
            role,
            public_key: Sha256Digest(self.key.public_key()),
            dek_id,
            started_at: by.started_at,
            identity,
            lock: self.repository.lock_policy().map(|policy| policy.told()),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let bad = |e| PipelineError::format(RunRecord::WHAT, &e);
        let (payload, signed) = Envelope::prepare(&record).map_err(bad)?;
        let signature = by.signer.sign(&signed).await?;
        if !self.repository.believes(&signed, &signature, by.signer.id(), role) {
            let (id, role) = (by.signer.id().to_owned(), role.name());
            return Err(SignerError::Untrusted { signer: id, role }.into());
        }
        let stored =
            Envelope::seal::<RunRecord>(&payload, by.signer.id(), &signature).map_err(bad)?;
        let sha256 = digest(&stored);
        let name = layout::run(self.repository.cluster(), self.id);
        self.create(&name, stored.into(), Class::Evidence).await?;
        self.record.get_or_init(|| sha256);
        Ok(())
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
    pub(super) async fn create(
        &self,
        object: &str,
        stored: Bytes,
        class: Class,
    ) -> Result<(), PipelineError> {
        let keep = self.repository.keep(class);
        Ok(self.repository.store().create_kept(&key(object)?, stored, &keep).await?)
    }

    /// Stores a record under a name that others write to, too. True when it is the only one there
    /// ever was; else whoever writes has to read what counts: in a store that keeps versions a name
    /// that was deleted can be created again, and the older version counts all the same.
    ///
    /// What others than our runs have put there stops nobody: `belongs` says what may be ours.
    pub(super) async fn create_alone<P: SignedByRun>(
        &self,
        object: &str,
        stored: Bytes,
        keep: &Keep,
        belongs: impl Fn(&Value) -> bool,
    ) -> Result<bool, PipelineError> {
        let (store, place) = (self.repository.store(), key(object)?);
        match store.create_kept(&place, stored.clone(), keep).await {
            Ok(()) if !store.keeps_versions().await? => return Ok(true),
            Ok(()) => {}
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                if self.repository.has_only_strangers::<P>(object, belongs).await? {
                    store.create_kept(&place, stored, &Keep { over: true, ..*keep }).await?;
                }
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(store.versions(&place).await?.versions.len() == 1)
    }
}
