//! What the server's own log expiry threatens, and what may be purged from it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{session::Session, source};
use crate::{
    format::LogServer,
    jobs::JobError,
    model::{BinlogName, Timestamp},
    mysql::{ConnectOptions, Server},
};

/// How often the guard looks.
const EVERY: Duration = Duration::from_mins(1);

/// Remembers when files began.
#[derive(Debug, Default)]
pub(super) struct Guard {
    looked: Option<Instant>,
    began: BTreeMap<BinlogName, Timestamp>,
}

impl Guard {
    /// Warns when the server is about to forget what is not archived; purges what may go.
    pub(super) async fn look(
        &mut self,
        session: &mut Session<'_>,
        server: &mut Server,
    ) -> Result<(), JobError> {
        if self.looked.is_some_and(|looked| looked.elapsed() < EVERY) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        if let Some(expiry) = server.log_expiry().await? {
            let lag = session.request.status.read().lag_seconds(Timestamp::now());
            if lag > expiry.as_secs_f64() / 2.0 {
                session.request.status.error("expiry");
                tracing::error!(
                    lag_seconds = lag,
                    expiry_seconds = expiry.as_secs(),
                    "the server will purge binary logs that are not archived: raise binlog_expire_logs_seconds now"
                );
            }
        }
        match session.request.purge_archived {
            Some(age) => self.purge(session, server, age).await,
            None => Ok(()),
        }
    }

    /// Purges files that are durable and old enough. Nothing is purged unless this archiver still
    /// owns the log, and the server is still the one that was archived.
    async fn purge(
        &mut self,
        session: &mut Session<'_>,
        server: &mut Server,
        age: Duration,
    ) -> Result<(), JobError> {
        session.ship.writer.settle().await?;
        let state = session.ship.writer.state();
        let identity = source::identify(server).await?;
        if state.owner.as_ref().is_none_or(|owner| owner.server.name != identity.name) {
            return Ok(());
        }
        // The oldest file of this server that is not wholly in segments; those before it are.
        let of_server = |file: &&crate::pipeline::log::FileState| file.open.server == identity.name;
        let Some(first) = state.files.iter().find(of_server) else { return Ok(()) };
        let opening = first.open.opening.previous.clone();
        let first = first.open.file.clone();
        if server.previous_gtids(first.as_str()).await? != opening {
            return Ok(());
        }
        let files = server.binary_logs().await?;
        let Some(until) = files.iter().position(|file| file.name == first.as_str()) else {
            return Ok(());
        };
        let now = server.utc_now().await?;
        let mut keep = None;
        for file in files.iter().take(until + 1).skip(1) {
            let Ok(name) = file.name.parse::<BinlogName>() else { break };
            // A file ends when the next one begins.
            let ended = self.began(&session.request.connect, &name, &identity).await?;
            if now.seconds_since(ended) < age.as_secs_f64() {
                break;
            }
            keep = Some(name);
        }
        let Some(keep) = keep else { return Ok(()) };
        let warnings = server.purge_to(keep.as_str()).await?;
        if warnings.is_empty() {
            tracing::info!(before = %keep, "purged binary logs that are archived");
        }
        for warning in warnings {
            tracing::warn!(warning, "the server keeps binary logs that a replica reads");
        }
        self.began.retain(|name, _| *name >= keep);
        Ok(())
    }

    /// When the server began a file, as the file says.
    async fn began(
        &mut self,
        connect: &ConnectOptions,
        name: &BinlogName,
        server: &LogServer,
    ) -> Result<Timestamp, JobError> {
        if let Some(known) = self.began.get(name) {
            return Ok(*known);
        }
        let begun = source::begins(connect, name, server).await?.created;
        self.began.insert(name.clone(), begun);
        Ok(begun)
    }
}
