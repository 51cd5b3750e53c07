//! AES-256-GCM over chunks and over the index.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{AeadInOut, Nonce},
};

use super::{CryptoError, ObjectKeys};

/// Nonce of chunk `counter`: 7 zero bytes, the counter (big-endian), 1 for the last chunk
/// (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015).
fn nonce(counter: u32, last: bool) -> Nonce<Aes256Gcm> {
    let mut nonce = [0; 12];
    nonce[7..11].copy_from_slice(&counter.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce.into()
}

/// Seals the chunks of one object; each counter is to be used once.
pub struct ChunkSealer(Aes256Gcm);

impl std::fmt::Debug for ChunkSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChunkSealer(…)")
    }
}

impl ChunkSealer {
    /// A sealer with an object's body key.
    #[must_use]
    pub fn new(keys: &ObjectKeys) -> Self {
        Self(Aes256Gcm::new(&keys.body.into()))
    }

    /// Encrypts `chunk` in place and appends its tag.
    ///
    /// # Errors
    /// When the counter is beyond what an object may have.
    pub fn seal(&self, counter: u32, last: bool, chunk: &mut Vec<u8>) -> Result<(), CryptoError> {
        if counter >= 65_536 {
            return Err(CryptoError::TooManyChunks);
        }
        self.0
            .encrypt_in_place(&nonce(counter, last), &[], chunk)
            .map_err(|_| CryptoError::Library("encrypt a chunk"))
    }
}

/// Opens the chunks of one object.
pub struct ChunkOpener(Aes256Gcm);

impl std::fmt::Debug for ChunkOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChunkOpener(…)")
    }
}

impl ChunkOpener {
    /// An opener with an object's body key.
    #[must_use]
    pub fn new(keys: &ObjectKeys) -> Self {
        Self(Aes256Gcm::new(&keys.body.into()))
    }

    /// Verifies `stored`, then decrypts it into `plain`, whose contents are replaced.
    ///
    /// # Errors
    /// When the tag does not verify; `plain` is then empty.
    pub fn open(
        &self,
        counter: u32,
        last: bool,
        stored: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), CryptoError> {
        plain.clear();
        plain.extend_from_slice(stored);
        self.0.decrypt_in_place(&nonce(counter, last), &[], plain).map_err(|_| {
            plain.clear();
            CryptoError::Forged("a chunk")
        })
    }
}

/// Seals and opens the index of one object: its key is used once, so its nonce is zero.
pub struct IndexCipher(Aes256Gcm);

impl std::fmt::Debug for IndexCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IndexCipher(…)")
    }
}

impl IndexCipher {
    /// A cipher with an object's index key.
    #[must_use]
    pub fn new(keys: &ObjectKeys) -> Self {
        Self(Aes256Gcm::new(&keys.index.into()))
    }

    /// Encrypts the index in place and appends its tag.
    ///
    /// # Errors
    /// Never in practice.
    pub fn seal(&self, aad: &[u8], index: &mut Vec<u8>) -> Result<(), CryptoError> {
        self.0
            .encrypt_in_place(&Nonce::<Aes256Gcm>::default(), aad, index)
            .map_err(|_| CryptoError::Library("encrypt an index"))
    }

    /// Verifies and decrypts an index.
    ///
    /// # Errors
    /// When the tag does not verify.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut index = sealed.to_vec();
        self.0
            .decrypt_in_place(&Nonce::<Aes256Gcm>::default(), aad, &mut index)
            .map_err(|_| CryptoError::Forged("the index"))?;
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Dek;
    use super::*;

    fn pair() -> (ChunkSealer, ChunkOpener) {
        let keys = ObjectKeys::derive(&Dek::from_bytes([1; 32]), &[2; 32], b"h");
        (ChunkSealer::new(&keys), ChunkOpener::new(&keys))
    }

    #[test]
    fn a_chunk_opens_in_its_place_only() {
        let (sealer, opener) = pair();
        let mut chunk = b"plaintext".to_vec();
        sealer.seal(5, false, &mut chunk).unwrap();
        let mut plain = b"old".to_vec();
        opener.open(5, false, &chunk, &mut plain).unwrap();
        assert_eq!(plain, b"plaintext");
        for (counter, last) in [(4, false), (5, true), (6, false)] {
            assert!(opener.open(counter, last, &chunk, &mut plain).is_err());
            assert!(plain.is_empty(), "nothing of a bad chunk is released");
        }
    }

    #[test]
    fn counters_end() {
        let (sealer, _) = pair();
        assert_eq!(sealer.seal(65_536, true, &mut vec![]), Err(CryptoError::TooManyChunks));
    }

    #[test]
    fn an_index_is_bound_to_its_associated_data() {
        let keys = ObjectKeys::derive(&Dek::from_bytes([1; 32]), &[2; 32], b"h");
        let cipher = IndexCipher::new(&keys);
        let mut index = vec![3; 24];
        cipher.seal(b"aad", &mut index).unwrap();
        assert_eq!(cipher.open(b"aad", &index), Ok(vec![3; 24]));
        assert!(cipher.open(b"aab", &index).is_err());
    }
}
