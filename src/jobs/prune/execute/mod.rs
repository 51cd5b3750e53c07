//! The work: each step is one that a later run finds, understands and goes on with.

mod backups;
mod log;
mod runs;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::{Planned, Pruned, Request, plan, report};
use crate::{
    format::{Role, layout},
    jobs::JobError,
    model::{ClusterUuid, Sha256Digest, Timestamp},
    pipeline::{Author, ChainHead, Introduction, PipelineError, append_audit},
};

/// Who does it, and when.
struct Work<'a> {
    request: &'a Request,
    cluster: ClusterUuid,
    now: Timestamp,
    /// The run begins when there is something to sign.
    author: OnceCell<Author>,
    audit_head: Mutex<Option<ChainHead>>,
}

/// Does what is due.
pub(super) async fn run(request: &Request, mut planned: Planned) -> Result<Pruned, JobError> {
    let Request { policy, grace, .. } = request;
    let work = Work {
        request,
        cluster: planned.gathered.cluster,
        now: planned.now,
        author: OnceCell::new(),
        audit_head: Mutex::default(),
    };
    backups::mark(&work, &mut planned).await?;
    // Without a time of grace what has got its tombstone now is due now.
    let (candidates, decisions) = (&planned.gathered.candidates, &planned.decisions.backups);
    planned.steps = plan::steps(candidates, decisions, &planned.locks, *grace, planned.now);
    let mut told = report::planned(&planned, policy, *grace);
    let done = all(&work, &mut planned, &mut told).await;
    told.status = match done {
        Ok(()) => "complete",
        Err(PipelineError::Stopped) => "stopped",
        Err(error) => return Err(error.into()),
    };
    told.run_id = work.author.get().map(|author| author.id);
    told.audit_head = work.head().map(|head| head.to_string());
    Ok(told)
}

async fn all(
    work: &Work<'_>,
    planned: &mut Planned,
    told: &mut Pruned,
) -> Result<(), PipelineError> {
    backups::sweep(work, planned, told).await?;
    work.go_on()?;
    log::sweep(work, planned, told).await?;
    work.go_on()?;
    let segments = std::mem::take(&mut planned.leftovers.segments);
    told.add(work.request.repository.remove(segments, work.now).await?);
    work.go_on()?;
    runs::sweep(work, planned, told).await?;
    let probes = std::mem::take(&mut planned.leftovers.probes);
    told.add(work.request.repository.remove(probes, work.now).await?);
    let store = work.request.repository.store();
    let folder = format!("{}/", work.request.repository.cluster());
    let before = work.now.minus(work.request.grace.max(super::IDLE).duration());
    told.leftovers.uploads_aborted = store.abort_uploads(&folder, before).await? as u64;
    Ok(())
}

impl Work<'_> {
    /// Who signs.
    async fn author(&self) -> Result<&Author, PipelineError> {
        let begin = || {
            let by = Introduction {
                signer: &*self.request.signer,
                identity: self.request.identity.clone(),
                started_at: self.now,
            };
            let repository = Arc::clone(&self.request.repository);
            Author::without_dek(repository, self.cluster, Role::Prune, by)
        };
        self.author.get_or_try_init(begin).await
    }

    async fn audit(
        &self,
        action: &str,
        subject: &str,
        record: Sha256Digest,
    ) -> Result<(), PipelineError> {
        let head = append_audit(self.author().await?, action, subject, record).await?;
        *self.audit_head.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
        Ok(())
    }

    fn head(&self) -> Option<ChainHead> {
        *self.audit_head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go_on(&self) -> Result<(), PipelineError> {
        if self.request.progress.is_stopped() { Err(PipelineError::Stopped) } else { Ok(()) }
    }

    /// All objects below a folder, and their sizes.
    async fn below(
        &self,
        folder: &str,
    ) -> Result<Vec<(crate::store::Key, u64)>, PipelineError> {
        use futures::TryStreamExt;
        let listed = self.request.repository.store().list(folder, None);
        Ok(listed.map_ok(|info| (info.key, info.size)).try_collect().await?)
    }

    /// The key records of a DEK.
    fn keys_of(&self, dek: crate::model::DekId) -> String {
        layout::key_folder(self.request.repository.cluster(), dek)
    }
}
