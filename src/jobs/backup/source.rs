//! Where a stream comes from, and how its end is judged.

use std::{io::Read, time::Duration};

use super::{Request, Source, clone, https, increment::Kind, local};
use crate::{
    jobs::{JobError, scratch::Scratch},
    model::{Connection, EngineKind, ServerFacts, TransportSecurity},
    mysql::{ConnectOptions, OptionFile, engines},
    pipeline::{Ending, PipelineError, Progress, verdict::Pending},
    process::{Child, Killer},
};

/// How long an engine may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// A source that has passed its preflight.
pub(in crate::jobs) enum Prepared {
    /// xtrabackup or mariadb-backup beside the server.
    Engine(Box<local::Prepared>),
    /// The clone plugin.
    Clone(Box<clone::Prepared>),
    /// Standard input.
    Stdin(EngineKind),
    /// HTTPS; the engine that a manager's stream is from, which does not say it itself.
    Https(Box<https::HttpsSource>, Option<EngineKind>),
}

/// Checks everything that can be checked before anything is started or stored.
pub(in crate::jobs) async fn prepare(
    source: &Source,
    progress: &Progress,
) -> Result<Prepared, JobError> {
    match source {
        Source::Local { connect, engine, datadir, scratch, .. } => {
            local::prepare(connect, *engine, datadir.as_deref(), scratch.as_deref(), progress).await
        }
        Source::Stdin { engine } => Ok(Prepared::Stdin(*engine)),
        Source::Https { source, engine } => Ok(Prepared::Https(Box::new(source.clone()), *engine)),
    }
}

impl Prepared {
    /// The engine, its version, the server as it is now, and how it is reached; nothing of a source
    /// that is not the server's own.
    pub(in crate::jobs) fn beforehand(&self) -> Option<Beforehand<'_>> {
        match self {
            Self::Engine(prepared) => Some(prepared.beforehand()),
            Self::Clone(prepared) => Some(prepared.beforehand()),
            Self::Stdin(_) | Self::Https(..) => None,
        }
    }

    /// What will make the stream, where it is not an agent that chooses.
    pub(in crate::jobs) fn engine(&self) -> Option<EngineKind> {
        match self {
            Self::Engine(_) | Self::Clone(_) => self.beforehand().map(|known| known.engine),
            Self::Stdin(engine) => Some(*engine),
            Self::Https(_, engine) => *engine,
        }
    }

    /// What the backup will be: an increment where that was asked for and can be.
    pub(super) async fn kind(&mut self, request: &Request) -> Result<Kind, JobError> {
        let Source::Local { incremental: Some(wanted), .. } = &request.source else {
            return Ok(Kind::Full);
        };
        match self {
            Self::Engine(prepared) => prepared.kind(request, wanted).await,
            _ => Err(JobError::preflight(
                "the clone plugin makes no increments",
                "install xtrabackup (MySQL) or mariadb-backup (MariaDB), or leave out --incremental",
            )),
        }
    }

    /// Starts the stream.
    pub(in crate::jobs) async fn open(self, progress: &Progress) -> Result<Stream, JobError> {
        match self {
            Self::Engine(prepared) => prepared.start(),
            Self::Clone(prepared) => prepared.start(progress).await,
            Self::Stdin(engine) => Ok(Stream {
                reader: Some(Box::new(std::io::stdin())),
                child: None,
                verdict: None,
                _option_file: None,
                _scratch: None,
                end: End::new(engine, "stdin"),
            }),
            Self::Https(source, engine) => tokio::select! {
                opened = source.open(engine) => opened,
                () = progress.stopped() => Err(PipelineError::Stopped.into()),
            },
        }
    }
}

/// What is known before the engine has begun.
pub(in crate::jobs) struct Beforehand<'a> {
    pub(in crate::jobs) engine: EngineKind,
    pub(in crate::jobs) engine_version: Option<&'a str>,
    pub(in crate::jobs) server: &'a ServerFacts,
    pub(in crate::jobs) connection: &'a Connection,
}

/// A stream that has begun.
pub(in crate::jobs) struct Stream {
    pub(super) reader: Option<Box<dyn Read + Send>>,
    pub(super) child: Option<(Child, Killer)>,
    /// Where our agent's verdict will be.
    pub(super) verdict: Option<Pending>,
    pub(super) _option_file: Option<OptionFile>,
    pub(super) _scratch: Option<Scratch>,
    pub(super) end: End,
}

/// Who tells the server's facts.
pub(in crate::jobs) enum Server {
    /// The server itself told these, and can be asked for more.
    Asked(Box<ServerFacts>, Box<ConnectOptions>),
    /// Our agent asked it everything.
    Told(Box<ServerFacts>),
    /// Nobody: what the stream itself says is all there is.
    Unknown,
}

/// What is known once the stream has ended.
pub(in crate::jobs) struct End {
    pub(in crate::jobs) engine: EngineKind,
    pub(in crate::jobs) engine_version: Option<String>,
    pub(super) source: &'static str,
    /// To the server; nothing when it was not asked.
    pub(super) database: Option<Connection>,
    pub(super) stream_transport: TransportSecurity,
    /// To an agent that streams.
    pub(super) stream_connection: Option<Connection>,
    pub(super) server: Server,
    pub(in crate::jobs) ending: Ending,
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
            server: Server::Unknown,
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
    pub(in crate::jobs) fn engine(&self) -> EngineKind {
        self.end.engine
    }

    pub(in crate::jobs) fn take_reader(&mut self) -> Box<dyn Read + Send> {
        self.reader.take().unwrap_or_else(|| Box::new(std::io::empty()))
    }

    /// Ends the source from outside: we were told to stop.
    pub(in crate::jobs) fn interrupt(&self) {
        if let Some((_, killer)) = &self.child {
            killer.terminate();
        }
    }

    /// Reaps the engine after the end of its stream. End of file is no success.
    pub(in crate::jobs) async fn end(self) -> Result<End, JobError> {
        let Self { child, verdict, mut end, .. } = self;
        if let Some(verdict) = verdict {
            let given = verdict.given().ok_or_else(|| {
                JobError::source("the agent's stream ended without a verdict", "try again")
            })?;
            end.engine_version = given.engine_version().map(ToOwned::to_owned);
            end.server = Server::Told(Box::new(given.server().clone()));
            end.ending = Ending::Verdict(Box::new(given));
            return Ok(end);
        }
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
    pub(in crate::jobs) async fn fail(self, error: JobError) -> JobError {
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
