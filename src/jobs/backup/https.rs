//! `--source https://…`: a stream from a server beside the database, over mutual TLS.
//!
//! `GET /cluster/backup` answers 200 and an xbstream. A manager that fails in the middle can
//! only cut the stream or append an error text to it and end cleanly, so neither the status
//! nor the end of the body says anything: the framing alone decides.

use std::{io::Read, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use tokio::sync::mpsc;

use super::source::{End, Stream};
use crate::{
    jobs::JobError,
    model::{EngineKind, Peer},
    transport::{
        Check, Dialer, DialerOptions, HttpClient, Plaintext, Proxies, Roots, TlsOptions, Trouble,
        chain,
    },
};

/// The path of the stream.
const PATH: &str = "/cluster/backup";
/// A source that says nothing for so long is dead.
const SILENCE: Duration = Duration::from_mins(5);

/// Where a stream is served, and how both sides know each other.
#[derive(Debug, Clone)]
pub struct HttpsSource {
    /// `https://host:port`, with or without a path.
    pub url: String,
    /// The CA that signed the server's certificate; the system's when none is given.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the server's certificate, when it is not the URL's host.
    pub server_name: Option<String>,
}

impl HttpsSource {
    fn client(&self) -> Result<(HttpClient, Uri), JobError> {
        let usage = |what: String| JobError::usage(what, "check --source and the --source-… files");
        let mut url: url::Url =
            self.url.parse().map_err(|e| usage(format!("`{}` is not a URL: {e}", self.url)))?;
        if url.scheme() != "https" {
            return Err(usage(format!(
                "`{}` is not an https URL, and a backup never travels in the clear",
                self.url
            )));
        }
        if url.path() == "/" {
            url.set_path(PATH);
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
        let uri = url.as_str().parse().map_err(|e| usage(format!("`{url}` is not a URL: {e}")))?;
        Ok((HttpClient::new(dialer), uri))
    }

    /// Asks for the stream.
    pub(super) async fn open(&self, engine: EngineKind) -> Result<Stream, JobError> {
        let (client, url) = self.client()?;
        let failed = |what: String, hint: &str| JobError::source(what, hint);
        let asking = "is the agent running, and may this client use it?";
        let request = Request::get(url.clone())
            .body(Bytes::new())
            .map_err(|e| failed(format!("GET {url}: {e}"), asking))?;
        let answered = tokio::time::timeout(SILENCE, client.send(request)).await;
        let answer = match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let advice = Trouble::of(&error).map(|t| t.advice("--source-ca"));
                let hint = advice.unwrap_or_else(|| asking.to_owned());
                return Err(failed(format!("GET {url}: {error}"), &hint));
            }
            Err(_) => {
                return Err(failed(format!("GET {url}: no answer within {SILENCE:?}"), asking));
            }
        };
        let (head, mut body) = answer.into_parts();
        if head.status != StatusCode::OK {
            let said = Limited::new(body, 64 << 10).collect().await;
            let said = said.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
            return Err(failed(format!("GET {url}: {}: {said}", head.status), asking));
        }
        let connection = client.dialer().seen().connection(Peer::Source);
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
                let piece = piece
                    .map_err(|why| std::io::Error::other(format!("the stream from {url}: {why}")));
                let failed = piece.is_err();
                if pieces.send(piece).await.is_err() || failed {
                    return;
                }
            }
        });
        let end = End {
            stream_transport: connection.security,
            stream_connection: Some(connection),
            ..End::new(engine, "https")
        };
        let reader = Received { pieces: received, rest: Bytes::new() };
        Ok(Stream {
            reader: Some(Box::new(reader)),
            child: None,
            _option_file: None,
            _scratch: None,
            end,
        })
    }
}

/// The body, read by a plain thread. It ends when the task that receives it does.
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
