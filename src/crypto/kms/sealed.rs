//! A DEK, sealed under a key that is used for nothing else, and bound to its context.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{AeadInOut, Nonce},
};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::crypto::Dek;

/// What keys are derived for.
pub(super) const INFO: &[u8] = b"backstay/1 wrap";
/// A sealed DEK and its tag.
pub(super) const SEALED_BYTES: usize = 32 + 16;

/// `HKDF-SHA256(secret, salt, "backstay/1 wrap")`. With a salt that is never used twice the key
/// seals one DEK alone, and so its nonce may be zero.
fn cipher(secret: &[u8; 32], salt: &[u8]) -> Option<Aes256Gcm> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), secret).expand(INFO, key.as_mut()).ok()?;
    Some(Aes256Gcm::new(&(*key).into()))
}

/// Seals a DEK, with the context as associated data.
pub(super) fn seal(secret: &[u8; 32], salt: &[u8], context: &[u8], dek: &Dek) -> Option<Vec<u8>> {
    // Room for the tag, so that the key is not left behind where it has grown.
    let mut sealed = Zeroizing::new(Vec::with_capacity(SEALED_BYTES));
    sealed.extend_from_slice(dek.expose());
    let nonce = Nonce::<Aes256Gcm>::default();
    cipher(secret, salt)?.encrypt_in_place(&nonce, context, &mut *sealed).ok()?;
    Some(std::mem::take(&mut *sealed))
}

/// Opens what [`seal`] has made.
pub(super) fn open(secret: &[u8; 32], salt: &[u8], context: &[u8], sealed: &[u8]) -> Option<Dek> {
    let mut plain = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::<Aes256Gcm>::default();
    cipher(secret, salt)?.decrypt_in_place(&nonce, context, &mut *plain).ok()?;
    <[u8; 32]>::try_from(plain.as_slice()).ok().map(Dek::from_bytes)
}
