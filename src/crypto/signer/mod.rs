//! The signer port: who vouches for a run's public key. A right apart from every KEK's.

pub mod aws;
pub mod file;
pub mod gcp;
mod trust;
pub mod vault;

use async_trait::async_trait;

pub use trust::{Trust, TrustError};

use super::{
    CryptoError, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, keyfile::KeyFileError, service::ServiceError,
};
use crate::model::{Connection, Peer, TransportSecurity};

/// What comes before the key in the DER form of an Ed25519 public key (RFC 8410).
const DER: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A failed call to a signer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    /// The key file is wrong.
    #[error("{0}")]
    KeyFile(#[from] KeyFileError),
    /// The URI names no signer.
    #[error(
        "`{0}` is not a signer: write file:/PATH, vault:MOUNT/KEY, aws-kms:ARN or \
         gcp-kms:projects/…/cryptoKeys/KEY/cryptoKeyVersions/N"
    )]
    Uri(String),
    /// Readers would not believe what it signs.
    #[error(
        "the trust file does not believe signer {signer} for a run of role {role}: nobody would believe \
         what this run writes; give the --trust file that names it, or another --signer"
    )]
    Untrusted {
        /// The signer.
        signer: String,
        /// The role.
        role: &'static str,
    },
    /// The key service did not do it; its fault says whether asking again may help.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A primitive failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// Something that signs; remote ones may be slow and limited in rate.
#[async_trait]
pub trait Signer: Send + Sync + std::fmt::Debug {
    /// The signer's id, as it stands in envelopes and trust files.
    fn id(&self) -> &str;

    /// Its Ed25519 public key.
    fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES];

    /// Signs a message with Ed25519.
    async fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignerError>;

    /// How the last connection was protected; `Unknown` before there was one.
    fn connection(&self) -> Connection {
        Connection::new(Peer::Signer, TransportSecurity::Unknown)
    }
}
