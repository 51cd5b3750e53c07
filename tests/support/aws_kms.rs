//! AWS KMS: moto, which encrypts for real, behind a door that is as strict as AWS where moto is not,
//! and that fails on request in the words of AWS.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::TcpStream,
    process::Command,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use aws_sdk_kms::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::State,
    http::{HeaderMap, Request, StatusCode},
    response::{IntoResponse, Response},
};
use backstay::crypto::RunKey;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::tools::{Daemon, free_port, tool};

pub(crate) const REGION: &str = "eu-west-1";

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) action: String,
    pub(crate) body: Value,
}

/// What comes instead of an answer: for which action, the status, the code, the message.
pub(crate) type Failure = (&'static str, u16, &'static str, &'static str);

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) asked: Vec<Asked>,
    pub(crate) failures: VecDeque<Failure>,
    pub(crate) always: Option<Failure>,
    /// Ed25519 keys by their ARN, which moto does not have.
    signers: BTreeMap<String, RunKey>,
    /// Keys that were disabled: moto goes on decrypting with them.
    pub(crate) disabled: BTreeSet<String>,
    /// Keys with copies in other regions, by their id, and moto's key behind them: what moto's own
    /// have encrypted it cannot decrypt, since it cuts their longer ids off.
    copied: BTreeMap<String, String>,
}

/// The service; the door ends with the test's runtime.
pub(crate) struct AwsKms {
    _moto: Daemon,
    _dir: tempfile::TempDir,
    inner: Arc<Mutex<Inner>>,
    port: u16,
}

#[derive(Clone)]
struct Door {
    inner: Arc<Mutex<Inner>>,
    moto: String,
    http: reqwest::Client,
}

impl AwsKms {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut command = Command::new(tool("venv/bin/moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).current_dir(dir.path());
        let moto = Daemon::start("moto", dir.path(), &command);
        let address = ([127, 0, 0, 1], port).into();
        moto.wait_until("moto listens", Duration::from_mins(1), || {
            TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let inner = Arc::new(Mutex::new(Inner::default()));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let moto_url = format!("http://127.0.0.1:{port}");
        let door = Door { inner: Arc::clone(&inner), moto: moto_url, http };
        let app = Router::new().fallback(serve).with_state(door);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { _moto: moto, _dir: dir, inner, port: own }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// A plain client, to make keys with.
    pub(crate) fn client(&self) -> Client {
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(self.endpoint())
            .region(Region::from_static(REGION))
            .credentials_provider(Credentials::new("maker", "secret", None, None, "tests"));
        Client::from_conf(config.build())
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The ARN of a new symmetric key.
    pub(crate) async fn key(&self) -> String {
        let made = self.client().create_key().send().await.unwrap();
        made.key_metadata().unwrap().arn().unwrap().to_owned()
    }

    /// The ARNs of a new key and of its copy in another region.
    pub(crate) async fn copied_key(&self, other_region: &str) -> (String, String) {
        let behind = self.key().await;
        let id = "mrk-1234abcd12ab34cd56ef1234567890ab";
        self.lock().copied.insert(id.to_owned(), behind);
        let arn = |region: &str| format!("arn:aws:kms:{region}:123456789012:key/{id}");
        (arn(REGION), arn(other_region))
    }

    /// The ARN of a new Ed25519 key.
    pub(crate) fn signer(&self) -> String {
        let arn = format!("arn:aws:kms:{REGION}:123456789012:key/ed25519");
        self.lock().signers.insert(arn.clone(), RunKey::generate().unwrap());
        arn
    }

    /// How often this was asked.
    pub(crate) fn count(&self, action: &str) -> usize {
        self.lock().asked.iter().filter(|asked| asked.action == action).count()
    }

    /// The last request of this kind.
    pub(crate) fn last(&self, action: &str) -> Value {
        let inner = self.lock();
        inner.asked.iter().rev().find(|asked| asked.action == action).unwrap().body.clone()
    }
}

fn answer(status: u16, body: &Value) -> Response {
    let kind = [("content-type", "application/x-amz-json-1.1")];
    (StatusCode::from_u16(status).unwrap(), kind, body.to_string()).into_response()
}

fn error(status: u16, code: &str, message: &str) -> Response {
    answer(status, &json!({ "__type": code, "message": message }))
}

async fn serve(State(door): State<Door>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let target = parts.headers.get("x-amz-target").map(|v| v.to_str().unwrap().to_owned());
    let target = target.unwrap_or_default();
    if target.is_empty() {
        // Not of KMS: who asks is moto's to say.
        return pass(&door, parts.headers, body).await;
    }
    let action = target.trim_start_matches("TrentService.").to_owned();
    let mut asked: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut headers = parts.headers;
    let mut copy = None;
    {
        let mut inner = door.inner.lock().unwrap();
        inner.asked.push(Asked { action: action.clone(), body: asked.clone() });
        let next = inner.failures.front().is_some_and(|failure| failure.0 == action);
        let failure = if next { inner.failures.pop_front() } else { inner.always };
        if let Some((_, status, code, message)) = failure.filter(|failure| failure.0 == action) {
            return error(status, code, message);
        }
        if asked["KeyId"].as_str().is_some_and(|id| inner.disabled.contains(id)) {
            let said = format!("{} is disabled.", asked["KeyId"].as_str().unwrap());
            return error(400, "DisabledException", &said);
        }
        let key = asked["KeyId"].as_str().and_then(|id| inner.signers.get(id));
        if let Some(key) = key {
            return sign(&action, &asked, key);
        }
        let named = asked["KeyId"].as_str().unwrap_or_default().to_owned();
        if let Some(behind) = inner.copied.get(named.rsplit('/').next().unwrap()) {
            // Each region has its own endpoint and answers for its own ARNs alone.
            let signed = headers["authorization"].to_str().unwrap();
            let region = named.split(':').nth(3).unwrap();
            if !signed.contains(&format!("/{region}/kms/")) {
                return error(400, "NotFoundException", "it is in another region");
            }
            let signed = signed.replace(region, REGION);
            headers.insert("authorization", signed.parse().unwrap());
            asked["KeyId"] = behind.clone().into();
            copy = Some(named);
        }
    }
    headers.remove("host");
    headers.remove("content-length");
    let sent = door.http.post(&door.moto).headers(headers).body(asked.to_string());
    let sent = sent.send().await.unwrap();
    let status = sent.status().as_u16();
    let said = sent.text().await.unwrap();
    let mut answered: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    // Where another key is named than the one that made it, moto denies it; AWS says what is wrong.
    if action == "Decrypt" && said.contains("AccessDeniedException") {
        let said = "The key ID in the request does not identify a KMS key that can perform this operation.";
        return error(400, "IncorrectKeyException", said);
    }
    if let Some(named) = copy {
        answered["KeyId"] = named.into();
    }
    answer(status, &answered)
}

/// Hands a request on to moto as it is.
async fn pass(door: &Door, mut headers: HeaderMap, body: Bytes) -> Response {
    headers.remove("host");
    let sent = door.http.post(&door.moto).headers(headers).body(body).send().await.unwrap();
    (sent.status(), sent.text().await.unwrap()).into_response()
}

/// Ed25519 as AWS documents it: RFC 8032 over the message itself, the public key in DER.
fn sign(action: &str, asked: &Value, key: &RunKey) -> Response {
    let id = &asked["KeyId"];
    match action {
        "GetPublicKey" => {
            let der = hex::decode("302a300506032b6570032100").unwrap();
            let der = BASE64_STANDARD.encode([der.as_slice(), &key.public_key()].concat());
            answer(
                200,
                &json!({ "KeyId": id, "PublicKey": der, "KeySpec": "ECC_NIST_EDWARDS25519",
                         "KeyUsage": "SIGN_VERIFY", "SigningAlgorithms": ["ED25519_SHA_512"] }),
            )
        }
        "Sign"
            if asked["MessageType"] == "RAW" && asked["SigningAlgorithm"] == "ED25519_SHA_512" =>
        {
            let message = BASE64_STANDARD.decode(asked["Message"].as_str().unwrap()).unwrap();
            let signature = BASE64_STANDARD.encode(key.sign(&message));
            answer(
                200,
                &json!({ "KeyId": id, "Signature": signature, "SigningAlgorithm": "ED25519_SHA_512" }),
            )
        }
        _ => error(400, "InvalidKeyUsageException", "not with this key"),
    }
}
