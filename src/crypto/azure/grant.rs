//! Tokens of Microsoft Entra ID: for a token of Kubernetes, or by the identity of the machine.

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, Method};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use url::Url;
use zeroize::Zeroizing;

use super::AzureLogin;
use crate::{
    crypto::{
        bearer::{Granted, Grants, form, request},
        rest::{Answer, Ask, Refusal, Rest, Service, To, request as sending},
        service::{Fault, ServiceError},
    },
    model::AccessKind,
};

/// What is told of whoever gives tokens.
const TOKENS: Service = Service {
    unreachable: "check the network and HTTPS_PROXY; outside of Azure there is no identity of the machine: \
                  set AZURE_FEDERATED_TOKEN_FILE, AZURE_CLIENT_ID and AZURE_TENANT_ID",
    unexpected: "do AZURE_AUTHORITY_HOST, IDENTITY_ENDPOINT or AZURE_POD_IDENTITY_AUTHORITY_HOST, where \
                 they are set, name what they should?",
};

/// Tokens for one resource.
#[derive(Debug)]
pub(super) struct Entra {
    pub(super) login: AzureLogin,
    pub(super) resource: String,
}

/// What all three answer. The metadata service writes numbers as texts.
#[derive(Deserialize)]
struct Token {
    #[serde(rename = "access_token")]
    access: Zeroizing<String>,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<u64>,
    #[serde(default, deserialize_with = "seconds")]
    expires_on: Option<u64>,
    #[serde(default)]
    client_id: Option<String>,
}

fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Text(String),
        Plain(u64),
    }
    Ok(match Number::deserialize(from)? {
        Number::Text(text) => text.parse().ok(),
        Number::Plain(number) => Some(number),
    })
}

impl Token {
    fn granted(&self) -> Granted {
        let lasts = self.expires_in.unwrap_or_else(|| {
            let now = crate::model::Timestamp::now().as_microseconds() / 1_000_000;
            self.expires_on.unwrap_or(0).saturating_sub(u64::try_from(now).unwrap_or(0))
        });
        Granted {
            token: SecretString::from(self.access.as_str()),
            lasts: Duration::from_secs(lasts),
        }
    }
}

fn ask<'a>(operation: &'static str, key: &'a str) -> Ask<'a> {
    Ask { service: &TOKENS, operation, key, right: "", path: String::new(), body: None }
}

fn read(ask: &Ask<'_>, answer: &Answer) -> Result<Token, Refusal> {
    serde_json::from_slice(&answer.body).map_err(|_| ask.unexpected("it gave no token").into())
}

#[async_trait]
impl Grants for Entra {
    async fn grant(&self, rest: &Rest, key: &str) -> Result<Granted, Refusal> {
        Ok(self.token(rest, key).await?.granted())
    }

    async fn principal(&self, rest: &Rest, key: &str) -> Result<Option<String>, Refusal> {
        let named = match &self.login {
            AzureLogin::Workload { client, .. } => Some(client),
            AzureLogin::Machine { client, .. } | AzureLogin::Platform { client, .. } => {
                client.as_ref()
            }
        };
        match named {
            Some(client) => Ok(Some(client.clone())),
            None => Ok(self.token(rest, key).await?.client_id),
        }
    }

    fn kind(&self) -> AccessKind {
        match self.login {
            AzureLogin::Workload { .. } => AccessKind::WebIdentity,
            AzureLogin::Machine { .. } => AccessKind::Instance,
            AzureLogin::Platform { .. } => AccessKind::PodIdentity,
        }
    }
}

impl Entra {
    async fn token(&self, rest: &Rest, key: &str) -> Result<Token, Refusal> {
        let identity = "give what runs here a managed identity; with several of them, say which in \
                        AZURE_CLIENT_ID";
        match &self.login {
            AzureLogin::Workload { authority, tenant, client, token_file } => {
                let ask = ask("log in to Entra ID", key);
                let assertion = assertion(token_file, key)?;
                let url = format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/'));
                let scope = format!("{}/.default", self.resource);
                let (kind, form) = form(&[
                    ("grant_type", "client_credentials"),
                    ("client_id", client),
                    ("scope", &scope),
                    (
                        "client_assertion_type",
                        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                    ),
                    ("client_assertion", &assertion),
                ]);
                let sent =
                    sending(To::Tokens, Method::POST, self::url(&ask, &url)?).body(kind, form);
                let denied = "check AZURE_CLIENT_ID, AZURE_TENANT_ID, and that a federated credential of \
                              that identity names this cluster's issuer, namespace and service account";
                read(&ask, &request(rest, &ask, sent, denied).await?)
            }
            AzureLogin::Machine { endpoint, client } => {
                let ask = ask("ask for the identity of the machine", key);
                let mut url = url(&ask, endpoint)?;
                url.set_path("/metadata/identity/oauth2/token");
                self.query(&mut url, "2018-02-01", client.as_deref());
                let sent = sending(To::Tokens, Method::GET, url)
                    .header(HeaderName::from_static("metadata"), HeaderValue::from_static("true"));
                read(&ask, &request(rest, &ask, sent, identity).await?)
            }
            AzureLogin::Platform { endpoint, header, client } => {
                let ask = ask("ask for the identity of the platform", key);
                let mut url = url(&ask, endpoint)?;
                self.query(&mut url, "2019-08-01", client.as_deref());
                let mut value = HeaderValue::from_str(header.expose_secret()).map_err(|_| {
                    ask.fault(
                        Fault::Settings,
                        "IDENTITY_HEADER is no header",
                        ask.service.unexpected,
                    )
                })?;
                value.set_sensitive(true);
                let sent = sending(To::Tokens, Method::GET, url)
                    .header(HeaderName::from_static("x-identity-header"), value);
                read(&ask, &request(rest, &ask, sent, identity).await?)
            }
        }
    }

    fn query(&self, url: &mut Url, version: &str, client: Option<&str>) {
        let mut query = url.query_pairs_mut();
        query.clear().append_pair("api-version", version);
        query.append_pair("resource", &self.resource);
        if let Some(client) = client {
            query.append_pair("client_id", client);
        }
    }
}

/// The machine's and the platform's own are asked in the clear, as they are meant to be.
fn url(ask: &Ask<'_>, text: &str) -> Result<Url, ServiceError> {
    text.parse().map_err(|e| {
        ask.fault(Fault::Settings, format!("`{text}` is not a URL: {e}"), ask.service.unexpected)
    })
}

/// It is read each time, since it is replaced now and then.
fn assertion(path: &Path, key: &str) -> Result<Zeroizing<String>, ServiceError> {
    let wrong = |why: String| ServiceError {
        fault: Fault::Settings,
        operation: "read the token of the workload",
        key: key.to_owned(),
        why,
        hint: "check AZURE_FEDERATED_TOKEN_FILE".to_owned(),
    };
    let text =
        std::fs::read_to_string(path).map_err(|e| wrong(format!("{}: {e}", path.display())))?;
    let text = Zeroizing::new(text);
    match text.trim() {
        "" => Err(wrong(format!("{} is empty", path.display()))),
        token => Ok(Zeroizing::new(token.to_owned())),
    }
}
