//! `file:/path`: a KEK in a local file, symmetric or X25519.
//!
//! * `hpke-x25519-hkdf-sha256-aes256gcm`: HPKE (RFC 9180) in base mode, suite 0x0020, 0x0001,
//!   0x0002, `info` = `backstay/1 wrap`; the wrap is `enc ‖ ciphertext`.
//! * `aes256gcm-hkdf-sha256`: `salt ‖ ciphertext ‖ tag` under
//!   `HKDF-SHA256(KEK, salt, "backstay/1 wrap")`, with a zero nonce since the key is used once.
//!
//! The context is the associated data of both.

use std::path::Path;

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{AeadInOut, Nonce},
};
use async_trait::async_trait;
use hkdf::Hkdf;
use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256,
    hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey},
};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{KeyContext, Kms, KmsError};
use crate::{
    crypto::{
        CryptoError, Dek,
        keyfile::{KeyFile, KeyKind},
        random,
    },
    model::WrappedDek,
};

const HPKE: &str = "hpke-x25519-hkdf-sha256-aes256gcm";
const SYMMETRIC: &str = "aes256gcm-hkdf-sha256";
const INFO: &[u8] = b"backstay/1 wrap";
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

    fn symmetric(&self, salt: &[u8]) -> Option<Aes256Gcm> {
        let kek = self.key.secret()?;
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(salt), kek).expand(INFO, key.as_mut()).ok()?;
        Some(Aes256Gcm::new(&(*key).into()))
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
                .seal(INFO, &aad, dek.expose(), &HpkePublicKey(public.to_vec()))
                .map_err(|_| CryptoError::Library("wrap a key with HPKE"))?;
            (HPKE, [enc.0, sealed].concat())
        } else {
            let salt: [u8; SALT_BYTES] = random()?;
            let mut sealed = dek.expose().to_vec();
            self.symmetric(&salt)
                .and_then(|kek| {
                    kek.encrypt_in_place(&Nonce::<Aes256Gcm>::default(), &aad, &mut sealed).ok()
                })
                .ok_or(CryptoError::Library("wrap a key"))?;
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
                        INFO,
                        &aad,
                        sealed,
                        &HpkePrivateKey::from(secret.to_vec()),
                    )
                    .map_err(|_| self.refused())?
            }
            SYMMETRIC if self.key.kind == KeyKind::Symmetric => {
                let (salt, sealed) = wrapped
                    .ciphertext
                    .split_at_checked(SALT_BYTES)
                    .ok_or_else(|| self.refused())?;
                let mut plain = sealed.to_vec();
                self.symmetric(salt)
                    .and_then(|kek| {
                        kek.decrypt_in_place(&Nonce::<Aes256Gcm>::default(), &aad, &mut plain).ok()
                    })
                    .ok_or_else(|| self.refused())?;
                plain
            }
            _ => return Err(self.refused()),
        };
        let plain = Zeroizing::new(plain);
        let bytes = <[u8; 32]>::try_from(plain.as_slice()).map_err(|_| self.refused())?;
        Ok(Dek::from_bytes(bytes))
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
