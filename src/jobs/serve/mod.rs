//! `serve`: the agent beside the database. It streams one backup at a time over mutual TLS to clients
//! that it knows by name, and says at the end how the engine ended.
//!
//! It has the database's login and nothing else: no credential of the object store, and no key.

mod answer;
mod client;
mod identity;
mod pace;
mod status;
mod stream;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::body::Body;
use hyper::{Request as HttpRequest, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use client::{AllowedClient, AllowedClientError};
use identity::Identity;
pub use identity::TlsFiles;
pub use status::{Endpoint, Outcome, Refusal, Snapshot, Status};

use super::JobError;
use crate::{
    model::{ByteSize, EngineKind, TlsFacts},
    mysql::ConnectOptions,
    pipeline::Progress,
};

/// The path of a manager's stream, which has no verdict.
pub const MANAGER_PATH: &str = "/cluster/backup";
/// Connections at once; all but one of them are soon told to come again.
const CONNECTIONS: usize = 16;
/// A client that takes nothing for so long has abandoned the backup.
pub const STALL: Duration = Duration::from_mins(5);
/// How long a handshake may take, and then the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long streams may take to end once the agent is told to: an engine gets 10 s to obey.
const ENDING: Duration = Duration::from_secs(20);
/// After an error of the listening socket, such as too many open files.
const PAUSE: Duration = Duration::from_millis(200);

/// What to serve, where, and to whom.
#[derive(Debug)]
pub struct Request {
    /// How to reach the server.
    pub connect: ConnectOptions,
    /// The engine; chosen by the server's version when none is named.
    pub engine: Option<EngineKind>,
    /// The data directory, when it is mounted elsewhere than the server says.
    pub datadir: Option<PathBuf>,
    /// A folder for the engine's own files.
    pub scratch: Option<PathBuf>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The agent's identity, and who signs its clients'.
    pub tls: TlsFiles,
    /// Who may ask.
    pub allowed: Vec<AllowedClient>,
    /// The most bytes a second.
    pub rate_limit: Option<ByteSize>,
    /// How long a client may take nothing; [`STALL`] but in tests.
    pub stall: Duration,
    /// Told to whoever asks.
    pub status: Arc<Status>,
    /// Where to be told to stop.
    pub progress: Arc<Progress>,
}

/// What was served.
#[derive(Debug, serde::Serialize)]
pub struct Served {
    /// Version of this object.
    pub version: u32,
    /// `stopped`.
    pub status: &'static str,
    /// Streams that ended well.
    pub complete: u64,
    /// Streams that did not.
    pub incomplete: u64,
    /// Bytes of backups sent.
    pub bytes: u64,
}

/// The agent at work.
struct Agent {
    request: Request,
    identity: Identity,
    /// One engine at a time.
    turn: Arc<Semaphore>,
    streams: TaskTracker,
}

/// A client whose certificate is valid.
#[derive(Debug, Clone)]
struct Peer {
    /// Its names, for people.
    names: String,
    allowed: bool,
    tls: TlsFacts,
    address: SocketAddr,
    /// Ends the connection, however little the client takes.
    connection: CancellationToken,
}

/// Serves until told to stop.
///
/// # Errors
/// When it cannot begin: the address is taken, or the certificates are not right.
pub async fn run(request: Request) -> Result<Served, JobError> {
    let identity = Identity::load(&request.tls, &request.status)?;
    let listener = TcpListener::bind(request.listen).await.map_err(|e| {
        JobError::usage(
            format!("listen on {}: {e}", request.listen),
            "give --listen a free address, such as 0.0.0.0:8443",
        )
    })?;
    tracing::info!(address = %request.listen, "serving");
    let agent = Arc::new(Agent {
        request,
        identity,
        turn: Arc::new(Semaphore::new(1)),
        streams: TaskTracker::new(),
    });
    let progress = Arc::clone(&agent.request.progress);
    let watching = tokio::spawn({
        let agent = Arc::clone(&agent);
        async move { agent.identity.watch(&agent.request.tls, &agent.request.status).await }
    });
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = progress.stopped() => break,
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            agent.request.status.refused(Refusal::Connections);
            continue;
        };
        let agent = Arc::clone(&agent);
        connections.spawn(async move {
            agent.connection(socket, address).await;
            drop(place);
        });
    }
    drop(listener);
    watching.abort();
    agent.streams.close();
    if tokio::time::timeout(ENDING, agent.streams.wait()).await.is_err() {
        tracing::warn!("a stream did not end in time");
    }
    // What they were told last is still on its way.
    connections.close();
    let _ = tokio::time::timeout(PAUSE, connections.wait()).await;
    let now = agent.request.status.read();
    let count = |well: bool| {
        let streams = now.streams.iter().filter(|((_, outcome), _)| outcome.is_well() == well);
        streams.map(|(_, count)| count).sum()
    };
    Ok(Served {
        version: 1,
        status: "stopped",
        complete: count(true),
        incomplete: count(false),
        bytes: now.bytes,
    })
}

impl Agent {
    /// One connection, which carries one request.
    async fn connection(self: Arc<Self>, socket: TcpStream, address: SocketAddr) {
        let _ = socket.set_nodelay(true);
        let acceptor = TlsAcceptor::from(self.identity.config());
        let tls = match tokio::time::timeout(PATIENCE, acceptor.accept(socket)).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => {
                tracing::warn!(client = %address, %error, "no TLS with this client");
                return self.request.status.refused(Refusal::Handshake);
            }
            Err(_) => return self.request.status.refused(Refusal::Handshake),
        };
        let connection = CancellationToken::new();
        let peer = match client::peer(tls.get_ref().1, &self.request.allowed) {
            Ok((names, allowed, tls)) => {
                Peer { names, allowed, tls, address, connection: connection.clone() }
            }
            Err(why) => {
                tracing::warn!(client = %address, why, "a client's certificate is not understood");
                return self.request.status.refused(Refusal::Handshake);
            }
        };
        let service = service_fn(|request: HttpRequest<Incoming>| {
            let (agent, peer) = (Arc::clone(&self), peer.clone());
            async move {
                Ok::<hyper::Response<Body>, std::convert::Infallible>(
                    agent.answer(&request, peer).await,
                )
            }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .keep_alive(false)
            .serve_connection(TokioIo::new(tls), service);
        tokio::select! {
            ended = served => if let Err(error) = ended {
                tracing::debug!(client = %address, %error, "the connection ended");
            },
            () = connection.cancelled() => {}
        }
    }
}
