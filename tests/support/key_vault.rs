//! Azure Key Vault (and a Managed HSM's symmetric keys) and whoever gives tokens for it, over HTTP. It
//! wraps for real, and refuses what the real one refuses, in its words where they are known: tokens that
//! it did not give, that have ended or are for another resource; roles that are missing; keys and
//! versions that are not there, deleted, disabled, out of their time, or of another kind.
//!
//! There is no server of it that could run here.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Nonce, Payload},
};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey,
};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{Method, Request, StatusCode},
    response::{IntoResponse, Response},
};
use backstay::{crypto::random, model::Timestamp};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

#[path = "key_vault/tokens.rs"]
mod tokens;

pub(crate) use tokens::{INSIDE, TENANT};

/// A version of a key.
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) enabled: bool,
    /// Seconds since the epoch.
    pub(crate) begins: Option<i64>,
    pub(crate) ends: Option<i64>,
    rsa: PrivateDecryptingKey,
    aes: [u8; 32],
}

impl Version {
    fn new() -> Self {
        Self {
            name: hex::encode(random::<16>().unwrap()),
            enabled: true,
            begins: None,
            ends: None,
            rsa: PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap(),
            aes: random().unwrap(),
        }
    }
}

impl Version {
    /// One of this name, with the key that is given.
    pub(crate) fn with(name: &str, rsa: Option<&[u8]>, aes: Option<&[u8]>) -> Self {
        let mut version = Self { name: name.to_owned(), ..Self::new() };
        if let Some(rsa) = rsa {
            version.rsa = PrivateDecryptingKey::from_pkcs8(rsa).unwrap();
        }
        if let Some(aes) = aes {
            version.aes = aes.try_into().unwrap();
        }
        version
    }
}

/// A key with its versions, the first one first.
pub(crate) struct VaultKey {
    pub(crate) kind: &'static str,
    /// What it may do; anything when nothing is said.
    pub(crate) operations: Option<Vec<&'static str>>,
    pub(crate) versions: Vec<Version>,
    /// Deleted, and not yet purged.
    pub(crate) is_deleted: bool,
}

impl VaultKey {
    pub(crate) fn of(kind: &'static str) -> Self {
        Self { kind, operations: None, versions: vec![Version::new()], is_deleted: false }
    }

    pub(crate) fn rotate(&mut self) {
        self.versions.push(Version::new());
    }
}

struct Token {
    client: String,
    resource: String,
    ends: Instant,
}

/// What comes instead of an answer: its status, its codes, its words, and how long to wait.
pub(crate) type Failure = (u16, &'static str, &'static str, Option<&'static str>);

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) body: Value,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) keys: BTreeMap<String, VaultKey>,
    tokens: BTreeMap<String, Token>,
    /// What identities may do; those that are not named may do all.
    pub(crate) roles: BTreeMap<String, Vec<&'static str>>,
    /// What comes instead of the next answers to requests whose path has this word.
    pub(crate) failures: VecDeque<(&'static str, Failure)>,
    pub(crate) always: Option<(&'static str, Failure)>,
    pub(crate) seen: Vec<Seen>,
    /// For how many seconds a token is good.
    pub(crate) lifetime: u64,
    given: usize,
    /// The resource that the vault's tokens are for.
    pub(crate) resource: &'static str,
    /// The tokens of Kubernetes that are taken, for which identity.
    pub(crate) subjects: BTreeMap<String, String>,
    /// The identities of the machine, the usual one first.
    pub(crate) machine: Vec<String>,
    /// Wraps by a disabled key, too, which then nobody opens.
    pub(crate) wraps_disabled: bool,
    /// Revoked, whether or not they have ended.
    revoked: BTreeSet<String>,
}

/// All of it in one server, which ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct KeyVault {
    inner: Arc<Mutex<Inner>>,
    port: u16,
}

#[derive(Clone)]
struct Door {
    inner: Arc<Mutex<Inner>>,
    own: String,
}

pub(crate) const VAULT: &str = "https://vault.azure.net";
pub(crate) const HSM: &str = "https://managedhsm.azure.net";

impl KeyVault {
    /// With an RSA key `kek`, and a machine whose identity may do all.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let machine = vec!["machine-1".to_owned()];
        let inner = Inner { lifetime: 3600, resource: VAULT, machine, ..Inner::default() };
        let inner = Arc::new(Mutex::new(inner));
        let door = Door { inner: Arc::clone(&inner), own: format!("http://127.0.0.1:{port}") };
        let router = Router::new().fallback(serve).with_state(door);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let vault = Self { inner, port };
        vault.add("kek", VaultKey::of("RSA"));
        vault
    }

    pub(crate) fn add(&self, name: &str, key: VaultKey) {
        self.lock().keys.insert(name.to_owned(), key);
    }

    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Something is done to a key.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut VaultKey)) {
        change(self.lock().keys.get_mut(name).unwrap());
    }

    /// The requests so far for paths that hold this word.
    pub(crate) fn asked(&self, word: &str) -> usize {
        self.lock().seen.iter().filter(|seen| seen.path.contains(word)).count()
    }

    /// The last request for a path that holds this word.
    pub(crate) fn last(&self, word: &str) -> Seen {
        let inner = self.lock();
        inner.seen.iter().rev().find(|seen| seen.path.contains(word)).unwrap().clone()
    }
}

fn answer(status: u16, body: &Value) -> Response {
    let kind = [("content-type", "application/json; charset=utf-8")];
    (StatusCode::from_u16(status).unwrap(), kind, body.to_string()).into_response()
}

fn refused(status: u16, code: &str, said: &str) -> Response {
    let mut error = json!({ "code": code, "message": said });
    if let Some((code, inner)) = code.split_once('/') {
        error = json!({ "code": code, "message": said, "innererror": { "code": inner } });
    }
    answer(status, &json!({ "error": error }))
}

/// The same words for a key that never was and one that was deleted.
fn not_found(name: &str) -> Response {
    let said = format!(
        "A key with (name/id) {name} was not found in this key vault. If you recently deleted this \
         key you may be able to recover it using the correct recovery command. For help resolving \
         this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182"
    );
    refused(404, "KeyNotFound", &said)
}

async fn serve(State(door): State<Door>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let json: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut inner = door.inner.lock().unwrap();
    inner.seen.push(Seen { path: path.clone(), body: json.clone() });
    let is_next = inner.failures.front().is_some_and(|(word, _)| path.contains(word));
    let failure = if is_next { inner.failures.pop_front() } else { inner.always };
    if let Some((_, (status, code, words, pause))) = failure.filter(|(word, _)| path.contains(word))
    {
        let mut response = refused(status, code, words);
        if let Some(pause) = pause {
            response.headers_mut().insert("retry-after", pause.parse().unwrap());
        }
        return response;
    }
    if let Some(tenant) = path.strip_suffix("/oauth2/v2.0/token") {
        return inner.log_in(tenant.trim_start_matches('/'), &body);
    }
    match path.as_str() {
        "/metadata/identity/oauth2/token" => return inner.of_machine(&query, &parts.headers),
        "/msi/token" => return inner.of_platform(&query, &parts.headers),
        _ => {}
    }
    if !query.split('&').any(|pair| pair == "api-version=7.4") {
        let said =
            "The specified version is not recognized. Consider using the latest supported version.";
        return refused(400, "BadParameter", said);
    }
    let bearer = parts.headers.get("authorization").map(|value| value.to_str().unwrap());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let client = match inner.client(token) {
        Ok(client) => client,
        Err(refused) => return *refused,
    };
    inner.operate(&parts.method, (&path, &door.own), &client, &json)
}

impl Inner {
    /// Whose token it is, when it is one for this vault.
    fn client(&self, token: &str) -> Result<String, Box<Response>> {
        let known = self.tokens.get(token).filter(|_| !self.revoked.contains(token));
        let said = match known {
            Some(known) if known.ends > Instant::now() && known.resource == self.resource => {
                return Ok(known.client.clone());
            }
            Some(known) if known.resource != self.resource => {
                "AKV10022: Invalid audience. Expected https://vault.azure.net, found another."
            }
            Some(_) => "AKV10001: Token is expired.",
            None => "AKV10000: Request is missing a Bearer or PoP token.",
        };
        let mut response = refused(401, "Unauthorized", said);
        let challenge = format!(
            "Bearer authorization=\"https://login.windows.net/t\", resource=\"{}\"",
            self.resource
        );
        response.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
        Err(Box::new(response))
    }

    fn operate(
        &mut self,
        method: &Method,
        (path, own): (&str, &str),
        client: &str,
        body: &Value,
    ) -> Response {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (name, version, verb) = match (method, parts.as_slice()) {
            (&Method::GET, ["deletedkeys", name]) => (*name, None, "deleted"),
            (&Method::GET, ["keys", name]) => (*name, None, "get"),
            (&Method::GET, ["keys", name, version]) => (*name, Some(*version), "get"),
            (&Method::POST, ["keys", name, verb]) => (*name, None, *verb),
            (&Method::POST, ["keys", name, version, verb]) => (*name, Some(*version), *verb),
            _ => return refused(404, "NotFound", "no such resource"),
        };
        let right = match verb {
            "get" | "deleted" => "keys/read",
            "wrapkey" => "keys/wrap/action",
            "unwrapkey" => "keys/unwrap/action",
            "encrypt" => "keys/encrypt/action",
            "decrypt" => "keys/decrypt/action",
            _ => return refused(405, "MethodNotAllowed", "no such operation"),
        };
        if self.roles.get(client).is_some_and(|roles| !roles.contains(&right)) {
            let said = format!(
                "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny \
                 assignments or role definitions were changed recently, please observe propagation \
                 time.\r\nCaller: appid={client}\r\nAction: 'Microsoft.KeyVault/vaults/{right}'"
            );
            return refused(403, "Forbidden/ForbiddenByRbac", &said);
        }
        let wraps_disabled = self.wraps_disabled;
        let Some(key) = self.keys.get(name) else { return not_found(name) };
        if verb == "deleted" {
            if !key.is_deleted {
                return not_found(name);
            }
            return answer(
                200,
                &json!({
                    "recoveryId": format!("{own}/deletedkeys/{name}"),
                    "deletedDate": 1_760_000_000, "scheduledPurgeDate": 1_767_776_000,
                    "key": { "kid": format!("{own}/keys/{name}/x"), "kty": key.kind },
                }),
            );
        }
        let found = match version {
            None => key.versions.last(),
            Some(wanted) => key.versions.iter().find(|version| version.name == wanted),
        };
        let Some(found) = found.filter(|_| !key.is_deleted) else {
            return not_found(&path.trim_start_matches("/keys/").replace(&format!("/{verb}"), ""));
        };
        let kid = format!("{own}/keys/{name}/{}", found.name);
        if verb == "get" {
            let mut attributes = json!({ "enabled": found.enabled, "created": 1_700_000_000 });
            for (field, value) in [("nbf", found.begins), ("exp", found.ends)] {
                if let Some(value) = value {
                    attributes[field] = value.into();
                }
            }
            let key = json!({ "kid": kid, "kty": key.kind, "key_ops": key.operations });
            return answer(200, &json!({ "key": key, "attributes": attributes }));
        }
        match key.usable(found, verb, wraps_disabled) {
            Err(refused) => *refused,
            Ok(()) => found.operate(verb, &kid, key.kind, body),
        }
    }
}

impl VaultKey {
    fn usable(&self, version: &Version, verb: &str, wraps: bool) -> Result<(), Box<Response>> {
        let refused = |code, said: String| Err(Box::new(refused(403, code, &said)));
        let makes = verb == "wrapkey" || verb == "encrypt";
        if !(version.enabled || wraps && makes) {
            let said = format!("Operation {verb} is not allowed on a disabled key.");
            return refused("Forbidden/KeyDisabled", said);
        }
        // Out of its time a key still opens what it wrapped.
        let now = Timestamp::now().as_microseconds() / 1_000_000;
        let is_out =
            version.begins.is_some_and(|at| at > now) || version.ends.is_some_and(|at| at <= now);
        if makes && is_out {
            let said = format!("Operation {verb} is not allowed on an expired key.");
            return refused("Forbidden/KeyExpired", said);
        }
        let operation = match verb {
            "wrapkey" => "wrapKey",
            "unwrapkey" => "unwrapKey",
            verb => verb,
        };
        if self.operations.as_ref().is_some_and(|all| !all.contains(&operation)) {
            let said = format!("Operation {operation} is not permitted on this key.");
            return refused("Forbidden/KeyOperationForbidden", said);
        }
        Ok(())
    }
}

fn decoded(body: &Value, field: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(body[field].as_str().unwrap_or_default()).unwrap_or_default()
}

impl Version {
    fn operate(&self, verb: &str, kid: &str, kty: &str, body: &Value) -> Response {
        let bad = |said: &str| refused(400, "BadParameter", said);
        let value = decoded(body, "value");
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let is_rsa = kty.starts_with("RSA");
        match (verb, body["alg"].as_str().unwrap_or_default()) {
            ("wrapkey", "RSA-OAEP-256") if is_rsa => {
                let key = OaepPublicEncryptingKey::new(self.rsa.public_key()).unwrap();
                let mut out = vec![0; key.ciphertext_size()];
                key.encrypt(&OAEP_SHA256_MGF1SHA256, &value, &mut out, None).unwrap();
                answer(200, &json!({ "kid": kid, "value": text(&out) }))
            }
            ("unwrapkey", "RSA-OAEP-256") if is_rsa => {
                let key = OaepPrivateDecryptingKey::new(self.rsa.clone()).unwrap();
                let mut out = vec![0; key.min_output_size()];
                match key.decrypt(&OAEP_SHA256_MGF1SHA256, &value, &mut out, None) {
                    Ok(plain) => answer(200, &json!({ "kid": kid, "value": text(plain) })),
                    Err(_) => bad("The parameter is incorrect.\r\n"),
                }
            }
            ("encrypt", "A256GCM") if kty == "oct-HSM" => {
                // The service chooses the nonce itself.
                let nonce: [u8; 12] = random().unwrap();
                let aad = decoded(body, "aad");
                let cipher = Aes256Gcm::new(&self.aes.into());
                let payload = Payload { msg: &value, aad: &aad };
                let sealed = cipher.encrypt(&Nonce::<Aes256Gcm>::from(nonce), payload).unwrap();
                let (sealed, tag) = sealed.split_at(sealed.len() - 16);
                answer(
                    200,
                    &json!({
                        "kid": kid, "value": text(sealed), "iv": text(&nonce), "tag": text(tag),
                        "aad": body["aad"],
                    }),
                )
            }
            ("decrypt", "A256GCM") if kty == "oct-HSM" => {
                let sealed = [value, decoded(body, "tag")].concat();
                let Ok(nonce) = <[u8; 12]>::try_from(decoded(body, "iv")) else {
                    return bad("The iv is not 96 bits long.");
                };
                let aad = decoded(body, "aad");
                let cipher = Aes256Gcm::new(&self.aes.into());
                let payload = Payload { msg: &sealed, aad: &aad };
                match cipher.decrypt(&Nonce::<Aes256Gcm>::from(nonce), payload) {
                    Ok(plain) => answer(200, &json!({ "kid": kid, "value": text(&plain) })),
                    Err(_) => bad("The parameter is incorrect.\r\n"),
                }
            }
            (_, algorithm) => {
                bad(&format!("Algorithm {algorithm} is not supported by a key of kty {kty}."))
            }
        }
    }
}
