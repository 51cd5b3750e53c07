//! The evidence of a drill: a signed record of its own, and what the audit chain says of it.

use std::sync::Arc;

use serde::Serialize;

use crate::{
    crypto::signer::Signer,
    format::{DrillRecord, DrillStatus, Role, RunIdentity, layout},
    jobs::JobError,
    model::{ClusterUuid, DrillId, RunId, Sha256Digest, Timestamp},
    pipeline::{Author, Introduction, Repository, append_audit, store_drill},
};

/// Where the evidence is.
#[derive(Debug, Clone, Serialize)]
pub struct Evidence {
    /// The record, below the repository.
    pub object: String,
    /// SHA-256 of its stored bytes.
    pub sha256: Sha256Digest,
    /// The run that signed it.
    pub run_id: RunId,
    /// The head of the audit chain: keep it, and give it as `--at-least` later.
    pub audit_head: String,
}

/// Who signs what a drill has shown.
#[derive(Debug)]
pub(super) struct Witness {
    author: Author,
}

impl Witness {
    /// Begins a run, and says so in the audit chain: that evidence can be stored is known before
    /// hours are spent.
    pub(super) async fn begin(
        repository: &Arc<Repository>,
        cluster: ClusterUuid,
        signer: &dyn Signer,
        identity: &RunIdentity,
        drill: &DrillId,
        started_at: Timestamp,
    ) -> Result<Self, JobError> {
        let by = Introduction { signer, identity: identity.clone(), started_at };
        let (author, run) = Author::begin(Arc::clone(repository), cluster, Role::Drill, by).await?;
        append_audit(&author, "drill-begun", drill.as_str(), run).await?;
        Ok(Self { author })
    }

    pub(super) fn run_id(&self) -> RunId {
        self.author.id
    }

    /// Stores what was shown, and chains it.
    pub(super) async fn testify(&self, record: &DrillRecord) -> Result<Evidence, JobError> {
        let sha256 = store_drill(&self.author, record).await?;
        let action =
            if record.status == DrillStatus::Failed { "drill-failed" } else { "drill-ended" };
        let head = append_audit(&self.author, action, record.drill_id.as_str(), sha256).await?;
        Ok(Evidence {
            object: layout::drill(self.author.repository.cluster(), &record.drill_id),
            sha256,
            run_id: self.author.id,
            audit_head: head.to_string(),
        })
    }
}
