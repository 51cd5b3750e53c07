//! The work: who signs, what every record rests on, and the order of it all.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use futures::TryStreamExt;
use tokio::sync::OnceCell;

use super::{Copied, Request, backups, log, plan::Plan};
use crate::{
    crypto,
    format::{Role, audit::action, layout},
    jobs::{JobError, connections, failure},
    model::{ClusterUuid, DekId, RunId, Sha256Digest, Timestamp},
    pipeline::{
        Author, Carried, ChainHead, Class, Introduction, PipelineError, SealedObject,
        audit::{Act, Settings, append, seen},
        carry, carry_record, key,
    },
    store::probe_create_only,
};

/// Who copies, and what was copied so far.
pub(super) struct Work<'a> {
    pub(super) request: &'a Request,
    cluster: ClusterUuid,
    author: OnceCell<Author>,
    audit_head: Mutex<Option<ChainHead>>,
    /// Runs and DEKs whose records are there.
    known: Mutex<Known>,
    /// The key records of the original.
    keys: OnceCell<BTreeMap<DekId, Vec<String>>>,
    counted: Mutex<(u64, u64)>,
}

#[derive(Default)]
struct Known {
    runs: HashSet<RunId>,
    deks: HashSet<DekId>,
}

pub(super) async fn run(request: &Request, plan: Plan) -> Result<Copied, JobError> {
    let work = Work {
        request,
        cluster: plan.cluster,
        author: OnceCell::new(),
        audit_head: Mutex::default(),
        known: Mutex::default(),
        keys: OnceCell::new(),
        counted: Mutex::default(),
    };
    let mut told = plan.told(request);
    let done = all(&work, &plan, &mut told).await;
    told.status = match done {
        Ok(()) if told.is_whole() => "complete",
        Ok(()) => "incomplete",
        Err(PipelineError::Stopped) => "stopped",
        Err(error) => return Err(work.failed(error.into()).await),
    };
    work.ended(&told).await?;
    (told.objects_copied, told.bytes_copied) = work.counted();
    told.run_id = work.author.get().map(|author| author.id);
    told.audit_head = work.head().map(|head| head.to_string());
    Ok(told)
}

async fn all(work: &Work<'_>, plan: &Plan, told: &mut Copied) -> Result<(), PipelineError> {
    if plan.is_new {
        cluster(work).await?;
    }
    backups::copy(work, plan, told).await?;
    if let (Some(log), Some(told)) = (&plan.log, &mut told.log) {
        log::copy(work, log, told).await?;
    }
    // Nothing was written: then there is nothing to tell of either.
    if work.author.get().is_some() { chain(work).await } else { Ok(()) }
}

/// What makes the other folder the same cluster.
async fn cluster(work: &Work<'_>) -> Result<(), PipelineError> {
    let Request { from, to, .. } = work.request;
    let unique = hex::encode(crypto::random::<16>()?);
    probe_create_only(&**to.store(), &format!("{}/", to.cluster()), &unique).await?;
    let (record, bytes) = from.original_cluster().await?;
    work.run(record.record.run_id).await?;
    let object = key(&layout::cluster(to.cluster()))?;
    let keep = to.keep(Class::Evidence);
    let size = bytes.len() as u64;
    if carry_record(to, &object, bytes, &keep).await? {
        work.count(1, size);
    }
    Ok(())
}

/// The original's audit chain, as evidence: the copy has one of its own.
async fn chain(work: &Work<'_>) -> Result<(), PipelineError> {
    let Request { from, to, .. } = work.request;
    let head = crate::pipeline::audit::head(from).await?;
    let folder = layout::origin_audit_folder(to.cluster());
    let mut stored = to.stored(&folder, None);
    let mut last = 0;
    while let Some(found) = stored.try_next().await? {
        let number = found.key.as_str().strip_prefix(&folder).and_then(|n| n.parse::<u64>().ok());
        // Behind a hole it goes on as if nothing were there.
        last += u64::from(number == Some(last + 1));
    }
    drop(stored);
    for number in last + 1..=head.number {
        work.go_on()?;
        let (found, bytes) = from.original_audit(number).await?;
        work.run(found.record.run_id).await?;
        let object = key(&layout::origin_audit(to.cluster(), number))?;
        let size = bytes.len() as u64;
        if carry_record(to, &object, bytes, &to.keep(Class::Evidence)).await? {
            work.count(1, size);
        }
    }
    Ok(())
}

impl Work<'_> {
    pub(super) fn go_on(&self) -> Result<(), PipelineError> {
        if self.request.progress.is_stopped() { Err(PipelineError::Stopped) } else { Ok(()) }
    }

    pub(super) fn count(&self, objects: u64, bytes: u64) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        *counted = (counted.0 + objects, counted.1 + bytes);
    }

    fn counted(&self) -> (u64, u64) {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies a sealed object.
    pub(super) async fn sealed(&self, object: &SealedObject) -> Result<bool, PipelineError> {
        self.go_on()?;
        let Request { from, to, progress, .. } = self.request;
        let copied = carry(from, to, object, progress).await? == Carried::Copied;
        if copied {
            self.count(1, object.bytes);
        }
        Ok(copied)
    }

    /// Copies the record of a run, by which others are believed.
    pub(super) async fn run(&self, id: RunId) -> Result<(), PipelineError> {
        let known = |known: &Mutex<Known>| {
            known.lock().unwrap_or_else(PoisonError::into_inner).runs.contains(&id)
        };
        if known(&self.known) {
            return Ok(());
        }
        let Request { from, to, .. } = self.request;
        let bytes = from.original_run(id).await?;
        let object = key(&layout::run(to.cluster(), id))?;
        let size = bytes.len() as u64;
        if carry_record(to, &object, bytes, &to.keep(Class::Evidence)).await? {
            self.count(1, size);
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).runs.insert(id);
        Ok(())
    }

    /// Copies the key records of a DEK, every generation.
    pub(super) async fn dek(&self, dek: DekId) -> Result<(), PipelineError> {
        let known = |known: &Mutex<Known>| {
            known.lock().unwrap_or_else(PoisonError::into_inner).deks.contains(&dek)
        };
        if known(&self.known) {
            return Ok(());
        }
        let Request { from, to, .. } = self.request;
        let keys = self.keys.get_or_try_init(|| from.deks()).await?;
        let names = keys.get(&dek).map(Vec::as_slice).unwrap_or_default();
        if names.is_empty() {
            let folder = layout::key_folder(from.cluster(), dek);
            return Err(PipelineError::integrity(folder, "the DEK has no key record"));
        }
        for name in names {
            let (found, bytes) = match from.original_key(name).await {
                Ok(found) => found,
                Err(error @ PipelineError::Integrity { .. }) => {
                    tracing::warn!(%error, "a key record is not believed, and not copied");
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.run(found.record.run_id).await?;
            let size = bytes.len() as u64;
            match carry_record(to, &key(name)?, bytes, &to.keep(Class::Key)).await {
                Ok(true) => self.count(1, size),
                Ok(false) => {}
                Err(error @ PipelineError::Taken { .. }) => {
                    // Rewrapped there, under another KEK: that is the other side's own.
                    let there = to.key_records(dek, std::slice::from_ref(name)).await?;
                    let same = |other: &crate::format::KeyRecord| {
                        other.commitment == found.record.commitment
                    };
                    if !there.generations.iter().any(same) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).deks.insert(dek);
        Ok(())
    }

    /// Who signs what the copy's audit chain tells.
    pub(super) async fn author(&self) -> Result<&Author, PipelineError> {
        self.author.get_or_try_init(|| self.begin()).await
    }

    async fn begin(&self) -> Result<Author, PipelineError> {
        let Request { from, to, signer, .. } = self.request;
        let by = Introduction {
            signer: &**signer,
            identity: self.request.identity.clone(),
            started_at: Timestamp::now(),
        };
        let author = Author::begin(Arc::clone(to), self.cluster, Role::Copy, by).await?;
        let settings = Settings::default()
            .with("repository", Some(to.url()))
            .with("from", Some(from.url()))
            .with("signer", Some(signer.id()));
        let configuration = seen(&author, "copy", &settings).await?;
        let act = Act::new(action::COPY_BEGUN, &from.url());
        append(&author, &act.by(&author).configuration(configuration)).await?;
        Ok(author)
    }

    pub(super) async fn audit(
        &self,
        action: &str,
        subject: &str,
        record: Sha256Digest,
    ) -> Result<(), PipelineError> {
        let act = Act::new(action, subject).record(record);
        self.append(self.author().await?, &act).await
    }

    async fn append(&self, author: &Author, act: &Act) -> Result<(), PipelineError> {
        let head = append(author, act).await?;
        *self.audit_head.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
        Ok(())
    }

    fn head(&self) -> Option<ChainHead> {
        *self.audit_head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, action: &str) -> Act {
        let Request { from, to, signer, .. } = self.request;
        let mut made = connections(to, &[], Some(&**signer));
        for connection in connections(from, &[], None) {
            if !made.contains(&connection) {
                made.push(connection);
            }
        }
        Act::new(action, &from.url()).connections(made)
    }

    async fn ended(&self, told: &Copied) -> Result<(), PipelineError> {
        let Some(author) = self.author.get() else { return Ok(()) };
        let act = self.end(action::COPY_ENDED);
        let act = match told.status {
            "stopped" => act.failed(failure(self.request.exit_of, &PipelineError::Stopped.into())),
            "incomplete" => {
                let error =
                    JobError::integrity("some backups could not be copied", "look at the result");
                act.failed(failure(self.request.exit_of, &error))
            }
            _ => act.succeeded(),
        };
        self.append(author, &act).await
    }

    async fn failed(&self, error: JobError) -> JobError {
        if let Some(author) = self.author.get() {
            let act = self.end(action::COPY_FAILED).failed(failure(self.request.exit_of, &error));
            if let Err(unrecorded) = self.append(author, &act).await {
                tracing::warn!(%unrecorded, "that the copy failed could not be recorded");
            }
        }
        error
    }
}
