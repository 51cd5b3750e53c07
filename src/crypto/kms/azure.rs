//! `azure-kv:https://<vault>/keys/<name>[/<version>]`: a KEK in Azure Key Vault or a Managed HSM.
//!
//! * `azure-kv-rsa-oaep-256`: RSA binds nothing, so a key of its own is made for each DEK, which
//!   the vault wraps, and which seals the DEK with the context as associated data.
//! * `azure-kv-a256gcm`: a symmetric key of a Managed HSM, which takes the context itself.
//!
//! Should a vault wrap with a key that is disabled, nothing would open what it has wrapped. So the
//! key is looked at before, where that is allowed.

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::{
    KeyContext, Kms, KmsError,
    sealed::{self, SEALED_BYTES},
};
use crate::{
    crypto::{
        CryptoError, Dek,
        azure::{AzureKey, AzureOptions, Done, Facts, Operation, Vault, is_version},
        random,
        rest::Refusal,
    },
    model::{Access, Connection, Peer, WrappedDek},
};

/// The names of these kinds of wraps in key records.
const RSA: &str = "azure-kv-rsa-oaep-256";
const GCM: &str = "azure-kv-a256gcm";
/// The shortest RSA key there is, in bytes.
const SHORTEST_RSA: usize = 256;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// A KEK in a vault.
#[derive(Debug)]
pub struct AzureKms(Vault);

impl AzureKms {
    /// The KEK of this URL; nothing is asked yet.
    ///
    /// # Errors
    /// When that is no URL of a key, or the settings cannot be used.
    pub fn open(key: &str, options: &AzureOptions) -> Result<Self, KmsError> {
        let key = AzureKey::parse(key).ok_or_else(|| KmsError::Uri(format!("azure-kv:{key}")))?;
        Ok(Self(Vault::open(key, options)?))
    }

    fn refused(&self) -> KmsError {
        KmsError::Refused { kek: self.0.name().to_owned() }
    }

    fn wrapped(&self, version: String, algorithm: &str, ciphertext: Vec<u8>) -> WrappedDek {
        WrappedDek {
            kek: self.0.name().to_owned(),
            kek_version: Some(version),
            algorithm: algorithm.into(),
            ciphertext,
        }
    }

    async fn wrap_by_rsa(
        &self,
        facts: &Facts,
        context: &[u8],
        dek: &Dek,
    ) -> Result<WrappedDek, KmsError> {
        let between = Zeroizing::new(random::<32>()?);
        let operation = Operation {
            purpose: "wrap a DEK",
            verb: "wrapkey",
            right: "keys/wrap/action",
            algorithm: "RSA-OAEP-256",
            value: between.as_slice(),
            ..Operation::default()
        };
        let done = self.0.operate(facts.version.as_deref(), &operation).await;
        let Done { version, value, .. } = done.map_err(|refusal| refusal.error)?;
        if value.len() < SHORTEST_RSA {
            return Err(self.0.unexpected(&operation, "it wrapped nothing").into());
        }
        let sealed = sealed::seal(&between, &value, context, dek)
            .ok_or(CryptoError::Library("wrap a key"))?;
        Ok(self.wrapped(version, RSA, [value.as_slice(), &sealed].concat()))
    }

    async fn wrap_by_gcm(
        &self,
        facts: &Facts,
        context: &[u8],
        dek: &Dek,
    ) -> Result<WrappedDek, KmsError> {
        let operation = Operation {
            purpose: "wrap a DEK",
            verb: "encrypt",
            right: "keys/encrypt/action",
            algorithm: "A256GCM",
            value: dek.expose(),
            aad: Some(context),
            made: None,
        };
        let done = self.0.operate(facts.version.as_deref(), &operation).await;
        let Done { version, value, nonce, tag } = done.map_err(|refusal| refusal.error)?;
        if (nonce.len(), value.len(), tag.len()) != (NONCE_BYTES, 32, TAG_BYTES) {
            return Err(self.0.unexpected(&operation, "it lacks the nonce or the tag").into());
        }
        let ciphertext = [nonce.as_slice(), &value, &tag].concat();
        Ok(self.wrapped(version, GCM, ciphertext))
    }

    /// What a version of the key makes of this.
    async fn opened(
        &self,
        version: &str,
        operation: &Operation<'_>,
    ) -> Result<Zeroizing<[u8; 32]>, KmsError> {
        match self.0.operate(Some(version), operation).await {
            Ok(Done { value, .. }) => <[u8; 32]>::try_from(value.as_slice())
                .map(Zeroizing::new)
                .map_err(|_| self.refused()),
            Err(refusal) if refusal.forged => Err(self.refused()),
            Err(Refusal { error, lacks_right: true, .. }) => {
                Err(KmsError::WrapOnly { kek: self.0.name().to_owned(), why: error.to_string() })
            }
            Err(refusal) => Err(refusal.error.into()),
        }
    }
}

#[async_trait]
impl Kms for AzureKms {
    fn name(&self) -> &str {
        self.0.name()
    }

    async fn wrap(&self, context: &KeyContext, dek: &Dek) -> Result<WrappedDek, KmsError> {
        let (facts, context) = (self.0.look().await?, context.bytes());
        if facts.is_symmetric {
            self.wrap_by_gcm(&facts, &context, dek).await
        } else {
            self.wrap_by_rsa(&facts, &context, dek).await
        }
    }

    async fn unwrap(&self, context: &KeyContext, wrapped: &WrappedDek) -> Result<Dek, KmsError> {
        // The version that wrapped is the one that opens; the newest one would not.
        let version = wrapped.kek_version.as_deref().filter(|version| is_version(version));
        let version = version.ok_or_else(|| self.refused())?;
        let (bytes, context) = (wrapped.ciphertext.as_slice(), context.bytes());
        let at = bytes.len().saturating_sub(SEALED_BYTES);
        let (before, sealed) = bytes.split_at(at);
        match wrapped.algorithm.as_str() {
            GCM if at == NONCE_BYTES => {
                let (value, tag) = sealed.split_at(SEALED_BYTES - TAG_BYTES);
                let operation = Operation {
                    purpose: "unwrap a DEK",
                    verb: "decrypt",
                    right: "keys/decrypt/action",
                    algorithm: "A256GCM",
                    value,
                    aad: Some(&context),
                    made: Some((before, tag)),
                };
                let dek = self.opened(version, &operation).await?;
                Ok(Dek::from_bytes(*dek))
            }
            RSA if at >= SHORTEST_RSA => {
                let operation = Operation {
                    purpose: "unwrap a DEK",
                    verb: "unwrapkey",
                    right: "keys/unwrap/action",
                    algorithm: "RSA-OAEP-256",
                    value: before,
                    ..Operation::default()
                };
                let between = self.opened(version, &operation).await?;
                sealed::open(&between, before, &context, sealed).ok_or_else(|| self.refused())
            }
            _ => Err(self.refused()),
        }
    }

    async fn access(&self) -> Result<Access, KmsError> {
        Ok(self.0.access().await?)
    }

    fn connection(&self) -> Connection {
        self.0.connection(Peer::Kms)
    }
}
