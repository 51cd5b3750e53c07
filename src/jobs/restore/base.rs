//! The base backup becomes a data directory, and a server proves it.

use std::{path::Path, time::Instant};

use super::{
    Chosen, Phases, Proof, Request, extract,
    place::{Owner, Place},
    plan::Plan,
    proof, replay, seconds_since,
};
use crate::{
    format::Manifest,
    jobs::{JobError, backup, temp_server::Program},
    model::{BackupId, EngineKind, ServerFacts},
    mysql::engines,
    pipeline::{PipelineError, Progress},
    process::{Child, CleanExit, Input, Output},
};

/// Memory for the engine's prepare step, in bytes.
const PREPARE_MEMORY: u64 = 128 << 20;

/// A base in its place.
pub(super) struct Based {
    pub(super) manifest: Manifest,
    /// The server that proves; nothing when none was asked for.
    pub(super) program: Option<Program>,
    pub(super) place: Place,
    pub(super) owner: Owner,
    pub(super) proof: Option<Proof>,
    pub(super) phases: Phases,
}

/// A base that could not be restored.
pub(super) struct Failed {
    /// The backup that is damaged: the base, or one that it stands on.
    pub(super) damaged: Option<BackupId>,
    pub(super) error: JobError,
}

impl<E: Into<JobError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self { damaged: None, error: error.into() }
    }
}

fn damaged(manifest: &Manifest, error: JobError) -> Failed {
    let damaged = is_damage(&error).then(|| manifest.backup_id.clone());
    Failed { damaged, error }
}

/// The base, and before it what it stands on, each with its key.
async fn links(request: &Request, plan: &Plan<'_>) -> Result<Vec<Chosen>, Failed> {
    let mut links = Vec::new();
    for manifest in plan.stands_on.iter().chain([&plan.manifest]) {
        let link = Chosen::of(&request.repository, &*request.kms, manifest.clone()).await;
        links.push(link.map_err(|e| damaged(manifest, e))?);
    }
    Ok(links)
}

/// Restores the base of a plan.
pub(super) async fn restore(request: &Request, plan: &Plan<'_>) -> Result<Based, Failed> {
    let replays = !plan.coverage.pieces.is_empty();
    if replays && !request.start {
        return Err(JobError::usage(
            format!("{} needs a server to replay the binary logs", plan.target),
            "leave out --no-start, or name a --backup alone",
        )
        .into());
    }
    let links = links(request, plan).await?;
    let manifest = &plan.manifest;
    let owner = Owner::find(request.owner.as_deref())?;
    let facts = facts(manifest)?;
    let program = if request.start {
        let without = "give its path by --server, or --no-start, and nothing will be proven";
        let given = request.server.as_deref();
        Some(Program::find(given, facts.flavor, &facts.version, without).await?)
    } else {
        None
    };
    let engine = match manifest.engine.kind {
        EngineKind::Clone => None,
        kind => Some(backup::find_engine(kind).await?),
    };
    let replay_bytes = plan.bytes();
    // The rows of a log take about as much room in tables as in the log.
    let more = replay_bytes.saturating_add(replay::relay_bytes(replay_bytes));
    let payload = plan.payload_bytes().saturating_add(more);
    let place = Place::claim(&request.datadir, &manifest.backup_id, payload, request.max_disk)?;
    tracing::info!(
        backup_id = %manifest.backup_id,
        target = %plan.target,
        replay_bytes,
        datadir = %request.datadir.display(),
        "restore begins"
    );
    let mut phases = Phases::default();
    let mut prepared = None;
    for (n, link) in links.iter().enumerate() {
        let increment = if n == 0 { None } else { Some(place.increment()?) };
        let begun = Instant::now();
        let folder = increment.as_deref().unwrap_or(place.stage());
        extract::run(request, link, folder).await.map_err(|e| damaged(&link.manifest, e))?;
        phases.extract_seconds += seconds_since(begun);
        if let Some(engine) = &engine {
            let begun = Instant::now();
            let more_follow = n + 1 < links.len();
            let applied = increment.as_deref();
            prepare(engine, &place, more_follow, applied, &request.progress).await?;
            phases.prepare_seconds += seconds_since(begun);
            prepared = proof::prepared_position(place.stage())?;
        }
    }
    place.move_in()?;
    owner.give(&request.datadir)?;
    let begun = Instant::now();
    let proof = match &program {
        Some(program) => {
            let proven = proof::run(program, request, manifest, facts, prepared, &owner).await;
            Some(proven.map_err(|e| damaged(manifest, e))?)
        }
        None => None,
    };
    phases.start_seconds = proof.as_ref().map_or(0.0, |_| seconds_since(begun));
    Ok(Based { manifest: manifest.clone(), program, place, owner, proof, phases })
}

/// Whether a base itself is not what was written, and not the disk, the server or the store.
fn is_damage(error: &JobError) -> bool {
    matches!(
        error,
        JobError::Integrity { .. } | JobError::Pipeline(PipelineError::Integrity { .. })
    )
}

pub(in crate::jobs) fn facts(manifest: &Manifest) -> Result<&ServerFacts, JobError> {
    manifest.server.as_ref().ok_or_else(|| {
        JobError::integrity(
            "the manifest does not say which server it is from",
            "restore another backup",
        )
    })
}

/// Makes an extracted backup a data directory, or applies an increment to it.
async fn prepare(
    engine: &engines::Engine,
    place: &Place,
    more_follow: bool,
    increment: Option<&Path>,
    progress: &Progress,
) -> Result<(), JobError> {
    let stage = place.stage();
    let line = engines::prepare_command(engine, stage, PREPARE_MEMORY, more_follow, increment);
    let exit =
        interruptible(Child::spawn("prepare", &line, Input::Null, Output::Null)?, progress).await?;
    if engines::said_completed(exit.tail()) {
        return Ok(());
    }
    Err(JobError::source(
        format!(
            "{} --prepare did not say `completed OK!`:\n  {}",
            engine.kind,
            exit.tail().join("\n  ")
        ),
        "the result cannot be used; restore another backup",
    ))
}

/// Waits for a child, and ends it when we are told to stop.
async fn interruptible(child: Child, progress: &Progress) -> Result<CleanExit, JobError> {
    let killer = child.killer();
    let waiting = child.wait();
    tokio::pin!(waiting);
    tokio::select! {
        exit = &mut waiting => Ok(exit?),
        () = progress.stopped() => {
            killer.terminate();
            let _ = waiting.await;
            Err(PipelineError::Stopped.into())
        }
    }
}
