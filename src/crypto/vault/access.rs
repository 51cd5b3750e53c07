//! As whom Vault knows us.

use serde::Deserialize;

use super::{VAULT, Vault};
use crate::{
    crypto::{
        rest::Ask,
        service::{Fault, ServiceError},
    },
    model::Access,
};

/// What Vault says of the token that asks.
#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    entity_id: String,
    #[serde(default)]
    expire_time: Option<String>,
}

impl Vault {
    /// As whom Vault knows us. A token that may not look at itself leaves the principal open.
    pub(in crate::crypto) async fn access(&self, key: &str) -> Result<Access, ServiceError> {
        let ask = Ask {
            service: &VAULT,
            operation: "look at the token of Vault",
            key,
            right: "read",
            path: "auth/token/lookup-self".to_owned(),
            body: None,
        };
        let mut access = Access::of(self.0.tokens.kind());
        match self.ask::<Token>(&ask).await {
            Ok(Token { display_name, entity_id, expire_time }) => {
                access.principal = match (display_name.as_str(), entity_id.as_str()) {
                    ("", "") => None,
                    (name, "") => Some(name.to_owned()),
                    (name, entity) => Some(format!("{name} (entity {entity})")),
                };
                access.expires_at = expire_time.and_then(|text| text.parse().ok());
            }
            Err(refusal) if refusal.error.fault == Fault::Denied => {}
            Err(refusal) => return Err(refusal.error),
        }
        Ok(access)
    }
}
