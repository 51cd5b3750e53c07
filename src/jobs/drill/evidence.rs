//! The evidence of a drill: a signed record of its own, and what the audit chain says of it.

use std::sync::Arc;

use serde::Serialize;

use super::{Drilled, Request};
use crate::{
    format::{
        DrillStatus, Role,
        audit::{Details, Failure, RestoreDetails, action},
        layout,
    },
    jobs::{JobError, restore::Proof, witness},
    model::{ClusterUuid, DrillId, RunId, Sha256Digest, Timestamp},
    pipeline::{
        Author, Introduction, PipelineError,
        audit::{self, Act, Settings},
        store_drill,
    },
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
pub(super) struct Examiner {
    author: Author,
}

impl Examiner {
    /// Begins a run, and says so in the audit chain: that evidence can be stored is known before
    /// hours are spent. Nobody, where no evidence is wanted.
    pub(super) async fn begin(
        request: &Request,
        cluster: ClusterUuid,
        drill: &DrillId,
        started_at: Timestamp,
    ) -> Result<Option<Self>, JobError> {
        let Some(signer) = request.signer.as_deref() else { return Ok(None) };
        let identity = request.identity.clone();
        let by = Introduction { signer, identity, started_at };
        let repository = Arc::clone(&request.repository);
        let author = Author::begin(repository, cluster, Role::Drill, by).await?;
        let settings = Settings::default()
            .with("repository", Some(request.repository.url()))
            .with("kek", Some(request.kms.name()))
            .with("signer", Some(signer.id()));
        let configuration = audit::seen(&author, "drill", &settings).await?;
        let act = Act::new(action::DRILL_BEGUN, drill.as_str()).by(&author);
        let details = Details::Restore(RestoreDetails::default());
        audit::append(&author, &act.configuration(configuration).details(details)).await?;
        Ok(Some(Self { author }))
    }

    /// Stores what was shown, and chains it.
    pub(super) async fn testify(
        &self,
        request: &Request,
        drilled: &Drilled,
    ) -> Result<Evidence, JobError> {
        let record = drilled.record(self.author.cluster, self.author.id);
        let sha256 = store_drill(&self.author, &record).await?;
        let failed = failure(request, drilled);
        let act = match failed {
            Some(failure) => {
                Act::new(action::DRILL_FAILED, drilled.drill_id.as_str()).failed(failure)
            }
            None => Act::new(action::DRILL_ENDED, drilled.drill_id.as_str()).succeeded(),
        };
        let act = act.record(sha256).details(details(drilled));
        let head = self.append(request, act).await?;
        Ok(Evidence {
            object: layout::drill(self.author.repository.cluster(), &record.drill_id),
            sha256,
            run_id: self.author.id,
            audit_head: head,
        })
    }

    /// Says why a drill came to no end; the error that is told is the one that ended it.
    pub(super) async fn give_up(&self, request: &Request, drill: &DrillId, error: &JobError) {
        let act = Act::new(action::DRILL_FAILED, drill.as_str());
        let act = act.failed(witness::failure(request.exit_of, error));
        if let Err(unrecorded) = self.append(request, act).await {
            tracing::warn!(%unrecorded, "that the drill came to no end could not be recorded");
        }
    }

    async fn append(&self, request: &Request, act: Act) -> Result<String, PipelineError> {
        let signer = request.signer.as_deref();
        let made = witness::connections(&request.repository, &[&*request.kms], signer);
        Ok(audit::append(&self.author, &act.connections(made)).await?.to_string())
    }
}

/// Why it failed, if it did.
fn failure(request: &Request, drilled: &Drilled) -> Option<Failure> {
    if drilled.status != DrillStatus::Failed {
        return None;
    }
    if let Some(error) = &drilled.error {
        return Some(witness::failure(request.exit_of, error));
    }
    let words: Vec<_> = drilled.failures.iter().map(|failure| failure.name()).collect();
    let (what, hint) = (format!("the drill found: {}", words.join(", ")), "see its record");
    let error = if drilled.is_damaged() {
        JobError::integrity(what, hint)
    } else {
        JobError::target(what, hint)
    };
    Some(witness::failure(request.exit_of, &error))
}

fn details(drilled: &Drilled) -> Details {
    let recovery = drilled.recovery.as_ref();
    let proof = recovery.and_then(|recovery| recovery.proof.as_ref());
    let replay = recovery.and_then(|recovery| recovery.replay.as_ref());
    Details::Restore(RestoreDetails {
        backup_id: recovery.map(|recovery| recovery.backup_id.clone()),
        datadir: None,
        status: Some(drilled.status.name().to_owned()),
        transactions: replay.map(|replay| replay.transactions),
        ..proof.map(Proof::details).unwrap_or_default()
    })
}
