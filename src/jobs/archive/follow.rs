//! One connection: events in, records out, and every ten seconds a look around.

use std::time::{Duration, Instant};

use super::{BEAT, purge, session::Session, source, status::Condition};
use crate::{
    format::EpochReason,
    jobs::JobError,
    model::{BinlogName, BinlogPosition},
    mysql::{
        MysqlError, Server,
        replication::{Captured, Dump, DumpRequest},
    },
    pipeline::PipelineError,
};

/// How often the server says that nothing is new.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Nothing for this long, and the archive has caught up.
const STARVED: Duration = Duration::from_millis(20);
/// An answer that takes longer was waited for.
const WAITED: Duration = Duration::from_millis(2);

/// Why following ended.
#[derive(Debug)]
pub(super) enum End {
    /// The job is done.
    Done(&'static str),
    /// Another epoch has to be claimed.
    Again(EpochReason),
}

/// Follows the server from a place in its log on.
pub(super) async fn run(
    session: &mut Session<'_>,
    server: &mut Server,
    (file, offset): (String, u64),
) -> Result<End, JobError> {
    let request = DumpRequest { file, offset, heartbeat: HEARTBEAT, until_end: false };
    let mut dump = Dump::start(&session.request.connect, &request).await?;
    let mut looked = Instant::now();
    let mut guard = purge::Guard::default();
    look_around(session, server).await?;
    loop {
        if session.request.progress.is_stopped() {
            return Ok(End::Done("stopped"));
        }
        if is_current(session) {
            session.ship.flush().await?;
            return Ok(End::Done("current"));
        }
        if looked.elapsed() >= BEAT {
            if let Some(end) = beat(session, server, &mut guard).await? {
                return Ok(end);
            }
            looked = Instant::now();
        }
        let nap = nap(session, looked);
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
fn nap(session: &Session<'_>, looked: Instant) -> Duration {
    let now = Instant::now();
    let mut until = looked + BEAT;
    if let Some(due) = session.ship.due() {
        until = until.min(due);
    }
    if session.ship.is_bulk() {
        until = until.min(now + STARVED);
    }
    // A segment that is being completed is recorded soon after it is complete.
    until.min(now + session.request.rpo).saturating_duration_since(now)
}

async fn take(session: &mut Session<'_>, captured: Captured) -> Result<(), JobError> {
    let ship = &mut session.ship;
    match captured {
        Captured::File { name, offset } => {
            let name: BinlogName = name.parse().map_err(|e| {
                JobError::preflight(format!("{e}"), "give --log-bin another base name")
            })?;
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

/// Looks at everything but the stream.
async fn beat(
    session: &mut Session<'_>,
    server: &mut Server,
    guard: &mut purge::Guard,
) -> Result<Option<End>, JobError> {
    if session.ship.is_between_groups() && session.renew().await? {
        return Ok(Some(End::Again(EpochReason::Renewal)));
    }
    // A Service that points to another server by now does not end the connection to the old one.
    let (fresh, identity) = source::connect(&session.request.connect).await?;
    let state = session.ship.writer.state();
    if state.owner.as_ref().is_some_and(|owner| owner.server.name != identity.name) {
        let mut fresh = fresh;
        if fresh.is_writable().await? {
            tracing::warn!(server = %identity.name, "another server answers at this address now");
            *server = fresh;
            return Ok(Some(End::Again(EpochReason::Server)));
        }
        tracing::warn!(server = %identity.name, "another, read-only server answers at this address; staying");
    } else {
        *server = fresh;
    }
    look_around(session, server).await?;
    guard.look(session, server).await?;
    Ok(None)
}

/// How far behind the archive is, and whether nothing happened.
async fn look_around(session: &mut Session<'_>, server: &mut Server) -> Result<(), JobError> {
    let clock = server.utc_now().await?;
    let writable = server.is_writable().await?;
    let (end, _) = server.current_position().await?;
    let durable = session.ship.writer.state().durable();
    let behind = match (&durable, &end) {
        (Some(durable), Some(end)) if is_before(durable, end) => {
            source::bytes_between(server, durable, end).await?
        }
        _ => 0,
    };
    // By the server's own positions, so that no clock can be wrong.
    let last = std::mem::replace(&mut session.end, end.clone());
    let is_behind = match (&durable, &last) {
        (Some(durable), Some(last)) => is_before(durable, last),
        (None, last) => last.is_some(),
        (_, None) => behind > 0,
    };
    let status = &session.request.status;
    status.lag(behind, is_behind);
    let now = status.read();
    let condition = if !writable {
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
        let quiet = writable && durable.is_some() && durable == end && session.ship.is_shipped();
        session.beat(quiet.then_some(clock), false).await.map_err(PipelineError::from)?;
    }
    Ok(())
}
