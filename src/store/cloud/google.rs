//! As whom Google knows us: a key in a file, or the metadata server's service account (GKE).

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    super::{
        StoreErrorKind as Kind,
        backend::Fault,
        identity::{Fetch, Fetched},
        open::{configuration, set},
    },
    Known,
};
use crate::{
    model::{Access, AccessKind, Timestamp},
    transport::{Dialer, DialerOptions, HttpClient, HttpError, Plaintext, Proxies},
};

/// No answer of the metadata server is longer.
const LONGEST: usize = 64 << 10;
/// It is in the same node.
const PATIENCE: Duration = Duration::from_secs(5);
/// A new pod may ask before GKE's metadata server knows it; where there is none at all, nobody
/// should wait for it for long.
const COMING_UP: Duration = Duration::from_secs(20);

/// What the builder would use: nothing when that is the metadata server.
pub(super) fn key_of(builder: &GoogleCloudStorageBuilder) -> Result<Option<Known>, Fault> {
    let value = |key| builder.get_config_value(&key).filter(|value| !value.is_empty());
    if value(GoogleConfigKey::BearerToken).is_some() {
        return Ok(Some(Known::fixed(None, false)));
    }
    if let Some(key) = value(GoogleConfigKey::ServiceAccountKey) {
        return read(key.as_bytes()).map(Some);
    }
    let file = value(GoogleConfigKey::ServiceAccount)
        .or_else(|| value(GoogleConfigKey::ApplicationCredentials))
        .or_else(|| {
            let home = set("HOME")?;
            let file = Path::new(&home).join(".config/gcloud/application_default_credentials.json");
            file.exists().then(|| file.display().to_string())
        });
    let Some(file) = file else { return Ok(None) };
    let text = std::fs::read(&file).map(Zeroizing::new);
    let text = text.map_err(|e| configuration(format!("the credentials file {file}: {e}")))?;
    read(&text)
        .map(Some)
        .map_err(|fault| Fault { cause: format!("{file}: {}", fault.cause), ..fault })
}

#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    client_email: Option<String>,
}

fn read(text: &[u8]) -> Result<Known, Fault> {
    let Ok(file) = serde_json::from_slice::<KeyFile>(text) else {
        // The library says what is wrong with it.
        return Ok(Known::fixed(None, true));
    };
    match file.kind.as_deref() {
        None | Some("service_account" | "authorized_user") => {
            Ok(Known::fixed(file.client_email.filter(|name| !name.is_empty()), true))
        }
        Some(other) => Err(configuration(format!("credentials of type `{other}` cannot be used"))
            .hint("give a service account's key, or run with GKE's workload identity")),
    }
}

/// The metadata server of Google's machines and of GKE.
#[derive(Debug)]
pub(super) struct Metadata {
    host: String,
    http: HttpClient,
    since: Instant,
    reached: AtomicBool,
}

#[derive(Deserialize)]
struct Token {
    access_token: Zeroizing<String>,
    expires_in: i64,
}

impl Metadata {
    pub(super) fn of_the_environment() -> Result<Self, Fault> {
        let host =
            set("GCE_METADATA_HOST").unwrap_or_else(|| "metadata.google.internal".to_owned());
        let dialer = Dialer::new(&DialerOptions {
            // It has no TLS, and is on this node.
            plaintext: Plaintext::Anywhere,
            proxies: Proxies::None,
            patience: Duration::from_secs(2),
            ..DialerOptions::default()
        });
        let dialer = dialer.map_err(|error| configuration(error.to_string()))?;
        let http = HttpClient::new(dialer);
        Ok(Self { host, http, since: Instant::now(), reached: AtomicBool::new(false) })
    }

    async fn get(&self, what: &str) -> Result<Response<Zeroizing<Vec<u8>>>, Fault> {
        let url = format!(
            "http://{}/computeMetadata/v1/instance/service-accounts/default/{what}",
            self.host
        );
        let request = Request::get(url).header("Metadata-Flavor", "Google").body(Bytes::new());
        let request = request.map_err(|e| configuration(format!("GCE_METADATA_HOST: {e}")))?;
        match self.http.exchange(request, LONGEST, PATIENCE).await {
            Ok(answer) => {
                self.reached.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            Err(error) => Err(self.lost(&error)),
        }
    }

    fn lost(&self, error: &HttpError) -> Fault {
        let text = format!("credentials from the metadata server {}: {error}", self.host);
        let given_up = !self.reached.load(Ordering::Relaxed) && self.since.elapsed() > COMING_UP;
        let kind = if given_up { Kind::Unauthenticated } else { Kind::Unavailable };
        Fault::new(kind, text).hint(
            "give a key in GOOGLE_APPLICATION_CREDENTIALS, or run with GKE's workload identity",
        )
    }

    fn refusal(&self, answer: &Response<Zeroizing<Vec<u8>>>) -> Fault {
        let said: String = String::from_utf8_lossy(answer.body()).chars().take(300).collect();
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let status = answer.status().as_u16();
        let passing = status == 429 || status >= 500;
        let kind = if passing { Kind::Unavailable } else { Kind::Unauthenticated };
        Fault::new(kind, format!("credentials from the metadata server {}: it answered {status}: {said}", self.host))
            .hint("bind the Kubernetes service account to a Google one (roles/iam.workloadIdentityUser), or grant it the bucket itself")
    }
}

#[async_trait]
impl Fetch for Metadata {
    type Credential = Arc<GcpCredential>;

    async fn fetch(&self) -> Result<Fetched<Arc<GcpCredential>>, Fault> {
        let answer = self.get("token").await?;
        if !answer.status().is_success() {
            return Err(self.refusal(&answer));
        }
        let token: Token =
            serde_json::from_slice(answer.body()).map_err(|_| self.refusal(&answer))?;
        let email = self.get("email").await?;
        let email = email
            .status()
            .is_success()
            .then(|| String::from_utf8_lossy(email.body()).trim().to_owned());
        let end = Timestamp::now()
            .as_microseconds()
            .saturating_add(token.expires_in.saturating_mul(1_000_000));
        let access = Access {
            principal: email,
            expires_at: Timestamp::from_microseconds(end),
            ..Access::of(AccessKind::PodIdentity)
        };
        let id = super::fingerprint(&token.access_token);
        let credential = Arc::new(GcpCredential { bearer: token.access_token.to_string() });
        Ok(Fetched { credential, id, access })
    }
}
