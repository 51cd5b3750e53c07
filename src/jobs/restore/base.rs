//! The base backup becomes a data directory, and a server proves it.

use std::time::Instant;

use super::{
    Chosen, Phases, Proof, Request, extract,
    place::{Owner, Place},
    plan::Plan,
    proof, replay, seconds_since,
};
use crate::{
    format::Manifest,
    jobs::{JobError, backup, temp_server::Program},
    model::{EngineKind, ServerFacts},
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

/// Restores the base of a plan.
pub(super) async fn restore(request: &Request, plan: &Plan<'_>) -> Result<Based, JobError> {
    let replays = !plan.coverage.pieces.is_empty();
    if replays && !request.start {
        return Err(JobError::usage(
            format!("{} needs a server to replay the binary logs", plan.target),
            "leave out --no-start, or name a --backup alone",
        ));
    }
    let chosen = Chosen::of(&request.repository, &*request.kms, plan.manifest.clone()).await?;
    let manifest = &chosen.manifest;
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
    let place = Place::claim(&request.datadir, manifest, more, request.max_disk)?;
    tracing::info!(
        backup_id = %manifest.backup_id,
        target = %plan.target,
        replay_bytes,
        datadir = %request.datadir.display(),
        "restore begins"
    );
    let mut phases = Phases::default();
    let begun = Instant::now();
    extract::run(request, &chosen, &place).await?;
    phases.extract_seconds = seconds_since(begun);
    let mut prepared = None;
    if let Some(engine) = engine {
        let begun = Instant::now();
        prepare(&engine, &place, &request.progress).await?;
        phases.prepare_seconds = seconds_since(begun);
        prepared = proof::prepared_position(place.stage())?;
    }
    place.move_in()?;
    owner.give(&request.datadir)?;
    let begun = Instant::now();
    let proof = match &program {
        Some(program) => {
            Some(proof::run(program, request, manifest, facts, prepared, &owner).await?)
        }
        None => None,
    };
    phases.start_seconds = proof.as_ref().map_or(0.0, |_| seconds_since(begun));
    Ok(Based { manifest: chosen.manifest, program, place, owner, proof, phases })
}

/// Whether a base itself is not what was written, and not the disk, the server or the store.
pub(super) fn is_damage(error: &JobError) -> bool {
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

/// Makes an extracted backup a data directory.
async fn prepare(
    engine: &engines::Engine,
    place: &Place,
    progress: &Progress,
) -> Result<(), JobError> {
    let line = engines::prepare_command(engine, place.stage(), PREPARE_MEMORY, false, None);
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
