//! `gcp-kms:projects/…/cryptoKeys/<key>`: a symmetric KEK in Google's Cloud KMS.
//!
//! The context is the additional authenticated data. The service wraps with the key's primary
//! version, which is recorded; which version opens a wrap it reads out of the wrap.

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{KeyContext, Kms, KmsError};
use crate::{
    crypto::{
        Dek,
        bearer::Bearer,
        gcp::{self, GCP, GcpKey, GcpOptions},
        rest::{Ask, body},
    },
    model::{Access, Connection, Peer, WrappedDek},
};

/// The name of this kind of wrap in key records.
const ALGORITHM: &str = "gcp-kms";

/// A KEK in Cloud KMS.
#[derive(Debug)]
pub struct GcpKms {
    name: String,
    key: GcpKey,
    service: Bearer,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Encrypt {
    plaintext: Zeroizing<String>,
    plaintext_crc32c: String,
    additional_authenticated_data: String,
    additional_authenticated_data_crc32c: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Encrypted {
    name: String,
    ciphertext: String,
    ciphertext_crc32c: String,
    #[serde(default)]
    verified_plaintext_crc32c: bool,
    #[serde(default)]
    verified_additional_authenticated_data_crc32c: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Decrypt {
    ciphertext: String,
    ciphertext_crc32c: String,
    additional_authenticated_data: String,
    additional_authenticated_data_crc32c: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Decrypted {
    plaintext: Zeroizing<String>,
    plaintext_crc32c: String,
}

impl GcpKms {
    /// The KEK of this name; nothing is asked yet.
    ///
    /// # Errors
    /// When that is no name, or the settings cannot be used.
    pub fn open(key: &str, options: &GcpOptions) -> Result<Self, KmsError> {
        // The version that wraps is the key's own choice.
        let key = GcpKey::parse(key)
            .filter(|key| key.version.is_none())
            .ok_or_else(|| KmsError::Uri(format!("gcp-kms:{key}")))?;
        let name = key.to_string();
        let service = gcp::open(options, &name)?;
        Ok(Self { name, key, service })
    }

    fn refused(&self) -> KmsError {
        KmsError::Refused { kek: self.name.clone() }
    }
}

#[async_trait]
impl Kms for GcpKms {
    fn name(&self) -> &str {
        &self.name
    }

    async fn wrap(&self, context: &KeyContext, dek: &Dek) -> Result<WrappedDek, KmsError> {
        let aad = context.bytes();
        let ask = Ask {
            service: &GCP,
            operation: "wrap a DEK",
            key: &self.name,
            right: "cloudkms.cryptoKeyVersions.useToEncrypt",
            path: self.key.path(":encrypt"),
            body: Some(body(&Encrypt {
                plaintext: Zeroizing::new(STANDARD.encode(dek.expose())),
                plaintext_crc32c: gcp::crc32c(dek.expose()),
                additional_authenticated_data_crc32c: gcp::crc32c(&aad),
                additional_authenticated_data: STANDARD.encode(aad),
            })),
        };
        let wrapped = self.service.ask_and(&ask, |answer| {
            let made: Encrypted = ask.read(answer)?;
            // What was changed on its way there would open in no context, or to another key.
            if !made.verified_plaintext_crc32c
                || !made.verified_additional_authenticated_data_crc32c
            {
                let why = "the service did not verify the checksums of what it was sent";
                return Err(gcp::corrupted(&ask, why).into());
            }
            let ciphertext = gcp::checked(&ask, &made.ciphertext, &made.ciphertext_crc32c)?;
            let version = self.key.version_in(&made.name).ok_or_else(|| {
                ask.unexpected("another key than the one that was named wrapped it")
            })?;
            Ok(WrappedDek {
                kek: self.name.clone(),
                kek_version: Some(version),
                algorithm: ALGORITHM.into(),
                ciphertext: ciphertext.to_vec(),
            })
        });
        wrapped.await.map_err(|refusal| refusal.error.into())
    }

    async fn unwrap(&self, context: &KeyContext, wrapped: &WrappedDek) -> Result<Dek, KmsError> {
        if wrapped.algorithm != ALGORITHM || wrapped.ciphertext.is_empty() {
            return Err(self.refused());
        }
        let aad = context.bytes();
        let ask = Ask {
            service: &GCP,
            operation: "unwrap a DEK",
            key: &self.name,
            right: "cloudkms.cryptoKeyVersions.useToDecrypt",
            path: self.key.path(":decrypt"),
            body: Some(body(&Decrypt {
                ciphertext: STANDARD.encode(&wrapped.ciphertext),
                ciphertext_crc32c: gcp::crc32c(&wrapped.ciphertext),
                additional_authenticated_data_crc32c: gcp::crc32c(&aad),
                additional_authenticated_data: STANDARD.encode(aad),
            })),
        };
        let opened = self.service.ask_and(&ask, |answer| {
            let opened: Decrypted = ask.read(answer)?;
            gcp::checked(&ask, &opened.plaintext, &opened.plaintext_crc32c)
        });
        match opened.await {
            Ok(plain) => <[u8; 32]>::try_from(plain.as_slice())
                .map(Dek::from_bytes)
                .map_err(|_| self.refused()),
            Err(refusal) if refusal.forged => Err(self.refused()),
            Err(refusal) if refusal.lacks_right => {
                Err(KmsError::WrapOnly { kek: self.name.clone(), why: refusal.error.to_string() })
            }
            Err(refusal) => Err(refusal.error.into()),
        }
    }

    async fn access(&self) -> Result<Access, KmsError> {
        Ok(self.service.access(&self.name).await?)
    }

    fn connection(&self) -> Connection {
        self.service.connection(Peer::Kms)
    }
}
