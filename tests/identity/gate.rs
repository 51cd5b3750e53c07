//! A gate before MinIO and its STS. It makes credentials end as soon as a test wants (STS itself
//! gives none for less than fifteen minutes), and lets nobody through with what has ended.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{Request, StatusCode, header::CONTENT_LENGTH},
    response::{IntoResponse, Response},
};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

/// What the gate knows.
#[derive(Default)]
pub(crate) struct Seen {
    /// How long credentials are good.
    pub(crate) lifetime: Duration,
    /// How much longer the client is told that they are: its clock is behind.
    pub(crate) lie: Duration,
    /// When each access key ends.
    ends: BTreeMap<String, Instant>,
    /// Those that something was done with.
    used: BTreeMap<String, usize>,
    /// Requests that were turned away with what had ended.
    pub(crate) turned_away: usize,
    /// How many times in a row STS fails from now on.
    pub(crate) sts_fails: usize,
    /// Requests to STS.
    pub(crate) asked: usize,
}

impl Seen {
    /// How many different credentials were used.
    pub(crate) fn used(&self) -> usize {
        self.used.len()
    }
}

struct Inner {
    seen: Mutex<Seen>,
    upstream: u16,
    client: Client<hyper_util::client::legacy::connect::HttpConnector, Body>,
}

/// The gate; it ends with the test's runtime.
pub(crate) struct Gate {
    inner: Arc<Inner>,
    port: u16,
}

impl Gate {
    pub(crate) async fn before(upstream: u16, lifetime: Duration) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = Client::builder(TokioExecutor::new()).build_http();
        let seen = Mutex::new(Seen { lifetime, ..Seen::default() });
        let inner = Arc::new(Inner { seen, upstream, client });
        let app = Router::new().fallback(pass).with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { inner, port }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.inner.seen.lock().unwrap()
    }
}

async fn pass(State(inner): State<Arc<Inner>>, request: Request<Body>) -> Response {
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, 64 << 20).await.unwrap();
    let is_sts = body.starts_with(b"Action=AssumeRoleWithWebIdentity");
    if is_sts {
        let mut seen = inner.seen.lock().unwrap();
        seen.asked += 1;
        if seen.sts_fails > 0 {
            seen.sts_fails -= 1;
            return error(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "scripted");
        }
    } else {
        let key = key_of(&parts.headers);
        let mut seen = inner.seen.lock().unwrap();
        if seen.ends.get(&key).is_some_and(|end| Instant::now() >= *end) {
            seen.turned_away += 1;
            return error(
                StatusCode::BAD_REQUEST,
                "ExpiredToken",
                "The provided token has expired.",
            );
        }
        *seen.used.entry(key).or_default() += 1;
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = format!("http://127.0.0.1:{}{path}", inner.upstream).parse().unwrap();
    // The host is signed, so it stays as it is.
    let sent = Request::from_parts(parts, Body::from(body));
    let answer = match inner.client.request(sent).await {
        Ok(answer) => answer,
        Err(error_) => return error(StatusCode::BAD_GATEWAY, "BadGateway", &error_.to_string()),
    };
    let (mut head, body) = answer.into_parts();
    let body = to_bytes(Body::new(body), 64 << 20).await.unwrap();
    if !is_sts {
        return (head, body).into_response();
    }
    let text = inner.shorten(core::str::from_utf8(&body).unwrap());
    head.headers.remove(CONTENT_LENGTH);
    (head, text).into_response()
}

impl Inner {
    /// The answer of STS with an end of our own.
    fn shorten(&self, text: &str) -> String {
        let Some(key) = between(text, "<AccessKeyId>", "</AccessKeyId>") else {
            return text.to_owned();
        };
        let mut seen = self.seen.lock().unwrap();
        let end = Instant::now() + seen.lifetime;
        seen.ends.insert(key.to_owned(), end);
        let told = jiff::Timestamp::now() + seen.lifetime + seen.lie;
        let stated = between(text, "<Expiration>", "</Expiration>").unwrap();
        text.replace(stated, &told.to_string())
    }
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    text.split_once(begin)?.1.split_once(end).map(|(found, _)| found)
}

/// The access key that a request is signed with.
fn key_of(headers: &axum::http::HeaderMap) -> String {
    let authorization = headers.get("authorization").map(|v| v.to_str().unwrap());
    let key = authorization.and_then(|text| between(text, "Credential=", "/"));
    key.unwrap_or_default().to_owned()
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    (status, body).into_response()
}
