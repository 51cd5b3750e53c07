//! The trust file: which signers a reader believes. It never comes from the bucket.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::crypto::{CryptoError, PUBLIC_KEY_BYTES, keyfile, verify};

/// A trust file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{operation} trust file {path}: {why}", path = path.display())]
pub struct TrustError {
    operation: &'static str,
    path: PathBuf,
    why: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    backstay_trust: u64,
    signers: Vec<StoredSigner>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSigner {
    id: String,
    algorithm: String,
    public: String,
}

/// The signers that a reader believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust(Vec<(String, [u8; PUBLIC_KEY_BYTES])>);

impl Trust {
    /// Believes one signer.
    #[must_use]
    pub fn of(id: &str, public: [u8; PUBLIC_KEY_BYTES]) -> Self {
        Self(vec![(id.to_owned(), public)])
    }

    /// Reads a trust file.
    ///
    /// # Errors
    /// When it cannot be read or is malformed.
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        let wrong = |why: String| TrustError { operation: "read", path: path.to_owned(), why };
        let text = fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
        let stored: Stored = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        if stored.backstay_trust != 1 {
            return Err(wrong("it was written by a newer backstay".into()));
        }
        let mut signers = Vec::new();
        for signer in stored.signers {
            let key = STANDARD.decode(&signer.public).ok().and_then(|bytes| bytes.try_into().ok());
            match key {
                Some(key) if signer.algorithm == "ed25519" => signers.push((signer.id, key)),
                _ => return Err(wrong(format!("signer {} has no Ed25519 public key", signer.id))),
            }
        }
        if signers.is_empty() {
            return Err(wrong("it names no signer, so nothing could be believed".into()));
        }
        Ok(Self(signers))
    }

    /// Creates a trust file; an existing one is never touched.
    ///
    /// # Errors
    /// When the file exists, or the folder does not.
    pub fn write_new(&self, path: &Path) -> Result<(), TrustError> {
        let wrong = |why: String| TrustError { operation: "create", path: path.to_owned(), why };
        let signers = self.0.iter().map(|(id, public)| StoredSigner {
            id: id.clone(),
            algorithm: "ed25519".into(),
            public: STANDARD.encode(public),
        });
        let stored = Stored { backstay_trust: 1, signers: signers.collect() };
        let text = serde_json::to_string_pretty(&stored).map_err(|e| wrong(e.to_string()))? + "\n";
        keyfile::create_private(path, text.as_bytes()).map_err(|e| wrong(e.to_string()))
    }

    /// Which of these signers signed the message. The names in envelopes are not believed.
    ///
    /// # Errors
    /// When none did.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<&str, CryptoError> {
        let signer = self.0.iter().find(|(_, key)| verify(key, message, signature).is_ok());
        signer.map(|(id, _)| id.as_str()).ok_or(CryptoError::BadSignature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::RunKey;

    #[test]
    fn trust_is_in_the_listed_keys_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust");
        let (friend, stranger) = (RunKey::generate().unwrap(), RunKey::generate().unwrap());
        Trust::of("friend", friend.public_key()).write_new(&path).unwrap();
        let trust = Trust::read(&path).unwrap();
        assert!(trust.verify(b"m", &friend.sign(b"m")).is_ok());
        assert_eq!(trust.verify(b"m", &stranger.sign(b"m")), Err(CryptoError::BadSignature));
        assert!(trust.write_new(&path).is_err(), "never overwritten");
    }

    #[test]
    fn an_empty_trust_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust");
        fs::write(&path, r#"{"backstay_trust":1,"signers":[]}"#).unwrap();
        assert!(Trust::read(&path).is_err());
    }
}
