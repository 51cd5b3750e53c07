//! `prune`: what no rule keeps any more is removed, in an order in which a crash at any point
//! leaves nothing that looks whole and is not.
//!
//! Gather what there is → plan (pure) → tombstones → a time of grace → a second look → sweep. Each
//! run does what is due of all of these, and finishes what an earlier one has begun.

mod clock;
mod execute;
mod gather;
mod leftovers;
pub mod plan;
mod report;

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};

use super::{ExitOf, JobError};
use crate::{
    crypto::signer::Signer,
    format::{Manifest, RunIdentity, layout},
    model::{Age, BackupId, Protection, Timestamp},
    pipeline::{Horizon, PipelineError, Progress, Repository, key},
};
use gather::Gathered;
pub use gather::LeftAlone;
use leftovers::Leftovers;
use plan::{Decisions, Policy, Step};
pub use report::{Pruned, PrunedBackup, PrunedLeftovers, PrunedLog};

/// How long a tombstone stands before its backup is removed, unless another time is given.
pub const GRACE: Age = Age::from_seconds(48 * 3600);
/// Nothing unfinished is taken for abandoned before it was left alone for so long.
const IDLE: Age = Age::from_seconds(24 * 3600);
/// Requests in flight.
const PARALLEL: usize = 16;

/// What to keep, and how to remove the rest.
#[derive(Debug)]
pub struct Request {
    /// The repository.
    pub repository: Arc<Repository>,
    /// Vouches for the run.
    pub signer: Box<dyn Signer>,
    /// Who runs it.
    pub identity: RunIdentity,
    /// What to keep.
    pub policy: Policy,
    /// How long a tombstone stands before its backup is removed.
    pub grace: Age,
    /// What failures are told as, in the audit chain.
    pub exit_of: ExitOf,
    /// The time; without it that of this machine, once it has proven right.
    pub now: Option<Timestamp>,
    /// Where to be told to stop.
    pub progress: Arc<Progress>,
}

/// A plan, and what it was made of.
struct Planned {
    gathered: Gathered,
    decisions: Decisions,
    /// The horizon of the log once everything is gone that is to go now.
    horizon: Horizon,
    locks: HashMap<BackupId, Protection>,
    steps: Vec<Step>,
    leftovers: Leftovers,
    now: Timestamp,
}

/// Says what would be done, and touches nothing. It needs no right to write or delete.
///
/// # Errors
/// When the policy is empty, the clock is wrong, or what is stored cannot be read or believed.
pub async fn planned(
    repository: &Repository,
    policy: &Policy,
    grace: Age,
    now: Option<Timestamp>,
) -> Result<Pruned, JobError> {
    let planned = make_plan(repository, policy, grace, now).await?;
    Ok(report::planned(&planned, policy, grace))
}

/// Does what is due.
///
/// # Errors
/// As [`planned`]; when the store or the signer fails. What was done before stays done, and is
/// gone on with by the next run.
pub async fn run(request: &Request) -> Result<Pruned, JobError> {
    let Request { repository, policy, grace, now, .. } = request;
    if now.is_none() {
        clock::against_store(repository).await?;
    }
    let planned = make_plan(repository, policy, *grace, *now).await?;
    execute::run(request, planned).await
}

async fn make_plan(
    repository: &Repository,
    policy: &Policy,
    grace: Age,
    now: Option<Timestamp>,
) -> Result<Planned, JobError> {
    if policy.is_empty() {
        return Err(JobError::usage(
            "nothing is to be kept",
            "say what: --keep-last 7, --keep-within 30d, --keep-daily 14, --window 30d …",
        ));
    }
    let given = now.is_some();
    let now = now.unwrap_or_else(Timestamp::now);
    let gathered = gather::all(repository, grace, now).await?;
    if !given {
        clock::against_records(now, gathered.newest.as_ref())?;
    }
    let lines = super::window::lines(repository, &gathered.archive)?;
    let (candidates, settled) = (&gathered.candidates, gathered.settled.as_ref());
    let decisions =
        plan::decide(candidates, &gathered.archive, &lines, settled, policy, grace, now);
    let locks = locks(repository, &gathered, &decisions).await?;
    let steps = plan::steps(candidates, &decisions.backups, &locks, grace, now);
    let archive = &gathered.archive;
    let left = plan::left(candidates, &steps, grace);
    let since = plan::since(policy, grace, now);
    let horizon = settled.map_or(decisions.horizon, |settled| {
        plan::horizon_since(&left, archive, &lines, settled, since)
    });
    drop(lines);
    let before = now.minus(grace.max(IDLE).duration());
    let leftovers = leftovers::find(repository, &gathered, horizon.begins, before).await?;
    Ok(Planned { gathered, decisions, horizon, locks, steps, leftovers, now })
}

/// What protects the backups that no rule keeps.
async fn locks(
    repository: &Repository,
    gathered: &Gathered,
    decisions: &Decisions,
) -> Result<HashMap<BackupId, Protection>, JobError> {
    let free = gathered.candidates.iter().zip(&decisions.backups);
    let free = free.filter(|(_, decision)| decision.reasons.is_empty());
    let asked = free.filter_map(|(candidate, _)| gathered.manifests.get(&candidate.id));
    let asked = asked.map(|found| async move {
        let id = found.record.backup_id.clone();
        Ok::<_, PipelineError>((id, protection(repository, &found.record).await?))
    });
    Ok(stream::iter(asked).buffer_unordered(PARALLEL).try_collect().await?)
}

/// What protects a backup: whatever protects one of its objects the longest.
async fn protection(
    repository: &Repository,
    manifest: &Manifest,
) -> Result<Protection, PipelineError> {
    let (cluster, id) = (repository.cluster(), &manifest.backup_id);
    let mut names = vec![layout::manifest(cluster, id)];
    for volume in &manifest.volumes {
        names.push(layout::volume(cluster, id, manifest.attempt, volume.sequence));
    }
    let mut whole = Protection::default();
    for name in names {
        let one = repository.protection(&key(&name)?).await?;
        whole.legal_hold |= one.legal_hold;
        let until = |protection: &Protection| protection.retention.map(|held| held.until);
        if until(&one) > until(&whole) {
            whole.retention = one.retention;
        }
    }
    Ok(whole)
}
