//! A server of our own over a data directory: socket only, no accounts, for as long as we ask it things.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use secrecy::SecretString;

use super::{JobError, scratch::Scratch};
use crate::{
    crypto,
    model::{CommandLine, Flavor, ServerFacts, ServerVersion},
    mysql::{
        ConnectOptions, Endpoint, Server, TempBinlog, TempServer, Tls, TlsMode, discover_server,
        parse_server_version, temp_server_command,
    },
    pipeline::{PipelineError, Progress},
    process::{self, Child, CleanExit, Input, Output},
};

/// Redo recovery of a large instance may take long; a server that does nothing is noticed by its end.
const READY: Duration = Duration::from_mins(30);
/// How long a clean shutdown may take.
const SHUTDOWN: Duration = Duration::from_mins(10);
/// Bytes for InnoDB's buffer pool: it only answers a few questions.
const BUFFER_POOL: u64 = 64 << 20;

/// Bytes for the buffer pool of a server that has work to do: a quarter of the machine's memory,
/// within reason.
pub(super) fn work_buffer_pool() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    // In a container the machine's memory is not all ours.
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = limit.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(u64::MAX);
    (kib.unwrap_or_default() * 1024).min(limit).div_euclid(4).clamp(128 << 20, 4 << 30)
}

/// A server program that fits a data directory.
#[derive(Debug, Clone)]
pub(super) struct Program {
    path: PathBuf,
    flavor: Flavor,
}

impl Program {
    /// Finds the server program and holds it against the version of the data. `without` tells
    /// what to do when there is none.
    pub(super) async fn find(
        given: Option<&Path>,
        flavor: Flavor,
        data: &ServerVersion,
        without: &str,
    ) -> Result<Self, JobError> {
        let path = discover_server(flavor, given)
            .map_err(|e| JobError::preflight(e.to_string(), without))?;
        let line = CommandLine::new(&path).arg("--no-defaults").arg("--version");
        let said = process::capture("server version", &line, Duration::from_secs(20)).await?;
        let version = parse_server_version(&said)?;
        if version.flavor() != flavor || version.numbers < data.numbers {
            return Err(JobError::preflight(
                format!("{} is version {version}, and the data is of {data}", path.display()),
                format!(
                    "a server must be of the same flavor and at least as new as its data; {without}"
                ),
            ));
        }
        if (version.numbers.0, version.numbers.1) != (data.numbers.0, data.numbers.1) {
            tracing::warn!(server = %version, data = %data, "the server is of a newer series than the data and may upgrade it");
        }
        Ok(Self { path, flavor })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Who may ask it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Access<'a> {
    /// Whoever reaches the socket: it looks at no account.
    Anybody,
    /// An account that this file makes. A server without accounts takes no replicated account
    /// statements.
    Account { user: &'a str, password: &'a SecretString, init_file: &'a Path },
}

/// How a temporary server is started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    pub(super) access: Access<'a>,
    /// Ids that it must not have: the applier passes over what bears its own.
    pub(super) avoid: &'a BTreeSet<u32>,
    /// Further arguments.
    pub(super) extra: &'a [String],
    /// Bytes for InnoDB's buffer pool.
    pub(super) buffer_pool: u64,
    /// Who owns the data, by number.
    pub(super) owner: Option<(u32, u32)>,
    /// And by name: the server becomes this user.
    pub(super) user: Option<&'a str>,
}

impl<'a> Start<'a> {
    /// For a few questions.
    pub(super) fn to_ask(
        extra: &'a [String],
        owner: Option<(u32, u32)>,
        user: Option<&'a str>,
    ) -> Self {
        static NONE: BTreeSet<u32> = BTreeSet::new();
        Self { access: Access::Anybody, avoid: &NONE, extra, buffer_pool: BUFFER_POOL, owner, user }
    }
}

/// A running temporary server.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    /// Holds the socket; the server is killed before it goes.
    runtime: Scratch,
    connect: ConnectOptions,
}

impl Running {
    /// Starts it and waits until it answers.
    pub(super) async fn start(
        program: &Program,
        datadir: &Path,
        facts: &ServerFacts,
        start: &Start<'_>,
        progress: &Progress,
    ) -> Result<Self, JobError> {
        // A socket's path may have 107 bytes, and a data directory's is often longer than that.
        let runtime = Scratch::new(None)?;
        let server_id = loop {
            let id: [u8; 3] = crypto::random().map_err(PipelineError::from)?;
            let id = u32::from_be_bytes([0x7f, id[0], id[1], id[2]]);
            if !start.avoid.contains(&id) {
                break id;
            }
        };
        if let Some((uid, gid)) = start.owner {
            std::os::unix::fs::chown(runtime.path(), Some(uid), Some(gid))
                .map_err(JobError::io("give away", runtime.path()))?;
        }
        let socket = runtime.path().join("s");
        let mut arguments = Vec::new();
        let (mut user, mut password, mut init_file) = ("root", None, None);
        match start.access {
            Access::Anybody => arguments.push("--skip-grant-tables".to_owned()),
            Access::Account { user: name, password: secret, init_file: file } => {
                (user, password, init_file) = (name, Some(secret.clone()), Some(file));
            }
        }
        if let Some(value) = facts.lower_case_table_names {
            arguments.push(format!("--lower-case-table-names={value}"));
        }
        arguments.push(format!("--innodb-page-size={}", facts.page_size));
        if let Some(user) = start.user {
            arguments.push(format!("--user={user}"));
        }
        arguments.extend_from_slice(start.extra);
        let line = temp_server_command(&TempServer {
            flavor: program.flavor,
            program: &program.path,
            datadir,
            socket: &socket,
            init_file,
            tmpdir: Some(runtime.path()),
            server_id,
            buffer_pool: start.buffer_pool,
            binlog: TempBinlog::Off,
            options: &facts.options,
            extra: &arguments,
        })?;
        let child = Child::spawn("temporary server", &line, Input::Null, Output::Null)?;
        let connect = ConnectOptions {
            endpoint: Endpoint::Socket(socket),
            user: user.to_owned(),
            password,
            tls: Tls { mode: TlsMode::Disabled, ..Tls::default() },
        };
        let running = Self { child, runtime, connect };
        running.ready(progress).await
    }

    async fn ready(self, progress: &Progress) -> Result<Self, JobError> {
        let started = Instant::now();
        loop {
            if progress.is_stopped() {
                return Err(PipelineError::Stopped.into());
            }
            if !self.child.is_running() {
                return Err(self.died().await);
            }
            match Server::connect(&self.connect).await {
                Ok(server) => {
                    server.close().await;
                    return Ok(self);
                }
                Err(error) if started.elapsed() > READY => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn died(self) -> JobError {
        match self.child.wait().await {
            Err(error) => error.into(),
            Ok(exit) => JobError::source(
                format!("the temporary server ended by itself:\n  {}", exit.tail().join("\n  ")),
                "its log above says why",
            ),
        }
    }

    /// A connection as root.
    pub(super) async fn connect(&self) -> Result<Server, JobError> {
        Ok(Server::connect(&self.connect).await?)
    }

    /// Whether it still runs.
    pub(super) fn is_running(&self) -> bool {
        self.child.is_running()
    }

    /// Its last log lines.
    pub(super) fn log(&self) -> Vec<String> {
        self.child.tail()
    }

    /// Ends it cleanly: everything is in the data files then.
    pub(super) async fn shutdown(self) -> Result<CleanExit, JobError> {
        let Self { child, runtime, .. } = self;
        let ended = child.stop(SHUTDOWN).await;
        drop(runtime);
        Ok(ended?)
    }
}
