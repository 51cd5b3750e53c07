//! One epoch: from the claim until it is lost, given up, or over.

use std::time::{Duration, Instant};

use super::{
    BEAT, Request, begin, claim,
    follow::{self, End},
    ledger::{Epoch, Ledger},
    plan::{self, Start},
    purge, refused,
    ship::Shipper,
    source,
    status::Condition,
    warn_of_fork, warn_of_gap,
};
use crate::{
    format::{EpochReason, GapEntry, HeartbeatEntry, LogEntry, LogServer, audit::action},
    jobs::JobError,
    model::BinlogPosition,
    mysql::{ConnectOptions, MysqlError, Server},
    pipeline::{
        PipelineError, Run,
        log::{LogState, LogWriter},
    },
    store::StoreErrorKind,
};

/// A DEK is renewed after this many bytes, however young it is.
const RENEW_BYTES: u64 = 1 << 40;
/// While the KMS is down the old DEK serves this many times its age.
const GRACE: u32 = 3;
/// How often a renewal is tried.
const RENEW_AGAIN: Duration = Duration::from_mins(5);
/// The longest pause before the server or the store is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How an epoch ended.
#[expect(clippy::large_enum_variant, reason = "moved a few times in the life of a process")]
pub(super) enum Ended {
    /// The job is done.
    Done { log: LogState, status: &'static str },
    /// Another epoch is to be claimed by the same process, for this server if there is another.
    Again { log: LogState, reason: EpochReason, server: Option<Server>, renewal: Renewal },
}

/// When the DEK is renewed, and the run that does it.
#[derive(Debug)]
pub(super) struct Renewal {
    began: Instant,
    bytes: u64,
    tried: Option<Instant>,
    pub(super) run: Option<Run>,
}

impl Renewal {
    /// For a run that begins now.
    pub(super) fn new(request: &Request) -> Self {
        let bytes = request.status.read().captured_bytes;
        Self { began: Instant::now(), bytes, tried: None, run: None }
    }
}

/// What a session carries from connection to connection.
pub(super) struct Session<'a> {
    pub(super) request: &'a Request,
    pub(super) ledger: &'a Ledger<'a>,
    epoch: &'a Epoch,
    pub(super) ship: Shipper,
    /// Where `--until-current` ends.
    pub(super) target: Option<BinlogPosition>,
    /// Where the server's log ended at the last look.
    pub(super) end: Option<BinlogPosition>,
    pub(super) renewal: Renewal,
    /// What may be purged from the server.
    pub(super) guard: purge::Guard,
    /// The last pause before the server or the store was tried again.
    pause: Duration,
}

pub(super) async fn run(
    request: &Request,
    ledger: &Ledger<'_>,
    epoch: &Epoch,
    writer: LogWriter,
    mut server: Server,
    start: Start,
    renewal: Renewal,
) -> Result<Ended, JobError> {
    let target = if request.until_current { server.current_position().await?.0 } else { None };
    let ship = Shipper::new(writer, request.status.clone(), request.rpo)?;
    let mut session = Session {
        request,
        ledger,
        epoch,
        ship,
        target,
        end: None,
        renewal,
        guard: purge::Guard::default(),
        pause: Duration::ZERO,
    };
    let outcome = session.own(start).await;
    match outcome {
        Ok(Outcome::Done(status)) => {
            session.ship.source_lost().await?;
            session.ship.finish().await?;
            session.release().await?;
            request.status.condition(Condition::Stopped);
            let latency = request.status.read().latency;
            tracing::info!(
                transactions = latency.count(),
                p50_seconds = latency.quantile(0.5),
                p99_seconds = latency.quantile(0.99),
                max_seconds = latency.quantile(1.0),
                "from commit to durable, in this process"
            );
            Ok(Ended::Done { log: session.ship.writer.into_state(), status })
        }
        Ok(Outcome::Again(reason, server)) => {
            let log = session.ship.writer.into_state();
            Ok(Ended::Again { log, reason, server, renewal: session.renewal })
        }
        Err(error) => {
            if let JobError::Pipeline(PipelineError::Fenced { .. }) = error {
                request.status.condition(Condition::Fenced);
            }
            session.ship.abandon().await;
            if let JobError::Target { .. } = error {
                // A person has to decide, and then nobody need wait for our silence.
                let _ = session.release().await;
            }
            Err(error)
        }
    }
}

/// A signal asked for this, and nothing was lost.
pub(super) fn stopped(log: &LogState) -> JobError {
    tracing::info!(head = %log.head, "stopped: everything captured is durable, and the log is released");
    PipelineError::Stopped.into()
}

impl Session<'_> {
    /// Follows the server through lost connections and an absent store.
    async fn own(&mut self, mut start: Start) -> Result<Outcome, JobError> {
        loop {
            let entered = Instant::now();
            let tried = match self.enter(start).await {
                Ok(from) => follow::run(self, from).await,
                Err(error) => Err(error),
            };
            let tried = match tried {
                Ok(End::Done(status)) => return Ok(Outcome::Done(status)),
                Ok(End::Again(reason)) => self.hand_over(reason, None).await,
                Ok(End::Moved(server)) => self.hand_over(EpochReason::Server, Some(*server)).await,
                Err(error) => Err(error),
            };
            if entered.elapsed() > LONGEST_PAUSE {
                self.pause = Duration::ZERO;
            }
            let mut tried = tried;
            start = loop {
                match tried {
                    Ok(outcome) => return Ok(outcome),
                    Err(error) => self.overcome(error).await?,
                }
                tried = match self.reconnect().await? {
                    Next::Follow(next) => break next,
                    Next::Moved(server) => self.hand_over(EpochReason::Server, Some(server)).await,
                    Next::Stopped => return Ok(Outcome::Done("stopped")),
                };
            }
        }
    }

    /// Ships what was captured, before another epoch is claimed.
    async fn hand_over(
        &mut self,
        reason: EpochReason,
        server: Option<Server>,
    ) -> Result<Outcome, JobError> {
        self.ship.source_lost().await?;
        self.ship.finish().await?;
        self.ship.promote().await?;
        Ok(Outcome::Again(reason, server))
    }

    /// The server that is read.
    pub(super) fn server(&self) -> Result<LogServer, PipelineError> {
        let owner = self.ship.writer.state().owner.as_ref();
        owner.map(|owner| owner.server.clone()).ok_or(PipelineError::Worker)
    }

    /// Records what has to be recorded before the first byte. Returns where to dump from.
    async fn enter(&mut self, start: Start) -> Result<(String, u64), JobError> {
        match start {
            Start::Resume { gap } => {
                let current = self.ship.writer.state().current().map(|file| file.open.clone());
                let open = current.ok_or(PipelineError::Worker)?;
                let below = |offset: &u64| u32::try_from(*offset).is_ok();
                let from = open.last_group.as_ref().map_or(4, |group| group.begin);
                let from = Some(from).filter(below).unwrap_or(open.boundary);
                self.ship.resume(&open, from).await;
                if !self.ship.is_filling() {
                    self.ship.promote().await?;
                }
                self.gap(gap).await?;
                Ok((open.file.to_string(), from))
            }
            Start::Begin { file, fork, gap } => {
                if !self.ship.is_filling() {
                    self.ship.promote().await?;
                }
                if let Some(fork) = fork {
                    warn_of_fork(&fork);
                    let transactions = fork.transactions;
                    self.ship.note(LogEntry::Fork(fork)).await?;
                    self.request.status.fork();
                    self.note(action::ARCHIVE_FORK, transactions).await;
                }
                self.gap(gap).await?;
                self.ship.expect();
                Ok((file.to_string(), 4))
            }
            Start::Refuse(refusal) => Err(refused(&refusal)),
        }
    }

    async fn gap(&mut self, gap: Option<GapEntry>) -> Result<(), PipelineError> {
        let Some(gap) = gap else { return Ok(()) };
        self.request.status.condition(Condition::Purged);
        warn_of_gap(&gap);
        let transactions = gap.transactions;
        self.ship.note(LogEntry::Gap(gap)).await?;
        self.request.status.gap();
        self.note(action::ARCHIVE_GAP, transactions).await;
        Ok(())
    }

    /// Tells the audit chain of the log's last record.
    async fn note(&self, action: &str, transactions: u64) {
        let record = self.ship.writer.state().head;
        self.ledger.note(self.epoch, action, record, transactions).await;
    }

    /// Puts things in order after a failure; an error that cannot be overcome comes back.
    async fn overcome(&mut self, error: JobError) -> Result<(), JobError> {
        let status = &self.request.status;
        match error {
            JobError::Mysql(MysqlError::PastEnd { .. }) => Err(JobError::target(
                error.to_string(),
                "what is archived stays restorable; take a new base backup, and run once with --new-history to archive what comes now",
            )),
            JobError::Mysql(error) => {
                status.condition(Condition::SourceDown);
                status.error("source");
                tracing::warn!(%error, "reading the binary log failed; connecting again");
                match self.ship.source_lost().await {
                    Ok(()) => Ok(()),
                    Err(error) => Box::pin(self.overcome(error.into())).await,
                }
            }
            JobError::Pipeline(PipelineError::Unsettled) => {
                self.ship.abandon().await;
                Ok(())
            }
            JobError::Pipeline(PipelineError::Store(error))
                if error.kind != StoreErrorKind::Corrupt =>
            {
                status.condition(Condition::StoreDown);
                status.error("store");
                tracing::warn!(%error, "the store failed; the server keeps its logs, and they are read again when it is back");
                self.ship.abandon().await;
                self.until_store_is_back().await
            }
            error => Err(error),
        }
    }

    /// Waits until the log can be read again; what was written unheard then counts.
    async fn until_store_is_back(&mut self) -> Result<(), JobError> {
        let began = Instant::now();
        loop {
            if self.pause().await {
                return Err(PipelineError::Stopped.into());
            }
            match self.ship.writer.settle().await {
                Ok(()) => {
                    tracing::info!(seconds = began.elapsed().as_secs(), "the store is back");
                    self.pause = Duration::ZERO;
                    return Ok(());
                }
                Err(PipelineError::Store(error)) => {
                    self.request.status.error("store");
                    tracing::warn!(%error, down_seconds = began.elapsed().as_secs(), "the store is still down");
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Finds the server again, and where to read on.
    async fn reconnect(&mut self) -> Result<Next, JobError> {
        loop {
            if self.pause().await {
                return Ok(Next::Stopped);
            }
            let state = self.ship.writer.state().clone();
            let connect = self.request.connect.clone();
            let mut looking = std::pin::pin!(look(&connect, &state));
            let looked = loop {
                match tokio::time::timeout(BEAT, &mut looking).await {
                    Ok(looked) => break looked,
                    // Whoever stands by must see that this epoch has an owner.
                    Err(_) => self.live().await?,
                }
            };
            match looked {
                Ok(next) => return Ok(next),
                Err(JobError::Mysql(error)) => {
                    let error = JobError::Mysql(error);
                    if claim::is_final(&error) && self.request.until_current {
                        return Err(error);
                    }
                    self.request.status.condition(Condition::SourceDown);
                    self.request.status.error("source");
                    tracing::warn!(%error, "the server is not there; trying again");
                }
                Err(error) => return Err(error),
            }
            self.live().await?;
        }
    }

    async fn live(&mut self) -> Result<(), JobError> {
        match self.sign_of_life().await {
            Ok(()) => Ok(()),
            Err(error) => self.overcome(error.into()).await,
        }
    }

    /// Waits a little longer each time; true when asked to stop.
    async fn pause(&mut self) -> bool {
        self.pause = (self.pause * 2).clamp(Duration::from_millis(200), LONGEST_PAUSE);
        tokio::select! {
            () = self.request.progress.stopped() => true,
            () = tokio::time::sleep(self.pause) => false,
        }
    }

    /// Writes a heartbeat when nothing else was written for a while.
    pub(super) async fn sign_of_life(&mut self) -> Result<(), PipelineError> {
        if self.ship.last_append().elapsed() < BEAT {
            return Ok(());
        }
        self.beat(None, false).await
    }

    pub(super) async fn beat(
        &mut self,
        quiet_until: Option<crate::model::Timestamp>,
        released: bool,
    ) -> Result<(), PipelineError> {
        let state = self.ship.writer.state();
        let Some(owner) = &state.owner else { return Ok(()) };
        let entry = HeartbeatEntry {
            server: owner.server.name.clone(),
            position: state.durable(),
            quiet_until,
            released,
        };
        self.ship.note(LogEntry::Heartbeat(entry)).await
    }

    async fn release(&mut self) -> Result<(), PipelineError> {
        self.beat(None, true).await
    }

    /// Begins a new run with a new DEK when the old one has served long enough; true when there is
    /// one. While the KMS is down the old one goes on for a while, and an alarm is given.
    pub(super) async fn renew(&mut self) -> Result<bool, JobError> {
        let age = self.renewal.began.elapsed();
        let sealed = self.request.status.read().captured_bytes - self.renewal.bytes;
        let recently = self.renewal.tried.is_some_and(|at| at.elapsed() < RENEW_AGAIN);
        if (age < self.request.renew_after && sealed < RENEW_BYTES) || recently {
            return Ok(false);
        }
        self.renewal.tried = Some(Instant::now());
        match begin(self.request).await {
            Ok(run) => {
                self.renewal.run = Some(run);
                Ok(true)
            }
            Err(error) if age < self.request.renew_after * GRACE => {
                self.request.status.error("renewal");
                tracing::error!(
                    %error,
                    age_hours = age.as_secs() / 3600,
                    "the DEK cannot be renewed; the old one serves for three days at most"
                );
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Who answers at the address, and where to read on.
async fn look(connect: &ConnectOptions, state: &LogState) -> Result<Next, JobError> {
    let ours = state.owner.as_ref().map(|owner| &owner.server.name);
    let mut met = source::meet(connect, ours).await?;
    if ours != Some(&met.identity.name) {
        if !met.is_writable {
            return Err(MysqlError::Unsupported {
                what: format!("archiving server {}", met.identity.name),
                why: "it is read-only, and not the one that was being archived".into(),
            }
            .into());
        }
        return Ok(Next::Moved(met.server));
    }
    let seen = source::see(&mut met.server, connect, state).await?;
    match plan::start(state, &seen) {
        Start::Refuse(refusal) => Err(refused(&refusal)),
        start => Ok(Next::Follow(start)),
    }
}

/// How owning the log ended.
enum Outcome {
    Done(&'static str),
    Again(EpochReason, Option<Server>),
}

enum Next {
    Follow(Start),
    Moved(Server),
    Stopped,
}
