//! AES-256-GCM over chunks and over the index.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::{CryptoError, ObjectKeys};

/// Bytes of a tag.
const TAG: usize = 16;

/// The library's AES-256-GCM with one key. It wipes the key when dropped.
struct Cipher(Option<LessSafeKey>);

impl Cipher {
    fn new(key: &[u8; 32]) -> Self {
        // None never happens: the key has the length that the algorithm wants.
        Self(UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new))
    }

    fn key(&self) -> Result<&LessSafeKey, CryptoError> {
        self.0.as_ref().ok_or(CryptoError::Library("use AES-256-GCM"))
    }

    /// Encrypts in place and appends the tag.
    fn seal(&self, nonce: [u8; 12], aad: &[u8], bytes: &mut Vec<u8>) -> Result<(), CryptoError> {
        self.key()?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), bytes)
            .map_err(|_| CryptoError::Library("encrypt"))
    }

    /// Verifies `sealed` and decrypts it into `plain`, which is empty when the tag is wrong.
    fn open(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        sealed: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<bool, CryptoError> {
        let key = self.key()?;
        let opened = sealed.len().checked_sub(TAG).is_some_and(|body| {
            let (body, tag) = sealed.split_at(body);
            // What is there is written over, so that nothing is cleared first and nothing copied.
            plain.resize(body.len(), 0);
            let nonce = Nonce::assume_unique_for_key(nonce);
            key.open_separate_gather(nonce, Aad::from(aad), body, tag, plain).is_ok()
        });
        if !opened {
            plain.clear();
        }
        Ok(opened)
    }
}

/// Nonce of chunk `counter`: 7 zero bytes, the counter (big-endian), 1 for the last chunk
/// (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015).
fn nonce(counter: u32, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[7..11].copy_from_slice(&counter.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce
}

/// Seals the chunks of one object; each counter is to be used once.
pub struct ChunkSealer(Cipher);

impl std::fmt::Debug for ChunkSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChunkSealer(…)")
    }
}

impl ChunkSealer {
    /// A sealer with an object's body key.
    #[must_use]
    pub fn new(keys: &ObjectKeys) -> Self {
        Self(Cipher::new(&keys.body))
    }

    /// Encrypts `chunk` in place and appends its tag.
    ///
    /// # Errors
    /// When the counter is beyond what an object may have.
    pub fn seal(&self, counter: u32, last: bool, chunk: &mut Vec<u8>) -> Result<(), CryptoError> {
        if counter >= 65_536 {
            return Err(CryptoError::TooManyChunks);
        }
        self.0.seal(nonce(counter, last), &[], chunk)
    }
}

/// Opens the chunks of one object.
pub struct ChunkOpener(Cipher);

impl std::fmt::Debug for ChunkOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChunkOpener(…)")
    }
}

impl ChunkOpener {
    /// An opener with an object's body key.
    #[must_use]
    pub fn new(keys: &ObjectKeys) -> Self {
        Self(Cipher::new(&keys.body))
    }

    /// Verifies `stored`, and decrypts it into `plain`, whose contents are replaced.
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
        if self.0.open(nonce(counter, last), &[], stored, plain)? {
            Ok(())
        } else {
            Err(CryptoError::Forged("a chunk"))
        }
    }
}

/// Seals and opens the index of one object: its key is used once, so its nonce is zero.
pub struct IndexCipher(Cipher);

impl std::fmt::Debug for IndexCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IndexCipher(…)")
    }
}

impl IndexCipher {
    /// A cipher with an object's index key.
    #[must_use]
    pub fn new(keys: &ObjectKeys) -> Self {
        Self(Cipher::new(&keys.index))
    }

    /// Encrypts the index in place and appends its tag.
    ///
    /// # Errors
    /// Never in practice.
    pub fn seal(&self, aad: &[u8], index: &mut Vec<u8>) -> Result<(), CryptoError> {
        self.0.seal([0; 12], aad, index)
    }

    /// Verifies and decrypts an index.
    ///
    /// # Errors
    /// When the tag does not verify.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut index = Vec::new();
        if self.0.open([0; 12], aad, sealed, &mut index)? {
            Ok(index)
        } else {
            Err(CryptoError::Forged("the index"))
        }
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
    fn less_than_a_tag_is_refused() {
        let (_, opener) = pair();
        for length in [0, 1, 15] {
            let mut plain = b"old".to_vec();
            assert!(opener.open(0, true, &vec![0; length], &mut plain).is_err());
            assert!(plain.is_empty());
        }
    }

    #[test]
    fn another_implementation_agrees() {
        use aes_gcm::{Aes256Gcm, KeyInit, aead::AeadInOut};
        let keys = ObjectKeys::derive(&Dek::from_bytes([1; 32]), &[2; 32], b"h");
        let mut ours = b"plaintext".to_vec();
        let mut theirs = ours.clone();
        ChunkSealer::new(&keys).seal(7, true, &mut ours).unwrap();
        let cipher = Aes256Gcm::new(&keys.body.into());
        cipher.encrypt_in_place(&nonce(7, true).into(), &[], &mut theirs).unwrap();
        assert_eq!(ours, theirs);
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
