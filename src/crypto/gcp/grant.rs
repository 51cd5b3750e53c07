//! Tokens of Google: from the metadata server, for another issuer's token, or for a key of a
//! service account.

use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderName, HeaderValue, Method};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use url::Url;
use zeroize::{Zeroize, Zeroizing};

use super::{
    GcpCredentials,
    credentials::{ExternalAccount, ServiceAccount, Stored},
};
use crate::{
    crypto::{
        bearer::{Granted, Grants, form, request},
        rest::{Ask, Refusal, Rest, Service, To, body, request as sending},
        service::{Fault, ServiceError},
    },
    model::{AccessKind, Timestamp},
};

/// What a token is for: keys, and nothing else.
const KEYS: &str = "https://www.googleapis.com/auth/cloudkms";
/// What a token is for that shall be exchanged for one of a service account.
const ALL: &str = "https://www.googleapis.com/auth/cloud-platform";
/// For how long a token is asked for, in seconds.
const LIFETIME: u32 = 3600;

/// What is told of whoever gives tokens.
const TOKENS: Service = Service {
    unreachable: "check the network and HTTPS_PROXY, and the addresses in GOOGLE_APPLICATION_CREDENTIALS; \
                  outside of Google Cloud there is no metadata server: set that variable",
    unexpected: "does GOOGLE_APPLICATION_CREDENTIALS, or GCE_METADATA_HOST, name what it should?",
};

/// Tokens by one kind of credentials.
#[derive(Debug)]
pub(super) struct Google {
    credentials: GcpCredentials,
    kind: AccessKind,
}

/// Looks whether the credentials can be used at all.
pub(super) fn open(credentials: &GcpCredentials, key: &str) -> Result<Google, ServiceError> {
    let kind = match credentials {
        GcpCredentials::Metadata(host) => {
            metadata(host, "", key)?;
            AccessKind::PodIdentity
        }
        GcpCredentials::File(path) => match Stored::read(path, key)? {
            Stored::ServiceAccount(_) => AccessKind::Static,
            Stored::ExternalAccount(_) | Stored::Other => AccessKind::WebIdentity,
        },
    };
    Ok(Google { credentials: credentials.clone(), kind })
}

/// An address below the machine's own service account.
fn metadata(host: &str, below: &str, key: &str) -> Result<Url, ServiceError> {
    let url: Option<Url> =
        format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/{below}")
            .parse()
            .ok()
            .filter(|_| !host.is_empty() && !host.contains(['/', '@', '?', '#']));
    url.ok_or_else(|| ServiceError {
        fault: Fault::Settings,
        operation: "read the credentials",
        key: key.to_owned(),
        why: format!("GCE_METADATA_HOST `{host}` is not a host"),
        hint: "give HOST or HOST:PORT".to_owned(),
    })
}

/// What Google's token endpoints answer.
#[derive(Deserialize)]
struct Token {
    access_token: Zeroizing<String>,
    #[serde(default)]
    expires_in: u64,
}

impl Token {
    fn granted(self) -> Granted {
        Granted {
            token: SecretString::from(self.access_token.as_str()),
            lasts: Duration::from_secs(self.expires_in),
        }
    }
}

fn ask<'a>(operation: &'static str, key: &'a str) -> Ask<'a> {
    Ask { service: &TOKENS, operation, key, right: "", path: String::new(), body: None }
}

#[async_trait]
impl Grants for Google {
    async fn grant(&self, rest: &Rest, key: &str) -> Result<Granted, Refusal> {
        match &self.credentials {
            GcpCredentials::Metadata(host) => {
                let ask = ask("get a token from the metadata server", key);
                let answer = from_metadata(rest, &ask, metadata(host, "token", key)?).await?;
                serde_json::from_slice::<Token>(&answer)
                    .map(Token::granted)
                    .map_err(|_| ask.unexpected("it gave no token").into())
            }
            // It is read each time: whoever renews it may have replaced it.
            GcpCredentials::File(path) => match Stored::read(path, key)? {
                Stored::ServiceAccount(account) => by_key(rest, &account, key).await,
                Stored::ExternalAccount(account) => by_exchange(rest, &account, key).await,
                Stored::Other => Err(ask("read the credentials", key)
                    .unexpected("it is of another type than before")
                    .into()),
            },
        }
    }

    async fn principal(&self, rest: &Rest, key: &str) -> Result<Option<String>, Refusal> {
        match &self.credentials {
            GcpCredentials::Metadata(host) => {
                let ask = ask("ask the metadata server who we are", key);
                let answer = from_metadata(rest, &ask, metadata(host, "email", key)?).await?;
                let email = String::from_utf8_lossy(&answer).trim().to_owned();
                Ok((!email.is_empty()).then_some(email))
            }
            GcpCredentials::File(path) => Ok(match Stored::read(path, key)? {
                Stored::ServiceAccount(account) => Some(account.client_email),
                Stored::ExternalAccount(account) => account.email(),
                Stored::Other => None,
            }),
        }
    }

    fn kind(&self) -> AccessKind {
        self.kind
    }
}

/// The metadata server is asked in the clear, as it is meant to be: it is the machine's own.
async fn from_metadata(
    rest: &Rest,
    ask: &Ask<'_>,
    url: Url,
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let denied = "give the pod a Kubernetes service account that is bound to one of Google's, with \
                  a right to the key";
    let flavor = HeaderName::from_static("metadata-flavor");
    let sent =
        sending(To::Tokens, Method::GET, url).header(flavor, HeaderValue::from_static("Google"));
    let answer = request(rest, ask, sent, denied).await?;
    // It says so of itself, so that nobody else is taken for it.
    if answer.headers.get("Metadata-Flavor").is_none_or(|flavor| flavor != "Google") {
        return Err(ask.unexpected("it is no metadata server of Google").into());
    }
    Ok(answer.body)
}

async fn post(
    rest: &Rest,
    ask: &Ask<'_>,
    url: &str,
    fields: &[(&str, &str)],
    denied: &str,
) -> Result<Granted, Refusal> {
    let url: Url = url.parse().map_err(|_| ask.unexpected("its address is no URL"))?;
    let (kind, form) = form(fields);
    let sent = sending(To::Tokens, Method::POST, url).body(kind, form);
    let answer = request(rest, ask, sent, denied).await?;
    serde_json::from_slice::<Token>(&answer.body)
        .map(Token::granted)
        .map_err(|_| ask.unexpected("it gave no token").into())
}

/// A token for what the key of a service account has signed.
async fn by_key(rest: &Rest, account: &ServiceAccount, key: &str) -> Result<Granted, Refusal> {
    let ask = ask("log in with the key of the service account", key);
    let assertion = assertion(account).ok_or_else(|| {
        let why = "private_key is no RSA key in PEM";
        ask.fault(Fault::Settings, why, "check the file of GOOGLE_APPLICATION_CREDENTIALS")
    })?;
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("assertion", assertion.as_str()),
    ];
    let denied = "is the service account enabled, its key still there, and the clock here right?";
    post(rest, &ask, &account.token_uri, &fields, denied).await
}

/// A JWT that says who we are.
fn assertion(account: &ServiceAccount) -> Option<Zeroizing<String>> {
    let now = Timestamp::now().as_microseconds() / 1_000_000;
    let mut header = json!({ "alg": "RS256", "typ": "JWT" });
    if let Some(id) = &account.private_key_id {
        header["kid"] = id.as_str().into();
    }
    let claims = json!({
        "iss": account.client_email,
        "scope": KEYS,
        "aud": account.token_uri,
        "iat": now,
        "exp": now + i64::from(LIFETIME),
    });
    let part = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let mut der = PrivateKeyDer::from_pem_slice(account.private_key.as_bytes()).ok()?;
    let pair = match &der {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok(),
        _ => None,
    };
    der.zeroize();
    let pair = pair?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
    Some(Zeroizing::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&signature))))
}

/// A token for one of another issuer, and then perhaps for one of a service account.
async fn by_exchange(
    rest: &Rest,
    account: &ExternalAccount,
    key: &str,
) -> Result<Granted, Refusal> {
    let acts = account.service_account_impersonation_url.as_deref();
    let subject = account.subject(key)?;
    let step = ask("exchange the token of the workload", key);
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("audience", account.audience.as_str()),
        ("scope", if acts.is_some() { ALL } else { KEYS }),
        ("subject_token_type", account.subject_token_type.as_str()),
        ("subject_token", subject.as_str()),
    ];
    let denied = "check that the workload identity provider takes this issuer, audience and subject, \
                  and that whoever writes the token's file renews it";
    let federated = post(rest, &step, &account.token_url, &fields, denied).await?;
    match acts {
        Some(url) => impersonate(rest, account, url, &federated, key).await,
        None => Ok(federated),
    }
}

async fn impersonate(
    rest: &Rest,
    account: &ExternalAccount,
    url: &str,
    federated: &Granted,
    key: &str,
) -> Result<Granted, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Impersonated {
        access_token: Zeroizing<String>,
        expire_time: Timestamp,
    }
    let ask = ask("act as the service account", key);
    let url: Url = url.parse().map_err(|_| ask.unexpected("its address is no URL"))?;
    let lifetime = account.service_account_impersonation.token_lifetime_seconds;
    let wanted = json!({
        "scope": [KEYS],
        "lifetime": format!("{}s", lifetime.unwrap_or(LIFETIME)),
    });
    let sent = sending(To::Tokens, Method::POST, url)
        .bearer(federated.token.expose_secret())
        .json(body(&wanted));
    let denied =
        "the workload's identity needs roles/iam.workloadIdentityUser on the service account";
    let answer = request(rest, &ask, sent, denied).await?;
    let Impersonated { access_token, expire_time } = ask.read(&answer)?;
    let left = expire_time.as_microseconds() - Timestamp::now().as_microseconds();
    Ok(Granted {
        token: SecretString::from(access_token.as_str()),
        lasts: Duration::from_micros(u64::try_from(left).unwrap_or(0)),
    })
}
