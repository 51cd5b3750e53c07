//! The data encryption key, and the keys of one object that come from it.

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::CryptoError;

/// A data encryption key: 32 random bytes, wiped when dropped, printed never.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Dek([u8; 32]);

impl std::fmt::Debug for Dek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dek(…)")
    }
}

impl Dek {
    /// A fresh key.
    ///
    /// # Errors
    /// When the system has no random bytes to give.
    pub fn generate() -> Result<Self, CryptoError> {
        super::random().map(Self)
    }

    /// The key made of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for wrapping and for nothing else.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Commits to this key: `HKDF-SHA256(DEK, salt = DEK id, "backstay/1 dek commitment")`.
    #[must_use]
    pub fn commitment(&self, dek_id: &[u8; 16]) -> [u8; 32] {
        let mut out = [0; 32];
        expand(&self.0, dek_id, b"backstay/1 dek commitment", &mut out);
        out
    }
}

/// The keys of one sealed object:
/// `body ‖ index ‖ commitment = HKDF-SHA256(DEK, salt, "backstay/1" ‖ SHA-256(header), 96 bytes)`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ObjectKeys {
    pub(super) body: [u8; 32],
    pub(super) index: [u8; 32],
    commitment: [u8; 32],
}

impl std::fmt::Debug for ObjectKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ObjectKeys(…)")
    }
}

impl ObjectKeys {
    /// The keys of the object with this header.
    #[must_use]
    pub fn derive(dek: &Dek, salt: &[u8; 32], header: &[u8]) -> Self {
        let mut info = b"backstay/1".to_vec();
        info.extend_from_slice(&Sha256::digest(header));
        let mut out = [0; 96];
        expand(&dek.0, salt, &info, &mut out);
        let mut keys = Self { body: [0; 32], index: [0; 32], commitment: [0; 32] };
        keys.body.copy_from_slice(&out[..32]);
        keys.index.copy_from_slice(&out[32..64]);
        keys.commitment.copy_from_slice(&out[64..]);
        out.zeroize();
        keys
    }

    /// What follows the header: it commits to the key, since GCM does not.
    #[must_use]
    pub fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    /// Checks a stored commitment, before anything is opened.
    ///
    /// # Errors
    /// When the object was sealed with another DEK or has another header.
    pub fn check(&self, stored: &[u8]) -> Result<(), CryptoError> {
        if bool::from(self.commitment.ct_eq(stored)) { Ok(()) } else { Err(CryptoError::WrongKey) }
    }
}

/// HKDF (RFC 5869) with SHA-256. An output of at most 255 hashes cannot fail, and ours have 3.
fn expand(key: &[u8], salt: &[u8], info: &[u8], out: &mut [u8]) {
    let hkdf = Hkdf::<Sha256>::new(Some(salt), key);
    let done = hkdf.expand(info, out);
    debug_assert!(done.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_depend_on_dek_salt_and_header() {
        let keys = |dek: u8, salt: u8, header: &[u8]| {
            ObjectKeys::derive(&Dek([dek; 32]), &[salt; 32], header)
        };
        let one = keys(1, 2, b"h");
        assert!(one.check(one.commitment()).is_ok());
        for other in [keys(9, 2, b"h"), keys(1, 9, b"h"), keys(1, 2, b"x")] {
            assert_eq!(one.check(other.commitment()), Err(CryptoError::WrongKey));
            assert_ne!(one.body, other.body);
            assert_ne!(one.index, other.index);
        }
        assert_ne!(one.body, one.index);
    }

    #[test]
    fn a_key_is_never_printed() {
        assert_eq!(format!("{:?}", Dek([7; 32])), "Dek(…)");
    }

    #[test]
    fn a_commitment_of_another_length_is_refused() {
        let keys = ObjectKeys::derive(&Dek([1; 32]), &[2; 32], b"h");
        assert_eq!(keys.check(b""), Err(CryptoError::WrongKey));
        assert_eq!(keys.check(&keys.commitment()[..31]), Err(CryptoError::WrongKey));
    }
}
