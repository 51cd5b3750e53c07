//! Locks and intruders: what a run has promised to lock must be locked, and nobody shall have
//! written over anything.

use futures::{StreamExt, TryStreamExt, stream};

use super::Problem;
use crate::{
    format::{AuditRecord, Manifest, layout},
    jobs::JobError,
    model::{BackupId, Protection, Retention, RunId, Timestamp},
    pipeline::{Class, Found, PipelineError, Repository},
};

/// Objects that are looked at, at once.
const PARALLEL: usize = 16;

/// How the store protects what is there.
#[derive(Debug, serde::Serialize)]
pub struct VerifiedLock {
    /// `ok`; `damaged` when objects are not locked as they were to be; `none` when the bucket has no
    /// Object Lock.
    pub status: &'static str,
    /// Objects that were to be locked until now and longer, by what their runs have signed.
    pub promised: u64,
    /// What is wrong.
    pub findings: Vec<Problem>,
}

/// What of an audit record says how it is to be locked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acted {
    number: u64,
    run: RunId,
    at: Timestamp,
}

impl Acted {
    pub(super) fn of(record: &AuditRecord) -> Self {
        Self { number: record.number, run: record.run_id, at: record.at }
    }
}

/// An object, and what protects it at the least.
type Promise = (String, Protection);

/// What was promised for everything but the binlog log.
pub(super) async fn promises(
    repository: &Repository,
    backups: &[(BackupId, Result<Found<Manifest>, PipelineError>)],
    acts: &[Acted],
) -> Result<Vec<Promise>, JobError> {
    let mut all = Vec::new();
    let mut add = |object: String, promise: Option<Protection>| {
        all.extend(promise.map(|promise| (object, promise)));
    };
    let cluster = repository.cluster();
    for (id, found) in backups {
        let Ok(Found { record, .. }) = found else { continue };
        let own = repository.promise(record.run_id, Class::Data, record.finished_at).await?;
        add(layout::manifest(cluster, id), own);
        let Some(lock) = record.lock.filter(|lock| lock.until > Timestamp::now()) else { continue };
        let retention = Some(Retention { mode: lock.mode, until: lock.until });
        let promise = Protection { retention, legal_hold: lock.legal_hold };
        for volume in &record.volumes {
            let name = layout::volume(cluster, id, record.attempt, volume.sequence);
            add(name, Some(promise));
        }
    }
    for act in acts {
        let promise = repository.promise(act.run, Class::Evidence, act.at).await?;
        add(layout::audit(cluster, act.number), promise);
    }
    for (dek, names) in repository.deks().await? {
        for record in repository.key_records(dek, &names).await?.generations {
            let promise = repository.promise(record.run_id, Class::Key, record.created_at).await?;
            add(layout::key(cluster, dek, record.generation), promise);
        }
    }
    // Every run has locked the cluster's record anew.
    let mut newest: Option<Protection> = None;
    for id in runs(repository).await? {
        let Ok(record) = repository.run(id).await else { continue };
        let promise = repository.promise(id, Class::Evidence, record.started_at).await?;
        add(layout::run(cluster, id), promise);
        let until = |p: &Protection| p.retention.map(|retention| retention.until);
        if promise.as_ref().and_then(until) > newest.as_ref().and_then(until) {
            newest = promise;
        }
    }
    // A hold is put on when an object is written, and not renewed.
    let newest = newest.map(|newest| Protection { legal_hold: false, ..newest });
    add(layout::cluster(cluster), newest);
    Ok(all)
}

async fn runs(repository: &Repository) -> Result<Vec<RunId>, JobError> {
    let folder = layout::runs(repository.cluster());
    let listed = repository.store().list_versions(&folder, None).map_err(PipelineError::from);
    let id = |name: &str| name.strip_prefix(&folder)?.strip_suffix(".json")?.parse::<RunId>().ok();
    let ids = listed.try_filter_map(|found| std::future::ready(Ok(id(found.key.as_str()))));
    Ok(ids.try_collect().await?)
}

/// Which promises are not kept.
pub(super) async fn check(
    repository: &Repository,
    promises: Vec<Promise>,
) -> Result<Vec<Problem>, JobError> {
    let looks = promises
        .into_iter()
        .map(|(object, promise)| async move { repository.look_short(&object, &promise).await });
    let found: Vec<_> = stream::iter(looks).buffered(PARALLEL).try_collect().await?;
    Ok(found.into_iter().flatten().map(Into::into).collect())
}

/// Notes what was written over, or deleted, whether it had to be read or not.
pub(super) async fn intruders(repository: &Repository) -> Result<(), JobError> {
    if !repository.store().keeps_versions().await.map_err(PipelineError::from)? {
        return Ok(());
    }
    let folder = format!("{}/", repository.cluster());
    let probes = format!("{folder}probe/");
    let mut listed = repository.store().list_versions(&folder, None);
    while let Some(found) = listed.try_next().await.map_err(PipelineError::from)? {
        if !found.key.as_str().starts_with(&probes) {
            repository.look_for_intruders(&found);
        }
    }
    Ok(())
}
