//! MySQL's clone plugin: the server copies itself into a scratch folder, and the copy is streamed.
//!
//! The copy's position is known only once a server has started over it, so one does; it is
//! ended cleanly, and what is streamed is a data directory that needs no preparing.

use std::{os::unix::fs::MetadataExt, path::Path};

use super::source::{Beforehand, End, Server as Facts, Stream};
use crate::{
    jobs::{
        JobError,
        restore::check_space,
        scratch::Scratch,
        temp_server::{Program, Running, Start},
    },
    model::{EngineKind, ServerFacts, TransportSecurity},
    mysql::{ConnectOptions, Server, xbstream::Writer},
    pipeline::{Ending, PipelineError, Progress},
};

/// A server that can be cloned.
pub(in crate::jobs) struct Prepared {
    server: Server,
    facts: ServerFacts,
    connect: ConnectOptions,
    program: Program,
    scratch: Scratch,
}

/// What a clone needs here, beside the server itself.
pub(in crate::jobs) struct Means {
    /// The server program, which starts once over the copy.
    pub(in crate::jobs) program: Program,
    /// The user and group that the server runs as.
    owner: (u32, u32),
}

/// Checks that the server can be cloned as it is, and that its program and enough room for the
/// copy are here. Makes nothing.
pub(in crate::jobs) async fn check(
    server: &mut Server,
    facts: &ServerFacts,
    scratch: Option<&Path>,
) -> Result<Means, JobError> {
    server.check_clone().await?;
    let without = "the clone engine starts the server's program once over the copy, to learn its position: install it here";
    let program = Program::find(None, facts.flavor, &facts.version, without).await?;
    let datadir = server.datadir().await?;
    let data = std::fs::metadata(&datadir).map_err(|e| {
        JobError::preflight(
            format!("look at the server's data directory {}: {e}", datadir.display()),
            "the clone engine runs on the server's own machine, with its data directory in sight",
        )
    })?;
    check_scratch(&Scratch::parent(scratch), facts.data_bytes)?;
    Ok(Means { program, owner: (data.uid(), data.gid()) })
}

/// The copy is as large as the data.
fn check_scratch(scratch: &Path, data_bytes: u64) -> Result<(), JobError> {
    if !scratch.is_dir() {
        return Err(JobError::preflight(
            format!("{} is no folder that a clone could be made in", scratch.display()),
            "give a folder by --scratch",
        ));
    }
    check_space(scratch, data_bytes, "a clone", "give a larger folder by --scratch")
}

/// Checks, and makes the scratch folder.
pub(super) async fn prepare(
    mut server: Server,
    facts: ServerFacts,
    connect: &ConnectOptions,
    scratch: Option<&Path>,
) -> Result<Prepared, JobError> {
    let Means { program, owner: (user, group) } = check(&mut server, &facts, scratch).await?;
    let scratch = Scratch::new(scratch)?;
    // The server writes the clone, so the folder must be its own.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(scratch.path(), Some(user), Some(group))
            .map_err(JobError::io("give to the server", scratch.path()))?;
    }
    Ok(Prepared { server, facts, connect: connect.clone(), program, scratch })
}

impl Prepared {
    pub(super) fn beforehand(&self) -> Beforehand<'_> {
        Beforehand {
            engine: EngineKind::Clone,
            engine_version: Some(&self.facts.version.text),
            server: &self.facts,
            connection: self.server.connection(),
        }
    }

    /// Clones, starts a server over the clone to learn its position, and begins the stream.
    pub(super) async fn start(mut self, progress: &Progress) -> Result<Stream, JobError> {
        let folder = self.scratch.path().join("clone");
        tokio::select! {
            cloned = self.server.clone_into(&folder) => cloned?,
            // Dropping the connection makes the server give up and remove the clone.
            () = progress.stopped() => return Err(PipelineError::Stopped.into()),
        }
        let connection = self.server.connection().clone();
        if !folder.is_dir() {
            return Err(JobError::preflight(
                format!("the server cloned into {}, and nothing is there", folder.display()),
                "the clone engine runs on the server's own machine, with the scratch folder in sight of both",
            ));
        }
        let (position, gtid_set, ended) = self.position(&folder, progress).await?;
        self.facts.gtid_set = Some(gtid_set);
        self.facts.gtid_exact = true;
        self.facts.innodb_position = Some(position.clone());
        self.facts.innodb_at_least = Some(position.clone());
        self.facts.position = Some(position);
        let info = serde_json::to_vec(&self.facts).map_err(|e| {
            JobError::source(format!("write down the server's facts: {e}"), "report this")
        })?;
        let version = self.facts.version.text.clone();
        let reader = Writer::new(&folder, info).map_err(PipelineError::from)?;
        self.server.close().await;
        let end = End {
            engine_version: Some(version),
            database: Some(connection),
            stream_transport: TransportSecurity::Local,
            server: Facts::Asked(Box::new(self.facts), Box::new(self.connect)),
            ending: Ending::Exit(ended),
            ..End::new(EngineKind::Clone, "local")
        };
        Ok(Stream {
            reader: Some(Box::new(reader)),
            child: None,
            verdict: None,
            _option_file: None,
            _scratch: Some(self.scratch),
            end,
        })
    }

    async fn position(
        &self,
        folder: &Path,
        progress: &Progress,
    ) -> Result<
        (crate::model::BinlogPosition, crate::model::GtidSet, crate::process::CleanExit),
        JobError,
    > {
        let extra = ["--plugin-load-add=clone=mysql_clone.so".to_owned()];
        let running = Running::start(
            &self.program,
            folder,
            &self.facts,
            &Start::to_ask(&extra, None, None),
            progress,
        )
        .await?;
        let mut server = running.connect().await?;
        let (position, set) = server.cloned_position().await?;
        server.close().await;
        Ok((position, set, running.shutdown().await?))
    }
}
