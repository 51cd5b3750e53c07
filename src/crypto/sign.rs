//! Ed25519 (RFC 8032): the key of a run, and verifying.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::CryptoError;

/// Length of an Ed25519 public key.
pub const PUBLIC_KEY_BYTES: usize = 32;
/// Length of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// The signing key of one run: made when it begins, gone when it ends.
#[derive(Debug)]
pub struct RunKey(Ed25519KeyPair);

impl RunKey {
    /// A fresh key.
    ///
    /// # Errors
    /// When the library has no random bytes.
    pub fn generate() -> Result<Self, CryptoError> {
        Ed25519KeyPair::generate().map(Self).map_err(|_| CryptoError::Library("make a signing key"))
    }

    /// The key with this seed.
    ///
    /// # Errors
    /// When the seed has another length than 32 bytes.
    pub fn from_seed(seed: &[u8]) -> Result<Self, CryptoError> {
        Ed25519KeyPair::from_seed_unchecked(seed)
            .map(Self)
            .map_err(|_| CryptoError::Library("read a signing key"))
    }

    /// Its public half.
    #[must_use]
    pub fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES] {
        let mut out = [0; PUBLIC_KEY_BYTES];
        out.copy_from_slice(self.0.public_key().as_ref());
        out
    }

    /// Signs a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut out = [0; SIGNATURE_BYTES];
        out.copy_from_slice(self.0.sign(message).as_ref());
        out
    }
}

/// Verifies a signature.
///
/// # Errors
/// When it is not one of this key over this message.
pub fn verify(
    public_key: &[u8; PUBLIC_KEY_BYTES],
    message: &[u8],
    signature: &[u8],
) -> Result<(), CryptoError> {
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(message, signature)
        .map_err(|_| CryptoError::BadSignature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_key_over_one_message() {
        let (key, other) = (RunKey::generate().unwrap(), RunKey::generate().unwrap());
        let signature = key.sign(b"message");
        assert!(verify(&key.public_key(), b"message", &signature).is_ok());
        assert!(verify(&key.public_key(), b"massage", &signature).is_err());
        assert!(verify(&other.public_key(), b"message", &signature).is_err());
        assert!(verify(&key.public_key(), b"message", &signature[..63]).is_err());
    }
}
