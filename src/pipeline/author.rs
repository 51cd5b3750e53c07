//! Who writes: a run's id and its key, for which a signer vouches.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    PipelineError,
    repository::{Repository, key},
};
use crate::{
    crypto::{self, RunKey, signer::Signer},
    format::{Envelope, Payload, Role, RunIdentity, RunRecord, layout},
    model::{ClusterUuid, DekId, RunId, Sha256Digest, Timestamp},
};

/// Who stands behind a run.
#[derive(Debug)]
pub struct Introduction<'a> {
    /// Vouches for the run's key.
    pub signer: &'a dyn Signer,
    /// Who runs it.
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
}

impl Author {
    /// A fresh run, of which nobody knows yet.
    pub(super) fn new(
        repository: Arc<Repository>,
        cluster: ClusterUuid,
        id: RunId,
    ) -> Result<Self, PipelineError> {
        Ok(Self { repository, cluster, id, key: RunKey::generate()? })
    }

    /// A run that writes further generations of key records, and seals nothing. Its record is
    /// stored; the hash of it is returned, too.
    ///
    /// # Errors
    /// When the store or the signer fails.
    pub async fn rewrapping(
        repository: Arc<Repository>,
        cluster: ClusterUuid,
        by: Introduction<'_>,
    ) -> Result<(Self, Sha256Digest), PipelineError> {
        let author = Self::new(repository, cluster, RunId::from_bytes(crypto::random()?))?;
        let sha256 = author.introduce(&by, Role::Rewrap, None).await?;
        Ok((author, sha256))
    }

    /// A run of another role that seals nothing, and so has no DEK. Its record is stored.
    ///
    /// # Errors
    /// When the store or the signer fails.
    pub async fn without_dek(
        repository: Arc<Repository>,
        cluster: ClusterUuid,
        role: Role,
        by: Introduction<'_>,
    ) -> Result<Self, PipelineError> {
        let author = Self::new(repository, cluster, RunId::from_bytes(crypto::random()?))?;
        author.introduce(&by, role, None).await?;
        Ok(author)
    }

    /// Stores the run's record, signed by the signer. Returns the hash of what is stored.
    pub(super) async fn introduce(
        &self,
        by: &Introduction<'_>,
        role: Role,
        dek_id: Option<DekId>,
    ) -> Result<Sha256Digest, PipelineError> {
        let record = RunRecord {
            version: RunRecord::VERSION,
            run_id: self.id,
            cluster_uuid: self.cluster,
            role,
            public_key: Sha256Digest(self.key.public_key()),
            dek_id,
            started_at: by.started_at,
            identity: by.identity.clone(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let bad = |e| PipelineError::format(RunRecord::WHAT, &e);
        let (payload, signed) = Envelope::prepare(&record).map_err(bad)?;
        let signature = by.signer.sign(&signed).await?;
        let stored =
            Envelope::seal::<RunRecord>(&payload, by.signer.id(), &signature).map_err(bad)?;
        let sha256 = Sha256Digest(Sha256::digest(&stored).into());
        self.create(&layout::run(self.repository.cluster(), self.id), stored.into()).await?;
        Ok(sha256)
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
}
