//! One connection: events in, records out, and every ten seconds a look around.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use super::{BEAT, ledger, plan, session::Session, source, status::Condition};
use crate::{
    format::{EpochReason, LogServer},
    jobs::JobError,
    model::{BinlogName, BinlogPosition, GtidState, ServerName, Timestamp},
    mysql::{
        ConnectOptions, MysqlError, Server,
        replication::{Captured, DumpRequest},
    },
    pipeline::PipelineError,
};

/// How often the server says that nothing is new.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long a look around may take.
const LOOK: Duration = Duration::from_secs(8);
/// Nothing for this long, and the archive has caught up.
const STARVED: Duration = Duration::from_millis(20);
/// An answer that takes longer was waited for.
const WAITED: Duration = Duration::from_millis(2);

/// Why following ended.
#[derive(Debug)]
pub(super) enum End {
    /// The job is done.
    Done(&'static str),
    /// Another epoch has to be claimed, for the same server.
    Again(EpochReason),
    /// Another epoch has to be claimed, for this server.
    Moved(Box<Server>),
}

/// Follows the server from a place in its log on.
pub(super) async fn run(
    session: &mut Session<'_>,
    (file, offset): (String, u64),
) -> Result<End, JobError> {
    let request = DumpRequest { file, offset, heartbeat: HEARTBEAT, until_end: false };
    let server = session.server()?;
    let mut dump = source::dump(&session.request.connect, &request, &server).await?;
    let mut around = Around::begin(session);
    loop {
        if session.request.progress.is_stopped() {
            return Ok(End::Done("stopped"));
        }
        if is_current(session) {
            session.ship.flush().await?;
            return Ok(End::Done("current"));
        }
        if around.is_over() {
            if let Some(end) = turn(session, &mut around).await? {
                return Ok(end);
            }
        } else if around.began.elapsed() >= BEAT {
            session.sign_of_life().await?;
        }
        let nap = nap(session);
        let began = Instant::now();
        let next = tokio::select! {
            biased;
            () = session.request.progress.stopped() => continue,
            next = tokio::time::timeout(nap, dump.next()) => next,
        };
        if began.elapsed() >= WAITED {
            session.ship.waited();
        }
        match next {
            Err(_) => {
                session.ship.starved().await?;
                session.ship.tick().await?;
            }
            Ok(captured) => take(session, captured?).await?,
        }
    }
}

/// How long to wait for the next event before something else is due.
fn nap(session: &Session<'_>) -> Duration {
    let now = Instant::now();
    let mut until = now + session.request.rpo;
    if let Some(due) = session.ship.due() {
        until = until.min(due);
    }
    if session.ship.is_bulk() {
        until = until.min(now + STARVED);
    }
    // A segment that is being completed is recorded soon after it is complete.
    until.saturating_duration_since(now)
}

async fn take(session: &mut Session<'_>, captured: Captured) -> Result<(), JobError> {
    let ship = &mut session.ship;
    match captured {
        Captured::File { name, offset } => {
            let name: BinlogName = name.parse().map_err(|e| {
                JobError::preflight(format!("{e}"), "give --log-bin another base name")
            })?;
            if ship.taken().is_some_and(|(last, at)| at > 0 && plan::is_before(&name, last)) {
                // Numbers grow, unless the log was reset: a new connection tells.
                return Err(MysqlError::Purged {
                    file: name.to_string(),
                    why: "the server went back to it".into(),
                }
                .into());
            }
            ship.file(&name, offset).await?;
        }
        Captured::Event { offset, length, kind } => ship.event(offset, length, kind).await?,
        Captured::Bytes(bytes) => ship.bytes(&bytes).await?,
        Captured::End(end) => {
            ship.end(end).await?;
            if ship.differs() {
                let durable = ship.writer.state().durable();
                let place = durable.map_or_else(String::new, |durable| durable.to_string());
                return Err(JobError::target(
                    format!(
                        "the server's binary log is not the one that is archived: what lies before {place} differs, as after a crash that lost transactions, a reset, or a rebuilt server"
                    ),
                    "what is archived stays restorable; take a new base backup, and run once with --new-history to archive what comes now",
                ));
            }
        }
        Captured::Heartbeat { .. } => {}
        Captured::Eof => {
            return Err(MysqlError::Unsupported {
                what: "following the binary log".into(),
                why: "the server ended the dump".into(),
            }
            .into());
        }
    }
    Ok(())
}

/// Whether everything is taken that the server had when the job began.
fn is_current(session: &Session<'_>) -> bool {
    let Some(target) = &session.target else { return false };
    session.ship.taken().is_some_and(|(name, at)| {
        let taken = BinlogPosition { file: name.to_string(), position: at };
        session.ship.is_between_groups() && !is_before(&taken, target)
    })
}

/// Whether one place of a server's log lies before another.
fn is_before(a: &BinlogPosition, b: &BinlogPosition) -> bool {
    let number = |file: &str| {
        file.rsplit_once('.').and_then(|(_, n)| n.parse::<u64>().ok()).unwrap_or_default()
    };
    (number(&a.file), a.position) < (number(&b.file), b.position)
}

/// Looks at everything but the stream, on a connection of its own: a Service that points to
/// another server by now does not end the connections to the old one, and an address where nobody
/// answers does not end a dump that goes on.
struct Around {
    looking: Option<JoinHandle<Result<Sight, JobError>>>,
    began: Instant,
}

/// What a new connection finds.
struct Sight {
    server: Server,
    identity: LogServer,
    writable: bool,
    /// The server's clock, and then the end of its log.
    clock: Timestamp,
    end: Option<BinlogPosition>,
    /// What the server has and none of its files.
    unlogged: GtidState,
    /// Bytes between what was durable when the look began and that end.
    behind: u64,
    /// The number of the audit chain's last record, when it was looked for.
    audit: Option<u64>,
}

impl Around {
    fn begin(session: &Session<'_>) -> Self {
        let connect = session.request.connect.clone();
        let state = session.ship.writer.state();
        let durable = state.durable();
        let ours = state.owner.as_ref().map(|owner| owner.server.name.clone());
        let chain = session.ledger.look_is_due().then(|| Arc::clone(&session.request.repository));
        let looking = async move {
            let limit = || MysqlError::Timeout { doing: "looking around".into(), after: LOOK };
            let look = tokio::time::timeout(LOOK, Sight::of(&connect, ours.as_ref(), durable));
            let sight = look.await.map_err(|_| limit())??;
            let audit = match chain {
                Some(repository) => ledger::look(repository).await,
                None => None,
            };
            Ok(Sight { audit, ..sight })
        };
        Self { looking: Some(tokio::spawn(looking)), began: Instant::now() }
    }

    /// Whether there is something to be seen, or another look is due.
    fn is_over(&self) -> bool {
        self.looking.as_ref().map_or_else(|| self.began.elapsed() >= BEAT, JoinHandle::is_finished)
    }
}

impl Drop for Around {
    fn drop(&mut self) {
        if let Some(looking) = self.looking.take() {
            looking.abort();
        }
    }
}

impl Sight {
    async fn of(
        connect: &ConnectOptions,
        ours: Option<&ServerName>,
        durable: Option<BinlogPosition>,
    ) -> Result<Self, JobError> {
        let met = source::meet(connect, ours).await?;
        let (mut server, identity, writable) = (met.server, met.identity, met.is_writable);
        let clock = server.utc_now().await?;
        let (end, _) = server.current_position().await?;
        let unlogged = server.unlogged().await?;
        let behind = match (&durable, &end) {
            (Some(durable), Some(end)) if is_before(durable, end) => {
                source::bytes_between(&mut server, durable, end).await?
            }
            _ => 0,
        };
        Ok(Self { server, identity, writable, clock, end, unlogged, behind, audit: None })
    }
}

/// Takes what was seen, or begins to look again.
async fn turn(session: &mut Session<'_>, around: &mut Around) -> Result<Option<End>, JobError> {
    let Some(looking) = around.looking.take() else {
        if session.ship.is_between_groups() && session.renew().await? {
            return Ok(Some(End::Again(EpochReason::Renewal)));
        }
        *around = Around::begin(session);
        return Ok(None);
    };
    let mut sight = match looking.await.map_err(|_| PipelineError::Worker)? {
        Ok(sight) => sight,
        Err(JobError::Mysql(error)) => {
            session.request.status.error("source");
            tracing::warn!(%error, "the server's address does not answer; the binary log is still read");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let owner = session.ship.writer.state().owner.as_ref();
    if owner.is_some_and(|owner| owner.server.name != sight.identity.name) {
        let server = &sight.identity.name;
        if sight.writable {
            tracing::warn!(%server, "another server answers at this address now");
            return Ok(Some(End::Moved(Box::new(sight.server))));
        }
        tracing::warn!(%server, "another, read-only server answers at this address; staying");
        session.request.status.condition(Condition::SourceDown);
        return Ok(None);
    }
    session.ledger.write().await;
    session.ledger.seen(sight.audit);
    session.ship.goes_on_from(&sight.unlogged).await?;
    see(session, &sight).await?;
    let mut guard = std::mem::take(&mut session.guard);
    let guarded = guard.look(session, &mut sight.server).await;
    session.guard = guard;
    guarded.map(|()| None)
}

/// How far behind the archive is, and whether nothing happened.
async fn see(session: &mut Session<'_>, sight: &Sight) -> Result<(), JobError> {
    let durable = session.ship.writer.state().durable();
    let reached = !matches!((&durable, &sight.end), (Some(at), Some(end)) if is_before(at, end));
    let behind = if reached { 0 } else { sight.behind };
    // By the server's own positions, so that no clock can be wrong.
    let last = std::mem::replace(&mut session.end, sight.end.clone());
    let is_behind = match (&durable, &last) {
        (Some(durable), Some(last)) => is_before(durable, last),
        (None, last) => last.is_some(),
        (_, None) => behind > 0,
    };
    let status = &session.request.status;
    status.lag(behind, is_behind);
    let now = status.read();
    let condition = if !sight.writable {
        Condition::SourceDown
    } else if is_behind {
        Condition::Lagging
    } else if now.gaps > 0 {
        Condition::Gapped
    } else if behind == 0 {
        Condition::Idle
    } else {
        Condition::Following
    };
    status.condition(condition);
    if session.ship.last_append().elapsed() >= BEAT {
        // A demoted server is quiet, and says nothing of what happens on the new one.
        let quiet = sight.writable
            && durable.is_some()
            && durable == sight.end
            && session.ship.is_shipped();
        session.beat(quiet.then_some(sight.clock), false).await?;
    }
    Ok(())
}
