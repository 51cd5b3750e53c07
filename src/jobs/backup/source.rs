//! Where a stream comes from, and how its end is judged.

use std::{io::Read, time::Duration};

use super::{Source, clone, https, local};
use crate::{
    jobs::{JobError, scratch::Scratch},
    model::{Connection, EngineKind, ServerFacts, TransportSecurity},
    mysql::{ConnectOptions, OptionFile, engines},
    pipeline::{Ending, PipelineError, Progress},
    process::{Child, Killer},
};

/// How long an engine may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// A source that has passed its preflight.
pub(super) enum Prepared {
    /// xtrabackup or mariadb-backup beside the server.
    Engine(Box<local::Prepared>),
    /// The clone plugin.
    Clone(Box<clone::Prepared>),
    /// Standard input.
    Stdin(EngineKind),
    /// HTTPS.
    Https(Box<https::HttpsSource>, EngineKind),
}

/// Checks everything that can be checked before anything is started or stored.
pub(super) async fn prepare(source: &Source, progress: &Progress) -> Result<Prepared, JobError> {
    match source {
        Source::Local { connect, engine, datadir, scratch } => {
            local::prepare(connect, *engine, datadir.as_deref(), scratch.as_deref(), progress).await
        }
        Source::Stdin { engine } => Ok(Prepared::Stdin(*engine)),
        Source::Https { source, engine } => Ok(Prepared::Https(Box::new(source.clone()), *engine)),
    }
}

impl Prepared {
    pub(super) fn engine(&self) -> EngineKind {
        match self {
            Self::Engine(prepared) => prepared.engine.kind,
            Self::Clone(_) => EngineKind::Clone,
            Self::Stdin(engine) | Self::Https(_, engine) => *engine,
        }
    }

    /// Starts the stream.
    pub(super) async fn open(self, progress: &Progress) -> Result<Stream, JobError> {
        match self {
            Self::Engine(prepared) => prepared.start(),
            Self::Clone(prepared) => prepared.start(progress).await,
            Self::Stdin(engine) => Ok(Stream {
                reader: Some(Box::new(std::io::stdin())),
                child: None,
                _option_file: None,
                _scratch: None,
                end: End::new(engine, "stdin"),
            }),
            Self::Https(source, engine) => source.open(engine).await,
        }
    }
}

/// A stream that has begun.
pub(super) struct Stream {
    pub(super) reader: Option<Box<dyn Read + Send>>,
    pub(super) child: Option<(Child, Killer)>,
    pub(super) _option_file: Option<OptionFile>,
    pub(super) _scratch: Option<Scratch>,
    pub(super) end: End,
}

/// What is known once the stream has ended.
pub(super) struct End {
    pub(super) engine: EngineKind,
    pub(super) engine_version: Option<String>,
    pub(super) source: &'static str,
    /// To the server; nothing when it was not asked.
    pub(super) database: Option<Connection>,
    pub(super) stream_transport: TransportSecurity,
    /// To an agent that streams.
    pub(super) stream_connection: Option<Connection>,
    /// The server's own facts, and how to ask it for more.
    pub(super) server: Option<(ServerFacts, ConnectOptions)>,
    pub(super) ending: Ending,
}

impl End {
    pub(super) fn new(engine: EngineKind, source: &'static str) -> Self {
        Self {
            engine,
            engine_version: None,
            source,
            database: None,
            stream_transport: TransportSecurity::Unknown,
            stream_connection: None,
            server: None,
            ending: Ending::Framing,
        }
    }
}

impl End {
    /// How the connection to the database was protected.
    pub(super) fn database_transport(&self) -> TransportSecurity {
        self.database.as_ref().map_or(TransportSecurity::Unknown, |to| to.security)
    }
}

impl Stream {
    pub(super) fn engine(&self) -> EngineKind {
        self.end.engine
    }

    pub(super) fn take_reader(&mut self) -> Box<dyn Read + Send> {
        self.reader.take().unwrap_or_else(|| Box::new(std::io::empty()))
    }

    /// Ends the source from outside: we were told to stop.
    pub(super) fn interrupt(&self) {
        if let Some((_, killer)) = &self.child {
            killer.terminate();
        }
    }

    /// Reaps the engine after the end of its stream. End of file is no success.
    pub(super) async fn end(self) -> Result<End, JobError> {
        let Self { child, mut end, .. } = self;
        if let Some((child, _)) = child {
            let exit = child.wait().await?;
            if !engines::said_completed(exit.tail()) {
                let tail = exit.tail().join("\n  ");
                return Err(JobError::source(
                    format!(
                        "{} ended with status 0 and did not say `completed OK!`; its last lines:\n  {tail}",
                        end.engine
                    ),
                    "a backup without these words is not whole; see its lines above",
                ));
            }
            end.ending = Ending::Exit(exit);
        }
        Ok(end)
    }

    /// Ends the engine after a failure and tells the likelier cause: when the stream broke, the
    /// engine's own end is the cause if it came first.
    pub(super) async fn fail(self, error: JobError) -> JobError {
        let Some((child, _)) = self.child else { return error };
        let broken =
            matches!(error, JobError::Pipeline(PipelineError::Stream(_) | PipelineError::Read(_)));
        let died = broken && {
            // An engine that has died is reaped within moments.
            tokio::time::sleep(Duration::from_millis(300)).await;
            !child.is_running()
        };
        match child.stop(GRACE).await {
            Err(ended) if died => ended.into(),
            _ => error,
        }
    }
}
