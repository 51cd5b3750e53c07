//! `restore`: a base backup becomes a data directory, archived transactions are replayed over it, and a
//! server proves it.

mod base;
mod extract;
mod place;
mod plan;
mod proof;
mod replay;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Instant};

use serde::Serialize;

use base::Based;
pub(super) use base::facts;
pub use extract::Chosen;
use place::Place;
pub(super) use place::{Owner, check_space, free_bytes, needed_bytes};
pub use plan::{Neighbour, Planned, Target};
use plan::{Plan, Wanted};
pub use proof::{Proof, State};
pub use replay::Replayed;

use super::{
    JobError, Recorded, Witness,
    temp_server::Program,
    window,
    witness::{Ended, Intent},
};
use crate::{
    crypto::kms::Kms,
    format::audit::{Details, RestoreDetails},
    model::{BackupId, Gtid, GtidState, ServerFacts, ServerName, Sha256Digest},
    pipeline::{
        Intruder, Progress, Repository, Standing,
        audit::Settings,
        log::{Archive, Line, Lines, read_archive},
    },
};

/// What to restore, and where to.
#[derive(Debug)]
pub struct Request {
    /// The repository.
    pub repository: Arc<Repository>,
    /// Unwraps the DEK.
    pub kms: Arc<dyn Kms>,
    /// The data directory to fill.
    pub datadir: PathBuf,
    /// The backup; the newest one that serves when none is named.
    pub backup: Option<BackupId>,
    /// Where to end.
    pub target: Target,
    /// Along which line of life.
    pub line: Line,
    /// Transactions to leave out.
    pub skip: Vec<Gtid>,
    /// Whether to start a server on the result, without which nothing is proven.
    pub start: bool,
    /// The server program.
    pub server: Option<PathBuf>,
    /// Who owns the files afterwards, `user[:group]`.
    pub owner: Option<String>,
    /// Records it.
    pub witness: Witness,
    /// Bytes of disk that it may need at most.
    pub max_disk: Option<u64>,
    /// Where to count, and where to be told to stop.
    pub progress: Arc<Progress>,
}

/// What was restored.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreResult {
    /// Version of this object.
    pub version: u32,
    /// `proven`; `unproven` when no server was started, or it had nothing to compare with.
    pub status: &'static str,
    /// The backup.
    pub backup_id: BackupId,
    /// What was asked for.
    pub target: String,
    /// What was planned.
    pub plan: Planned,
    /// The data directory.
    pub datadir: PathBuf,
    /// What was replayed over the base; nothing for a base alone.
    pub replay: Option<Replayed>,
    /// The transactions in it.
    pub gtid_set: Option<String>,
    /// What was expected, what was found, and whether they are equal.
    pub proof: Option<Proof>,
    /// The servers of the cluster, as far as backup and log know them. They, and their replicas,
    /// may have what this data does not: whoever shall follow it has to be built anew from it.
    pub to_rebuild: BTreeSet<ServerName>,
    /// How long each step took.
    pub phases: Phases,
    /// What somebody has written over, or deleted: the originals were restored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub intruders: Vec<Intruder>,
    /// Whether this was recorded.
    #[serde(flatten)]
    pub recorded: Recorded,
}

/// Seconds of the steps of a restore.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Phases {
    /// Fetch, open, decompress, write the files.
    pub extract_seconds: f64,
    /// The engine's prepare step; 0 when there is none.
    pub prepare_seconds: f64,
    /// Starting the server and asking it for the proof; 0 when none was started.
    pub start_seconds: f64,
    /// Replaying; 0 when there was nothing to replay.
    pub replay_seconds: f64,
}

/// Seconds since `begun`, to the millisecond.
pub(super) fn seconds_since(begun: Instant) -> f64 {
    (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}

/// Restores a base backup, and says so in the audit chain.
///
/// # Errors
/// See [`JobError`]. A data directory that was not empty is left as it was.
pub async fn run(mut request: Request) -> Result<RestoreResult, JobError> {
    // A server takes a relative path to be below its own installation.
    request.datadir = std::path::absolute(&request.datadir)
        .map_err(JobError::io("make absolute", &request.datadir))?;
    let begun = request.witness.begin(&request.repository, intent(&request, "restore")).await?;
    let outcome = Box::pin(restore(&request)).await;
    let recorded = begun.end(&outcome, |(result, sha256)| ended(result, *sha256)).await;
    outcome.map(|(result, _)| RestoreResult { recorded, ..result })
}

fn intent<'a>(request: &'a Request, job: &'static str) -> Intent<'a> {
    let details = RestoreDetails {
        backup_id: request.backup.clone(),
        datadir: Some(request.datadir.display().to_string()),
        ..RestoreDetails::default()
    };
    Intent {
        job,
        subject: request.target.to_string(),
        details: Details::Restore(details),
        kms: Some(&*request.kms),
        settings: Settings::default(),
        is_announced: true,
    }
}

/// The same for a drill, whose own records tell of it.
pub(super) async fn recover(request: &Request) -> Result<RestoreResult, JobError> {
    restore(request).await.map(|(result, _)| result)
}

/// What there is to say of a restore: above all what proves it.
fn ended(result: &RestoreResult, manifest: Sha256Digest) -> Ended {
    let details = RestoreDetails {
        backup_id: Some(result.backup_id.clone()),
        datadir: Some(result.datadir.display().to_string()),
        status: Some(result.status.to_owned()),
        transactions: result.replay.as_ref().map(|replay| replay.transactions),
        ..result.proof.as_ref().map(Proof::details).unwrap_or_default()
    };
    Ended { record: Some(manifest), details: Details::Restore(details), failed: None }
}

/// The work, and the digest of the manifest that it rests on.
async fn restore(request: &Request) -> Result<(RestoreResult, Sha256Digest), JobError> {
    let archive = archive(request).await?;
    let lines = window::lines(&request.repository, &archive)?;
    let (plan, based) = base(request, &lines).await?;
    let Based { manifest, program, place, owner, mut proof, mut phases } = based;
    let facts = base::facts(&manifest)?;
    let mut replayed = None;
    let mut gtid_set = facts.gtid_set.clone();
    if let (Some(program), false) = (&program, plan.coverage.pieces.is_empty()) {
        let (done, result) =
            Box::pin(replay(request, program, &place, &plan, facts, &owner)).await?;
        // When nothing came before the end, the base is the point, and is proven.
        if done.batches > 0 {
            let begun = Instant::now();
            let expected = result.position();
            proof = Some(proof::of_replay(program, request, facts, &expected, &owner).await?);
            phases.start_seconds += seconds_since(begun);
            gtid_set = Some(expected);
        }
        phases.replay_seconds = done.seconds;
        replayed = Some(done);
    }
    owner.give(&request.datadir)?;
    place.finish()?;
    let proven = proof.as_ref().is_some_and(|proof| proof.equal == Some(true));
    let result = RestoreResult {
        version: 1,
        status: if proven { "proven" } else { "unproven" },
        backup_id: manifest.backup_id.clone(),
        target: plan.target.to_string(),
        plan: plan.told(),
        gtid_set: gtid_set.as_ref().map(ToString::to_string),
        datadir: request.datadir.clone(),
        replay: replayed,
        proof,
        to_rebuild: lines.servers().into_iter().cloned().chain(facts.name()).collect(),
        phases,
        intruders: request.repository.intruders(),
        recorded: Recorded::default(),
    };
    Ok((result, plan.manifest_sha256))
}

/// Restores a base from which the target can be reached. Where one is damaged an older one leads
/// to the same point, unless nothing is archived: then it would be another point.
async fn base<'l>(request: &Request, lines: &Lines<'l>) -> Result<(Plan<'l>, Based), JobError> {
    let mut without = BTreeSet::new();
    let mut damage = None;
    loop {
        let plan = match make_plan(request, lines, &without).await {
            Ok(plan) => plan,
            Err(error) => return Err(damage.unwrap_or(error)),
        };
        match base::restore(request, &plan).await {
            Ok(based) => {
                look_again(request, &based).await;
                return Ok((plan, based));
            }
            Err(base::Failed { damaged: Some(id), error })
                if request.backup.is_none() && !lines.is_empty() =>
            {
                tracing::error!(backup_id = %id, %error, "this backup is damaged; an older one is tried");
                without.insert(id);
                damage.get_or_insert(error);
            }
            Err(failed) => return Err(failed.error),
        }
    }
}

/// What was read was proven by its hashes, whatever was decided about it since: but whoever wants
/// to restore it again should know.
async fn look_again(request: &Request, based: &Based) {
    let id = &based.manifest.backup_id;
    let standing = async {
        match request.repository.manifest(id).await? {
            Some(found) => request.repository.standing(&found).await,
            None => Ok(Standing::Free),
        }
    };
    match standing.await {
        Ok(standing) => {
            if let Some(mark) = standing.condemned() {
                tracing::warn!(
                    backup_id = %id,
                    tombstone_since = %mark.at,
                    "this backup was restored, and will be removed: `backstay hold` keeps it"
                );
            }
        }
        Err(error) => tracing::warn!(%error, "whether the backup is to be removed is not known"),
    }
}

/// Says what a restore would do, and touches nothing.
///
/// # Errors
/// When the target cannot be reached, or what is stored cannot be read.
pub async fn planned(request: &Request) -> Result<Planned, JobError> {
    let begun = request.witness.begin(&request.repository, intent(request, "plan")).await?;
    let outcome = plan_only(request).await;
    let recorded = begun
        .end(&outcome, |(planned, sha256)| {
            let details = RestoreDetails {
                backup_id: Some(planned.backup_id.clone()),
                status: Some(planned.status.to_owned()),
                ..RestoreDetails::default()
            };
            Ended { record: Some(*sha256), details: Details::Restore(details), failed: None }
        })
        .await;
    outcome.map(|(planned, _)| Planned { recorded, ..planned })
}

async fn plan_only(request: &Request) -> Result<(Planned, Sha256Digest), JobError> {
    let archive = archive(request).await?;
    let lines = window::lines(&request.repository, &archive)?;
    let plan = make_plan(request, &lines, &BTreeSet::new()).await?;
    Ok((plan.told(), plan.manifest_sha256))
}

async fn archive(request: &Request) -> Result<Archive, JobError> {
    if request.target == Target::Backup {
        // The base is all that is wanted: a damaged log must not stand in its way.
        return Ok(Archive::default());
    }
    Ok(read_archive(&request.repository).await?)
}

async fn make_plan<'l>(
    request: &Request,
    lines: &Lines<'l>,
    without: &BTreeSet<BackupId>,
) -> Result<Plan<'l>, JobError> {
    let wanted = Wanted {
        target: request.target.clone(),
        line: request.line,
        backup: request.backup.as_ref(),
        skip: &request.skip,
        without,
    };
    Plan::make(&request.repository, &*request.kms, lines, &wanted, &request.progress).await
}

async fn replay(
    request: &Request,
    program: &Program,
    place: &Place,
    plan: &Plan<'_>,
    facts: &ServerFacts,
    owner: &Owner,
) -> Result<(Replayed, GtidState), JobError> {
    let mut applier = replay::Applier {
        program,
        datadir: &request.datadir,
        work: place.work()?,
        facts,
        base: Some(plan.coverage.begins.position()),
        events: std::collections::BTreeMap::new(),
        owner: owner.ids(),
        user: owner.user().map(ToOwned::to_owned),
        progress: &request.progress,
    };
    let (repository, kms) = (&request.repository, &*request.kms);
    let (flavor, progress) = (facts.flavor, &request.progress);
    Box::pin(replay::run(repository, kms, plan, flavor, &mut applier, progress)).await
}
