//! Keys and what is done with them: the envelope, sealing and opening, signatures.
//!
//! Nothing here knows what a record looks like or where it is stored.

pub mod aws;
pub mod azure;
mod bearer;
mod dek;
mod error;
pub mod gcp;
pub mod keyfile;
pub mod kms;
mod rest;
mod seal;
mod service;
mod sign;
pub mod signer;
pub mod vault;

pub use dek::{Dek, ObjectKeys};
pub use error::CryptoError;
pub use seal::{ChunkOpener, ChunkSealer, IndexCipher};
pub use service::{Fault, Patience, ServiceError};
pub use sign::{PUBLIC_KEY_BYTES, RunKey, SIGNATURE_BYTES, verify};

/// Fills an array with random bytes of the operating system.
///
/// # Errors
/// When the system has none to give.
pub fn random<const N: usize>() -> Result<[u8; N], CryptoError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| CryptoError::Random(e.to_string()))?;
    Ok(bytes)
}
