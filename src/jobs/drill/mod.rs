//! `drill`: a point is recovered for real, beside everything, and what comes out is looked at. What
//! was shown is signed and stored; what was recovered is thrown away.

mod assertions;
mod evidence;
mod examine;
mod plan;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;

pub use assertions::{Assertion, Assertions, Statement};
pub use evidence::Evidence;
use evidence::Examiner;
pub use examine::{AnsweredValue, Asserted, AssertionResult, TableProblem, Tables};
use examine::{Look, Seen};
pub use plan::Point;

use super::{
    ExitOf, JobError, Witness,
    restore::{
        self, Owner, Phases, Planned, Proof, Replayed, RestoreResult, Target, seconds_since,
    },
    scratch::Scratch,
    temp_server::Program,
    window::{self, Windows},
};
use crate::{
    crypto::{self, kms::Kms, signer::Signer},
    format::{
        AssertionOutcome, DrillAssertions, DrillFailure, DrillRecord, DrillRecovery, DrillStatus,
        DrillTables, Manifest, Payload, RunIdentity,
    },
    model::{BackupId, ClusterUuid, DrillId, RunId, Sha256Digest, Timestamp},
    mysql::CheckDepth,
    pipeline::{Found, PipelineError, Progress, Repository, log::Line},
};

/// What to drill, and how.
#[derive(Debug)]
pub struct Request {
    /// The repository.
    pub repository: Arc<Repository>,
    /// Unwraps DEKs.
    pub kms: Arc<dyn Kms>,
    /// Vouches for the run that signs the evidence; without one no evidence is stored.
    pub signer: Option<Box<dyn Signer>>,
    /// Who runs this.
    pub identity: RunIdentity,
    /// How failures are told.
    pub exit_of: ExitOf,
    /// What to recover.
    pub point: Point,
    /// The folder below which everything happens; the system's temporary folder when none is given.
    pub scratch: Option<PathBuf>,
    /// Bytes of disk that the drill may need at most.
    pub max_disk: Option<u64>,
    /// How closely tables are checked; not at all when nothing is said.
    pub check: Option<CheckDepth>,
    /// What must be true of the recovered data.
    pub assertions: Option<Assertions>,
    /// How long one assertion may take.
    pub assertion_limit: Duration,
    /// How long recovering may take.
    pub recovery_target: Option<Duration>,
    /// The server program.
    pub server: Option<PathBuf>,
    /// Where to count, and where to be told to stop.
    pub progress: Arc<Progress>,
}

/// What a drill has shown.
#[derive(Debug, Serialize)]
pub struct Drilled {
    /// Version of this object.
    pub version: u32,
    /// `proven`; `unproven` when there was no exact position to compare with; `failed`.
    pub status: DrillStatus,
    /// What failed: `restore`, `damaged-backup`, `too-slow`, `tables`, `assertions`.
    pub failures: Vec<DrillFailure>,
    /// The drill.
    pub drill_id: DrillId,
    /// When it began.
    pub started_at: Timestamp,
    /// When everything had been looked at.
    pub finished_at: Timestamp,
    /// The point that was to be recovered.
    pub target: Option<String>,
    /// What it was drawn with, when it was drawn.
    pub seed: Option<u64>,
    /// How many seconds of history it was drawn from.
    pub drawn_from_seconds: Option<f64>,
    /// What was recovered; nothing when the restore failed.
    pub recovery: Option<Recovery>,
    /// How long recovering may take, in seconds.
    pub recovery_target_seconds: Option<f64>,
    /// The tables, when they were checked.
    pub tables: Option<Tables>,
    /// The assertions, when there were any.
    pub assertions: Option<Asserted>,
    /// Where the evidence is; nothing when none was wanted.
    pub evidence: Option<Evidence>,
    /// Why there is no recovered server.
    #[serde(skip)]
    pub error: Option<JobError>,
}

/// What was recovered, and how long it took.
#[derive(Debug, Serialize)]
pub struct Recovery {
    /// The backup that it began with.
    pub backup_id: BackupId,
    /// SHA-256 of its stored manifest.
    pub manifest_sha256: Sha256Digest,
    /// What was planned.
    pub plan: Planned,
    /// What was replayed over the base; nothing for a base alone.
    pub replay: Option<Replayed>,
    /// The transactions that the recovered server has.
    pub gtid_set: Option<String>,
    /// What was expected of it, what was found, and whether they are equal.
    pub proof: Option<Proof>,
    /// Bytes of volumes that were fetched.
    pub stored_bytes: u64,
    /// Bytes of files that were written.
    pub payload_bytes: u64,
    /// Bytes on the disk afterwards.
    pub disk_bytes: u64,
    /// How long each step took.
    pub phases: Phases,
    /// How long all of it took, with planning.
    pub seconds: f64,
}

/// Recovers a point, looks at it, stores what was seen, and clears away.
///
/// # Errors
/// When nothing could be begun, or the drill was stopped, or its evidence could not be stored. What
/// failed in the drill itself is in the result.
pub async fn run(request: Request) -> Result<Drilled, JobError> {
    let started_at = Timestamp::now();
    let drill_id = DrillId::fresh(started_at, crypto::random().map_err(PipelineError::from)?);
    let repository = Arc::clone(&request.repository);
    let Some(cluster) = repository.uuid().await? else {
        return Err(JobError::target(
            format!("{} is no cluster", repository.url()),
            "check --repo and --cluster, or take a backup first",
        ));
    };
    let scratch = Scratch::new(request.scratch.as_deref())?;
    let examiner = Examiner::begin(&request, cluster, &drill_id, started_at).await?;
    tracing::info!(drill_id = %drill_id, scratch = %scratch.path().display(), "drill begins");
    let mut drill = Drill { request, drilled: Drilled::new(drill_id, started_at), scratch };
    let looked = Box::pin(drill.recover_and_look()).await;
    let Drill { request, mut drilled, scratch } = drill;
    drop(scratch);
    drilled.finished_at = Timestamp::now();
    let Some(examiner) = examiner else { return looked.map(|()| drilled) };
    if let Err(error) = looked {
        examiner.give_up(&request, &drilled.drill_id, &error).await;
        return Err(error);
    }
    drilled.evidence = Some(examiner.testify(&request, &drilled).await?);
    Ok(drilled)
}

/// A drill at work.
struct Drill {
    request: Request,
    drilled: Drilled,
    scratch: Scratch,
}

impl Drill {
    async fn recover_and_look(&mut self) -> Result<(), JobError> {
        match Box::pin(self.steps()).await {
            Ok(()) => {}
            // It has shown nothing.
            Err(JobError::Pipeline(PipelineError::Stopped)) => {
                return Err(PipelineError::Stopped.into());
            }
            Err(error) => {
                self.drilled.failures.push(DrillFailure::Restore);
                self.drilled.error = Some(error);
            }
        }
        self.drilled.conclude();
        Ok(())
    }

    async fn steps(&mut self) -> Result<(), JobError> {
        let windows = window::run(&self.request.repository).await?;
        let (target, backup) = self.choose(&windows)?;
        let begun = Instant::now();
        let owner = Owner::find(None)?;
        owner.give(self.scratch.path())?;
        let restore = self.restore_request(target.clone(), backup);
        let restored = Box::pin(restore::recover(&restore)).await?;
        let seconds = seconds_since(begun);
        let found = self.manifest(&restored.backup_id).await?;
        let target_time = target_time(&target, &restored, &windows);
        self.recovered(restored, &found, seconds)?;
        self.look(&found.record, &owner, target_time).await
    }

    /// The point.
    fn choose(&mut self, windows: &Windows) -> Result<(Target, Option<BackupId>), JobError> {
        let (target, backup) = match &self.request.point {
            Point::Chosen { target, backup } => (target.clone(), backup.clone()),
            Point::Random { seed, last } => {
                self.drilled.seed = Some(*seed);
                let drawn = plan::draw(&windows.windows, *seed, *last, windows.at)?;
                self.drilled.drawn_from_seconds = Some(drawn.from_seconds);
                (drawn.target, drawn.backup)
            }
        };
        self.drilled.target = Some(match (&target, &backup) {
            (Target::Backup, Some(id)) => format!("backup {id}"),
            _ => target.to_string(),
        });
        tracing::info!(target_point = self.drilled.target, seed = self.drilled.seed, "the point");
        Ok((target, backup))
    }

    /// The restore that an operator would ask for.
    fn restore_request(&self, target: Target, backup: Option<BackupId>) -> restore::Request {
        let request = &self.request;
        restore::Request {
            repository: Arc::clone(&request.repository),
            kms: Arc::clone(&request.kms),
            datadir: self.scratch.path().join("data"),
            backup,
            target,
            line: Line::Newest,
            skip: Vec::new(),
            start: true,
            server: request.server.clone(),
            owner: None,
            witness: Witness::none("the drill's own records tell of it"),
            max_disk: request.max_disk,
            progress: Arc::clone(&request.progress),
        }
    }

    async fn manifest(&self, id: &BackupId) -> Result<Found<Manifest>, JobError> {
        let found = self.request.repository.manifest(id).await?;
        found.ok_or_else(|| {
            JobError::integrity(
                format!("the manifest of backup {id} has gone while it was restored"),
                "find out who deletes in this repository",
            )
        })
    }

    /// Notes what a restore has made.
    fn recovered(
        &mut self,
        restored: RestoreResult,
        found: &Found<Manifest>,
        seconds: f64,
    ) -> Result<(), JobError> {
        let failures = &mut self.drilled.failures;
        if !restored.plan.passed_over.is_empty() {
            failures.push(DrillFailure::DamagedBackup);
        }
        if self.request.recovery_target.is_some_and(|most| seconds > most.as_secs_f64()) {
            failures.push(DrillFailure::TooSlow);
        }
        self.drilled.recovery_target_seconds =
            self.request.recovery_target.map(|most| most.as_secs_f64());
        self.drilled.recovery = Some(Recovery {
            stored_bytes: restored.plan.stored_bytes,
            payload_bytes: restored.plan.payload_bytes,
            backup_id: restored.backup_id,
            manifest_sha256: found.sha256,
            plan: restored.plan,
            replay: restored.replay,
            gtid_set: restored.gtid_set,
            proof: restored.proof,
            disk_bytes: self.scratch.disk_bytes()?,
            phases: restored.phases,
            seconds,
        });
        Ok(())
    }

    /// Looks at what was recovered.
    async fn look(
        &mut self,
        manifest: &Manifest,
        owner: &Owner,
        target_time: Option<Timestamp>,
    ) -> Result<(), JobError> {
        let request = &self.request;
        if request.check.is_none() && request.assertions.is_none() {
            return Ok(());
        }
        let facts = restore::facts(manifest)?;
        let without = "give its path by --server";
        let given = request.server.as_deref();
        let program = Program::find(given, facts.flavor, &facts.version, without).await?;
        let work = self.scratch.path().join("server");
        std::fs::create_dir(&work).map_err(JobError::io("create", &work))?;
        let look = Look {
            program: &program,
            facts,
            datadir: &self.scratch.path().join("data"),
            work: &work,
            owner,
            depth: request.check,
            assertions: request.assertions.as_ref(),
            limit: request.assertion_limit,
            target_time,
            progress: &request.progress,
        };
        let Seen { tables, assertions } = look.run().await?;
        (self.drilled.tables, self.drilled.assertions) = (tables, assertions);
        Ok(())
    }
}

/// Up to when the recovered data goes: the instant that was asked for; of other points the latest
/// instant that is known to be in it.
fn target_time(target: &Target, restored: &RestoreResult, windows: &Windows) -> Option<Timestamp> {
    let window = windows.windows.iter().find(|window| window.backup_id == restored.backup_id);
    match target {
        Target::Time(at) => Some(*at),
        Target::Latest => window?.latest,
        Target::Backup => window?.earliest,
        Target::Gtid(_) | Target::Before(_) => {
            restored.plan.last.as_ref().map(|last| last.committed_at)
        }
    }
}

impl Drilled {
    fn new(drill_id: DrillId, started_at: Timestamp) -> Self {
        Self {
            version: 1,
            status: DrillStatus::Failed,
            failures: Vec::new(),
            drill_id,
            started_at,
            finished_at: started_at,
            target: None,
            seed: None,
            drawn_from_seconds: None,
            recovery: None,
            recovery_target_seconds: None,
            tables: None,
            assertions: None,
            evidence: None,
            error: None,
        }
    }

    /// The verdict, from all that was seen.
    fn conclude(&mut self) {
        if self.tables.as_ref().is_some_and(|tables| !tables.damaged.is_empty()) {
            self.failures.push(DrillFailure::Tables);
        }
        let fails = |asserted: &Asserted| asserted.hold < asserted.results.len() as u64;
        if self.assertions.as_ref().is_some_and(fails) {
            self.failures.push(DrillFailure::Assertions);
        }
        let proof = self.recovery.as_ref().and_then(|recovery| recovery.proof.as_ref());
        self.status = match proof {
            _ if !self.failures.is_empty() => DrillStatus::Failed,
            Some(proof) if proof.equal == Some(true) => DrillStatus::Proven,
            _ => DrillStatus::Unproven,
        };
    }

    /// What is signed and stored: it names no table and no assertion.
    fn record(&self, cluster_uuid: ClusterUuid, run_id: RunId) -> DrillRecord {
        DrillRecord {
            version: DrillRecord::VERSION,
            drill_id: self.drill_id.clone(),
            cluster_uuid,
            run_id,
            started_at: self.started_at,
            finished_at: self.finished_at,
            status: self.status,
            failures: self.failures.clone(),
            target: self.target.clone().unwrap_or_default(),
            seed: self.seed,
            recovery: self.recovery.as_ref().map(Recovery::record),
            tables: self.tables.as_ref().map(|tables| DrillTables {
                whole: tables.whole,
                damaged: tables.damaged.len() as u64,
                unchecked: tables.unchecked.len() as u64,
                check_ms: milliseconds(tables.seconds),
            }),
            assertions: self.assertions.as_ref().map(|asserted| DrillAssertions {
                file_sha256: asserted.file_sha256,
                outcomes: asserted.results.iter().map(|result| result.status).collect(),
                ask_ms: milliseconds(asserted.seconds),
            }),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Whether something was found to be other than it should be: not merely slow, or not there.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.failures.iter().any(|failure| {
            matches!(
                failure,
                DrillFailure::DamagedBackup | DrillFailure::Tables | DrillFailure::Assertions
            )
        })
    }

    /// The assertions that do not hold.
    pub fn broken_assertions(&self) -> impl Iterator<Item = &AssertionResult> {
        let results = self.assertions.iter().flat_map(|asserted| &asserted.results);
        results.filter(|result| result.status != AssertionOutcome::Holds)
    }
}

impl Recovery {
    fn record(&self) -> DrillRecovery {
        DrillRecovery {
            backup_id: self.backup_id.clone(),
            manifest_sha256: self.manifest_sha256,
            gtid_set: self.gtid_set.as_ref().and_then(|set| set.parse().ok()),
            stored_bytes: self.stored_bytes,
            payload_bytes: self.payload_bytes,
            log_bytes: self.plan.bytes,
            transactions: self.replay.as_ref().map_or(0, |replay| replay.transactions),
            extract_ms: milliseconds(self.phases.extract_seconds),
            prepare_ms: milliseconds(self.phases.prepare_seconds),
            replay_ms: milliseconds(self.phases.replay_seconds),
            start_ms: milliseconds(self.phases.start_seconds),
            total_ms: milliseconds(self.seconds),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a duration in ms fits"
)]
fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}
