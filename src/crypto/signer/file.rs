//! `file:/path`: a signer in a local file.

use std::path::Path;

use async_trait::async_trait;

use super::{Signer, SignerError};
use crate::{
    crypto::{
        CryptoError, PUBLIC_KEY_BYTES, RunKey, SIGNATURE_BYTES,
        keyfile::{KeyFile, KeyKind},
        random,
    },
    model::{Connection, Peer, TransportSecurity},
};

/// A signer in a file.
#[derive(Debug)]
pub struct FileSigner {
    id: String,
    key: RunKey,
}

impl FileSigner {
    /// Reads the signer in `path`.
    ///
    /// # Errors
    /// When the file is missing, readable by others, or not a signer.
    pub fn open(path: &Path) -> Result<Self, SignerError> {
        let file = KeyFile::read(path)?;
        match (file.kind, file.secret()) {
            (KeyKind::Ed25519Signer, Some(seed)) => {
                let key = RunKey::from_seed(seed)?;
                if Some(key.public_key()) != file.public {
                    return Err(SignerError::Uri(format!(
                        "file:{} (its halves do not match)",
                        path.display()
                    )));
                }
                Ok(Self { id: file.id, key })
            }
            _ => Err(SignerError::Uri(format!(
                "file:{} (a KEK; a signer is needed)",
                path.display()
            ))),
        }
    }

    /// A fresh signer.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn generate() -> Result<KeyFile, CryptoError> {
        let seed: [u8; 32] = random()?;
        let public = RunKey::from_seed(&seed)?.public_key();
        Ok(KeyFile::new(KeyKind::Ed25519Signer, Some(public), Some(seed)))
    }
}

#[async_trait]
impl Signer for FileSigner {
    fn id(&self) -> &str {
        &self.id
    }

    fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES] {
        self.key.public_key()
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignerError> {
        Ok(self.key.sign(message))
    }

    fn connection(&self) -> Connection {
        Connection::new(Peer::Signer, TransportSecurity::Local)
    }
}
