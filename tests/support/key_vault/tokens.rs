//! Whoever gives tokens: Entra ID, the machine's metadata service, a platform of Azure.

use std::time::{Duration, Instant};

use axum::{
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{HSM, Inner, KeyVault, Token, VAULT, answer};

pub(crate) const TENANT: &str = "72f988bf-0000-0000-0000-2d7cd011db47";
/// What a platform shows to those whom it lets ask.
pub(crate) const INSIDE: &str = "from-the-inside";

impl KeyVault {
    /// No token is good any more.
    pub(crate) fn revoke_all(&self) {
        let mut inner = self.lock();
        let all: Vec<String> = inner.tokens.keys().cloned().collect();
        inner.revoked.extend(all);
    }
}

fn pairs(text: &[u8]) -> Value {
    let pairs = url::form_urlencoded::parse(text);
    pairs.map(|(name, value)| (name.into_owned(), Value::from(value.into_owned()))).collect()
}

fn denied(status: u16, code: &str, said: &str) -> Response {
    answer(status, &json!({ "error": code, "error_description": said }))
}

impl Inner {
    fn give(&mut self, client: &str, resource: &str) -> String {
        self.given += 1;
        let token = format!("eyJ0.token-{}", self.given);
        let ends = Instant::now() + Duration::from_secs(self.lifetime);
        let (client, resource) = (client.to_owned(), resource.to_owned());
        self.tokens.insert(token.clone(), Token { client, resource, ends });
        token
    }

    /// A token for one of Kubernetes.
    pub(super) fn log_in(&mut self, tenant: &str, body: &[u8]) -> Response {
        let form = pairs(body);
        if tenant != TENANT {
            let said = format!("AADSTS90002: Tenant '{tenant}' not found.");
            return denied(400, "invalid_request", &said);
        }
        let is_client = form["grant_type"] == "client_credentials"
            && form["client_assertion_type"]
                == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        if !is_client {
            return denied(400, "unsupported_grant_type", "AADSTS70003: unsupported grant type");
        }
        let resource = form["scope"].as_str().and_then(|scope| scope.strip_suffix("/.default"));
        let Some(resource) = resource.filter(|resource| [VAULT, HSM].contains(resource)) else {
            let said = "AADSTS500011: The resource principal was not found in the tenant.";
            return denied(400, "invalid_resource", said);
        };
        let (resource, client) =
            (resource.to_owned(), form["client_id"].as_str().unwrap_or_default().to_owned());
        let subject = form["client_assertion"].as_str().unwrap_or_default();
        match self.subjects.get(subject) {
            Some(known) if *known == client => {
                let token = self.give(&client, &resource);
                answer(
                    200,
                    &json!({
                        "token_type": "Bearer", "expires_in": self.lifetime, "access_token": token,
                    }),
                )
            }
            Some(_) => {
                let said = format!(
                    "AADSTS700016: Application with identifier '{client}' was not found in the directory."
                );
                denied(400, "unauthorized_client", &said)
            }
            None => denied(
                401,
                "invalid_client",
                "AADSTS700213: No matching federated identity record found for presented assertion subject.",
            ),
        }
    }

    /// Tokens for the resource that the query names, with numbers as texts.
    fn of_query(&mut self, query: &str, version: &str) -> Response {
        let query = pairs(query.as_bytes());
        if query["api-version"] != version {
            return denied(400, "bad_request_102", "Required api-version is missing");
        }
        let wanted = query["client_id"].as_str();
        let client = match wanted {
            None => self.machine.first(),
            Some(wanted) => self.machine.iter().find(|known| *known == wanted),
        };
        let Some(client) = client.cloned() else {
            return denied(400, "invalid_request", "Identity not found");
        };
        let resource = query["resource"].as_str().unwrap_or_default().to_owned();
        let token = self.give(&client, &resource);
        let seconds = self.lifetime.to_string();
        answer(
            200,
            &json!({
                "access_token": token, "client_id": client, "expires_in": seconds,
                "resource": resource, "token_type": "Bearer",
            }),
        )
    }

    /// It answers nobody who was sent by others.
    pub(super) fn of_machine(&mut self, query: &str, headers: &HeaderMap) -> Response {
        if headers.get("metadata").is_none_or(|value| value != "true")
            || headers.contains_key("x-forwarded-for")
        {
            return denied(400, "bad_request_102", "Required metadata header not specified");
        }
        self.of_query(query, "2018-02-01")
    }

    pub(super) fn of_platform(&mut self, query: &str, headers: &HeaderMap) -> Response {
        if headers.get("x-identity-header").is_none_or(|value| value != INSIDE) {
            return axum::http::StatusCode::UNAUTHORIZED.into_response();
        }
        self.of_query(query, "2019-08-01")
    }
}
