//! One key of a vault: what it is, and what it is asked to do.

use std::sync::atomic::{AtomicBool, Ordering};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{AZURE, AzureKey, AzureOptions};
use crate::{
    crypto::{
        bearer::Bearer,
        rest::{Ask, Refusal, body},
        service::{Fault, ServiceError},
    },
    model::{Access, Connection, Peer, Timestamp},
};

/// What a vault says of a key.
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

/// What it says of one that was deleted and can be recovered.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Deleted {
    deleted_date: Option<i64>,
    scheduled_purge_date: Option<i64>,
}

/// What is sent for an operation.
#[derive(Default, Serialize)]
struct Sent {
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
struct Came {
    kid: String,
    value: Zeroizing<String>,
    #[serde(default)]
    iv: Option<String>,
    #[serde(default)]
    tag: Option<String>,
}

/// An operation of a key.
#[derive(Default)]
pub(in crate::crypto) struct Operation<'a> {
    /// What it is for.
    pub(in crate::crypto) purpose: &'static str,
    /// Its name in the path.
    pub(in crate::crypto) verb: &'static str,
    /// What a role has to allow.
    pub(in crate::crypto) right: &'static str,
    /// By which algorithm.
    pub(in crate::crypto) algorithm: &'static str,
    /// On what.
    pub(in crate::crypto) value: &'a [u8],
    /// With which associated data.
    pub(in crate::crypto) aad: Option<&'a [u8]>,
    /// The nonce and the tag that were made.
    pub(in crate::crypto) made: Option<(&'a [u8], &'a [u8])>,
}

/// What came of it.
pub(in crate::crypto) struct Done {
    /// The version that did it.
    pub(in crate::crypto) version: String,
    pub(in crate::crypto) value: Zeroizing<Vec<u8>>,
    pub(in crate::crypto) nonce: Zeroizing<Vec<u8>>,
    pub(in crate::crypto) tag: Zeroizing<Vec<u8>>,
}

/// What is known of the key that shall wrap.
pub(in crate::crypto) struct Facts {
    /// The version that wraps now, when it is known.
    pub(in crate::crypto) version: Option<String>,
    /// Whether it is an AES key, and not one of RSA.
    pub(in crate::crypto) is_symmetric: bool,
}

/// A key, and the vault that it is in.
#[derive(Debug)]
pub(in crate::crypto) struct Vault {
    name: String,
    key: AzureKey,
    service: Bearer,
    /// This identity may not look at keys.
    blind: AtomicBool,
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn bytes(text: Option<&str>) -> Zeroizing<Vec<u8>> {
    // Some write the padding, which base64url in JSON has not.
    let text = text.unwrap_or_default().trim_end_matches('=');
    Zeroizing::new(URL_SAFE_NO_PAD.decode(text).unwrap_or_default())
}

fn date(seconds: Option<i64>) -> String {
    let at = seconds.and_then(|s| Timestamp::from_microseconds(s.checked_mul(1_000_000)?));
    at.map_or_else(|| "an unknown date".to_owned(), |at| at.to_string())
}

impl Vault {
    /// Nothing is asked yet.
    pub(in crate::crypto) fn open(
        key: AzureKey,
        options: &AzureOptions,
    ) -> Result<Self, ServiceError> {
        let service = super::open(&key, options)?;
        Ok(Self { name: key.to_string(), key, service, blind: AtomicBool::new(false) })
    }

    /// The key's name in key records.
    pub(in crate::crypto) fn name(&self) -> &str {
        &self.name
    }

    fn ask<'a>(&'a self, operation: &'static str, right: &'static str, path: String) -> Ask<'a> {
        Ask { service: &AZURE, operation, key: &self.name, right, path, body: None }
    }

    /// What the key is that shall wrap, and that it is fit to.
    pub(in crate::crypto) async fn look(&self) -> Result<Facts, ServiceError> {
        let pinned = self.key.version.as_deref();
        // Whoever may not look takes the kind that is usual there.
        let usual =
            || Facts { version: self.key.version.clone(), is_symmetric: self.key.is_in_hsm() };
        if self.blind.load(Ordering::Relaxed) {
            return Ok(usual());
        }
        let ask = self.ask("look at the KEK", "keys/read", self.key.path(pinned, ""));
        let Bundle { key, attributes } = match self.service.ask::<Bundle>(&ask).await {
            Ok(bundle) => bundle,
            Err(refusal) if refusal.lacks_right => {
                self.blind.store(true, Ordering::Relaxed);
                return Ok(usual());
            }
            Err(refusal) => return Err(self.missing(refusal.error, pinned).await),
        };
        let is_symmetric = match key.kty.as_str() {
            "RSA" | "RSA-HSM" => false,
            "oct" | "oct-HSM" => true,
            kind => {
                let hint = "a KEK is an RSA key, or in a Managed HSM an AES-256 key";
                return Err(ask.wrong_kind(format!("it is {kind}"), hint));
            }
        };
        let now = Timestamp::now().as_microseconds() / 1_000_000;
        let hint = "az keyvault key set-attributes, or make a new version of the key";
        let unfit = match attributes {
            Attributes { enabled: Some(false), .. } => {
                Some((Fault::Disabled, "what it wraps would not open".to_owned()))
            }
            Attributes { exp: Some(end), .. } if end <= now => {
                Some((Fault::Expired, format!("it ended at {}", date(Some(end)))))
            }
            Attributes { nbf: Some(begin), .. } if begin > now => {
                Some((Fault::Expired, format!("it begins at {}", date(Some(begin)))))
            }
            _ => None,
        };
        if let Some((fault, why)) = unfit {
            return Err(ask.fault(fault, why, hint));
        }
        let version = self.key.version_in(&key.kid);
        let version = version.ok_or_else(|| ask.unexpected("it is another key"))?;
        Ok(Facts { version: Some(version), is_symmetric })
    }

    /// Why a key is not there: deleted and to be recovered, of other versions, or never was.
    async fn missing(&self, error: ServiceError, version: Option<&str>) -> ServiceError {
        if error.fault != Fault::NotFound {
            return error;
        }
        let path = format!("/deletedkeys/{}", self.key.key);
        let ask = self.ask(error.operation, "keys/read", path);
        if let Ok(Deleted { deleted_date, scheduled_purge_date }) = self.service.ask(&ask).await {
            let (deleted, purged) = (date(deleted_date), date(scheduled_purge_date));
            let why = format!("it was deleted at {deleted} and is purged at {purged}");
            let hint = "recover it at once (az keyvault key recover): without this key its backups \
                        cannot be opened";
            return ask.fault(Fault::PendingDeletion, why, hint);
        }
        let Some(version) = version else { return error };
        let ask = self.ask(error.operation, "keys/read", self.key.path(None, ""));
        if self.service.ask::<Bundle>(&ask).await.is_err() {
            return error;
        }
        let why = format!("the key has no version {version}");
        let hint = "is it the same key, not one that was made anew under its name?";
        ask.fault(Fault::NoVersion, why, hint)
    }

    /// Has a version of the key do something; the newest when none is named.
    pub(in crate::crypto) async fn operate(
        &self,
        version: Option<&str>,
        operation: &Operation<'_>,
    ) -> Result<Done, Refusal> {
        let path = self.key.path(version, operation.verb);
        let mut ask = self.ask(operation.purpose, operation.right, path);
        ask.body = Some(body(&Sent {
            alg: operation.algorithm,
            value: Zeroizing::new(text(operation.value)),
            aad: operation.aad.map(text),
            iv: operation.made.map(|(nonce, _)| text(nonce)),
            tag: operation.made.map(|(_, tag)| text(tag)),
        }));
        let came = match self.service.ask::<Came>(&ask).await {
            Ok(came) => came,
            Err(refusal) => {
                let error = self.missing(refusal.error, version).await;
                return Err(Refusal { error, ..refusal });
            }
        };
        let by = self.key.version_in(&came.kid);
        let by = by.filter(|by| version.is_none_or(|version| version.eq_ignore_ascii_case(by)));
        let by =
            by.ok_or_else(|| ask.unexpected("another key than the one that was named did it"))?;
        Ok(Done {
            version: by,
            value: bytes(Some(came.value.as_str())),
            nonce: bytes(came.iv.as_deref()),
            tag: bytes(came.tag.as_deref()),
        })
    }

    /// An answer that does not hold what it should.
    pub(in crate::crypto) fn unexpected(
        &self,
        operation: &Operation<'_>,
        why: &str,
    ) -> ServiceError {
        self.ask(operation.purpose, operation.right, String::new()).unexpected(why)
    }

    /// As whom Azure knows us.
    pub(in crate::crypto) async fn access(&self) -> Result<Access, ServiceError> {
        self.service.access(&self.name).await
    }

    /// How the last connection to the vault was protected.
    pub(in crate::crypto) fn connection(&self, to: Peer) -> Connection {
        self.service.connection(to)
    }
}
