//! `--source https://…`: a stream from beside the database, over mutual TLS.
//!
//! `backstay serve` answers `GET /backstay/v1/backup` with a stream that ends with a verdict. A manager
//! knows `GET /cluster/backup` alone, and answers 200 and an xbstream. When it fails in the middle it can
//! only cut the stream or append an error text to it and end cleanly, so neither the status nor the end
//! of the body says anything: there the framing alone decides.

use std::{io::Read, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::source::{End, Stream};
use crate::{
    jobs::{JobError, serve::MANAGER_PATH},
    model::{Connection, EngineKind, Peer},
    pipeline::{
        PipelineError,
        verdict::{self, VerdictReader},
    },
    transport::{
        Check, Dialer, DialerOptions, HttpClient, Plaintext, Proxies, Roots, TlsOptions, Trouble,
        chain,
    },
};

/// A source that says nothing for so long is dead.
const SILENCE: Duration = Duration::from_mins(5);

/// Where a stream is served, and how both sides know each other.
#[derive(Debug, Clone)]
pub struct HttpsSource {
    /// `https://host:port`, which finds out what answers there, or with the path of a stream.
    pub url: String,
    /// The CA that signed the server's certificate; the system's when none is given.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the server's certificate, when it is not the URL's host.
    pub server_name: Option<String>,
}

impl HttpsSource {
    fn client(&self) -> Result<(HttpClient, url::Url), JobError> {
        let usage = |what: String| JobError::usage(what, "check --source and the --source-… files");
        let url: url::Url =
            self.url.parse().map_err(|e| usage(format!("`{}` is not a URL: {e}", self.url)))?;
        if url.scheme() != "https" {
            return Err(usage(format!(
                "`{}` is not an https URL, and a backup never travels in the clear",
                self.url
            )));
        }
        let dialer = Dialer::new(&DialerOptions {
            tls: TlsOptions {
                roots: self.ca.clone().map_or(Roots::System, Roots::Only),
                check: Check::Identity,
                identity: self.identity.clone(),
            },
            server_name: self.server_name.clone(),
            plaintext: Plaintext::Never,
            proxies: Proxies::None,
            patience: Duration::from_secs(15),
        });
        let dialer = dialer.map_err(|e| usage(e.to_string()))?;
        Ok((HttpClient::new(dialer), url))
    }

    /// Asks for the stream. `engine` is what a manager runs; our own agent says it itself.
    pub(super) async fn open(&self, engine: Option<EngineKind>) -> Result<Stream, JobError> {
        let (mut client, mut url) = self.client()?;
        let finds_out = url.path() == "/";
        if finds_out {
            url.set_path(verdict::PATH);
        }
        let mut answer = get(&client, &url).await?;
        if finds_out && answer.status() == StatusCode::NOT_FOUND {
            tracing::info!("no agent of ours answers there: a manager's stream is asked for");
            url.set_path(MANAGER_PATH);
            // Whoever answered so may close the connection.
            client = self.client()?.0;
            answer = get(&client, &url).await?;
        }
        let (head, body) = answer.into_parts();
        if head.status != StatusCode::OK {
            let said = Limited::new(body, 64 << 10).collect().await;
            let said = said.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let said: String = said.trim().chars().filter(|c| !c.is_control()).take(1000).collect();
            return Err(failed(format!("GET {url}: {}: {said}", head.status), ASKING));
        }
        let connection = client.dialer().seen().connection(Peer::Source);
        let kind = head.headers.get(http::header::CONTENT_TYPE);
        if kind.is_some_and(|kind| kind == verdict::MEDIA_TYPE) {
            return with_verdict(receive(url, body), connection, engine).await;
        }
        let engine = engine.filter(|kind| *kind != EngineKind::Clone).ok_or_else(|| {
            JobError::usage(
                format!("the stream of {url} does not say which engine wrote it"),
                "give --engine xtrabackup or --engine mariadb-backup",
            )
        })?;
        let end = End {
            stream_transport: connection.security,
            stream_connection: Some(connection),
            ..End::new(engine, "https")
        };
        Ok(Stream {
            reader: Some(Box::new(receive(url, body))),
            child: None,
            verdict: None,
            _option_file: None,
            _scratch: None,
            end,
        })
    }
}

/// What may be wrong when it is not told.
const ASKING: &str = "is the agent running, and may this client use it?";

fn failed(what: String, hint: &str) -> JobError {
    JobError::source(what, hint)
}

async fn get(client: &HttpClient, url: &url::Url) -> Result<Response<Incoming>, JobError> {
    let request = Request::get(url.as_str())
        .body(Bytes::new())
        .map_err(|e| JobError::usage(format!("GET {url}: {e}"), "check --source"))?;
    match tokio::time::timeout(SILENCE, client.send(request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            let advice = Trouble::of(&error).map(|t| t.advice("--source-ca"));
            let hint = advice.unwrap_or_else(|| ASKING.to_owned());
            Err(failed(format!("GET {url}: {error}"), &hint))
        }
        Err(_) => Err(failed(format!("GET {url}: no answer within {SILENCE:?}"), ASKING)),
    }
}

/// The body, to be read by a plain thread.
fn receive(url: url::Url, mut body: Incoming) -> Received {
    let (pieces, received) = mpsc::channel(4);
    tokio::spawn(async move {
        loop {
            let next = tokio::time::timeout(SILENCE, body.frame()).await;
            let piece = match next {
                Ok(None) => return,
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => Ok(piece),
                    Err(_) => continue,
                },
                Ok(Some(Err(error))) => Err(chain(&error)),
                Err(_) => Err(format!("nothing came within {SILENCE:?}")),
            };
            let piece =
                piece.map_err(|why| std::io::Error::other(format!("the stream from {url}: {why}")));
            let failed = piece.is_err();
            if pieces.send(piece).await.is_err() || failed {
                return;
            }
        }
    });
    Received { pieces: received, rest: Bytes::new() }
}

/// A stream of our own agent, up to its head.
async fn with_verdict(
    received: Received,
    connection: Connection,
    expected: Option<EngineKind>,
) -> Result<Stream, JobError> {
    let begun = tokio::task::spawn_blocking(move || VerdictReader::begin(received));
    let (head, reader) =
        begun.await.map_err(|_| PipelineError::Worker)?.map_err(PipelineError::Read)?;
    if let Some(expected) = expected.filter(|kind| *kind != head.engine) {
        return Err(JobError::usage(
            format!("the agent runs {}, and --engine says {expected}", head.engine),
            "leave --engine out: the agent says what it runs",
        ));
    }
    tracing::info!(
        agent = %head.agent_version,
        server = %head.server.version,
        tls = head.tls.as_ref().map(|tls| format!("{} {}", tls.version, tls.cipher)),
        "an agent streams"
    );
    let end = End {
        engine_version: head.engine_version,
        database: Some(head.database),
        stream_transport: connection.security,
        stream_connection: Some(connection),
        ..End::new(head.engine, "https")
    };
    Ok(Stream {
        verdict: Some(reader.pending()),
        reader: Some(Box::new(reader)),
        child: None,
        _option_file: None,
        _scratch: None,
        end,
    })
}

/// A body. It ends when the task that receives it does.
struct Received {
    pieces: mpsc::Receiver<std::io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.rest = piece?,
                None => return Ok(0),
            }
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}
