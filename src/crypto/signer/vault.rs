//! `vault:<mount>/<key>`: an Ed25519 signer in the transit engine of HashiCorp Vault or OpenBao.
//!
//! A rotated key has several public keys, so the version belongs to the signer's id. The newest
//! one signs; trust files may hold older ones beside it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{Signer, SignerError};
use crate::{
    crypto::{
        PUBLIC_KEY_BYTES, SIGNATURE_BYTES,
        rest::{Ask, body},
        vault::{TransitName, VAULT, Vault, VaultOptions},
        verify,
    },
    model::{Connection, Peer},
};

/// A signer in Vault.
#[derive(Debug)]
pub struct VaultSigner {
    name: String,
    id: String,
    transit: TransitName,
    version: u64,
    public: [u8; PUBLIC_KEY_BYTES],
    vault: Vault,
}

#[derive(Deserialize)]
struct KeyFacts {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    derived: bool,
    latest_version: u64,
    keys: BTreeMap<String, serde_json::Value>,
}

#[derive(Serialize)]
struct Sign {
    input: String,
    key_version: u64,
}

#[derive(Deserialize)]
struct Signed {
    signature: String,
}

impl VaultSigner {
    /// The signer that `mount/key` names, with the public key that Vault has for it.
    ///
    /// # Errors
    /// When that is no name, Vault cannot be asked, or it is no Ed25519 key.
    pub async fn open(key: &str, options: &VaultOptions) -> Result<Self, SignerError> {
        let transit =
            TransitName::parse(key).ok_or_else(|| SignerError::Uri(format!("vault:{key}")))?;
        let name = transit.to_string();
        let vault = Vault::open(options, &name)?;
        let ask = Ask {
            service: &VAULT,
            operation: "read the public key of the signer",
            key: &name,
            right: "read",
            path: transit.path("keys"),
            body: None,
        };
        let facts: KeyFacts = vault.ask(&ask).await.map_err(|r| r.error)?;
        let hint = "a signer is an ed25519 key without derivation";
        if facts.kind != "ed25519" || facts.derived {
            let derived = if facts.derived { ", derived" } else { "" };
            return Err(ask.wrong_kind(format!("it is {}{derived}", facts.kind), hint).into());
        }
        let version = facts.latest_version;
        let newest = facts.keys.get(&version.to_string());
        let text = newest.and_then(|key| key.get("public_key")?.as_str()).unwrap_or_default();
        let public = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        let public =
            public.ok_or_else(|| ask.unexpected("its newest version has no public key"))?;
        let id = format!("{name}:v{version}");
        Ok(Self { name, id, transit, version, public, vault })
    }
}

#[async_trait]
impl Signer for VaultSigner {
    fn id(&self) -> &str {
        &self.id
    }

    fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES] {
        self.public
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignerError> {
        let sent = Sign { input: STANDARD.encode(message), key_version: self.version };
        let ask = Ask {
            service: &VAULT,
            operation: "sign a record",
            key: &self.name,
            right: "update",
            path: self.transit.path("sign"),
            body: Some(body(&sent)),
        };
        let Signed { signature } = self.vault.ask(&ask).await.map_err(|r| r.error)?;
        let text = signature.rsplit(':').next().unwrap_or_default();
        let bytes: Option<[u8; SIGNATURE_BYTES]> =
            STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        // What does not verify here would not be believed by any reader either.
        bytes.filter(|bytes| verify(&self.public, message, bytes).is_ok()).ok_or_else(|| {
            ask.unexpected("the signature does not verify with the public key").into()
        })
    }

    fn connection(&self) -> Connection {
        self.vault.connection(Peer::Signer)
    }
}
