//! Records as they are stored, byte for byte, each only when it is believed: for whoever copies them.

use bytes::Bytes;

use super::{
    ChainHead, Finding, Found, PipelineError, Repository, candidates::Candidates,
    repository::SignedByRun,
};
use crate::{
    format::{
        AuditRecord, ClusterRecord, KeyRecord, MAX_RECORD_BYTES, Manifest, RunRecord, layout,
    },
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

    /// The audit chain of the repository that this one was copied from, as far as it was copied:
    /// shows each record, up to the first that does not follow; the finding tells which.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn origin_trail(
        &self,
        mut show: impl FnMut(&Found<AuditRecord>),
    ) -> Result<(ChainHead, Option<Finding>), PipelineError> {
        let mut head = ChainHead::EMPTY;
        loop {
            let number = head.number + 1;
            let object = layout::origin_audit(self.cluster(), number);
            let is_it = |record: &AuditRecord, _: &RunRecord| {
                if record.number != number || record.previous != head.sha256 {
                    let why = "it does not follow the record before it";
                    return Err(PipelineError::integrity(&object, why));
                }
                Ok(())
            };
            match self.record_of_cluster(&object, is_it).await {
                Ok(Some(found)) => {
                    head = ChainHead { number, sha256: found.sha256 };
                    show(&found);
                }
                Ok(None) => return Ok((head, None)),
                Err(PipelineError::Integrity { object, why }) => {
                    return Ok((head, Some(Finding { object, chunk: None, why })));
                }
                Err(error) => return Err(error),
            }
        }
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
