//! Records as they are stored, byte for byte, each only when it is believed: for whoever copies them.

use bytes::Bytes;

use super::{
    Found, PipelineError, Repository,
    candidates::Candidates,
    repository::SignedByRun,
};
use crate::{
    format::{AuditRecord, ClusterRecord, KeyRecord, MAX_RECORD_BYTES, Manifest, layout},
    model::{BackupId, RunId},
};

impl Repository {
    /// The record that makes the folder a cluster.
    ///
    /// # Errors
    /// When it is missing or not believed, or the store fails.
    pub async fn original_cluster(&self) -> Result<(Found<ClusterRecord>, Bytes), PipelineError> {
        self.original(&layout::cluster(self.cluster())).await
    }

    /// A run's record.
    ///
    /// # Errors
    /// As [`Repository::original_cluster`].
    pub async fn original_run(&self, id: RunId) -> Result<Bytes, PipelineError> {
        let sha256 = self.vouched(id).await?.sha256;
        let object = layout::run(self.cluster(), id);
        let mut found = Candidates::of(self, &object).await?;
        while let Some(bytes) = found.read(MAX_RECORD_BYTES).await? {
            if super::repository::digest(&bytes) == sha256 {
                return Ok(bytes);
            }
        }
        Err(PipelineError::integrity(object, "it is missing"))
    }

    /// One generation of a DEK's record, by its name.
    ///
    /// # Errors
    /// As [`Repository::original_cluster`].
    pub async fn original_key(
        &self,
        object: &str,
    ) -> Result<(Found<KeyRecord>, Bytes), PipelineError> {
        self.original(object).await
    }

    /// The manifest of a backup.
    ///
    /// # Errors
    /// As [`Repository::original_cluster`].
    pub async fn original_manifest(
        &self,
        id: &BackupId,
    ) -> Result<(Found<Manifest>, Bytes), PipelineError> {
        self.original(&layout::manifest(self.cluster(), id)).await
    }

    /// An audit record.
    ///
    /// # Errors
    /// As [`Repository::original_cluster`].
    pub async fn original_audit(
        &self,
        number: u64,
    ) -> Result<(Found<AuditRecord>, Bytes), PipelineError> {
        self.original(&layout::audit(self.cluster(), number)).await
    }

    async fn original<P: SignedByRun>(
        &self,
        object: &str,
    ) -> Result<(Found<P>, Bytes), PipelineError> {
        let mut found = Candidates::of(self, object).await?;
        while let Some(bytes) = found.read(MAX_RECORD_BYTES).await? {
            let judged = self.believe_alone::<P>(object, &bytes).await;
            if let Some(believed) = found.judge(judged)? {
                return Ok((believed, bytes));
            }
        }
        match found.none::<(Found<P>, Bytes)>()? {
            Some(found) => Ok(found),
            None => Err(PipelineError::integrity(object, "it is missing")),
        }
    }
}
