//! HashiCorp Vault and OpenBao over HTTP: addresses, requests, and what their refusals mean.
//!
//! Only transit is used: keys stay in the service, and it encrypts, decrypts and signs.

mod login;
mod name;
mod refusal;

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use reqwest::{Method, StatusCode, Url, header::HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

pub use login::VaultLogin;
pub(super) use name::TransitName;
pub(super) use refusal::Refusal;

use super::service::{Fault, Patience, ServiceError, chain, is_loopback};
use login::Tokens;

/// No answer that we ask for is longer.
const LONGEST_ANSWER: usize = 256 << 10;

/// Where a Vault is, whom to trust, and who we are.
#[derive(Debug, Clone)]
pub struct VaultOptions {
    /// `https://host:port`; `http://` is taken on this machine alone.
    pub address: String,
    /// The CA that signed its certificate, PEM; the system's when none is given.
    pub ca_file: Option<PathBuf>,
    /// The namespace.
    pub namespace: Option<String>,
    /// Who we are.
    pub login: VaultLogin,
    /// How long to go on.
    pub patience: Patience,
}

/// A Vault that can be asked.
#[derive(Debug, Clone)]
pub(super) struct Vault(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    base: Url,
    namespace: Option<HeaderValue>,
    tokens: Tokens,
    patience: Patience,
}

/// One request, and what it is for.
pub(super) struct Ask<'a> {
    /// What is being done.
    pub(super) operation: &'static str,
    /// The key, for errors.
    pub(super) key: &'a str,
    /// What the policy has to grant.
    pub(super) right: &'static str,
    /// The path below `/v1/`.
    pub(super) path: String,
    /// What is sent; a GET when nothing is.
    pub(super) body: Option<Bytes>,
}

impl Ask<'_> {
    fn fault(&self, fault: Fault, why: impl Into<String>, hint: impl Into<String>) -> ServiceError {
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
        self.fault(Fault::Unexpected, why, "is VAULT_ADDR a Vault, and this key one of transit?")
    }

    /// A key that cannot do this.
    pub(super) fn wrong_kind(&self, why: String, hint: &str) -> ServiceError {
        self.fault(Fault::WrongKind, why, hint)
    }
}

/// A body that is wiped when it has been sent.
pub(super) fn body(value: &impl Serialize) -> Bytes {
    // Text and numbers always have a JSON form.
    Bytes::from_owner(Zeroizing::new(serde_json::to_vec(value).unwrap_or_default()))
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

impl Vault {
    /// Makes the client; nothing is sent yet.
    pub(super) fn open(options: &VaultOptions, key: &str) -> Result<Self, ServiceError> {
        let settings = |why: String, hint: &str| ServiceError {
            fault: Fault::Settings,
            operation: "set up Vault",
            key: key.to_owned(),
            why,
            hint: hint.to_owned(),
        };
        let bad = |why: String| settings(why, "give VAULT_ADDR=https://HOST:PORT");
        let base: Url = options
            .address
            .parse()
            .map_err(|e| bad(format!("VAULT_ADDR `{}` is not a URL: {e}", options.address)))?;
        let secure = match (base.scheme(), base.host_str()) {
            ("https", Some(_)) => true,
            ("http", Some(host)) if is_loopback(host) => false,
            ("http", _) => {
                let why = format!("{base} is not https, and keys never travel in the clear");
                return Err(settings(
                    why,
                    "give VAULT_ADDR=https://…; http is for 127.0.0.1 alone",
                ));
            }
            _ => return Err(bad(format!("VAULT_ADDR `{base}` is not https"))),
        };
        if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
            let why = "VAULT_ADDR holds more than a scheme, a host, a port and a path";
            return Err(bad(why.to_owned()));
        }
        let mut http = reqwest::Client::builder()
            .https_only(secure)
            .connect_timeout(options.patience.connect)
            .timeout(options.patience.answer)
            // A token must not follow to wherever an answer points.
            .redirect(reqwest::redirect::Policy::none());
        if !secure {
            // A proxy would see what travels in the clear.
            http = http.no_proxy();
        }
        if let Some(path) = &options.ca_file {
            let wrong = |why: String| settings(why, "check VAULT_CACERT");
            let pem = std::fs::read(path)
                .map_err(|e| wrong(format!("read the CA file {}: {e}", path.display())))?;
            let trusted = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|e| wrong(format!("the CA file {}: {}", path.display(), chain(&e))))?;
            if trusted.is_empty() {
                return Err(wrong(format!("the CA file {} holds no certificate", path.display())));
            }
            http = http.tls_certs_only(trusted);
        }
        let http = http.build().map_err(|e| {
            settings(format!("set up TLS: {}", chain(&e)), "check VAULT_CACERT and VAULT_ADDR")
        })?;
        let namespace = options.namespace.as_deref().map(HeaderValue::from_str).transpose();
        let namespace = namespace
            .map_err(|e| settings(format!("the namespace: {e}"), "check VAULT_NAMESPACE"))?;
        Ok(Self(Arc::new(Inner {
            http,
            base,
            namespace,
            tokens: Tokens::new(options.login.clone()),
            patience: options.patience,
        })))
    }

    /// Asks, again and again while that may help, and returns the answer's `data`.
    pub(super) async fn ask<T: DeserializeOwned>(&self, ask: &Ask<'_>) -> Result<T, Refusal> {
        let mut renewed = false;
        let mut attempt = 1;
        loop {
            let refusal = match self.once(ask, &mut renewed).await {
                Ok(bytes) => {
                    return serde_json::from_slice::<Answer<T>>(&bytes)
                        .map(|answer| answer.data)
                        .map_err(|_| {
                            ask.unexpected("it has not the fields that it should").into()
                        });
                }
                Err(refusal) => refusal,
            };
            attempt += 1;
            if !refusal.error.fault.is_passing() || attempt > self.0.patience.attempts {
                return Err(refusal);
            }
            tracing::warn!(error = %refusal.error, attempt, "the key service is asked again");
            self.0.patience.wait(attempt).await;
        }
    }

    /// Asks with a token; once more with a new one when the one at hand may have died.
    async fn once(&self, ask: &Ask<'_>, renewed: &mut bool) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let token = self.0.tokens.current(self, ask).await?;
        let first = self.exchange(ask, Some(&token)).await;
        let denied = first.as_ref().is_err_and(|r| r.status == Some(StatusCode::FORBIDDEN));
        if !denied || std::mem::replace(renewed, true) {
            return first;
        }
        match self.0.tokens.another(self, ask, &token).await? {
            Some(other) => self.exchange(ask, Some(&other)).await,
            None => first,
        }
    }

    /// One request and its answer.
    async fn exchange(
        &self,
        ask: &Ask<'_>,
        token: Option<&SecretString>,
    ) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let inner = &*self.0;
        let mut url = inner.base.clone();
        url.set_path(&format!("{}/v1/{}", inner.base.path().trim_end_matches('/'), ask.path));
        let method = if ask.body.is_some() { Method::POST } else { Method::GET };
        let mut request = inner.http.request(method, url).header("X-Vault-Request", "true");
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose_secret()).map_err(|_| {
                let why = "the token holds characters that no token has";
                ask.fault(Fault::Settings, why, "check VAULT_TOKEN_FILE")
            })?;
            value.set_sensitive(true);
            request = request.header("X-Vault-Token", value);
        }
        if let Some(namespace) = &inner.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        if let Some(body) = &ask.body {
            request = request.header("Content-Type", "application/json").body(body.clone());
        }
        let unreachable = |e: reqwest::Error| {
            // Without the URL, which the base says already.
            let why = format!("{}: {}", inner.base, chain(&e.without_url()));
            // Who is not whom we expect will not be in a moment either.
            let what =
                if why.contains("certificate") { Fault::Settings } else { Fault::Unreachable };
            ask.fault(what, why, "check VAULT_ADDR, VAULT_CACERT and the network")
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        // Room for all that is usual, so that nothing is left behind where it has grown.
        let mut received = Zeroizing::new(Vec::with_capacity(16 << 10));
        while let Some(piece) = response.chunk().await.map_err(unreachable)? {
            if received.len() + piece.len() > LONGEST_ANSWER {
                return Err(ask.unexpected("it is too long").into());
            }
            received.extend_from_slice(&piece);
        }
        if status.is_success() {
            return Ok(received);
        }
        Err(Refusal::read(ask, status, &received))
    }
}
