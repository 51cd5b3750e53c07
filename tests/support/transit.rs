//! A transit engine over HTTP that encrypts and signs for real, and refuses in the words of the real one.
//!
//! It stands in for OpenBao, whose Go module was refused when it was asked for (with 403), so that it
//! cannot be built for the tests. What it answers follows OpenBao's sources: the paths, the order of
//! the checks, the statuses and the texts.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, LazyLock, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Nonce, Payload},
};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{Method, Request, StatusCode},
    response::{IntoResponse, Response},
};
use backstay::{
    crypto::{RunKey, random},
    model::Timestamp,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

/// A key with its versions, the first one first.
pub(crate) struct TransitKey {
    pub(crate) kind: &'static str,
    pub(crate) derived: bool,
    pub(crate) min_decryption: usize,
    versions: Vec<[u8; 32]>,
}

impl TransitKey {
    pub(crate) fn of(kind: &'static str) -> Self {
        Self { kind, derived: false, min_decryption: 1, versions: vec![random().unwrap()] }
    }

    pub(crate) fn rotate(&mut self) {
        self.versions.push(random().unwrap());
    }

    fn is_aead(&self) -> bool {
        ["aes256-gcm96", "chacha20-poly1305"].contains(&self.kind)
    }
}

struct Token {
    /// Paths, and what may be done there.
    policy: Vec<(&'static str, &'static [&'static str])>,
    /// Nothing: for ever.
    ends: Option<Instant>,
    renewable: bool,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) namespace: Option<String>,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) keys: BTreeMap<String, TransitKey>,
    tokens: BTreeMap<String, Token>,
    /// What comes instead of the next answers.
    pub(crate) failures: VecDeque<(u16, &'static str)>,
    /// What comes instead of every answer.
    pub(crate) always: Option<(u16, &'static str)>,
    pub(crate) seen: Vec<Seen>,
    /// The service account tokens that log in, and for how many seconds.
    pub(crate) accounts: BTreeSet<String>,
    pub(crate) lease: u64,
    pub(crate) renews: bool,
    /// For how many seconds a renewal is, when not for as many as a login.
    pub(crate) renewal: Option<u64>,
    logins: usize,
    /// An old one does not know of associated data, and takes no notice.
    pub(crate) ignores_associated_data: bool,
    /// Tokens may not look at themselves.
    pub(crate) hides_tokens: bool,
}

/// The server; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Transit {
    inner: Arc<Mutex<Inner>>,
    port: u16,
    scheme: &'static str,
}

/// A policy of docs/policies/kms, for the key `kek` and the signer `signer`.
fn policy(page: &str) -> Vec<(&'static str, &'static [&'static str])> {
    let rules = page.lines().filter_map(|line| line.strip_prefix("path \""));
    let read = rules.map(|rule| {
        let (path, rights) = rule.split_once('"').unwrap();
        let path = path.replace("KEY", "kek").replace("SIGNER", "signer");
        let rights: Vec<&'static str> = rights
            .split('"')
            .skip(1)
            .step_by(2)
            .map(|right| &*String::leak(right.to_owned()))
            .collect();
        (&*String::leak(path), &*Vec::leak(rights))
    });
    read.collect()
}

type Policy = Vec<(&'static str, &'static [&'static str])>;

/// Who may wrap and sign.
pub(crate) static WRITER: LazyLock<Policy> =
    LazyLock::new(|| policy(include_str!("../../docs/policies/kms/vault-writer.hcl")));
/// Who may unwrap.
pub(crate) static READER: LazyLock<Policy> =
    LazyLock::new(|| policy(include_str!("../../docs/policies/kms/vault-reader.hcl")));

impl Transit {
    /// With a KEK `kek`, an Ed25519 key `signer`, and the token `root`.
    pub(crate) async fn start() -> Self {
        let (listener, server) = Self::bind("http").await;
        tokio::spawn(async move { axum::serve(listener, server.1).await });
        server.0
    }

    /// The same behind TLS.
    pub(crate) async fn start_tls(config: tokio_rustls::rustls::ServerConfig) -> Self {
        let (listener, server) = Self::bind("https").await;
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move { axum::serve(Tls { listener, acceptor }, server.1).await });
        server.0
    }

    async fn bind(scheme: &'static str) -> (tokio::net::TcpListener, (Self, Router)) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Inner { lease: 3600, renews: true, ..Inner::default() };
        let inner = Arc::new(Mutex::new(inner));
        let router = Router::new().fallback(serve).with_state(Arc::clone(&inner));
        let transit = Self { inner, port, scheme };
        transit.lock().keys.insert("kek".into(), TransitKey::of("aes256-gcm96"));
        transit.lock().keys.insert("signer".into(), TransitKey::of("ed25519"));
        transit.grant("root", &[]);
        (listener, (transit, router))
    }

    pub(crate) fn address(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// A token for ever, with these rights; with none it may do all.
    pub(crate) fn grant(&self, token: &str, policy: &[(&'static str, &'static [&'static str])]) {
        let token_of = Token { policy: policy.to_vec(), ends: None, renewable: false };
        self.lock().tokens.insert(token.to_owned(), token_of);
    }

    pub(crate) fn revoke_all(&self) {
        self.lock().tokens.clear();
    }

    /// The requests so far for paths that hold this word.
    pub(crate) fn asked(&self, word: &str) -> usize {
        self.lock().seen.iter().filter(|seen| seen.path.contains(word)).count()
    }
}

struct Tls {
    listener: tokio::net::TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

fn error(status: u16, said: &str) -> Response {
    let errors = if said.is_empty() { json!([]) } else { json!([said]) };
    (StatusCode::from_u16(status).unwrap(), json!({ "errors": errors }).to_string()).into_response()
}

fn denied() -> Response {
    error(403, "1 error occurred:\n\t* permission denied\n\n")
}

fn data(data: &Value) -> Response {
    json!({ "request_id": "r", "data": data }).to_string().into_response()
}

async fn serve(State(inner): State<Arc<Mutex<Inner>>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let header = |name: &str| parts.headers.get(name).map(|v| v.to_str().unwrap().to_owned());
    let token = header("x-vault-token");
    let path = parts.uri.path().strip_prefix("/v1/").unwrap_or_default().to_owned();
    let mut inner = inner.lock().unwrap();
    let namespace = header("x-vault-namespace");
    inner.seen.push(Seen { path: path.clone(), token: token.clone(), namespace });
    let failure = inner.failures.pop_front().or(inner.always);
    if let Some((status, said)) = failure {
        let answer = error(status, said);
        return ([("location", "http://127.0.0.1:9/v1/elsewhere")], answer).into_response();
    }
    if path == "auth/kubernetes/login" {
        return inner.log_in(&body);
    }
    let now = Instant::now();
    let token = token.unwrap_or_default();
    let alive = inner.tokens.get(&token).is_some_and(|t| t.ends.is_none_or(|end| end > now));
    if !alive {
        return denied();
    }
    match path.as_str() {
        "auth/token/renew-self" => return inner.renew(&token),
        // Every token may, by the default policy; not those that were made without it.
        "auth/token/lookup-self" if inner.hides_tokens => return denied(),
        "auth/token/lookup-self" => return inner.look_up(&token),
        _ => {}
    }
    let Some((mount, rest)) = path.split_once('/') else { return error(404, "no handler") };
    let Some((verb, name)) = rest.split_once('/') else { return error(404, "no handler") };
    let is_new = verb == "encrypt" && !inner.keys.contains_key(name);
    let needed = match parts.method {
        Method::GET => "read",
        _ if is_new => "create",
        _ => "update",
    };
    let policy = &inner.tokens[&token].policy;
    let allowed = policy.is_empty()
        || policy.iter().any(|(at, rights)| *at == path && rights.contains(&needed));
    if !allowed {
        return denied();
    }
    if mount != "transit" {
        return error(404, &format!("no handler for route \"{path}\". route entry not found."));
    }
    if is_new {
        inner.keys.insert(name.to_owned(), TransitKey::of("aes256-gcm96"));
    }
    match (verb, inner.keys.get(name)) {
        ("keys", None) => error(404, ""),
        ("sign", None) => error(400, "signing key not found"),
        (_, None) => error(400, "encryption key not found"),
        ("keys", Some(key)) => facts(name, key),
        ("encrypt", Some(key)) => key.encrypt(&body, !inner.ignores_associated_data),
        ("decrypt", Some(key)) => key.decrypt(&body, !inner.ignores_associated_data),
        ("sign", Some(key)) => key.sign(&body),
        _ => error(404, "unsupported path"),
    }
}

fn facts(name: &str, key: &TransitKey) -> Response {
    let versions: serde_json::Map<String, Value> = (1..=key.versions.len())
        .map(|n| {
            let fact = if key.kind == "ed25519" {
                let public = RunKey::from_seed(&key.versions[n - 1]).unwrap().public_key();
                json!({ "name": "ed25519", "public_key": BASE64_STANDARD.encode(public) })
            } else {
                json!(1_700_000_000)
            };
            (n.to_string(), fact)
        })
        .collect();
    data(&json!({
        "name": name, "type": key.kind, "derived": key.derived, "deletion_allowed": false,
        "min_decryption_version": key.min_decryption, "latest_version": key.versions.len(),
        "keys": versions,
    }))
}

fn decoded(body: &Value, field: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(body[field].as_str().unwrap_or_default()).unwrap()
}

impl TransitKey {
    fn bound(&self, body: &Value, bind: bool) -> Result<Vec<u8>, Box<Response>> {
        let aad = if bind { decoded(body, "associated_data") } else { Vec::new() };
        if !self.is_aead() && !aad.is_empty() {
            let said =
                format!("'[0].associated_data' provided for non-AEAD cipher suite {}", self.kind);
            return Err(Box::new(error(400, &said)));
        }
        if self.derived {
            let said =
                "missing 'context' for key derivation; the key was created using a derived key";
            return Err(Box::new(error(400, said)));
        }
        Ok(aad)
    }

    fn encrypt(&self, body: &Value, bind: bool) -> Response {
        let aad = match self.bound(body, bind) {
            Ok(aad) => aad,
            Err(answer) => return *answer,
        };
        let nonce: [u8; 12] = random().unwrap();
        let plain = decoded(body, "plaintext");
        let cipher = Aes256Gcm::new(&(*self.versions.last().unwrap()).into());
        let nonce_of = Nonce::<Aes256Gcm>::from(nonce);
        let sealed = cipher.encrypt(&nonce_of, Payload { msg: &plain, aad: &aad }).unwrap();
        let text = BASE64_STANDARD.encode([nonce.as_slice(), &sealed].concat());
        let version = self.versions.len();
        data(&json!({ "ciphertext": format!("vault:v{version}:{text}"), "key_version": version }))
    }

    fn decrypt(&self, body: &Value, bind: bool) -> Response {
        let aad = match self.bound(body, bind) {
            Ok(aad) => aad,
            Err(answer) => return *answer,
        };
        let invalid = |said: &str| error(400, &format!("invalid ciphertext: {said}"));
        let Some(rest) = body["ciphertext"].as_str().unwrap_or_default().strip_prefix("vault:v")
        else {
            return invalid("no prefix");
        };
        let Some((version, text)) = rest.split_once(':') else {
            return invalid("wrong number of fields");
        };
        let Ok(version) = version.parse::<usize>() else {
            return invalid("version number could not be decoded");
        };
        let version = version.max(1);
        if version > self.versions.len() {
            return invalid("version is too new");
        }
        if version < self.min_decryption {
            return error(400, "ciphertext or signature version is disallowed by policy (too old)");
        }
        let Ok(bytes) = BASE64_STANDARD.decode(text) else {
            return invalid("could not decode base64");
        };
        let Some((nonce, sealed)) = bytes.split_at_checked(12) else {
            return error(400, "invalid ciphertext length");
        };
        let nonce = Nonce::<Aes256Gcm>::from(<[u8; 12]>::try_from(nonce).unwrap());
        let cipher = Aes256Gcm::new(&self.versions[version - 1].into());
        match cipher.decrypt(&nonce, Payload { msg: sealed, aad: &aad }) {
            Ok(plain) => data(&json!({ "plaintext": BASE64_STANDARD.encode(plain) })),
            Err(_) => error(400, "cipher: message authentication failed"),
        }
    }

    fn sign(&self, body: &Value) -> Response {
        if self.kind != "ed25519" {
            return error(400, &format!("key type {} does not support signing", self.kind));
        }
        let version = usize::try_from(body["key_version"].as_u64().unwrap_or(0)).unwrap();
        let version = if version == 0 { self.versions.len() } else { version };
        let key = RunKey::from_seed(&self.versions[version - 1]).unwrap();
        let text = BASE64_STANDARD.encode(key.sign(&decoded(body, "input")));
        data(&json!({ "signature": format!("vault:v{version}:{text}"), "key_version": version }))
    }
}

impl Inner {
    fn log_in(&mut self, body: &Value) -> Response {
        if body["role"] != "backstay" {
            return error(400, "invalid role name \"other\"");
        }
        if !self.accounts.contains(body["jwt"].as_str().unwrap_or_default()) {
            return denied();
        }
        self.logins += 1;
        let token = format!("login-{}", self.logins);
        let ends = Some(Instant::now() + Duration::from_secs(self.lease));
        let given = Token { policy: Vec::new(), ends, renewable: true };
        self.tokens.insert(token.clone(), given);
        lent(&token, self.lease)
    }

    fn look_up(&self, token: &str) -> Response {
        let held = &self.tokens[token];
        let left = held.ends.map(|ends| ends.saturating_duration_since(Instant::now()));
        let ends = left.and_then(|left| {
            let micros = i64::try_from(left.as_micros()).unwrap();
            Timestamp::from_microseconds(Timestamp::now().as_microseconds() + micros)
        });
        let entity = if held.renewable { "7d2e3179" } else { "" };
        let name = if held.renewable { "kubernetes-db-backstay" } else { "token" };
        data(&json!({
            "display_name": name, "entity_id": entity,
            "expire_time": ends.map(|ends| ends.to_string()), "renewable": held.renewable,
        }))
    }

    fn renew(&mut self, token: &str) -> Response {
        let seconds = self.renewal.unwrap_or(self.lease);
        let (renews, lease) = (self.renews, Duration::from_secs(seconds));
        let held = self.tokens.get_mut(token).unwrap();
        if !renews || !held.renewable {
            return error(400, "lease is not renewable");
        }
        held.ends = Some(Instant::now() + lease);
        lent(token, seconds)
    }
}

fn lent(token: &str, seconds: u64) -> Response {
    let auth = json!({ "client_token": token, "lease_duration": seconds, "renewable": true });
    json!({ "auth": auth }).to_string().into_response()
}
