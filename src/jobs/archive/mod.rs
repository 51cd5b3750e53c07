//! `archive`: a server's binary logs, byte for byte and without gaps, into the cluster's log.
//!
//! Read the log's end → stand by until it may be claimed → decide where to read on → claim → follow
//! the server, and ship tails and segments, until stopped, fenced, or sent to another server.

mod claim;
mod follow;
mod ledger;
mod merged;
mod outline;
mod plan;
mod purge;
mod range;
mod session;
mod ship;
mod source;
mod status;

use std::{collections::HashSet, sync::Arc, time::Duration};

use ledger::{Epoch, Ledger};
use plan::{Refusal, Seen, Start, Why};
pub use status::{Condition, Snapshot, Status};

use super::{
    ExitOf, JobError, Position,
    identity::{self, Need},
};
use crate::{
    crypto::{self, kms::Kms, signer::Signer},
    format::{Branch, EpochEntry, EpochReason, ForkEntry, GapEntry, Role, RunIdentity},
    model::{Connection, Flavor, HistoryId, Timestamp},
    mysql::{ConnectOptions, Server},
    pipeline::{
        PipelineError, Progress, Repository, Run, RunRequest, audit,
        log::{LogState, LogWriter, refresh, tip},
        marked_run,
    },
};

/// How often an owner that has nothing to say says so.
const BEAT: Duration = Duration::from_secs(10);

/// After how long a run and its DEK are renewed, unless tests are in a hurry.
pub const RENEW_AFTER: Duration = Duration::from_hours(24);

/// What to archive, and how.
#[derive(Debug)]
pub struct Request {
    /// Where to.
    pub repository: Arc<Repository>,
    /// Wraps the DEKs.
    pub kms: Box<dyn Kms>,
    /// Wrap them, too: any one of them opens what is archived.
    pub also: Vec<Box<dyn Kms>>,
    /// Vouches for the runs.
    pub signer: Box<dyn Signer>,
    /// Who runs it.
    pub identity: RunIdentity,
    /// The primary.
    pub connect: ConnectOptions,
    /// How long captured bytes may wait for a tail.
    pub rpo: Duration,
    /// End when everything is shipped that the server had when this began.
    pub until_current: bool,
    /// Claim the log though its owner is not silent.
    pub takeover: bool,
    /// Go on with a server that does not continue the archive.
    pub new_history: bool,
    /// After how long the run and its DEK are renewed.
    pub renew_after: Duration,
    /// Remove logs from the server that are durable and at least this old.
    pub purge_archived: Option<Duration>,
    /// How a failure is recorded.
    pub exit_of: ExitOf,
    /// Told to whoever asks.
    pub status: Arc<Status>,
    /// Where to be told to stop.
    pub progress: Arc<Progress>,
}

/// What was archived.
#[derive(Debug, serde::Serialize)]
pub struct Archived {
    /// Version of this object.
    pub version: u32,
    /// `current` with `--until-current`, `stopped` after a signal.
    pub status: &'static str,
    /// The server.
    pub server: Option<String>,
    /// The epoch.
    pub epoch: u64,
    /// Everything before it is durable.
    #[serde(flatten)]
    pub position: Position,
    /// The transactions that are durable.
    pub gtid_set: String,
    /// The latest of their commits.
    pub committed_until: Option<Timestamp>,
    /// Transactions captured by this process.
    pub transactions: u64,
    /// Bytes captured by this process.
    pub bytes_read: u64,
    /// Bytes that it has stored.
    pub bytes_stored: u64,
    /// Gaps that it has recorded.
    pub gaps: u64,
    /// Forks that it has recorded.
    pub forks: u64,
    /// The head of the log: keep it, and give it as `--at-least` later.
    pub log_head: String,
    /// The head of the audit chain, for the same.
    pub audit_head: Option<String>,
}

/// Archives until told to stop, or until everything is shipped.
///
/// # Errors
/// `Fenced` when another archiver has claimed the log; a target error when the server does not
/// continue the archive; whatever made it impossible to begin.
pub async fn run(request: Request) -> Result<Archived, JobError> {
    let need = if request.until_current { Need::Backup } else { Need::Forever };
    identity::check(&request.repository, need).await?;
    let mut log = tip(&request.repository).await?;
    let mut takeover = request.takeover;
    let mut new_history = request.new_history;
    let mut own: Option<(Arc<Run>, session::Renewal)> = None;
    let mut renewed: Option<Run> = None;
    let mut again: Option<(EpochReason, Option<Server>)> = None;
    // The runs of this process: a claim may have been written unheard.
    let mut ours = HashSet::new();
    let ledger = Ledger::new(&request);
    loop {
        let (reason, mut server) = match again.take() {
            Some((reason, Some(server))) => (reason, server),
            Some((reason, None)) => match met_again(&request, &log).await {
                Ok(Some(server)) => (reason, server),
                Ok(None) => continue,
                Err(error) => {
                    wait_after(&request, error).await?;
                    continue;
                }
            },
            None => claim::wait(&request, &mut log, &ours, takeover).await?,
        };
        // What is decided from here on holds for the log as it is.
        let known = log.head;
        let epoch = log.epoch();
        if let Err(error) = refresh(&request.repository, &mut log).await {
            wait_after(&request, error.into()).await?;
            continue;
        }
        let waited =
            !matches!(reason, EpochReason::Server | EpochReason::Takeover | EpochReason::Renewal);
        if log.epoch() != epoch || (waited && log.head != known) {
            // Somebody else was quicker, or the owner is not silent any more.
            continue;
        }
        let seen = match source::see(&mut server, &request.connect, &log).await {
            Ok(seen) => seen,
            Err(error) => {
                wait_after(&request, error).await?;
                continue;
            }
        };
        let (start, parent) = decide(&request, &mut server, &log, &seen, new_history).await?;
        // The same process goes on with its run, unless that is to be renewed.
        let mut kept = own.take().filter(|_| !waited);
        if let Some((run, _)) = &kept
            && is_given_up(run).await?
        {
            kept = None;
        }
        let (run, renewal) = match (renewed.take(), kept) {
            (Some(fresh), _) => (Arc::new(fresh), session::Renewal::new(&request)),
            (None, Some((run, renewal))) => (run, renewal),
            (None, None) => (Arc::new(begin(&request).await?), session::Renewal::new(&request)),
        };
        ours.insert(run.id);
        let history = match (&log.owner, &parent) {
            (Some(owner), None) => owner.history,
            _ => HistoryId::from_bytes(crypto::random().map_err(PipelineError::from)?),
        };
        let claim = EpochEntry {
            reason,
            server: seen.server.clone(),
            history,
            parent,
            resumes: matches!(start, Start::Resume { .. }).then(|| log.durable()).flatten(),
            connections: connections(&request, &server),
        };
        // Where the server goes on with what it had, the owner cannot come to another place.
        let insist = reason == EpochReason::Takeover && start == (Start::Resume { gap: None });
        let writer = match LogWriter::claim(Arc::clone(&run), log, claim, insist).await {
            Ok(writer) => writer,
            Err((PipelineError::Fenced { .. } | PipelineError::Unsettled, state)) => {
                // Somebody else was quicker, or the owner is alive: look again.
                (log, own) = (state, Some((run, renewal)));
                continue;
            }
            Err((error, state)) => {
                log = state;
                own = Some((run, renewal));
                wait_after(&request, error.into()).await?;
                continue;
            }
        };
        (takeover, new_history) = (false, false);
        tracing::info!(epoch = writer.epoch(), ?reason, server = %seen.server.name, "claimed the log");
        let epoch = Epoch::claimed(&run, &writer, &seen.server.name, server.connection());
        ledger.begun(&epoch, reason).await;
        let session = session::run(&request, &ledger, &epoch, writer, server, start, renewal);
        let ended = Box::pin(session).await;
        ledger.over(&epoch, &ended).await;
        match ended? {
            session::Ended::Done { log, status: "stopped" } => {
                return Err(session::stopped(&log));
            }
            session::Ended::Done { log, status } => {
                return Ok(archived(&request, &log, status).await);
            }
            session::Ended::Again { log: state, reason, server, mut renewal } => {
                log = state;
                again = Some((reason, server));
                renewed = renewal.run.take();
                own = Some((run, renewal));
            }
        }
    }
}

/// The connections that the claimant has.
fn connections(request: &Request, server: &Server) -> Vec<Connection> {
    let mut used = vec![request.repository.store().connection(), request.kms.connection()];
    used.extend(request.also.iter().map(|kms| kms.connection()));
    used.extend([request.signer.connection(), server.connection().clone()]);
    identity::known(used)
}

/// Where to read on, and what a new history branches off from.
async fn decide(
    request: &Request,
    server: &mut Server,
    log: &LogState,
    seen: &Seen,
    new_history: bool,
) -> Result<(Start, Option<Branch>), JobError> {
    let branch = |at| log.owner.as_ref().map(|owner| Branch { history: owner.history, at });
    match plan::start(log, seen) {
        Start::Refuse(refusal) if !new_history => Err(refused(&refusal)),
        Start::Refuse(_) => {
            let (file, at) = source::branch(&request.repository, &request.connect, seen).await?;
            // A restored MariaDB says what it was restored to, and has no file with that.
            let at = match seen.server.flavor {
                Flavor::Mariadb if at.is_empty() => {
                    server.applied().await?.shared_with(&log.frontier)
                }
                _ => at,
            };
            // Where nothing is in common, nothing is missing either.
            let gap = plan::gap_before(log, seen, Some(&file), &at);
            let gap = gap.filter(|_| !at.is_empty());
            Ok((Start::Begin { file, fork: None, gap }, branch(at)))
        }
        // A restored server that leaves transactions behind on purpose.
        Start::Begin { file, fork: Some(fork), gap } if new_history => {
            Ok((Start::Begin { file, fork: None, gap }, branch(fork.frontier)))
        }
        start => Ok((start, None)),
    }
}

/// The server that was read, when it is still the one at its address.
async fn met_again(request: &Request, log: &LogState) -> Result<Option<Server>, JobError> {
    let ours = log.owner.as_ref().map(|owner| &owner.server.name);
    let met = source::meet(&request.connect, ours).await?;
    Ok((ours == Some(&met.identity.name)).then_some(met.server))
}

/// Waits a little after what may pass by itself; anything else comes back.
async fn wait_after(request: &Request, error: JobError) -> Result<(), JobError> {
    let condition = match &error {
        JobError::Mysql(_) if !claim::is_final(&error) => Condition::SourceDown,
        JobError::Pipeline(PipelineError::Store(_)) => Condition::StoreDown,
        _ => return Err(error),
    };
    if request.until_current {
        return Err(error);
    }
    request.status.condition(condition);
    tracing::warn!(%error, "the log could not be claimed; trying again");
    tokio::select! {
        () = request.progress.stopped() => {}
        () = tokio::time::sleep(claim::LOOK) => {}
    }
    Ok(())
}

/// Whether `prune` has taken a run that claims nothing for abandoned, and may remove its key.
async fn is_given_up(run: &Run) -> Result<bool, PipelineError> {
    let subject = marked_run(run.id);
    let marks = run.repository.marks_of(&subject).await?;
    Ok(marks.standing(&subject).condemned().is_some())
}

async fn begin(request: &Request) -> Result<Run, PipelineError> {
    let begin = RunRequest {
        kms: &*request.kms,
        also: &request.also,
        signer: &*request.signer,
        role: Role::Archive,
        identity: request.identity.clone(),
        started_at: Timestamp::now(),
    };
    Run::begin(Arc::clone(&request.repository), &begin).await
}

fn refused(refusal: &Refusal) -> JobError {
    let hint = match refusal.why {
        Why::Stranger => {
            "check --mysql-host and --cluster; if it is the new beginning of this cluster, take a base backup and run once with --new-history"
        }
        Why::Reset | Why::Anew | Why::Crashed => {
            "what is archived stays restorable; take a new base backup, and run once with --new-history to archive what comes now"
        }
    };
    JobError::target(refusal.sentence(), hint)
}

async fn archived(request: &Request, log: &LogState, status: &'static str) -> Archived {
    let now = request.status.read();
    let audit_head = match audit::head(&request.repository).await {
        Ok(head) => Some(head.to_string()),
        Err(error) => {
            tracing::warn!(%error, "the end of the audit chain was not seen");
            None
        }
    };
    Archived {
        version: 1,
        status,
        server: log.owner.as_ref().map(|owner| owner.server.name.to_string()),
        epoch: log.epoch(),
        position: log.durable().into(),
        gtid_set: log.frontier.to_string(),
        committed_until: log.committed_until,
        transactions: now.captured_transactions,
        bytes_read: now.captured_bytes,
        bytes_stored: now.record_bytes + now.segment_bytes,
        gaps: now.gaps,
        forks: now.forks,
        log_head: log.head.to_string(),
        audit_head,
    }
}

fn warn_of_fork(fork: &ForkEntry) {
    tracing::error!(
        forked = fork.forked,
        transactions = fork.transactions,
        left = %fork.left,
        taken = %fork.taken,
        "a fork: these transactions are archived, and the new primary does not have them"
    );
}

fn warn_of_gap(gap: &GapEntry) {
    tracing::error!(
        missing = gap.missing,
        transactions = gap.transactions,
        server = %gap.server,
        file = %gap.file,
        "a gap: these transactions were purged before they were archived; take a new base backup now"
    );
}
