//! `file:/path`: a KEK in a local file, symmetric or X25519.
//!
//! * `hpke-x25519-hkdf-sha256-aes256gcm`: HPKE (RFC 9180) in base mode, suite 0x0020, 0x0001,
//!   0x0002, `info` = `backstay/1 wrap`; the wrap is `enc ‖ ciphertext`.
//! * `aes256gcm-hkdf-sha256`: `salt ‖ ciphertext ‖ tag` under
//!   `HKDF-SHA256(KEK, salt, "backstay/1 wrap")`, with a zero nonce since the key is used once.
//!
//! The context is the associated data of both.

use std::path::Path;

use async_trait::async_trait;
use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256,
    hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey},
};
use zeroize::Zeroizing;

use super::{KeyContext, Kms, KmsError, sealed};
use crate::{
    crypto::{
        CryptoError, Dek,
        keyfile::{KeyFile, KeyKind},
        random,
    },
    model::{Access, AccessKind, Connection, Peer, TransportSecurity, WrappedDek},
};

const HPKE: &str = "hpke-x25519-hkdf-sha256-aes256gcm";
const SYMMETRIC: &str = "aes256gcm-hkdf-sha256";
const ENC_BYTES: usize = 32;
const SALT_BYTES: usize = 32;

/// A KEK in a file.
#[derive(Debug)]
pub struct FileKms {
    name: String,
    key: KeyFile,
}

impl FileKms {
    /// Reads the KEK in `path`.
    ///
    /// # Errors
    /// When the file is missing, readable by others, or not a KEK.
    pub fn open(path: &Path) -> Result<Self, KmsError> {
        let key = KeyFile::read(path)?;
        if key.kind == KeyKind::Ed25519Signer {
            return Err(KmsError::Uri(format!(
                "file:{} (a signer; a KEK is needed)",
                path.display()
            )));
        }
        Ok(Self { name: format!("file:{}", key.id), key })
    }

    /// A fresh X25519 KEK.
    ///
    /// # Errors
    /// When the library has no random bytes.
    pub fn generate_x25519() -> Result<KeyFile, CryptoError> {
        let failed = || CryptoError::Library("make an X25519 key");
        let (public, secret) =
            DH_KEM_X25519_HKDF_SHA256_AES_256.generate_key_pair().map_err(|_| failed())?;
        let public = public.0.try_into().map_err(|_| failed())?;
        let secret = secret.secret_bytes().try_into().map_err(|_| failed())?;
        Ok(KeyFile::new(KeyKind::X25519, Some(public), Some(secret)))
    }

    /// A fresh symmetric KEK.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn generate_symmetric() -> Result<KeyFile, CryptoError> {
        Ok(KeyFile::new(KeyKind::Symmetric, None, Some(random()?)))
    }

    fn refused(&self) -> KmsError {
        KmsError::Refused { kek: self.name.clone() }
    }
}

#[async_trait]
impl Kms for FileKms {
    fn name(&self) -> &str {
        &self.name
    }

    async fn wrap(&self, context: &KeyContext, dek: &Dek) -> Result<WrappedDek, KmsError> {
        let aad = context.bytes();
        let (algorithm, ciphertext) = if let Some(public) = self.key.public {
            let (enc, sealed) = DH_KEM_X25519_HKDF_SHA256_AES_256
                .seal(sealed::INFO, &aad, dek.expose(), &HpkePublicKey(public.to_vec()))
                .map_err(|_| CryptoError::Library("wrap a key with HPKE"))?;
            (HPKE, [enc.0, sealed].concat())
        } else {
            let salt: [u8; SALT_BYTES] = random()?;
            let kek = self.key.secret();
            let sealed = kek.and_then(|kek| sealed::seal(kek, &salt, &aad, dek));
            let sealed = sealed.ok_or(CryptoError::Library("wrap a key"))?;
            (SYMMETRIC, [salt.as_slice(), &sealed].concat())
        };
        Ok(WrappedDek {
            kek: self.name.clone(),
            kek_version: None,
            algorithm: algorithm.into(),
            ciphertext,
        })
    }

    async fn unwrap(&self, context: &KeyContext, wrapped: &WrappedDek) -> Result<Dek, KmsError> {
        let aad = context.bytes();
        let Some(secret) = self.key.secret() else {
            return Err(KmsError::WrapOnly {
                kek: self.name.clone(),
                why: "this file holds only the public half; give the file with the private half"
                    .into(),
            });
        };
        let plain = match wrapped.algorithm.as_str() {
            HPKE if self.key.kind == KeyKind::X25519 => {
                let (enc, sealed) =
                    wrapped.ciphertext.split_at_checked(ENC_BYTES).ok_or_else(|| self.refused())?;
                DH_KEM_X25519_HKDF_SHA256_AES_256
                    .open(
                        &EncapsulatedSecret(enc.to_vec()),
                        sealed::INFO,
                        &aad,
                        sealed,
                        &HpkePrivateKey::from(secret.to_vec()),
                    )
                    .map_err(|_| self.refused())?
            }
            SYMMETRIC if self.key.kind == KeyKind::Symmetric => {
                let parts = wrapped.ciphertext.split_at_checked(SALT_BYTES);
                let opened =
                    parts.and_then(|(salt, sealed)| sealed::open(secret, salt, &aad, sealed));
                return opened.ok_or_else(|| self.refused());
            }
            _ => return Err(self.refused()),
        };
        let plain = Zeroizing::new(plain);
        let bytes = <[u8; 32]>::try_from(plain.as_slice()).map_err(|_| self.refused())?;
        Ok(Dek::from_bytes(bytes))
    }

    async fn access(&self) -> Result<Access, KmsError> {
        Ok(Access::of(AccessKind::Local))
    }

    fn connection(&self) -> Connection {
        Connection::new(Peer::Kms, TransportSecurity::Local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClusterUuid, DekId};

    fn context(dek: u8) -> KeyContext {
        KeyContext {
            cluster: ClusterUuid::from_bytes([1; 16]),
            dek: DekId::from_bytes([dek; 16]),
            purpose: "backup",
        }
    }

    fn kms(key: &KeyFile) -> FileKms {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kek");
        key.write_new(&path).unwrap();
        FileKms::open(&path).unwrap()
    }

    #[tokio::test]
    async fn both_kinds_unwrap_what_they_wrapped_and_nothing_else() {
        let keys = [FileKms::generate_x25519().unwrap(), FileKms::generate_symmetric().unwrap()];
        for (key, other) in [(&keys[0], &keys[1]), (&keys[1], &keys[0])] {
            let kms = kms(key);
            let (dek, wrapped) = kms.generate(&context(1)).await.unwrap();
            assert_eq!(kms.unwrap(&context(1), &wrapped).await.unwrap().expose(), dek.expose());
            assert!(matches!(
                kms.unwrap(&context(2), &wrapped).await,
                Err(KmsError::Refused { .. })
            ));
            for at in 0..wrapped.ciphertext.len() {
                let mut bad = wrapped.clone();
                bad.ciphertext[at] ^= 1;
                assert!(
                    matches!(kms.unwrap(&context(1), &bad).await, Err(KmsError::Refused { .. })),
                    "byte {at}"
                );
                bad.ciphertext.truncate(at);
                assert!(
                    matches!(kms.unwrap(&context(1), &bad).await, Err(KmsError::Refused { .. })),
                    "cut at {at}"
                );
            }
            let stranger = self::kms(other);
            assert!(matches!(
                stranger.unwrap(&context(1), &wrapped).await,
                Err(KmsError::Refused { .. })
            ));
        }
    }

    #[tokio::test]
    async fn the_public_half_wraps_and_cannot_unwrap() {
        let whole = FileKms::generate_x25519().unwrap();
        let writer = kms(&whole.public_half());
        let (dek, wrapped) = writer.generate(&context(1)).await.unwrap();
        assert!(matches!(
            writer.unwrap(&context(1), &wrapped).await,
            Err(KmsError::WrapOnly { .. })
        ));
        let reader = kms(&whole);
        assert_eq!(reader.name(), writer.name());
        assert_eq!(reader.unwrap(&context(1), &wrapped).await.unwrap().expose(), dek.expose());
    }
}
