//! HashiCorp Vault and OpenBao over HTTP: addresses, requests, and what their refusals mean.
//!
//! Only transit is used: keys stay in the service, and it encrypts, decrypts and signs.

mod access;
mod login;
mod name;
mod refusal;

use std::{path::PathBuf, sync::Arc};

use http::{HeaderName, HeaderValue, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use url::Url;

pub use login::VaultLogin;
pub(super) use name::TransitName;

use super::{
    rest::{Answer, Ask, Refusal, Rest, Service, To, address, request},
    service::{Fault, Patience, ServiceError},
};
use crate::model::{Connection, Peer};
use login::Tokens;

/// What is told of Vault when something is wrong with it.
pub(super) const VAULT: Service = Service {
    unreachable: "check VAULT_ADDR, VAULT_CACERT and the network",
    unexpected: "is VAULT_ADDR a Vault, and this key one of transit?",
};

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
    rest: Rest,
    base: Url,
    namespace: Option<HeaderValue>,
    tokens: Tokens,
}

#[derive(Deserialize)]
struct Data<T> {
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
        let base = address(&options.address, "VAULT_ADDR").map_err(|why| {
            settings(why, "give VAULT_ADDR=https://…; http is for 127.0.0.1 alone")
        })?;
        let rest = Rest::open(options.patience, options.ca_file.as_deref(), "VAULT_CACERT")
            .map_err(|(why, hint)| settings(why, &hint))?;
        let namespace = options.namespace.as_deref().map(HeaderValue::from_str).transpose();
        let namespace = namespace
            .map_err(|e| settings(format!("the namespace: {e}"), "check VAULT_NAMESPACE"))?;
        Ok(Self(Arc::new(Inner {
            rest,
            base,
            namespace,
            tokens: Tokens::new(options.login.clone()),
        })))
    }

    /// Asks, again and again while that may help, and returns the answer's `data`.
    pub(super) async fn ask<T: DeserializeOwned>(&self, ask: &Ask<'_>) -> Result<T, Refusal> {
        let mut renewed = false;
        let mut attempt = 1;
        loop {
            let refusal = match self.once(ask, &mut renewed).await {
                Ok(answer) => return ask.read::<Data<T>>(&answer).map(|answer| answer.data),
                Err(refusal) => refusal,
            };
            let pause = refusal.retry_after;
            if !self.0.rest.patience.again(&mut attempt, &refusal.error, pause).await {
                return Err(refusal);
            }
        }
    }

    /// Asks with a token; once more with a new one when the one at hand may have died.
    async fn once(&self, ask: &Ask<'_>, renewed: &mut bool) -> Result<Answer, Refusal> {
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
    ) -> Result<Answer, Refusal> {
        let inner = &*self.0;
        let mut url = inner.base.clone();
        url.set_path(&format!("{}/v1/{}", inner.base.path().trim_end_matches('/'), ask.path));
        let method = if ask.body.is_some() { Method::POST } else { Method::GET };
        let named = HeaderName::from_static;
        let mut request = request(To::Service, method, url)
            .header(named("x-vault-request"), HeaderValue::from_static("true"));
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose_secret()).map_err(|_| {
                let why = "the token holds characters that no token has";
                ask.fault(Fault::Settings, why, "check VAULT_TOKEN_FILE")
            })?;
            value.set_sensitive(true);
            request = request.header(named("x-vault-token"), value);
        }
        if let Some(namespace) = &inner.namespace {
            request = request.header(named("x-vault-namespace"), namespace.clone());
        }
        if let Some(body) = &ask.body {
            request = request.json(body.clone());
        }
        let answer = inner.rest.send(ask, request).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(refusal::read(ask, &answer)) }
    }

    /// How the last connection to it was protected.
    pub(super) fn connection(&self, to: Peer) -> Connection {
        self.0.rest.connection(&self.0.base, to)
    }
}
