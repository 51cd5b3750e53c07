//! An OpenID issuer: a document, its keys, and tokens signed with them (RS256).

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey},
};
use axum::{Router, routing::get};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;

/// The issuer; its server ends with the test's runtime.
pub(crate) struct Issuer {
    key: KeyPair,
    url: String,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        // RSAPublicKey (RFC 8017): a sequence of two integers, the first with a zero in front.
        let public = key.public_key().as_ref();
        let (n, e) = (&public[9..9 + 256], &public[public.len() - 3..]);
        let keys = json!({"keys": [{
            "kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256",
            "n": BASE64_URL_SAFE_NO_PAD.encode(n), "e": BASE64_URL_SAFE_NO_PAD.encode(e),
        }]});
        let document = json!({
            "issuer": url, "jwks_uri": format!("{url}/keys"),
            "authorization_endpoint": format!("{url}/none"), "token_endpoint": format!("{url}/none"),
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        let app = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(move || async move { document.to_string() }),
            )
            .route("/keys", get(move || async move { keys.to_string() }));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { key, url }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A token for this audience that ends in so many seconds.
    pub(crate) fn token(&self, audience: &str, seconds: i64) -> String {
        self.token_of(&self.url, audience, seconds)
    }

    /// The same, with another issuer in it.
    pub(crate) fn token_of(&self, issuer: &str, audience: &str, seconds: i64) -> String {
        let now = jiff::Timestamp::now().as_second();
        let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(json!({"alg": "RS256", "typ": "JWT", "kid": "1"}));
        let claims = part(json!({
            "iss": issuer, "aud": audience, "sub": "system:serviceaccount:shop:backup",
            "iat": now - 60, "nbf": now - 60, "exp": now + seconds,
        }));
        let signed = format!("{head}.{claims}");
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    /// Whether this is a token of ours for this audience, and has not ended: what a relying party
    /// looks at.
    pub(crate) fn vouches_for(&self, token: &str, audience: &str) -> bool {
        let Some((signed, signature)) = token.rsplit_once('.') else { return false };
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.key.public_key());
        if public.verify(signed.as_bytes(), &decode(signature)).is_err() {
            return false;
        }
        let claims = decode(signed.split('.').nth(1).unwrap_or_default());
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap_or_default();
        let now = jiff::Timestamp::now().as_second();
        claims["iss"] == self.url.as_str()
            && claims["aud"] == audience
            && claims["exp"].as_i64().is_some_and(|end| now < end)
    }
}
