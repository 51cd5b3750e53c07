//! `azure-kv:https://<vault>/keys/<name>[/<version>]`: a KEK in Azure Key Vault or a Managed HSM.
//!
//! * `azure-kv-rsa-oaep-256`: RSA binds nothing, so a key of its own is made for each DEK, which
//!   the vault wraps, and which seals the DEK with the context as associated data.
//! * `azure-kv-a256gcm`: a symmetric key of a Managed HSM, which takes the context itself.
//!
//! A vault wraps with a key that is disabled, some say, and then nothing opens what it has wrapped.
//! So the key is looked at before, where that is allowed.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    KeyContext, Kms, KmsError,
    sealed::{self, SEALED_BYTES},
};
use crate::{
    crypto::{
        CryptoError, Dek, Fault,
        azure::{self, AZURE, AzureKey, AzureOptions, is_version},
        bearer::Bearer,
        random,
        rest::{Ask, Refusal, body},
    },
    model::{Access, Connection, Peer, Timestamp, WrappedDek},
};

/// The names of these kinds of wraps in key records.
const RSA: &str = "azure-kv-rsa-oaep-256";
const GCM: &str = "azure-kv-a256gcm";
/// The shortest RSA key there is, in bytes.
const SHORTEST_RSA: usize = 256;
const IV_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// A KEK in a vault.
#[derive(Debug)]
pub struct AzureKms {
    name: String,
    key: AzureKey,
    service: Bearer,
    /// This identity may not look at keys.
    blind: AtomicBool,
}

/// What the vault says of a key.
#[derive(Deserialize)]
struct Bundle {
    key: Jwk,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Deserialize)]
struct Jwk {
    kid: String,
    kty: String,
}

#[derive(Default, Deserialize)]
struct Attributes {
    enabled: Option<bool>,
    /// Seconds since the epoch.
    nbf: Option<i64>,
    exp: Option<i64>,
}

/// What the vault says of a key that was deleted and can be recovered.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Deleted {
    deleted_date: Option<i64>,
    scheduled_purge_date: Option<i64>,
}

/// What is sent for each operation.
#[derive(Default, Serialize)]
struct Operation {
    alg: &'static str,
    value: Zeroizing<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aad: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

/// What comes back.
#[derive(Deserialize)]
struct Done {
    kid: String,
    value: Zeroizing<String>,
    #[serde(default)]
    iv: Option<String>,
    #[serde(default)]
    tag: Option<String>,
}

/// What is known of the key that shall wrap.
struct Facts {
    version: Option<String>,
    is_symmetric: bool,
}

fn date(seconds: Option<i64>) -> String {
    let at = seconds.and_then(|s| Timestamp::from_microseconds(s.checked_mul(1_000_000)?));
    at.map_or_else(|| "an unknown date".to_owned(), |at| at.to_string())
}

fn decoded(text: Option<&str>) -> Zeroizing<Vec<u8>> {
    // Some write the padding, which base64url in JSON has not.
    let text = text.unwrap_or_default().trim_end_matches('=');
    Zeroizing::new(URL_SAFE_NO_PAD.decode(text).unwrap_or_default())
}

impl AzureKms {
    /// The KEK of this URL; nothing is asked yet.
    ///
    /// # Errors
    /// When that is no URL of a key, or the settings cannot be used.
    pub fn open(key: &str, options: &AzureOptions) -> Result<Self, KmsError> {
        let key = AzureKey::parse(key).ok_or_else(|| KmsError::Uri(format!("azure-kv:{key}")))?;
        let service = azure::open(&key, options)?;
        Ok(Self { name: key.to_string(), key, service, blind: AtomicBool::new(false) })
    }

    fn refused(&self) -> KmsError {
        KmsError::Refused { kek: self.name.clone() }
    }

    fn ask<'a>(
        &'a self,
        operation: &'static str,
        right: &'static str,
        path: String,
        sent: Option<&Operation>,
    ) -> Ask<'a> {
        let body = sent.map(body);
        Ask { service: &AZURE, operation, key: &self.name, right, path, body }
    }

    /// What the key is that shall wrap, and that it is fit to.
    async fn look(&self) -> Result<Facts, KmsError> {
        let pinned = self.key.version.as_deref();
        // Whoever may not look takes the kind that is usual there.
        let usual =
            || Facts { version: self.key.version.clone(), is_symmetric: self.key.is_in_hsm() };
        if self.blind.load(Ordering::Relaxed) {
            return Ok(usual());
        }
        let ask = self.ask("look at the KEK", "keys/read", self.key.path(pinned, ""), None);
        let Bundle { key, attributes } = match self.service.ask::<Bundle>(&ask).await {
            Ok(bundle) => bundle,
            Err(refusal) if refusal.lacks_right => {
                self.blind.store(true, Ordering::Relaxed);
                return Ok(usual());
            }
            Err(refusal) => return Err(self.missing(refusal, pinned).await.into()),
        };
        let is_symmetric = match key.kty.as_str() {
            "RSA" | "RSA-HSM" => false,
            "oct" | "oct-HSM" => true,
            kind => {
                let hint = "a KEK is an RSA key, or in a Managed HSM an AES-256 key";
                return Err(ask.wrong_kind(format!("it is {kind}"), hint).into());
            }
        };
        let now = Timestamp::now().as_microseconds() / 1_000_000;
        let unfit = |fault, why: String, hint: &str| Err(ask.fault(fault, why, hint).into());
        let put_right = "az keyvault key set-attributes, or make a new version of the key";
        match attributes {
            Attributes { enabled: Some(false), .. } => {
                unfit(Fault::Disabled, "what it wraps would not open".to_owned(), put_right)
            }
            Attributes { exp: Some(end), .. } if end <= now => {
                unfit(Fault::Expired, format!("it ended at {}", date(Some(end))), put_right)
            }
            Attributes { nbf: Some(begin), .. } if begin > now => {
                unfit(Fault::Expired, format!("it begins at {}", date(Some(begin))), put_right)
            }
            _ => {
                let version = self.key.version_in(&key.kid);
                let version = version.ok_or_else(|| ask.unexpected("it is another key"))?;
                Ok(Facts { version: Some(version), is_symmetric })
            }
        }
    }

    /// Why a key is not there: deleted and to be recovered, of other versions, or never was.
    async fn missing(
        &self,
        refusal: Refusal,
        version: Option<&str>,
    ) -> crate::crypto::ServiceError {
        if refusal.error.fault != Fault::NotFound {
            return refusal.error;
        }
        let operation = refusal.error.operation;
        let path = format!("/deletedkeys/{}", self.key.key);
        let ask = self.ask(operation, "keys/read", path, None);
        if let Ok(Deleted { deleted_date, scheduled_purge_date }) = self.service.ask(&ask).await {
            let (deleted, purged) = (date(deleted_date), date(scheduled_purge_date));
            let why = format!("it was deleted at {deleted} and is purged at {purged}");
            let hint = "recover it at once (az keyvault key recover): without this key its backups \
                        cannot be opened";
            return ask.fault(Fault::PendingDeletion, why, hint);
        }
        let Some(version) = version else { return refusal.error };
        let ask = self.ask(operation, "keys/read", self.key.path(None, ""), None);
        if self.service.ask::<Bundle>(&ask).await.is_err() {
            return refusal.error;
        }
        let why = format!("the key has no version {version}");
        let hint = "is it the same key, not one that was made anew under its name?";
        ask.fault(Fault::NoVersion, why, hint)
    }

    async fn wrap_by_rsa(
        &self,
        facts: &Facts,
        context: &KeyContext,
        dek: &Dek,
    ) -> Result<WrappedDek, KmsError> {
        let between = Zeroizing::new(random::<32>()?);
        let sent = Operation {
            alg: "RSA-OAEP-256",
            value: Zeroizing::new(URL_SAFE_NO_PAD.encode(*between)),
            ..Operation::default()
        };
        let path = self.key.path(facts.version.as_deref(), "wrapkey");
        let ask = self.ask("wrap a DEK", "keys/wrap/action", path, Some(&sent));
        let done = self.operate(&ask, facts.version.as_deref()).await?;
        let wrapped = decoded(Some(done.value.as_str()));
        if wrapped.len() < SHORTEST_RSA {
            return Err(ask.unexpected("it wrapped nothing").into());
        }
        let sealed = sealed::seal(&between, &wrapped, &context.bytes(), dek)
            .ok_or(CryptoError::Library("wrap a key"))?;
        self.wrapped(&ask, &done, RSA, [wrapped.as_slice(), &sealed].concat())
    }

    async fn wrap_by_gcm(
        &self,
        facts: &Facts,
        context: &KeyContext,
        dek: &Dek,
    ) -> Result<WrappedDek, KmsError> {
        let sent = Operation {
            alg: "A256GCM",
            value: Zeroizing::new(URL_SAFE_NO_PAD.encode(dek.expose())),
            aad: Some(URL_SAFE_NO_PAD.encode(context.bytes())),
            ..Operation::default()
        };
        let path = self.key.path(facts.version.as_deref(), "encrypt");
        let ask = self.ask("wrap a DEK", "keys/encrypt/action", path, Some(&sent));
        let done = self.operate(&ask, facts.version.as_deref()).await?;
        let sealed = [
            decoded(done.iv.as_deref()).as_slice(),
            decoded(Some(done.value.as_str())).as_slice(),
            decoded(done.tag.as_deref()).as_slice(),
        ]
        .concat();
        if sealed.len() != IV_BYTES + SEALED_BYTES {
            return Err(ask.unexpected("it lacks the nonce or the tag").into());
        }
        self.wrapped(&ask, &done, GCM, sealed)
    }

    async fn operate(&self, ask: &Ask<'_>, version: Option<&str>) -> Result<Done, KmsError> {
        match self.service.ask::<Done>(ask).await {
            Ok(done) => Ok(done),
            Err(refusal) if refusal.forged => Err(self.refused()),
            Err(Refusal { error, lacks_right: true, .. }) if ask.operation == UNWRAP => {
                Err(KmsError::WrapOnly { kek: self.name.clone(), why: error.to_string() })
            }
            Err(refusal) => Err(self.missing(refusal, version).await.into()),
        }
    }

    fn wrapped(
        &self,
        ask: &Ask<'_>,
        done: &Done,
        algorithm: &str,
        ciphertext: Vec<u8>,
    ) -> Result<WrappedDek, KmsError> {
        let version = self
            .key
            .version_in(&done.kid)
            .ok_or_else(|| ask.unexpected("another key than the one that was named wrapped it"))?;
        Ok(WrappedDek {
            kek: self.name.clone(),
            kek_version: Some(version),
            algorithm: algorithm.into(),
            ciphertext,
        })
    }
}

const UNWRAP: &str = "unwrap a DEK";

#[async_trait]
impl Kms for AzureKms {
    fn name(&self) -> &str {
        &self.name
    }

    async fn wrap(&self, context: &KeyContext, dek: &Dek) -> Result<WrappedDek, KmsError> {
        let facts = self.look().await?;
        if facts.is_symmetric {
            self.wrap_by_gcm(&facts, context, dek).await
        } else {
            self.wrap_by_rsa(&facts, context, dek).await
        }
    }

    async fn unwrap(&self, context: &KeyContext, wrapped: &WrappedDek) -> Result<Dek, KmsError> {
        // The version that wrapped is the one that opens; the newest one would not.
        let version = wrapped.kek_version.as_deref().filter(|version| is_version(version));
        let Some(version) = version else { return Err(self.refused()) };
        let (bytes, aad) = (wrapped.ciphertext.as_slice(), context.bytes());
        if wrapped.algorithm == GCM {
            if bytes.len() != IV_BYTES + SEALED_BYTES {
                return Err(self.refused());
            }
            let (iv, sealed) = bytes.split_at(IV_BYTES);
            let (value, tag) = sealed.split_at(SEALED_BYTES - TAG_BYTES);
            let sent = Operation {
                alg: "A256GCM",
                value: Zeroizing::new(URL_SAFE_NO_PAD.encode(value)),
                aad: Some(URL_SAFE_NO_PAD.encode(aad)),
                iv: Some(URL_SAFE_NO_PAD.encode(iv)),
                tag: Some(URL_SAFE_NO_PAD.encode(tag)),
            };
            let path = self.key.path(Some(version), "decrypt");
            let ask = self.ask(UNWRAP, "keys/decrypt/action", path, Some(&sent));
            let done = self.operate(&ask, Some(version)).await?;
            let plain = decoded(Some(done.value.as_str()));
            let plain = <[u8; 32]>::try_from(plain.as_slice());
            return plain.map(Dek::from_bytes).map_err(|_| self.refused());
        }
        let at = bytes.len().saturating_sub(SEALED_BYTES);
        if wrapped.algorithm != RSA || at < SHORTEST_RSA {
            return Err(self.refused());
        }
        let (between, sealed) = bytes.split_at(at);
        let sent = Operation {
            alg: "RSA-OAEP-256",
            value: Zeroizing::new(URL_SAFE_NO_PAD.encode(between)),
            ..Operation::default()
        };
        let path = self.key.path(Some(version), "unwrapkey");
        let ask = self.ask(UNWRAP, "keys/unwrap/action", path, Some(&sent));
        let done = self.operate(&ask, Some(version)).await?;
        let secret = decoded(Some(done.value.as_str()));
        let secret = <[u8; 32]>::try_from(secret.as_slice()).map(Zeroizing::new);
        let secret = secret.map_err(|_| self.refused())?;
        sealed::open(&secret, between, &aad, sealed).ok_or_else(|| self.refused())
    }

    async fn access(&self) -> Result<Access, KmsError> {
        Ok(self.service.access(&self.name).await?)
    }

    fn connection(&self) -> Connection {
        self.service.connection(Peer::Kms)
    }
}
