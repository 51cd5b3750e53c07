//! As whom Azure knows us: an account key, a signature, an application's secret, a managed identity;
//! or a token that Kubernetes renews in a file, exchanged for one of Azure's (AKS workload identity).

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, header::CONTENT_TYPE};
use object_store::azure::{AzureConfigKey as Key, AzureCredential, MicrosoftAzureBuilder};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    super::{
        StoreErrorKind as Kind, StoreOptions,
        backend::Fault,
        identity::{Fetch, Fetched, RENEWED_BY, read_token},
        open::{configuration, dialer, may_be_plain},
    },
    Known, fingerprint,
};
use crate::{
    model::{Access, AccessKind, Timestamp},
    transport::{HttpClient, Plaintext, Trouble},
};

const LONGEST: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(20);
/// What is asked for: the right to use stores, as far as the application has it.
const SCOPE: &str = "https://storage.azure.com/.default";

/// What the builder would use.
pub(super) enum Chosen {
    /// Something that the library does by itself.
    Library(Known),
    /// A federated token.
    Federated(Box<Federated>),
}

/// Looks in the order in which the library does.
pub(super) fn chosen(
    builder: &MicrosoftAzureBuilder,
    options: &StoreOptions,
) -> Result<Chosen, Fault> {
    let value = |key| builder.get_config_value(&key).filter(|value| !value.is_empty());
    let (client, tenant) = (value(Key::ClientId), value(Key::AuthorityId));
    let account = value(Key::AccountName);
    let known = if value(Key::Token).is_some() {
        Known::fixed(None, false)
    } else if value(Key::AccessKey).is_some() {
        // An account's key never ends; it can be exchanged for another, by hand.
        Known::fixed(account.map(|name| format!("account key of {name}")), false)
    } else if let (Some(client), Some(tenant), Some(file)) =
        (&client, &tenant, value(Key::FederatedTokenFile))
    {
        let authority = value(Key::AuthorityHost);
        return Ok(Chosen::Federated(Box::new(Federated::new(
            client,
            tenant,
            &file,
            authority.as_deref(),
            options,
        )?)));
    } else if let (Some(client), true) = (&client, value(Key::ClientSecret).is_some()) {
        Known::fixed(Some(format!("application {client}")), true)
    } else if let Some(sas) = value(Key::SasKey) {
        Known::signature(account.as_deref(), &sas)
    } else if value(Key::UseAzureCli).as_deref() == Some("true") {
        Known::of(Access::of(AccessKind::Unknown))
    } else {
        let mut access = Access::of(AccessKind::Instance);
        access.principal = client.map(|client| format!("managed identity {client}"));
        Known::of(access)
    };
    Ok(Chosen::Library(known))
}

impl Known {
    /// A shared access signature says when it ends.
    fn signature(account: Option<&str>, sas: &str) -> Self {
        let mut known = Self::fixed(account.map(|name| format!("signature of {name}")), false);
        let pairs = url::form_urlencoded::parse(sas.trim_start_matches('?').as_bytes());
        let end = pairs.into_iter().find(|(name, _)| name == "se").map(|(_, value)| value);
        known.access.expires_at = end.and_then(|end| match end.len() {
            10 => format!("{end}T00:00:00Z").parse().ok(),
            _ => end.parse().ok(),
        });
        known
    }
}

/// An application's identity by the token of a Kubernetes service account.
#[derive(Debug)]
pub(super) struct Federated {
    client: String,
    token_url: String,
    token_file: PathBuf,
    http: HttpClient,
}

#[derive(Deserialize)]
struct Token {
    access_token: Zeroizing<String>,
    expires_in: i64,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Federated {
    fn new(
        client: &str,
        tenant: &str,
        token_file: &str,
        authority: Option<&str>,
        options: &StoreOptions,
    ) -> Result<Self, Fault> {
        let authority = authority.unwrap_or("https://login.microsoftonline.com");
        let token_url = format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/'));
        let wrong = |why: &str| configuration(format!("AZURE_AUTHORITY_HOST `{authority}`: {why}"));
        let url = url::Url::parse(&token_url).map_err(|e| wrong(&e.to_string()))?;
        may_be_plain(&url, options.allow_plaintext)?;
        // Its own: what is remembered of connections to the authority says nothing of the store.
        let http = HttpClient::new(dialer(options, Plaintext::Anywhere)?);
        Ok(Self { client: client.to_owned(), token_url, token_file: token_file.into(), http })
    }

    fn whose(&self) -> String {
        format!("application {}", self.client)
    }

    fn refusal(&self, answer: &Response<Zeroizing<Vec<u8>>>) -> Fault {
        let said: Refusal = serde_json::from_slice(answer.body()).unwrap_or_default();
        let description = said.error_description.lines().next().unwrap_or_default();
        let status = answer.status().as_u16();
        let (kind, hint) = meaning(status, description);
        let text = format!(
            "credentials of {} by the token in {}: {} answered {status} {}: {description}",
            self.whose(),
            self.token_file.display(),
            self.token_url,
            said.error
        );
        Fault::new(kind, text).hint(hint)
    }
}

/// By the numbers that Microsoft documents ("Microsoft Entra authentication and authorization error codes").
fn meaning(status: u16, description: &str) -> (Kind, &'static str) {
    if description.contains("AADSTS700024") {
        (Kind::Expired, RENEWED_BY)
    } else if status == 429 || status >= 500 {
        (Kind::Unavailable, "the authority is throttling or failing")
    } else {
        (
            Kind::Unauthenticated,
            "the application needs a federated credential for this cluster's issuer, with this service account as its subject",
        )
    }
}

#[async_trait]
impl Fetch for Federated {
    type Credential = Arc<AzureCredential>;

    async fn fetch(&self) -> Result<Fetched<Arc<AzureCredential>>, Fault> {
        let token = read_token(&self.whose(), &self.token_file).await?;
        let form = Zeroizing::new(
            url::form_urlencoded::Serializer::new(String::with_capacity(token.len() * 3 + 512))
                .append_pair("client_id", &self.client)
                .append_pair(
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                )
                .append_pair("client_assertion", &token)
                .append_pair("scope", SCOPE)
                .append_pair("grant_type", "client_credentials")
                .finish(),
        );
        let request = Request::post(&self.token_url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from_owner(Zeroizing::new(form.as_bytes().to_vec())))
            .map_err(|e| configuration(format!("AZURE_AUTHORITY_HOST: {e}")))?;
        let answer = self.http.exchange(request, LONGEST, PATIENCE).await.map_err(|error| {
            let text = format!("credentials of {} from {}: {error}", self.whose(), self.token_url);
            match Trouble::of(&error) {
                Some(trouble) => Fault::new(Kind::Tls, text).hint(trouble.advice("--store-ca")),
                None => Fault::new(Kind::Unavailable, text)
                    .hint("see that the authority can be reached from here"),
            }
        })?;
        if !answer.status().is_success() {
            return Err(self.refusal(&answer));
        }
        let token: Token =
            serde_json::from_slice(answer.body()).map_err(|_| self.refusal(&answer))?;
        let end = Timestamp::now()
            .as_microseconds()
            .saturating_add(token.expires_in.saturating_mul(1_000_000));
        let access = Access {
            principal: Some(self.whose()),
            expires_at: Timestamp::from_microseconds(end),
            ..Access::of(AccessKind::WebIdentity)
        };
        let id = fingerprint(&token.access_token);
        let credential = Arc::new(AzureCredential::BearerToken(token.access_token.to_string()));
        Ok(Fetched { credential, id, access })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_says_when_it_ends() {
        let end = |sas: &str| Known::signature(Some("a"), sas).access.expires_at;
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        assert_eq!(end("?sv=1&se=2026-11-27T10%3A00%3A00Z&sig=x"), at("2026-11-27T10:00:00Z"));
        assert_eq!(end("sv=1&se=2026-11-27&sig=x"), at("2026-11-27T00:00:00Z"));
        assert_eq!(end("sv=1&sig=x"), None);
    }

    #[test]
    fn refusals_of_the_authority_are_told_apart() {
        assert_eq!(
            meaning(401, "AADSTS700024: Client assertion is not within its valid time range").0,
            Kind::Expired
        );
        assert_eq!(meaning(400, "AADSTS700016: Application not found").0, Kind::Unauthenticated);
        assert_eq!(meaning(503, "").0, Kind::Unavailable);
    }
}
