//! Google's Cloud KMS and whoever gives tokens for it, over HTTP. It encrypts and signs for real, and
//! refuses what the real one refuses, in its words where they are known: tokens that it did not give,
//! that have ended or are for something else; rights that are missing; keys and versions that are not
//! there or not enabled; checksums and contexts that do not fit.
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
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderMap, Method, Request, StatusCode},
    response::{IntoResponse, Response},
};
use backstay::crypto::{RunKey, random};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

#[path = "cloud_kms/tokens.rs"]
mod tokens;

/// Where keys are made, in this double.
pub(crate) const RING: &str = "projects/p-1/locations/europe-west1/keyRings/r";
const ALL: &str = "https://www.googleapis.com/auth/cloud-platform";
const KEYS: &str = "https://www.googleapis.com/auth/cloudkms";

/// A version of a key.
pub(crate) struct Version {
    pub(crate) state: &'static str,
    secret: [u8; 32],
}

impl Version {
    fn new() -> Self {
        Self { state: "ENABLED", secret: random().unwrap() }
    }
}

/// A key with its versions, the first one first.
pub(crate) struct CryptoKey {
    pub(crate) purpose: &'static str,
    pub(crate) algorithm: &'static str,
    pub(crate) versions: Vec<Version>,
}

impl CryptoKey {
    pub(crate) fn symmetric() -> Self {
        let algorithm = "GOOGLE_SYMMETRIC_ENCRYPTION";
        Self { purpose: "ENCRYPT_DECRYPT", algorithm, versions: vec![Version::new()] }
    }

    pub(crate) fn signer(algorithm: &'static str) -> Self {
        Self { purpose: "ASYMMETRIC_SIGN", algorithm, versions: vec![Version::new()] }
    }

    /// A new version, which is the primary one from now on.
    pub(crate) fn rotate(&mut self) {
        self.versions.push(Version::new());
    }
}

struct Token {
    account: String,
    scopes: BTreeSet<String>,
    ends: Instant,
}

/// What comes instead of an answer: its status, its code, its words, and how long to wait.
pub(crate) type Failure = (u16, &'static str, &'static str, Option<&'static str>);

/// Where something is changed on its way.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Corruption {
    Request,
    Answer,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) body: Value,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) keys: BTreeMap<String, CryptoKey>,
    tokens: BTreeMap<String, Token>,
    /// What accounts may do with keys; those that are not named may do all.
    pub(crate) rights: BTreeMap<String, Vec<&'static str>>,
    /// What comes instead of the next answers to requests whose path has this word.
    pub(crate) failures: VecDeque<(&'static str, Failure)>,
    pub(crate) always: Option<(&'static str, Failure)>,
    /// How many of the next exchanges with keys are corrupted.
    pub(crate) corrupt: (usize, Option<Corruption>),
    pub(crate) seen: Vec<Seen>,
    /// For how many seconds a token is good.
    pub(crate) lifetime: u64,
    given: usize,
    /// Whom the metadata server knows; nobody when it is no machine of Google's.
    pub(crate) machine: Option<String>,
    /// The tokens of another issuer that are taken.
    pub(crate) subjects: BTreeSet<String>,
    /// Who may act as which account.
    pub(crate) may_act: BTreeMap<String, String>,
    /// The public keys of service accounts.
    accounts: BTreeMap<String, Vec<u8>>,
}

/// All of it in one server, which ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct CloudKms {
    inner: Arc<Mutex<Inner>>,
    port: u16,
}

#[derive(Clone)]
struct Door {
    inner: Arc<Mutex<Inner>>,
    port: u16,
}

impl CloudKms {
    /// With a KEK `kek`, an Ed25519 key `signer`, and a machine whose account may do all.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let machine = Some("node@p-1.iam.gserviceaccount.com".to_owned());
        let inner = Inner { lifetime: 3600, machine, ..Inner::default() };
        let inner = Arc::new(Mutex::new(inner));
        let door = Door { inner: Arc::clone(&inner), port };
        let router = Router::new().fallback(serve).with_state(door);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let service = Self { inner, port };
        service.add("kek", CryptoKey::symmetric());
        service.add("signer", CryptoKey::signer("EC_SIGN_ED25519"));
        service
    }

    pub(crate) fn add(&self, name: &str, key: CryptoKey) {
        self.lock().keys.insert(format!("{RING}/cryptoKeys/{name}"), key);
    }

    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The host of the metadata server.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Something is done to a key.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut CryptoKey)) {
        change(self.lock().keys.get_mut(&format!("{RING}/cryptoKeys/{name}")).unwrap());
    }

    /// The requests so far for paths that hold this word.
    pub(crate) fn asked(&self, word: &str) -> usize {
        self.lock().seen.iter().filter(|seen| seen.path.contains(word)).count()
    }

    /// The last request for a path that holds this word.
    pub(crate) fn last(&self, word: &str) -> Value {
        let inner = self.lock();
        inner.seen.iter().rev().find(|seen| seen.path.contains(word)).unwrap().body.clone()
    }
}

fn error(status: u16, code: &str, message: &str, details: &Value) -> Response {
    let body = json!({ "error": {
        "code": status, "message": message, "status": code, "details": details,
    } });
    answer(status, &body)
}

fn answer(status: u16, body: &Value) -> Response {
    let kind = [("content-type", "application/json; charset=UTF-8")];
    (StatusCode::from_u16(status).unwrap(), kind, body.to_string()).into_response()
}

fn invalid(message: &str) -> Response {
    error(400, "INVALID_ARGUMENT", message, &json!([]))
}

/// CRC32C, bit by bit: not by the library that is tested.
fn crc32c(bytes: &[u8]) -> String {
    let crc = bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    });
    (!crc).to_string()
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| value.to_str().unwrap().to_owned())
}

async fn serve(State(door): State<Door>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    let token = header(&parts.headers, "authorization");
    let token = token.and_then(|value| value.strip_prefix("Bearer ").map(ToOwned::to_owned));
    let json: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut inner = door.inner.lock().unwrap();
    inner.seen.push(Seen { path: path.clone(), body: json.clone() });
    let is_next = inner.failures.front().is_some_and(|(word, _)| path.contains(word));
    let failure = if is_next { inner.failures.pop_front() } else { inner.always };
    if let Some((_, (status, code, words, pause))) = failure.filter(|(word, _)| path.contains(word))
    {
        let mut refused = error(status, code, words, &json!([]));
        if let Some(pause) = pause {
            refused.headers_mut().insert("retry-after", pause.parse().unwrap());
        }
        return refused;
    }
    let below = "/computeMetadata/v1/instance/service-accounts/default/";
    if let Some(what) = path.strip_prefix(below) {
        return inner.metadata(what, &parts.headers);
    }
    let own = format!("http://127.0.0.1:{}", door.port);
    match path.as_str() {
        "/token" => return inner.by_key(&body, &format!("{own}/token")),
        "/sts/v1/token" => return inner.exchange(&body),
        _ => {}
    }
    let account = match inner.account(token.as_deref()) {
        Ok(account) => account,
        Err(refused) => return *refused,
    };
    if let Some(rest) = path.strip_prefix("/v1/projects/-/serviceAccounts/") {
        return inner.impersonate(rest, &account, token.as_deref(), &json);
    }
    inner.operate(&parts.method, &path, &account, &json)
}

impl Inner {
    /// Whose token it is, when it is one for keys.
    fn account(&self, token: Option<&str>) -> Result<String, Box<Response>> {
        let known = token.and_then(|token| self.tokens.get(token));
        match known.filter(|known| known.ends > Instant::now()) {
            None => {
                let said = "Request had invalid authentication credentials. Expected OAuth 2 access \
                            token, login cookie or other valid authentication credential.";
                Err(Box::new(error(401, "UNAUTHENTICATED", said, &json!([]))))
            }
            Some(known) if !known.scopes.contains(ALL) && !known.scopes.contains(KEYS) => {
                let details = json!([{ "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT" }]);
                let said = "Request had insufficient authentication scopes.";
                Err(Box::new(error(403, "PERMISSION_DENIED", said, &details)))
            }
            Some(known) => Ok(known.account.clone()),
        }
    }

    fn operate(&mut self, method: &Method, path: &str, account: &str, body: &Value) -> Response {
        let Some(name) = path.strip_prefix("/v1/") else { return missing() };
        let (name, verb) = match name.strip_suffix("/publicKey") {
            Some(name) => (name, "publicKey"),
            None => name.split_once(':').unwrap_or((name, "")),
        };
        let (right, is_post) = match verb {
            "encrypt" => ("cloudkms.cryptoKeyVersions.useToEncrypt", true),
            "decrypt" => ("cloudkms.cryptoKeyVersions.useToDecrypt", true),
            "asymmetricSign" => ("cloudkms.cryptoKeyVersions.useToSign", true),
            "publicKey" => ("cloudkms.cryptoKeyVersions.viewPublicKey", false),
            _ => return missing(),
        };
        if (*method == Method::POST) != is_post {
            return missing();
        }
        if self.rights.get(account).is_some_and(|rights| !rights.contains(&right)) {
            let said =
                format!("Permission '{right}' denied on resource '{name}' (or it may not exist).");
            return error(403, "PERMISSION_DENIED", &said, &json!([]));
        }
        let (key, number) = match name.split_once("/cryptoKeyVersions/") {
            Some((key, number)) => (key, number.parse::<usize>().ok()),
            None => (name, None),
        };
        let (left, corruption) = self.corrupt;
        self.corrupt = (left.saturating_sub(1), corruption);
        let corruption = corruption.filter(|_| left > 0);
        let Some(found) = self.keys.get(key) else {
            return error(404, "NOT_FOUND", &format!("CryptoKey {key} not found."), &json!([]));
        };
        match verb {
            "encrypt" => found.encrypt(key, body, corruption),
            "decrypt" => found.decrypt(key, body, corruption),
            _ => found.signing(key, number, verb, body, corruption),
        }
    }
}

fn missing() -> Response {
    let page = "<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>";
    (StatusCode::NOT_FOUND, page).into_response()
}

/// What a field holds, when it has the checksum that another names.
fn field(body: &Value, name: &str) -> Result<Vec<u8>, Box<Response>> {
    let text = body[name].as_str().unwrap_or_default();
    let bytes = BASE64_STANDARD.decode(text).unwrap();
    let snake = name.chars().fold(String::new(), |mut out, c| {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
        out
    });
    match body[format!("{name}Crc32c")].as_str() {
        Some(crc) if crc != crc32c(&bytes) => Err(Box::new(invalid(&format!(
            "The checksum in field {snake}_crc32c did not match the data in field {snake}."
        )))),
        _ => Ok(bytes),
    }
}

/// A value, changed on its way.
fn garbled(mut body: Value, name: &str) -> Value {
    let mut bytes = BASE64_STANDARD.decode(body[name].as_str().unwrap()).unwrap();
    bytes[0] ^= 1;
    body[name] = BASE64_STANDARD.encode(bytes).into();
    body
}

impl CryptoKey {
    fn version(&self, key: &str, number: usize) -> Result<&Version, Box<Response>> {
        let name = format!("{key}/cryptoKeyVersions/{number}");
        let Some(version) = number.checked_sub(1).and_then(|at| self.versions.get(at)) else {
            let said = format!("CryptoKeyVersion {name} not found.");
            return Err(Box::new(error(404, "NOT_FOUND", &said, &json!([]))));
        };
        let violation = match version.state {
            "ENABLED" => return Ok(version),
            "DESTROYED" => "KEY_DESTROYED",
            _ => "KEY_DISABLED",
        };
        let said = format!("{name} is not enabled, current state is: {}.", version.state);
        let details = json!([{
            "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
            "violations": [{ "type": violation, "subject": name }],
        }]);
        Err(Box::new(error(400, "FAILED_PRECONDITION", &said, &details)))
    }

    fn cipher(key: &str, body: &Value, secret: &[u8; 32]) -> (Aes256Gcm, Vec<u8>, [u8; 4]) {
        let aad = BASE64_STANDARD
            .decode(body["additionalAuthenticatedData"].as_str().unwrap_or_default())
            .unwrap();
        let mark = crc32c(key.as_bytes()).parse::<u32>().unwrap().to_be_bytes();
        (Aes256Gcm::new(&(*secret).into()), aad, mark)
    }

    fn encrypt(&self, key: &str, body: &Value, corruption: Option<Corruption>) -> Response {
        let encrypt = || {
            if self.purpose != "ENCRYPT_DECRYPT" {
                let said = format!("{key} has purpose {}: it does not encrypt.", self.purpose);
                return Err(Box::new(error(400, "FAILED_PRECONDITION", &said, &json!([]))));
            }
            let sent = match corruption {
                Some(Corruption::Request) => garbled(body.clone(), "plaintext"),
                _ => body.clone(),
            };
            let plain = field(&sent, "plaintext")?;
            field(&sent, "additionalAuthenticatedData")?;
            let number = self.versions.len();
            let version = self.version(key, number)?;
            let (cipher, aad, mark) = Self::cipher(key, body, &version.secret);
            let nonce: [u8; 12] = random().unwrap();
            let sealed = cipher
                .encrypt(&Nonce::<Aes256Gcm>::from(nonce), Payload { msg: &plain, aad: &aad })
                .unwrap();
            let head = [mark.as_slice(), &u32::try_from(number).unwrap().to_be_bytes()].concat();
            let bytes = [head.as_slice(), &nonce, &sealed].concat();
            let made = json!({
                "name": format!("{key}/cryptoKeyVersions/{number}"),
                "ciphertext": BASE64_STANDARD.encode(&bytes),
                "ciphertextCrc32c": crc32c(&bytes),
                "verifiedPlaintextCrc32c": body["plaintextCrc32c"].is_string(),
                "verifiedAdditionalAuthenticatedDataCrc32c":
                    body["additionalAuthenticatedDataCrc32c"].is_string(),
                "protectionLevel": "SOFTWARE",
            });
            Ok(match corruption {
                Some(Corruption::Answer) => garbled(made, "ciphertext"),
                _ => made,
            })
        };
        encrypt().map_or_else(|refused| *refused, |made| answer(200, &made))
    }

    fn decrypt(&self, key: &str, body: &Value, corruption: Option<Corruption>) -> Response {
        let decrypt = || {
            let sent = match corruption {
                Some(Corruption::Request) => garbled(body.clone(), "ciphertext"),
                _ => body.clone(),
            };
            let bytes = field(&sent, "ciphertext")?;
            field(&sent, "additionalAuthenticatedData")?;
            let other = "Decryption failed: verify that 'name' refers to the correct CryptoKey.";
            let Some((head, rest)) = bytes.split_at_checked(8) else {
                return Err(Box::new(invalid(other)));
            };
            let mark = crc32c(key.as_bytes()).parse::<u32>().unwrap().to_be_bytes();
            let number = u32::from_be_bytes(head[4..].try_into().unwrap());
            let at = usize::try_from(number).unwrap();
            if head[..4] != mark || !(1..=self.versions.len()).contains(&at) {
                return Err(Box::new(invalid(other)));
            }
            let version = self.version(key, at)?;
            let (cipher, aad, _) = Self::cipher(key, body, &version.secret);
            let unreadable = || invalid("Decryption failed: the ciphertext is invalid.");
            let Some((nonce, sealed)) = rest.split_at_checked(12) else {
                return Err(Box::new(unreadable()));
            };
            let nonce = Nonce::<Aes256Gcm>::from(<[u8; 12]>::try_from(nonce).unwrap());
            let plain = cipher.decrypt(&nonce, Payload { msg: sealed, aad: &aad });
            let plain = plain.map_err(|_| Box::new(unreadable()))?;
            let made = json!({
                "plaintext": BASE64_STANDARD.encode(&plain),
                "plaintextCrc32c": crc32c(&plain),
                "usedPrimary": at == self.versions.len(),
                "protectionLevel": "SOFTWARE",
            });
            Ok(match corruption {
                Some(Corruption::Answer) => garbled(made, "plaintext"),
                _ => made,
            })
        };
        decrypt().map_or_else(|refused| *refused, |made| answer(200, &made))
    }

    fn signing(
        &self,
        key: &str,
        number: Option<usize>,
        verb: &str,
        body: &Value,
        corruption: Option<Corruption>,
    ) -> Response {
        let sign = || {
            let version = self.version(key, number.unwrap_or(0))?;
            if self.purpose != "ASYMMETRIC_SIGN" {
                let said = format!("{key} has purpose {}: it does not sign.", self.purpose);
                return Err(Box::new(error(400, "FAILED_PRECONDITION", &said, &json!([]))));
            }
            let pair = RunKey::from_seed(&version.secret).unwrap();
            if verb == "publicKey" {
                let der = hex::decode("302a300506032b6570032100").unwrap();
                let der = BASE64_STANDARD.encode([der.as_slice(), &pair.public_key()].concat());
                let pem = format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n");
                return Ok(json!({
                    "pemCrc32c": crc32c(pem.as_bytes()), "pem": pem, "algorithm": self.algorithm,
                    "name": format!("{key}/cryptoKeyVersions/{}", number.unwrap_or(0)),
                }));
            }
            let signature = pair.sign(&field(body, "data")?);
            let made = json!({
                "signature": BASE64_STANDARD.encode(signature),
                "signatureCrc32c": crc32c(&signature),
                "verifiedDataCrc32c": body["dataCrc32c"].is_string(),
            });
            Ok(match corruption {
                Some(_) => garbled(made, "signature"),
                None => made,
            })
        };
        sign().map_or_else(|refused| *refused, |made| answer(200, &made))
    }
}
