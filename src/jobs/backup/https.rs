//! `--source https://…`: a stream from beside the database, over mutual TLS.
//!
//! `backstay serve` answers `GET /backstay/v1/backup` with a stream that ends with a verdict. A manager
//! knows `GET /cluster/backup` alone, and answers 200 and an xbstream. When it fails in the middle it can
//! only cut the stream or append an error text to it and end cleanly, so neither the status nor the end
//! of the body says anything: there the framing alone decides.

use std::{io::Read, path::PathBuf, time::Duration};

use futures::StreamExt;
use tokio::sync::mpsc;

use super::source::{End, Stream};
use crate::{
    jobs::{JobError, serve::MANAGER_PATH},
    model::{EngineKind, TransportSecurity},
    pipeline::{
        PipelineError,
        verdict::{self, VerdictReader},
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

fn read(path: &std::path::Path) -> Result<Vec<u8>, JobError> {
    std::fs::read(path).map_err(|e| {
        JobError::usage(format!("read {}: {e}", path.display()), "check the --source-… files")
    })
}

impl HttpsSource {
    fn client(&self) -> Result<(reqwest::Client, reqwest::Url), JobError> {
        let usage = |what: String| JobError::usage(what, "check --source and the --source-… files");
        let mut url: reqwest::Url =
            self.url.parse().map_err(|e| usage(format!("`{}` is not a URL: {e}", self.url)))?;
        if url.scheme() != "https" {
            return Err(usage(format!(
                "`{}` is not an https URL, and a backup never travels in the clear",
                self.url
            )));
        }
        let mut builder = reqwest::Client::builder()
            .https_only(true)
            .no_proxy()
            .connect_timeout(Duration::from_secs(15))
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &self.ca {
            let pem = read(path)?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| {
                usage(format!("{} is no PEM bundle of certificates: {e}", path.display()))
            })?;
            builder = builder.tls_certs_only(certificates);
        }
        if let Some((certificate, key)) = &self.identity {
            let mut pem = zeroize::Zeroizing::new(read(certificate)?);
            pem.push(b'\n');
            pem.extend_from_slice(&zeroize::Zeroizing::new(read(key)?));
            let identity = reqwest::Identity::from_pem(&pem).map_err(|e| {
                usage(format!("{} and its key are no identity: {e}", certificate.display()))
            })?;
            builder = builder.identity(identity);
        }
        if let (Some(name), Some(host)) = (&self.server_name, url.host_str().map(ToOwned::to_owned))
        {
            // The certificate is checked against the name, the connection goes to the URL's host.
            let port = url.port_or_known_default().unwrap_or(443);
            let addresses = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port))
                .map_err(|e| JobError::source(format!("resolve {host}: {e}"), "check --source"))?;
            builder = builder.resolve_to_addrs(name, &addresses.collect::<Vec<_>>());
            url.set_host(Some(name))
                .map_err(|e| usage(format!("`{name}` is not a server name: {e}")))?;
        }
        let client = builder.build().map_err(|e| usage(format!("set up TLS: {}", chain(&e))))?;
        Ok((client, url))
    }

    /// Asks for the stream. `engine` is what a manager runs; our own agent says it itself.
    pub(super) async fn open(&self, engine: Option<EngineKind>) -> Result<Stream, JobError> {
        let (client, mut url) = self.client()?;
        let finds_out = url.path() == "/";
        if finds_out {
            url.set_path(verdict::PATH);
        }
        let mut response = get(&client, &url).await?;
        if finds_out && response.status() == reqwest::StatusCode::NOT_FOUND {
            tracing::info!("no agent of ours answers there: a manager's stream is asked for");
            url.set_path(MANAGER_PATH);
            response = get(&client, &url).await?;
        }
        let status = response.status();
        if status != reqwest::StatusCode::OK {
            let said = response.text().await.unwrap_or_default();
            let said: String = said.trim().chars().filter(|c| !c.is_control()).take(1000).collect();
            return Err(failed(format!("GET {url}: {status}: {said}")));
        }
        let kind = response.headers().get(reqwest::header::CONTENT_TYPE);
        if kind.is_some_and(|kind| kind == verdict::MEDIA_TYPE) {
            return with_verdict(receive(url, response), engine).await;
        }
        let engine = engine.filter(|kind| *kind != EngineKind::Clone).ok_or_else(|| {
            JobError::usage(
                format!("the stream of {url} does not say which engine wrote it"),
                "give --engine xtrabackup or --engine mariadb-backup",
            )
        })?;
        let end =
            End { stream_transport: TransportSecurity::TlsVerified, ..End::new(engine, "https") };
        Ok(Stream {
            reader: Some(Box::new(receive(url, response))),
            child: None,
            verdict: None,
            _option_file: None,
            _scratch: None,
            end,
        })
    }
}

fn failed(what: String) -> JobError {
    JobError::source(what, "is the agent running, and may this client use it?")
}

async fn get(client: &reqwest::Client, url: &reqwest::Url) -> Result<reqwest::Response, JobError> {
    client.get(url.clone()).send().await.map_err(|e| failed(format!("GET {url}: {}", chain(&e))))
}

/// The body, to be read by a plain thread.
fn receive(url: reqwest::Url, response: reqwest::Response) -> Received {
    let (pieces, received) = mpsc::channel(4);
    let mut body = response.bytes_stream();
    tokio::spawn(async move {
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|e| {
                std::io::Error::other(format!("the stream from {url}: {}", chain(&e)))
            });
            let failed = piece.is_err();
            if pieces.send(piece).await.is_err() || failed {
                return;
            }
        }
    });
    Received { pieces: received, rest: bytes::Bytes::new() }
}

/// A stream of our own agent, up to its head.
async fn with_verdict(
    received: Received,
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
        database_transport: head.database_transport,
        stream_transport: TransportSecurity::TlsVerified,
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

/// An error with its causes: reqwest's own message hides the interesting one.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A body. It ends when the task that receives it does.
struct Received {
    pieces: mpsc::Receiver<std::io::Result<bytes::Bytes>>,
    rest: bytes::Bytes,
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
