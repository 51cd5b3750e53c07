//! Key services over HTTP: to whom keys and tokens may go, one request, and its answer.
//!
//! They go by TLS, or to this machine. Redirects are not followed: a token must not go to wherever
//! an answer points.

use std::{path::Path, sync::OnceLock, time::Duration};

use bytes::Bytes;
use reqwest::{RequestBuilder, StatusCode, Url, header};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::service::{Fault, Patience, ServiceError, chain, is_loopback};
use crate::model::{Connection, Peer, Timestamp, TransportSecurity};

/// No answer that we ask for is longer.
const LONGEST_ANSWER: usize = 256 << 10;

/// What is said when somebody would send keys where others can read them.
const CLEAR: &str = "is not https, and keys never travel in the clear";

/// What to look at when a service does not answer as it should.
#[derive(Debug)]
pub(super) struct Service {
    /// When nobody answers.
    pub(super) unreachable: &'static str,
    /// When what comes is no answer of such a service.
    pub(super) unexpected: &'static str,
}

/// One request, and what it is for.
pub(super) struct Ask<'a> {
    /// Whom it is for.
    pub(super) service: &'static Service,
    /// What is being done.
    pub(super) operation: &'static str,
    /// The key, for errors.
    pub(super) key: &'a str,
    /// What the policy has to grant.
    pub(super) right: &'static str,
    /// The path below the service's address.
    pub(super) path: String,
    /// What is sent; a GET when nothing is.
    pub(super) body: Option<Bytes>,
}

impl Ask<'_> {
    /// Why it was not done.
    pub(super) fn fault(
        &self,
        fault: Fault,
        why: impl Into<String>,
        hint: impl Into<String>,
    ) -> ServiceError {
        ServiceError {
            fault,
            operation: self.operation,
            key: self.key.to_owned(),
            why: why.into(),
            hint: hint.into(),
        }
    }

    /// An answer that makes no sense.
    pub(super) fn unexpected(&self, why: &str) -> ServiceError {
        self.fault(Fault::Unexpected, why, self.service.unexpected)
    }

    /// A key that cannot do this.
    pub(super) fn wrong_kind(&self, why: String, hint: &str) -> ServiceError {
        self.fault(Fault::WrongKind, why, hint)
    }

    /// What was read out of an answer.
    pub(super) fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, Refusal> {
        serde_json::from_slice(&answer.body)
            .map_err(|_| self.unexpected("it has not the fields that it should").into())
    }
}

/// A request that was not granted.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The answer's status, when there was an answer.
    pub(super) status: Option<StatusCode>,
    /// What it means.
    pub(super) error: ServiceError,
    /// The ciphertext does not open: changed, or made in another context.
    pub(super) forged: bool,
    /// The service knows us, and we have not the right to do this with the key.
    pub(super) lacks_right: bool,
    /// How long the service wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        Self { status: None, error, forged: false, lacks_right: false, retry_after: None }
    }
}

impl Refusal {
    /// What an answer means.
    pub(super) fn of(answer: &Answer, error: ServiceError) -> Self {
        let retry_after = answer.retry_after();
        Self { status: Some(answer.status), retry_after, ..error.into() }
    }
}

/// An answer, whatever it says.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: header::HeaderMap,
    /// It may hold a key or a token.
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Answer {
    fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        let left = at.as_microsecond() - Timestamp::now().as_microseconds();
        Some(Duration::from_micros(u64::try_from(left).unwrap_or(0)))
    }
}

/// A body that is wiped when it has been sent.
pub(super) fn body(value: &impl Serialize) -> Bytes {
    // Text and numbers always have a JSON form.
    Bytes::from_owner(Zeroizing::new(serde_json::to_vec(value).unwrap_or_default()))
}

/// The address of a service, of which `setting` tells.
pub(super) fn address(text: &str, setting: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|e| format!("{setting} `{text}` is not a URL: {e}"))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(format!("{setting} holds more than a scheme, a host, a port and a path"));
    }
    match (url.scheme(), url.host_str()) {
        ("https", Some(_)) => Ok(url),
        ("http", Some(host)) if is_loopback(host) => Ok(url),
        ("http", _) => Err(format!("{setting} `{url}` {CLEAR}")),
        _ => Err(format!("{setting} `{url}` is not https")),
    }
}

/// How what goes to this address is protected.
fn security(url: &Url) -> TransportSecurity {
    match (url.scheme(), url.host_str()) {
        ("https", _) => TransportSecurity::TlsVerified,
        (_, Some(host)) if is_loopback(host) => TransportSecurity::Local,
        _ => TransportSecurity::Plain,
    }
}

/// What sends requests.
#[derive(Debug)]
pub(super) struct Rest {
    tls: reqwest::Client,
    /// For this machine, and for a cloud's own metadata. A proxy would see what travels in the clear.
    plain: reqwest::Client,
    /// How long to go on.
    pub(super) patience: Patience,
    reached: OnceLock<TransportSecurity>,
}

impl Rest {
    /// Sets it up; nothing is sent yet. Without a CA of one's own the system's are believed.
    pub(super) fn open(
        patience: Patience,
        ca: Option<(&Path, &str)>,
    ) -> Result<Self, (String, String)> {
        let client = || {
            reqwest::Client::builder()
                .connect_timeout(patience.connect)
                .timeout(patience.answer)
                .redirect(reqwest::redirect::Policy::none())
        };
        let mut tls = client().https_only(true);
        if let Some((path, setting)) = ca {
            let wrong = |why: String| (why, format!("check {setting}"));
            let pem = std::fs::read(path)
                .map_err(|e| wrong(format!("read the CA file {}: {e}", path.display())))?;
            let trusted = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|e| wrong(format!("the CA file {}: {}", path.display(), chain(&e))))?;
            if trusted.is_empty() {
                return Err(wrong(format!("the CA file {} holds no certificate", path.display())));
            }
            tls = tls.tls_certs_only(trusted);
        }
        let failed = |e: reqwest::Error| {
            (format!("set up TLS: {}", chain(&e)), "check the CA certificates here".to_owned())
        };
        let plain = client().no_proxy().build().map_err(failed)?;
        Ok(Self { tls: tls.build().map_err(failed)?, plain, patience, reached: OnceLock::new() })
    }

    /// A request to this address.
    pub(super) fn to(&self, method: reqwest::Method, url: Url) -> RequestBuilder {
        let client = if url.scheme() == "https" { &self.tls } else { &self.plain };
        client.request(method, url)
    }

    /// Sends a request, once, and returns its answer, whatever that says.
    pub(super) async fn send(
        &self,
        ask: &Ask<'_>,
        request: RequestBuilder,
    ) -> Result<Answer, Refusal> {
        let lost = |e: reqwest::Error| {
            let at = e.url().map(|url| format!("{}: ", url.origin().ascii_serialization()));
            let why = format!("{}{}", at.unwrap_or_default(), chain(&e.without_url()));
            // Who is not whom we expect will not be in a moment either.
            let what =
                if why.contains("certificate") { Fault::Settings } else { Fault::Unreachable };
            ask.fault(what, why, ask.service.unreachable)
        };
        let mut response = request.send().await.map_err(lost)?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        // Room for all that is usual, so that nothing is left behind where it has grown.
        let mut body = Zeroizing::new(Vec::with_capacity(16 << 10));
        while let Some(piece) = response.chunk().await.map_err(lost)? {
            if body.len() + piece.len() > LONGEST_ANSWER {
                return Err(ask.unexpected("it is too long").into());
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer { status, headers, body })
    }

    /// Notes that the service itself was reached at this address.
    pub(super) fn has_reached(&self, url: &Url) {
        self.reached.get_or_init(|| security(url));
    }

    /// How the connection to the service was protected, when there was one.
    pub(super) fn connection(&self, to: Peer) -> Connection {
        let security = self.reached.get().copied().unwrap_or(TransportSecurity::Unknown);
        Connection::new(to, security)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_by_tls_or_to_this_machine() {
        for (text, security_of) in [
            ("https://vault:8200/prefix", TransportSecurity::TlsVerified),
            ("http://127.0.0.1:1", TransportSecurity::Local),
            ("http://[::1]:1", TransportSecurity::Local),
            ("http://localhost", TransportSecurity::Local),
        ] {
            assert_eq!(security(&address(text, "ADDRESS").unwrap()), security_of, "{text}");
        }
        for (text, word) in [
            ("http://vault:8200", "in the clear"),
            ("http://127.0.0.1.example:8200", "in the clear"),
            ("ftp://127.0.0.1", "not https"),
            ("vault:8200", "not https"),
            ("no url", "not a URL"),
            ("https://me:secret@vault", "more than"),
            ("http://me:secret@vault", "more than"),
            ("https://vault?a=b", "more than"),
        ] {
            let why = address(text, "ADDRESS").unwrap_err();
            assert!(why.contains(word) && why.contains("ADDRESS"), "{text}: {why}");
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn a_pause_is_told_in_seconds_or_as_an_instant() {
        let after = |text: &str| {
            let mut headers = header::HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            let body = Zeroizing::new(Vec::new());
            Answer { status: StatusCode::TOO_MANY_REQUESTS, headers, body }.retry_after()
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let later = after("Fri, 21 Oct 2044 07:28:00 GMT").unwrap();
        assert!(later > Duration::from_hours(24), "{later:?}");
        assert_eq!(after("soon"), None);
    }
}
