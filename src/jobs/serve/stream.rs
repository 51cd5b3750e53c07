//! One backup on its way to a client: started, watched, and ended with a verdict or without any.

use std::{io::Read, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use sha2::{Digest, Sha256};
use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{self, error::SendTimeoutError},
};
use tokio_util::task::AbortOnDropHandle;

use super::{Agent, Endpoint, Outcome, Peer, pace::Pace};
use crate::{
    jobs::{
        JobError,
        backup::{facts, source::Prepared},
    },
    model::{Sha256Digest, Timestamp},
    mysql::xbstream::{Dialect, Validator, WholeStream},
    pipeline::{
        PipelineError, Progress,
        verdict::{self, Head, Said},
    },
};

/// Read from the engine at once, in bytes.
const PIECE: usize = 256 << 10;
/// How long an engine may go on writing after it was told to end.
const GRACE: Duration = Duration::from_secs(5);
/// How often a stream with a verdict shows that it is alive.
const BEAT: Duration = Duration::from_secs(10);

/// What goes to the connection.
enum Piece {
    Bytes(Bytes),
    /// Nothing more, and all is well: the only way to a clean end.
    End,
}

/// To the client. Whoever cannot send stops the job: the client has abandoned it.
#[derive(Clone)]
struct Line {
    pieces: mpsc::Sender<Piece>,
    progress: Arc<Progress>,
    stall: Duration,
}

/// What the engine's stream was.
struct Passed {
    whole: WholeStream,
    bytes: u64,
    sha256: Sha256Digest,
}

/// Starts the stream; it goes on by itself until it has ended, and every child is reaped.
pub(super) fn begin(
    agent: Arc<Agent>,
    prepared: Prepared,
    endpoint: Endpoint,
    peer: Peer,
    progress: Arc<Progress>,
    turn: OwnedSemaphorePermit,
) -> Body {
    let (pieces, mut received) = mpsc::channel(4);
    let line = Line { pieces, progress: Arc::clone(&progress), stall: agent.request.stall };
    agent.request.status.begun();
    let streams = agent.streams.clone();
    streams.spawn(async move {
        tracing::info!(client = peer.names, address = %peer.address, path = endpoint.path(), "a backup begins");
        let outcome = run(&agent, prepared, endpoint, &peer, &progress, line).await;
        agent.request.status.over(endpoint, outcome);
        tracing::info!(client = peer.names, outcome = outcome.name(), bytes = progress.read().0, "a backup ended");
        if outcome != Outcome::Complete && outcome != Outcome::Failed {
            // Its client may never read the rest.
            peer.connection.cancel();
        }
        drop(turn);
    });
    let mut ended = false;
    Body::from_stream(stream::poll_fn(move |context| {
        if ended {
            return std::task::Poll::Ready(None);
        }
        received.poll_recv(context).map(|piece| match piece {
            Some(Piece::Bytes(bytes)) => Some(Ok(bytes)),
            Some(Piece::End) => {
                ended = true;
                None
            }
            None => {
                ended = true;
                // Without its last chunk the client sees that the answer was cut.
                Some(Err(std::io::Error::other("the backup did not end well")))
            }
        })
    }))
}

async fn run(
    agent: &Agent,
    prepared: Prepared,
    endpoint: Endpoint,
    peer: &Peer,
    progress: &Arc<Progress>,
    line: Line,
) -> Outcome {
    // The engine is ended by whoever is first to give up.
    let told = Arc::clone(&agent.request.progress);
    let watch = {
        let (line, progress, told) = (line.clone(), Arc::clone(progress), Arc::clone(&told));
        AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::select! {
                () = line.pieces.closed() => {}
                () = told.stopped() => {}
            }
            progress.stop();
        }))
    };
    let made = make(agent, prepared, endpoint, peer, progress, &line).await;
    drop(watch);
    match made {
        Ok(()) => match line.send(Piece::End).await {
            Ok(()) => Outcome::Complete,
            Err(_) => Outcome::Abandoned,
        },
        Err(_) if told.is_stopped() => Outcome::Stopped,
        Err(_) if progress.is_stopped() => Outcome::Abandoned,
        Err(error) => {
            tracing::error!(client = peer.names, %error, "the backup failed");
            if endpoint == Endpoint::Verdict {
                let said = Said::Failed { version: verdict::VERSION, error: error.to_string() };
                if let Ok(frame) = verdict::verdict(&said)
                    && line.send(Piece::Bytes(frame)).await.is_ok()
                {
                    let _ = line.send(Piece::End).await;
                }
            }
            Outcome::Failed
        }
    }
}

/// The whole stream, up to and with its verdict.
async fn make(
    agent: &Agent,
    prepared: Prepared,
    endpoint: Endpoint,
    peer: &Peer,
    progress: &Arc<Progress>,
    line: &Line,
) -> Result<(), JobError> {
    let with_verdict = endpoint == Endpoint::Verdict;
    let mut beating = None;
    if with_verdict {
        line.send(Piece::Bytes(verdict::magic())).await?;
        line.send(Piece::Bytes(verdict::head(&head(&prepared, peer)?).map_err(unwritten)?)).await?;
        beating = Some(line.clone().beat());
    }
    // Dropped on every way out, so that no beat follows the verdict.
    let mut stream = prepared.open(progress).await?;
    let reader = stream.take_reader();
    let passing = {
        let (line, progress) = (line.clone(), Arc::clone(progress));
        let pace = Pace::new(agent.request.rate_limit);
        let dialect = Dialect::of(stream.engine());
        let status = Arc::clone(&agent.request.status);
        tokio::task::spawn_blocking(move || {
            let sent = |bytes| status.sent(bytes);
            pass(reader, dialect, with_verdict, pace, &progress, &line, sent)
        })
    };
    tokio::pin!(passing);
    let passed = tokio::select! {
        passed = &mut passing => passed,
        () = progress.stopped() => {
            stream.interrupt();
            match tokio::time::timeout(GRACE, &mut passing).await {
                Ok(passed) => passed,
                // It does not obey; the thread that reads ends with it.
                Err(_) => return Err(stream.fail(PipelineError::Stopped.into()).await),
            }
        }
    };
    let passed = match passed.map_err(|_| PipelineError::Worker)? {
        Ok(passed) => passed,
        Err(error) => return Err(stream.fail(error).await),
    };
    let end = stream.end().await?;
    if !with_verdict {
        return Ok(());
    }
    let server = facts::complete(&end, &passed.whole).await?;
    if let Some(beating) = beating {
        beating.abort();
        let _ = beating.await;
    }
    let said = Said::Complete {
        version: verdict::VERSION,
        exit_status: 0,
        engine_version: end.engine_version,
        bytes: passed.bytes,
        sha256: passed.sha256,
        finished_at: Timestamp::now(),
        server: Box::new(server),
    };
    line.send(Piece::Bytes(verdict::verdict(&said).map_err(unwritten)?)).await
}

fn head(prepared: &Prepared, peer: &Peer) -> Result<Head, JobError> {
    let before = prepared.beforehand().ok_or(PipelineError::Worker)?;
    Ok(Head {
        version: verdict::VERSION,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: before.engine,
        engine_version: before.engine_version.map(ToOwned::to_owned),
        started_at: Timestamp::now(),
        database: before.connection.clone(),
        tls: Some(peer.tls.clone()),
        server: before.server.clone(),
    })
}

fn unwritten(why: impl std::fmt::Display) -> JobError {
    JobError::source(format!("write down what is known of the server: {why}"), "report this")
}

/// The engine's bytes, to their end; run by a plain thread.
fn pass(
    mut reader: Box<dyn Read + Send>,
    dialect: Dialect,
    with_verdict: bool,
    mut pace: Pace,
    progress: &Progress,
    line: &Line,
    sent: impl Fn(usize),
) -> Result<Passed, JobError> {
    let mut validator = Validator::new(dialect);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; PIECE];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(PipelineError::Read(error).into()),
        };
        if progress.is_stopped() {
            return Err(PipelineError::Stopped.into());
        }
        let piece = &buffer[..count];
        validator.feed(piece).map_err(PipelineError::from)?;
        pace.wait_for(count, progress);
        let bytes = if with_verdict {
            hash.update(piece);
            verdict::data(piece)
        } else {
            Bytes::copy_from_slice(piece)
        };
        tokio::runtime::Handle::current().block_on(line.send(Piece::Bytes(bytes)))?;
        progress.add_plain(count);
        sent(count);
    }
    if progress.is_stopped() {
        return Err(PipelineError::Stopped.into());
    }
    let bytes = validator.bytes();
    let whole = validator.finish().map_err(PipelineError::from)?;
    Ok(Passed { whole, bytes, sha256: Sha256Digest(hash.finalize().into()) })
}

impl Line {
    async fn send(&self, piece: Piece) -> Result<(), JobError> {
        self.pieces.send_timeout(piece, self.stall).await.map_err(|error| {
            self.progress.stop();
            let why = match error {
                SendTimeoutError::Timeout(_) => "the client takes nothing more",
                SendTimeoutError::Closed(_) => "the client is gone",
            };
            JobError::source(why, "look at its own log")
        })
    }

    /// Shows that the agent is alive, until it is aborted.
    fn beat(self) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                // When there is no room, there is something else to read.
                let _ = self.pieces.try_send(Piece::Bytes(verdict::keep_alive()));
            }
        }))
    }
}
