//! An engine of the XtraBackup family beside the server.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::{
    Incremental, Request,
    increment::{self, Kind},
    source::{Beforehand, End, Prepared as AnySource, Server as Facts, Stream},
};
use crate::{
    jobs::{JobError, scratch::Scratch},
    model::{Connection, EngineKind, ServerFacts, ServerVersion, TransportSecurity},
    mysql::{
        ConnectOptions, OptionFile, Server,
        engines::{self, Engine},
    },
    pipeline::Progress,
    process::{self, Child, Input, Output},
};

/// What the engine may be ahead of us: the most that a user without privileges gets.
const PIPE_BYTES: usize = 1 << 20;

/// An engine that fits its server.
pub(in crate::jobs) struct Prepared {
    pub(super) engine: Engine,
    connect: ConnectOptions,
    facts: ServerFacts,
    connection: Connection,
    datadir: Option<PathBuf>,
    scratch: Scratch,
    /// Take what changed since then alone.
    incremental_lsn: Option<u64>,
}

/// Connects, looks at the server, and finds the engine for it.
pub(super) async fn prepare(
    connect: &ConnectOptions,
    wanted: Option<EngineKind>,
    datadir: Option<&Path>,
    scratch: Option<&Path>,
    progress: &Progress,
) -> Result<AnySource, JobError> {
    let mut server = Server::connect(connect).await?;
    let facts = server.facts().await?;
    progress.expect(facts.data_bytes);
    if facts.position.is_none() {
        tracing::warn!(
            "the server's binary log is off: this backup has no position, and nothing can be replayed on it"
        );
    }
    let kind = kind_for(wanted, server.version());
    if kind == EngineKind::Clone {
        let prepared = super::clone::prepare(server, facts, connect, scratch).await?;
        return Ok(AnySource::Clone(Box::new(prepared)));
    }
    let connection = server.connection().clone();
    server.close().await;
    let engine = find(kind).await?;
    engines::check_version(&engine, &facts.version)?;
    let scratch = Scratch::new(scratch)?;
    Ok(AnySource::Engine(Box::new(Prepared {
        engine,
        connect: connect.clone(),
        facts,
        connection,
        datadir: datadir.map(Path::to_owned),
        scratch,
        incremental_lsn: None,
    })))
}

/// The engine that was asked for, or the one that fits the server and is here.
pub(in crate::jobs) fn kind_for(wanted: Option<EngineKind>, server: &ServerVersion) -> EngineKind {
    if let Some(kind) = wanted {
        return kind;
    }
    match engines::choose(server) {
        EngineKind::Xtrabackup if engines::discover(EngineKind::Xtrabackup, None).is_err() => {
            tracing::info!("xtrabackup is not installed; the server's clone plugin is used");
            EngineKind::Clone
        }
        kind => kind,
    }
}

/// The engine's program and its version.
pub(in crate::jobs) async fn find(kind: EngineKind) -> Result<Engine, JobError> {
    let program = engines::discover(kind, None)?;
    let line = crate::model::CommandLine::new(&program).arg("--version");
    let said = process::capture("engine version", &line, Duration::from_secs(20)).await?;
    Ok(engines::parse_version(kind, &program, &said)?)
}

impl Prepared {
    pub(super) fn beforehand(&self) -> Beforehand<'_> {
        Beforehand {
            engine: self.engine.kind,
            engine_version: Some(&self.engine.version.text),
            server: &self.facts,
            connection: &self.connection,
        }
    }

    /// Decides what the backup will be.
    pub(super) async fn kind(
        &mut self,
        request: &Request,
        wanted: &Incremental,
    ) -> Result<Kind, JobError> {
        let kind = increment::decide(request, wanted, self.engine.kind, &self.facts).await?;
        match &kind {
            Kind::On(base) => {
                tracing::info!(base = %base.backup_id, from_lsn = base.from_lsn, "an increment is taken");
            }
            Kind::FullBecause(why) => tracing::warn!(why, "a full backup is taken"),
            Kind::Full => {}
        }
        self.incremental_lsn = kind.base().map(|base| base.from_lsn);
        Ok(kind)
    }

    /// Starts the engine.
    pub(super) fn start(self) -> Result<Stream, JobError> {
        let option_file = OptionFile::write(&self.connect, self.scratch.path())?;
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let line = engines::backup_command(
            &self.engine,
            &engines::BackupArgs {
                option_file: option_file.path(),
                scratch: &self.scratch.path().join("engine"),
                parallel: u16::try_from(cores.min(8)).unwrap_or(1),
                datadir: self.datadir.as_deref(),
                incremental_lsn: self.incremental_lsn,
                server: &self.facts.version,
            },
        );
        let name = match self.engine.kind {
            EngineKind::MariadbBackup => "mariadb-backup",
            _ => "xtrabackup",
        };
        let mut child = Child::spawn(name, &line, Input::Null, Output::Pipe)?;
        let stdout = child
            .take_stdout()
            .ok_or_else(|| JobError::source("the engine has no output", "report this"))?;
        // Fewer turns between the engine and us. A system that allows no more leaves it as it was.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_BYTES);
        let killer = child.killer();
        let end = End {
            engine_version: Some(self.engine.version.text.clone()),
            database: Some(self.connection),
            stream_transport: TransportSecurity::Local,
            server: Facts::Asked(Box::new(self.facts), Box::new(self.connect)),
            ..End::new(self.engine.kind, "local")
        };
        Ok(Stream {
            reader: Some(Box::new(stdout)),
            child: Some((child, killer)),
            verdict: None,
            _option_file: Some(option_file),
            _scratch: Some(self.scratch),
            end,
        })
    }
}
