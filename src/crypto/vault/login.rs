//! Who we are to Vault: a token in a file, or a Kubernetes service account.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::{VAULT, Vault};
use crate::{
    crypto::{
        rest::{Ask, Refusal, body},
        service::{Fault, ServiceError},
    },
    model::AccessKind,
};

/// Who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaultLogin {
    /// The token in a file. It is read each time, so whoever renews it may replace it.
    TokenFile(PathBuf),
    /// A Kubernetes service account.
    Kubernetes {
        /// Where the auth method is mounted, below `auth/`.
        mount: String,
        /// The role to log in as.
        role: String,
        /// The service account's token; read at each login, since it is replaced now and then.
        jwt_file: PathBuf,
    },
}

/// A token that Vault gave us, and for how long.
#[derive(Debug)]
struct Lease {
    token: SecretString,
    /// How long it lasted when it was new.
    whole: Duration,
    /// From when it should be renewed, and when it ends; nothing when it never does.
    times: Option<(Instant, Instant)>,
    renewable: bool,
}

#[derive(Deserialize)]
struct Answer {
    auth: Granted,
}

#[derive(Deserialize)]
struct Granted {
    client_token: Zeroizing<String>,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

impl Lease {
    fn of(granted: &Granted, whole: Option<Duration>) -> Self {
        let ttl = Duration::from_secs(granted.lease_duration);
        let now = Instant::now();
        Self {
            token: SecretString::from(granted.client_token.as_str()),
            whole: whole.unwrap_or(ttl),
            // Two thirds in is early enough to try more than once.
            times: (!ttl.is_zero()).then(|| (now + ttl * 2 / 3, now + ttl)),
            renewable: granted.renewable,
        }
    }

    fn is_due(&self) -> bool {
        self.times.is_some_and(|(due, _)| Instant::now() >= due)
    }

    fn has_ended(&self) -> bool {
        // A request takes a moment, too.
        let moment = Duration::from_secs(1).min(self.whole / 10);
        self.times.is_some_and(|(_, end)| Instant::now() + moment >= end)
    }

    /// Close to its greatest age a token is renewed for ever shorter times.
    fn is_fading(&self, ttl: u64) -> bool {
        Duration::from_secs(ttl) < self.whole / 3
    }
}

/// The tokens of one client.
#[derive(Debug)]
pub(super) struct Tokens {
    login: VaultLogin,
    lease: Mutex<Option<Lease>>,
}

#[derive(Serialize)]
struct LoginBody<'a> {
    role: &'a str,
    jwt: &'a str,
}

impl Tokens {
    /// Where tokens come from.
    pub(super) fn kind(&self) -> AccessKind {
        match self.login {
            VaultLogin::TokenFile(_) => AccessKind::Static,
            VaultLogin::Kubernetes { .. } => AccessKind::WebIdentity,
        }
    }

    pub(super) fn new(login: VaultLogin) -> Self {
        Self { login, lease: Mutex::new(None) }
    }

    /// A token that should be good, renewed or fetched when it is time.
    pub(super) async fn current(
        &self,
        vault: &Vault,
        ask: &Ask<'_>,
    ) -> Result<SecretString, Refusal> {
        match &self.login {
            VaultLogin::TokenFile(path) => Ok(read(path, "VAULT_TOKEN_FILE", ask.key)?),
            VaultLogin::Kubernetes { mount, role, jwt_file } => {
                let mut held = self.lease.lock().await;
                if let Some(lease) = held.as_mut() {
                    if !lease.is_due() {
                        return Ok(lease.token.clone());
                    }
                    if renew(vault, ask.key, lease).await {
                        return Ok(lease.token.clone());
                    }
                }
                let lease = log_in(vault, ask.key, mount, role, jwt_file).await?;
                Ok(held.insert(lease).token.clone())
            }
        }
    }

    /// Another token than this one, which was refused; nothing when there is none.
    pub(super) async fn another(
        &self,
        vault: &Vault,
        ask: &Ask<'_>,
        refused: &SecretString,
    ) -> Result<Option<SecretString>, Refusal> {
        let other = |token: SecretString| {
            (token.expose_secret() != refused.expose_secret()).then_some(token)
        };
        match &self.login {
            // It may have been replaced a moment ago.
            VaultLogin::TokenFile(_) => Ok(other(self.current(vault, ask).await?)),
            VaultLogin::Kubernetes { mount, role, jwt_file } => {
                let mut held = self.lease.lock().await;
                if let Some(token) = held.as_ref().and_then(|lease| other(lease.token.clone())) {
                    return Ok(Some(token));
                }
                let lease = log_in(vault, ask.key, mount, role, jwt_file).await?;
                Ok(Some(held.insert(lease).token.clone()))
            }
        }
    }
}

/// Renews a token. False: it is of no use any more, or soon.
async fn renew(vault: &Vault, key: &str, lease: &mut Lease) -> bool {
    let ask = Ask {
        service: &VAULT,
        operation: "renew the token of Vault",
        key,
        right: "update",
        path: "auth/token/renew-self".to_owned(),
        body: Some(body(&serde_json::json!({}))),
    };
    if lease.has_ended() || !lease.renewable {
        return false;
    }
    match vault.exchange(&ask, Some(&lease.token)).await {
        Ok(answer) => match ask.read::<Answer>(&answer) {
            Ok(Answer { auth }) if !lease.is_fading(auth.lease_duration) => {
                *lease = Lease::of(&auth, Some(lease.whole));
                tracing::debug!("the token of Vault is renewed");
                true
            }
            _ => false,
        },
        Err(refusal) => {
            // What cannot be asked now may be asked the next time: the token is still good.
            let later = refusal.error.fault.is_passing();
            tracing::warn!(error = %refusal.error, "the token of Vault was not renewed");
            later
        }
    }
}

async fn log_in(
    vault: &Vault,
    key: &str,
    mount: &str,
    role: &str,
    jwt_file: &Path,
) -> Result<Lease, Refusal> {
    let jwt = read(jwt_file, "BACKSTAY_VAULT_JWT_FILE", key)?;
    let ask = Ask {
        service: &VAULT,
        operation: "log in to Vault",
        key,
        right: "update",
        path: format!("auth/{mount}/login"),
        body: Some(body(&LoginBody { role, jwt: jwt.expose_secret() })),
    };
    let answer = vault.exchange(&ask, None).await.map_err(|mut refusal| {
        // Nobody knows yet what we may do.
        refusal.lacks_right = false;
        if !refusal.error.fault.is_passing() {
            refusal.error.fault = Fault::Denied;
            refusal.error.hint = format!(
                "check that role {role} of auth/{mount} is bound to this service account and namespace"
            );
        }
        refusal
    })?;
    let Answer { auth } =
        ask.read(&answer).map_err(|_| ask.unexpected("the login gave no token"))?;
    Ok(Lease::of(&auth, None))
}

fn read(path: &Path, setting: &str, key: &str) -> Result<SecretString, ServiceError> {
    let wrong = |why: String| ServiceError {
        fault: Fault::Settings,
        operation: "read a token",
        key: key.to_owned(),
        why,
        hint: format!("check {setting}"),
    };
    let text =
        std::fs::read_to_string(path).map_err(|e| wrong(format!("{}: {e}", path.display())))?;
    let text = Zeroizing::new(text);
    match text.trim() {
        "" => Err(wrong(format!("{} is empty", path.display()))),
        token => Ok(SecretString::from(token)),
    }
}
