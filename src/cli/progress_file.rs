//! How far a job is, in a file that an operator reads. What is in it is told in `docs/operators.md`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{model::Timestamp, pipeline::Progress};

/// A reader may take a file that is much older than this for that of a job that is no more.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
struct Document {
    version: u32,
    command: String,
    state: &'static str,
    phase: &'static str,
    started_at: Timestamp,
    updated_at: Timestamp,
    bytes_done: u64,
    bytes_total: Option<u64>,
    bytes_stored: u64,
    bytes_per_second: u64,
    transactions_done: Option<u64>,
    transactions_total: Option<u64>,
}

/// The file, kept up to date until [`ProgressFile::end`].
pub(super) struct ProgressFile {
    keeper: tokio::task::JoinHandle<()>,
    told: Telling,
}

#[derive(Clone)]
struct Telling {
    path: PathBuf,
    command: String,
    progress: Arc<Progress>,
    started_at: Timestamp,
    started: Instant,
}

impl ProgressFile {
    /// Begins to tell.
    pub(super) fn start(path: PathBuf, command: String, progress: Arc<Progress>) -> Self {
        let (started_at, started) = (Timestamp::now(), Instant::now());
        let told = Telling { path, command, progress, started_at, started };
        Self { keeper: tokio::spawn(told.clone().keep()), told }
    }

    /// Tells the last numbers, and that there will be no more.
    pub(super) async fn end(self) {
        self.keeper.abort();
        // It may be in the middle of writing the same file.
        let _ = self.keeper.await;
        let now = self.told.document("ended", self.told.started);
        warn(&self.told.path, written(&self.told.path, &now));
    }
}

impl Telling {
    async fn keep(self) {
        let mut tick = tokio::time::interval(EVERY);
        let (mut phase, mut since, mut failed) = ("", self.started, false);
        loop {
            tick.tick().await;
            let now = self.document("running", since);
            if now.phase != phase {
                (phase, since) = (now.phase, Instant::now());
            }
            let wrote = written(&self.path, &now);
            // A job does not fail because nobody can see how far it is; and says so once.
            let fails = wrote.is_err();
            if !failed {
                warn(&self.path, wrote);
            }
            failed = fails;
        }
    }

    fn document(&self, state: &'static str, since: Instant) -> Document {
        let (plain, stored, expected) = self.progress.read();
        let replay = self.progress.replaying();
        let done = replay.map_or(plain, |now| now.bytes);
        let seconds = since.elapsed().as_secs().max(1);
        Document {
            version: 1,
            command: self.command.clone(),
            state,
            phase: if replay.is_some() { "replay" } else { "transfer" },
            started_at: self.started_at,
            updated_at: Timestamp::now(),
            bytes_done: done,
            // An estimate that was passed is none any more.
            bytes_total: (expected > 0).then_some(expected.max(done)),
            bytes_stored: stored,
            bytes_per_second: done / seconds,
            transactions_done: replay.map(|now| now.transactions),
            transactions_total: replay.map(|now| now.of),
        }
    }
}

/// A reader sees the old file or the new one, and never half of one.
fn written(path: &Path, document: &Document) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, serde_json::to_vec(document)?)?;
    std::fs::rename(&beside, path)
}

fn warn(path: &Path, wrote: std::io::Result<()>) {
    if let Err(error) = wrote {
        tracing::warn!(path = %path.display(), %error, "cannot write the progress file");
    }
}
