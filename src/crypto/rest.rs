//! Key services over HTTP: to whom keys and tokens may go, one request, and its answer.
//!
//! They go by TLS, or to this machine. Redirects are not followed: a token must not go to wherever
//! an answer points.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;
use zeroize::Zeroizing;

use super::service::{Fault, Patience, ServiceError, plain};
use crate::{
    model::{Connection, Peer, Timestamp, TransportSecurity},
    transport::{
        Dialer, DialerOptions, HttpClient, HttpError, Plaintext, Proxies, Roots, TlsOptions,
        Trouble, chain, is_loopback,
    },
};

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

/// Whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// The service that has the keys.
    Service,
    /// Whoever gives tokens for it: another connection, which says nothing about the service's.
    Tokens,
}

/// A request that is put together.
pub(super) struct Sending {
    to: To,
    url: Url,
    request: Request<Bytes>,
}

impl Sending {
    /// Another header.
    pub(super) fn header(mut self, name: impl Into<HeaderName>, value: HeaderValue) -> Self {
        self.request.headers_mut().insert(name.into(), value);
        self
    }

    /// A token that says who we are.
    pub(super) fn bearer(self, token: &str) -> Self {
        let text = Zeroizing::new(format!("Bearer {token}"));
        // A token with other characters is none, and the service will say so.
        let mut value =
            HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
        value.set_sensitive(true);
        self.header(header::AUTHORIZATION, value)
    }

    /// What is sent.
    pub(super) fn body(mut self, kind: HeaderValue, body: Bytes) -> Self {
        *self.request.body_mut() = body;
        self.header(header::CONTENT_TYPE, kind)
    }

    /// The same, in JSON.
    pub(super) fn json(self, body: Bytes) -> Self {
        self.body(HeaderValue::from_static("application/json"), body)
    }
}

/// What sends requests.
#[derive(Debug)]
pub(super) struct Rest {
    service: HttpClient,
    tokens: HttpClient,
    /// For this machine, and for a cloud's own metadata. A proxy would see what travels in the clear.
    plain: HttpClient,
    /// How long to go on.
    pub(super) patience: Patience,
    /// The setting that names whom to believe.
    authority: &'static str,
}

impl Rest {
    /// Sets it up; nothing is sent yet. Without a CA of one's own, for which `authority` is the
    /// setting, the system's are believed.
    pub(super) fn open(
        patience: Patience,
        ca: Option<&Path>,
        authority: &'static str,
    ) -> Result<Self, (String, String)> {
        let roots = ca.map_or(Roots::System, |path| Roots::Only(path.to_owned()));
        let tls = TlsOptions { roots, ..TlsOptions::default() };
        let dialer = |plaintext, proxies| {
            let (tls, patience) = (tls.clone(), patience.connect);
            Dialer::new(&DialerOptions { tls, plaintext, proxies, patience, ..Default::default() })
                .map_err(|e| (chain(&e), format!("check the file that {authority} names")))
        };
        let secured = dialer(Plaintext::Never, Proxies::Environment)?;
        Ok(Self {
            tokens: HttpClient::new(secured.apart()),
            service: HttpClient::new(secured),
            plain: HttpClient::new(dialer(Plaintext::Anywhere, Proxies::None)?),
            patience,
            authority,
        })
    }

    fn client(&self, to: To, url: &Url) -> &HttpClient {
        match (url.scheme(), to) {
            ("https", To::Service) => &self.service,
            ("https", To::Tokens) => &self.tokens,
            _ => &self.plain,
        }
    }

    /// Sends a request, once, and returns its answer, whatever that says.
    pub(super) async fn send(&self, ask: &Ask<'_>, sending: Sending) -> Result<Answer, Refusal> {
        let Sending { to, url, request } = sending;
        let exchange =
            self.client(to, &url).exchange(request, LONGEST_ANSWER, self.patience.answer);
        match exchange.await {
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                Ok(Answer { status: head.status, headers: head.headers, body })
            }
            Err(HttpError::TooLong(_)) => Err(ask.unexpected("it is too long").into()),
            Err(error) => {
                let why =
                    format!("{}: {}", url.origin().ascii_serialization(), plain(&chain(&error)));
                Err(match Trouble::of(&error) {
                    // Who is not whom we expect will not be in a moment either.
                    Some(trouble) => {
                        ask.fault(Fault::Settings, why, trouble.advice(self.authority))
                    }
                    None => ask.fault(Fault::Unreachable, why, ask.service.unreachable),
                }
                .into())
            }
        }
    }

    /// How the last connection to the service at this address was protected, when there was one.
    pub(super) fn connection(&self, url: &Url, to: Peer) -> Connection {
        let seen = self.client(To::Service, url).dialer().seen().connection(to);
        match seen.security {
            TransportSecurity::Plain if url.host_str().is_some_and(is_loopback) => {
                Connection::new(to, TransportSecurity::Local)
            }
            _ => seen,
        }
    }
}

/// A request to this address.
pub(super) fn request(to: To, method: Method, url: Url) -> Sending {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = method;
    // What is a URL is a URI, too, but for what no address of a service has in it.
    *request.uri_mut() = url.as_str().parse().unwrap_or_default();
    Sending { to, url, request }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_by_tls_or_to_this_machine() {
        for text in [
            "https://vault:8200/prefix",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost",
        ] {
            assert!(address(text, "ADDRESS").is_ok(), "{text}");
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
