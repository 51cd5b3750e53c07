//! Whoever gives tokens: the metadata server, the exchange, the service account's own.

use std::time::{Duration, Instant};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use axum::{
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use backstay::model::Timestamp;
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use super::{ALL, CloudKms, Inner, Token, answer, error, header};

/// What the pool of another issuer's identities is called.
pub(crate) const AUDIENCE: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/k8s/providers/eu";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

impl CloudKms {
    /// No token is good any more.
    pub(crate) fn revoke_all(&self) {
        self.lock().tokens.clear();
    }

    /// The file of a service account's key.
    pub(crate) fn key_file(&self, email: &str) -> String {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<Pkcs8V1Der>::as_der(&pair).unwrap();
        let text = BASE64_STANDARD.encode(der.as_ref());
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            lines.join("\n")
        );
        let public = pair.public_key().as_ref().to_vec();
        self.lock().accounts.insert(email.to_owned(), public);
        json!({
            "type": "service_account", "project_id": "p-1", "private_key_id": "k1",
            "private_key": pem, "client_email": email, "token_uri": format!("{}/token", self.address()),
        })
        .to_string()
    }

    /// The file of an identity of another issuer, which may act as an account of Google's.
    pub(crate) fn federation(&self, source: &Value, acts_as: Option<&str>) -> Value {
        let address = self.address();
        let mut file = json!({
            "type": "external_account", "audience": AUDIENCE, "subject_token_type": JWT,
            "token_url": format!("{address}/sts/v1/token"), "credential_source": source,
        });
        if let Some(email) = acts_as {
            let url =
                format!("{address}/v1/projects/-/serviceAccounts/{email}:generateAccessToken");
            file["service_account_impersonation_url"] = url.into();
        }
        file
    }
}

fn refused(status: u16, code: &str, said: &str) -> Response {
    answer(status, &json!({ "error": code, "error_description": said }))
}

fn form(body: &[u8]) -> Value {
    let pairs = url::form_urlencoded::parse(body);
    pairs.map(|(name, value)| (name.into_owned(), Value::from(value.into_owned()))).collect()
}

impl Inner {
    fn give(&mut self, account: &str, scopes: &[&str]) -> String {
        self.given += 1;
        let token = format!("ya29.token-{}", self.given);
        let scopes =
            scopes.iter().flat_map(|text| text.split(' ')).map(ToOwned::to_owned).collect();
        let ends = Instant::now() + Duration::from_secs(self.lifetime);
        self.tokens.insert(token.clone(), Token { account: account.to_owned(), scopes, ends });
        token
    }

    fn given(&mut self, account: &str, scopes: &[&str]) -> Response {
        let token = self.give(account, scopes);
        let body =
            json!({ "access_token": token, "expires_in": self.lifetime, "token_type": "Bearer" });
        answer(200, &body)
    }

    /// It answers nobody who was sent by others.
    pub(super) fn metadata(&mut self, what: &str, headers: &HeaderMap) -> Response {
        let asks = header(headers, "metadata-flavor").as_deref() == Some("Google");
        if !asks || headers.contains_key("x-forwarded-for") {
            return (axum::http::StatusCode::FORBIDDEN, "Missing Metadata-Flavor:Google header.")
                .into_response();
        }
        let Some(machine) = self.machine.clone() else {
            return (axum::http::StatusCode::NOT_FOUND, "Service account not found")
                .into_response();
        };
        let mut response = match what {
            "token" => self.given(&machine, &[ALL]),
            "email" => machine.into_response(),
            _ => return axum::http::StatusCode::NOT_FOUND.into_response(),
        };
        response.headers_mut().insert("metadata-flavor", "Google".parse().unwrap());
        response
    }

    /// A token for what the key of a service account has signed (RFC 7523).
    pub(super) fn by_key(&mut self, body: &[u8], own: &str) -> Response {
        let form = form(body);
        if form["grant_type"] != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
            return refused(400, "unsupported_grant_type", "Invalid grant_type");
        }
        let assertion = form["assertion"].as_str().unwrap_or_default();
        let invalid = |said: &str| refused(400, "invalid_grant", said);
        let Some((signed, signature)) = assertion.rsplit_once('.') else {
            return invalid("Invalid JWT: it has not three parts");
        };
        let part = |at: usize| -> Value {
            let text = signed.split('.').nth(at).unwrap_or_default();
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).unwrap_or_default())
                .unwrap_or_default()
        };
        let (head, claims) = (part(0), part(1));
        let email = claims["iss"].as_str().unwrap_or_default().to_owned();
        let Some(public) = self.accounts.get(&email) else {
            return invalid("Invalid grant: account not found");
        };
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
        if head["alg"] != "RS256" || key.verify(signed.as_bytes(), &signature).is_err() {
            return invalid("Invalid JWT Signature.");
        }
        let now = Timestamp::now().as_microseconds() / 1_000_000;
        let (from, to) = (claims["iat"].as_i64().unwrap_or(0), claims["exp"].as_i64().unwrap_or(0));
        if claims["aud"] != own || from > now + 60 || to <= now || to - from > 3600 {
            return invalid(
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a \
                            reasonable timeframe. Check your iat and exp values in the JWT claim.",
            );
        }
        let scope = claims["scope"].as_str().unwrap_or_default().to_owned();
        self.given(&email, &[&scope])
    }

    /// A token for one of another issuer (RFC 8693).
    pub(super) fn exchange(&mut self, body: &[u8]) -> Response {
        let form = form(body);
        let is_exchange = form["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"
            && form["requested_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
            && form["subject_token_type"] == JWT;
        if !is_exchange {
            return refused(400, "invalid_request", "Invalid request.");
        }
        if form["audience"] != AUDIENCE {
            return refused(
                400,
                "invalid_target",
                "The target service indicated by the \"audience\" \
                            parameters is invalid.",
            );
        }
        let subject = form["subject_token"].as_str().unwrap_or_default().to_owned();
        if !self.subjects.contains(&subject) {
            return refused(400, "invalid_grant", "ID Token issued is stale to sign-in.");
        }
        let scope = form["scope"].as_str().unwrap_or_default().to_owned();
        self.given(&format!("principal:{subject}"), &[&scope])
    }

    /// A token of an account that somebody may act as.
    pub(super) fn impersonate(
        &mut self,
        rest: &str,
        who: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Response {
        let Some(email) = rest.strip_suffix(":generateAccessToken") else {
            return super::missing();
        };
        let has_all =
            token.and_then(|token| self.tokens.get(token)).is_some_and(|t| t.scopes.contains(ALL));
        if !has_all || self.may_act.get(who).map(String::as_str) != Some(email) {
            let said = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may \
                        not exist).";
            return error(403, "PERMISSION_DENIED", said, &json!([]));
        }
        let scopes: Vec<&str> =
            body["scope"].as_array().unwrap().iter().map(|scope| scope.as_str().unwrap()).collect();
        let seconds: u64 =
            body["lifetime"].as_str().unwrap().strip_suffix('s').unwrap().parse().unwrap();
        let token = self.give(email, &scopes);
        let seconds = seconds.min(self.lifetime);
        let micros = i64::try_from(seconds * 1_000_000).unwrap();
        let ends = Timestamp::from_microseconds(Timestamp::now().as_microseconds() + micros);
        answer(200, &json!({ "accessToken": token, "expireTime": ends.unwrap().to_string() }))
    }
}
