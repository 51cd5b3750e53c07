//! The KMS port: what a key encryption key can be asked to do.
//!
//! Calls are asynchronous and may be remote, slow and limited in rate. Writers call
//! [`Kms::generate`] or [`Kms::wrap`] alone, so an identity without the right to unwrap
//! can do every backup.

pub mod aws;
pub mod azure;
pub mod file;
pub mod gcp;
mod sealed;
pub mod vault;

use async_trait::async_trait;

use super::{CryptoError, Dek, keyfile::KeyFileError, service::ServiceError};
use crate::model::{
    Access, AccessKind, ClusterUuid, Connection, DekId, Peer, TransportSecurity, WrappedDek,
};

/// What a wrapped key is bound to: a wrap made for one context does not open in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyContext {
    /// The cluster.
    pub cluster: ClusterUuid,
    /// The DEK's id.
    pub dek: DekId,
    /// What the DEK is for.
    pub purpose: &'static str,
}

impl KeyContext {
    /// The context as pairs, in the order in which every provider binds them.
    #[must_use]
    pub fn pairs(&self) -> [(&'static str, String); 3] {
        [
            ("backstay:cluster", self.cluster.to_string()),
            ("backstay:dek", self.dek.to_string()),
            ("backstay:purpose", self.purpose.to_owned()),
        ]
    }

    /// The context as bytes: `name=value` lines, for providers that bind a byte string.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.pairs()
            .iter()
            .flat_map(|(name, value)| format!("{name}={value}\n").into_bytes())
            .collect()
    }
}

/// A failed call to a KMS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KmsError {
    /// The URI or the key file is wrong.
    #[error("{0}")]
    KeyFile(#[from] KeyFileError),
    /// The URI names no provider.
    #[error(
        "`{0}` is not a KEK: write file:/PATH, vault:MOUNT/KEY, aws-kms:ARN, gcp-kms:projects/…/cryptoKeys/KEY \
         or azure-kv:https://VAULT/keys/KEY"
    )]
    Uri(String),
    /// This identity may wrap and not unwrap.
    #[error("KEK {kek} cannot unwrap: {why}")]
    WrapOnly {
        /// The KEK.
        kek: String,
        /// Why, and what to give instead.
        why: String,
    },
    /// No wrap of this record was made with this KEK.
    #[error("the key record has no wrap for KEK {kek}; it was wrapped by {found}")]
    OtherKek {
        /// The KEK at hand.
        kek: String,
        /// The KEKs of the record.
        found: String,
    },
    /// The KEK does not open this wrap: changed, or made for another context.
    #[error(
        "KEK {kek} does not open the wrapped key: it was changed, or wrapped for another DEK or cluster"
    )]
    Refused {
        /// The KEK.
        kek: String,
    },
    /// The key service did not do it; its fault says whether asking again may help.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A primitive failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// A key encryption key, wherever it lives.
#[async_trait]
pub trait Kms: Send + Sync + std::fmt::Debug {
    /// The KEK's name, as it stands in key records; never a local path, never a secret.
    fn name(&self) -> &str;

    /// Whether this KEK is the one that made a wrap, by its name.
    fn made(&self, wrapped: &WrappedDek) -> bool {
        wrapped.kek == self.name()
    }

    /// A fresh DEK and its wrap. Providers that can do both in one call override this.
    async fn generate(&self, context: &KeyContext) -> Result<(Dek, WrappedDek), KmsError> {
        let dek = Dek::generate()?;
        let wrapped = self.wrap(context, &dek).await?;
        Ok((dek, wrapped))
    }

    /// Wraps a DEK.
    async fn wrap(&self, context: &KeyContext, dek: &Dek) -> Result<WrappedDek, KmsError>;

    /// Unwraps a DEK that this KEK has wrapped in this context.
    async fn unwrap(&self, context: &KeyContext, wrapped: &WrappedDek) -> Result<Dek, KmsError>;

    /// As whom the service knows us.
    async fn access(&self) -> Result<Access, KmsError> {
        Ok(Access::of(AccessKind::Unknown))
    }

    /// How the last connection was protected; `Unknown` before there was one.
    fn connection(&self) -> Connection {
        Connection::new(Peer::Kms, TransportSecurity::Unknown)
    }
}
