//! `vault:<mount>/<key>`: a KEK in the transit engine of HashiCorp Vault or OpenBao.
//!
//! The DEK is made here and encrypted there: transit's own data keys take no associated data, and
//! so would be bound to nothing. What is stored is Vault's text, `vault:v1:…`.

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::{KeyContext, Kms, KmsError};
use crate::{
    crypto::{
        Dek, Fault, ServiceError,
        rest::{Ask, Refusal, body},
        vault::{TransitName, VAULT, Vault, VaultOptions},
    },
    model::{Access, Connection, Peer, WrappedDek},
};

/// The name of this kind of wrap in key records.
const ALGORITHM: &str = "vault-transit";
/// What can be encrypted with and takes associated data.
const KINDS: [&str; 4] =
    ["aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"];

/// A KEK in Vault.
#[derive(Debug)]
pub struct VaultKms {
    name: String,
    transit: TransitName,
    vault: Vault,
    looked: OnceCell<()>,
}

#[derive(Deserialize)]
struct KeyFacts {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    derived: bool,
    #[serde(default)]
    deletion_allowed: bool,
}

#[derive(Serialize)]
struct Encrypt {
    plaintext: Zeroizing<String>,
    associated_data: String,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Serialize)]
struct Decrypt<'a> {
    ciphertext: &'a str,
    associated_data: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: Zeroizing<String>,
}

impl VaultKms {
    /// The KEK that `mount/key` names; nothing is asked yet.
    ///
    /// # Errors
    /// When that is no name, or Vault's settings cannot be used.
    pub fn open(key: &str, options: &VaultOptions) -> Result<Self, KmsError> {
        let transit =
            TransitName::parse(key).ok_or_else(|| KmsError::Uri(format!("vault:{key}")))?;
        let name = transit.to_string();
        let vault = Vault::open(options, &name)?;
        Ok(Self { name, transit, vault, looked: OnceCell::new() })
    }

    fn ask<'a>(&'a self, operation: &'static str, verb: &str, body: bytes::Bytes) -> Ask<'a> {
        Ask {
            service: &VAULT,
            operation,
            key: &self.name,
            right: "update",
            path: self.transit.path(verb),
            body: Some(body),
        }
    }

    /// Looks at the key once, where that is allowed: whoever may create keys would make a new one
    /// by encrypting with a name that is misspelt.
    async fn look(&self) -> Result<(), KmsError> {
        let ask = Ask {
            service: &VAULT,
            operation: "look at the KEK",
            key: &self.name,
            right: "read",
            path: self.transit.path("keys"),
            body: None,
        };
        let facts: KeyFacts = match self.vault.ask(&ask).await {
            Ok(facts) => facts,
            Err(Refusal { error: ServiceError { fault: Fault::Denied, .. }, .. }) => return Ok(()),
            Err(refusal) => return Err(refusal.error.into()),
        };
        if !KINDS.contains(&facts.kind.as_str()) {
            let hint = "a KEK is an aes256-gcm96 or (x)chacha20-poly1305 key";
            return Err(ask.wrong_kind(format!("it is {}", facts.kind), hint).into());
        }
        if facts.derived {
            let hint = "make a key with derived=false: the context is bound as associated data";
            return Err(ask.wrong_kind("it is a derived key".to_owned(), hint).into());
        }
        if facts.deletion_allowed {
            tracing::warn!(
                kek = self.name,
                "this key may be deleted, and all backups with it: set deletion_allowed=false"
            );
        }
        Ok(())
    }

    fn refused(&self) -> KmsError {
        KmsError::Refused { kek: self.name.clone() }
    }
}

#[async_trait]
impl Kms for VaultKms {
    fn name(&self) -> &str {
        &self.name
    }

    async fn wrap(&self, context: &KeyContext, dek: &Dek) -> Result<WrappedDek, KmsError> {
        self.looked.get_or_try_init(|| self.look()).await?;
        let sent = body(&Encrypt {
            plaintext: Zeroizing::new(STANDARD.encode(dek.expose())),
            associated_data: STANDARD.encode(context.bytes()),
        });
        let ask = self.ask("wrap a DEK", "encrypt", sent);
        let Encrypted { ciphertext } = self.vault.ask(&ask).await.map_err(|r| r.error)?;
        let version = ciphertext
            .strip_prefix("vault:v")
            .and_then(|rest| rest.split_once(':'))
            .map(|(version, _)| version.to_owned());
        Ok(WrappedDek {
            kek: self.name.clone(),
            kek_version: version,
            algorithm: ALGORITHM.into(),
            ciphertext: ciphertext.into_bytes(),
        })
    }

    async fn unwrap(&self, context: &KeyContext, wrapped: &WrappedDek) -> Result<Dek, KmsError> {
        if wrapped.algorithm != ALGORITHM {
            return Err(self.refused());
        }
        let ciphertext = std::str::from_utf8(&wrapped.ciphertext).map_err(|_| self.refused())?;
        let sent = body(&Decrypt { ciphertext, associated_data: STANDARD.encode(context.bytes()) });
        let ask = self.ask("unwrap a DEK", "decrypt", sent);
        let Decrypted { plaintext } = match self.vault.ask(&ask).await {
            Ok(answer) => answer,
            Err(refusal) if refusal.forged => return Err(self.refused()),
            Err(Refusal { error, lacks_right: true, .. }) => {
                return Err(KmsError::WrapOnly { kek: self.name.clone(), why: error.to_string() });
            }
            Err(refusal) => return Err(refusal.error.into()),
        };
        let plain = Zeroizing::new(STANDARD.decode(plaintext.as_bytes()).unwrap_or_default());
        let bytes = <[u8; 32]>::try_from(plain.as_slice()).map_err(|_| self.refused())?;
        Ok(Dek::from_bytes(bytes))
    }

    async fn access(&self) -> Result<Access, KmsError> {
        Ok(self.vault.access(&self.name).await?)
    }

    fn connection(&self) -> Connection {
        self.vault.connection(Peer::Kms)
    }
}
