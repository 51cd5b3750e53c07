//! The work: each step is one that a later run finds, understands and goes on with.

mod backups;
mod log;
mod runs;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::{Planned, Pruned, Request, plan, report};
use crate::{
    format::{
        Role,
        audit::{Details, PruneDetails, action},
        layout,
    },
    jobs::{JobError, connections, failure},
    model::{ClusterUuid, Sha256Digest, Timestamp},
    pipeline::{
        Author, ChainHead, Introduction, PipelineError,
        audit::{Act, Settings, append, seen},
    },
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
    if let Err(error) = backups::mark(&work, &mut planned).await {
        return Err(work.failed(error.into()).await);
    }
    // Without a time of grace what has got its tombstone now is due now.
    let (candidates, decisions) = (&planned.gathered.candidates, &planned.decisions.backups);
    planned.steps = plan::steps(candidates, decisions, &planned.locks, *grace, planned.now);
    let mut told = report::planned(&planned, policy, *grace);
    let done = all(&work, &mut planned, &mut told).await;
    told.status = match done {
        Ok(()) => "complete",
        Err(PipelineError::Stopped) => "stopped",
        Err(error) => return Err(work.failed(error.into()).await),
    };
    work.ended(&told).await?;
    told.run_id = work.author.get().map(|author| author.id);
    told.audit_head = work.head().map(|head| head.to_string());
    Ok(told)
}

async fn all(
    work: &Work<'_>,
    planned: &mut Planned,
    told: &mut Pruned,
) -> Result<(), PipelineError> {
    if !backups::sweep(work, planned, told).await? {
        // Something stays after all, and what it needs of the log with it.
        planned.horizon = planned.decisions.horizon;
        planned.leftovers.segments.clear();
        planned.leftovers.runs.retain(|left| left.role == Role::Backup);
        told.log.begins_next = planned.horizon.begins;
    }
    work.go_on()?;
    log::sweep(work, planned, told).await?;
    work.go_on()?;
    let segments = std::mem::take(&mut planned.leftovers.segments);
    told.add(work.request.repository.remove(segments).await?);
    work.go_on()?;
    runs::sweep(work, planned, told).await?;
    let probes = std::mem::take(&mut planned.leftovers.probes);
    told.add(work.request.repository.remove(probes).await?);
    let store = work.request.repository.store();
    let folder = format!("{}/", work.request.repository.cluster());
    let before = work.now.minus(work.request.grace.max(super::IDLE).duration());
    told.leftovers.uploads_aborted = store.abort_uploads(&folder, before).await? as u64;
    Ok(())
}

impl Work<'_> {
    /// Who signs.
    async fn author(&self) -> Result<&Author, PipelineError> {
        self.author.get_or_try_init(|| self.begin()).await
    }

    async fn begin(&self) -> Result<Author, PipelineError> {
        let Request { repository, signer, policy, grace, .. } = self.request;
        let by = Introduction {
            signer: &**signer,
            identity: self.request.identity.clone(),
            started_at: self.now,
        };
        let begin = Author::begin(Arc::clone(repository), self.cluster, Role::Prune, by);
        let author = begin.await?;
        let settings = Settings::default()
            .with("repository", Some(repository.url()))
            .with("signer", Some(signer.id()))
            .with("keep", Some(policy))
            .with("grace", Some(grace));
        let configuration = seen(&author, "prune", &settings).await?;
        let act = Act::new(action::PRUNE_BEGUN, &repository.url());
        append(&author, &act.by(&author).configuration(configuration)).await?;
        Ok(author)
    }

    /// Says how it ended, if it has done anything.
    async fn ended(&self, told: &Pruned) -> Result<(), PipelineError> {
        let Some(author) = self.author.get() else { return Ok(()) };
        let details = PruneDetails {
            objects_removed: told.objects_removed,
            bytes_removed: told.bytes_removed,
            objects_locked: told.objects_locked,
        };
        let act = self.end(action::PRUNE_ENDED).details(Details::Prune(details));
        let act = match told.status {
            "stopped" => act.failed(failure(self.request.exit_of, &PipelineError::Stopped.into())),
            _ => act.succeeded(),
        };
        self.append(author, &act).await
    }

    /// Says why it ended; the error that is told is the one that ended it.
    async fn failed(&self, error: JobError) -> JobError {
        if let Some(author) = self.author.get() {
            let act = self.end(action::PRUNE_FAILED).failed(failure(self.request.exit_of, &error));
            if let Err(unrecorded) = self.append(author, &act).await {
                tracing::warn!(%unrecorded, "that prune failed could not be recorded");
            }
        }
        error
    }

    fn end(&self, action: &str) -> Act {
        let Request { repository, signer, .. } = self.request;
        let made = connections(repository, &[], Some(&**signer));
        Act::new(action, &repository.url()).connections(made)
    }

    async fn append(&self, author: &Author, act: &Act) -> Result<(), PipelineError> {
        let head = append(author, act).await?;
        *self.audit_head.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
        Ok(())
    }

    async fn audit(
        &self,
        action: &str,
        subject: &str,
        record: Sha256Digest,
    ) -> Result<(), PipelineError> {
        self.append(self.author().await?, &Act::new(action, subject).record(record)).await
    }

    fn head(&self) -> Option<ChainHead> {
        *self.audit_head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go_on(&self) -> Result<(), PipelineError> {
        if self.request.progress.is_stopped() { Err(PipelineError::Stopped) } else { Ok(()) }
    }

    /// All objects below a folder, and their sizes.
    async fn below(&self, folder: &str) -> Result<Vec<(crate::store::Key, u64)>, PipelineError> {
        use futures::TryStreamExt;
        let stored = self.request.repository.stored(folder, None);
        stored.map_ok(|found| (found.key, found.size)).try_collect().await
    }

    /// The key records of a DEK.
    fn keys_of(&self, dek: crate::model::DekId) -> String {
        layout::key_folder(self.request.repository.cluster(), dek)
    }
}
