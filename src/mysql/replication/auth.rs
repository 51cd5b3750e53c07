//! Proving who we are: the answers of each authentication plugin (MySQL internals,
//! "Authentication Method"; MariaDB documentation, "Connection").

use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A method that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plugin {
    Native,
    CachingSha2,
    Ed25519,
}

impl Plugin {
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"mysql_native_password" => Some(Self::Native),
            b"caching_sha2_password" => Some(Self::CachingSha2),
            b"client_ed25519" => Some(Self::Ed25519),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
            Self::Ed25519 => "client_ed25519",
        }
    }

    /// The first answer: a proof that does not give the password away. Empty without a password.
    pub(super) fn answer(self, password: Option<&SecretString>, nonce: &[u8]) -> Vec<u8> {
        let password = password.map_or("", |p| p.expose_secret()).as_bytes();
        if password.is_empty() && self != Self::Ed25519 {
            return Vec::new();
        }
        match self {
            Self::Native => mysql_common::scramble::scramble_native(nonce, password)
                .map(Vec::from)
                .unwrap_or_default(),
            Self::CachingSha2 => sha2_proof(password, nonce),
            Self::Ed25519 => {
                mysql_common::scramble::create_response_for_ed25519(password, nonce).to_vec()
            }
        }
    }
}

/// SHA-256(password) xor SHA-256(SHA-256(SHA-256(password)) ‖ nonce).
fn sha2_proof(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let once = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(password)));
    let twice = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(once.as_slice())));
    let mask = Sha256::new().chain_update(twice.as_slice()).chain_update(nonce).finalize();
    once.iter().zip(mask).map(|(a, b)| a ^ b).collect()
}

/// The password as it is, for connections that nobody can listen to.
pub(super) fn in_clear(password: Option<&SecretString>) -> Zeroizing<Vec<u8>> {
    let password = password.map_or("", |p| p.expose_secret()).as_bytes();
    let mut clear = Zeroizing::new(Vec::with_capacity(password.len() + 1));
    clear.extend_from_slice(password);
    clear.push(0);
    clear
}

/// The password for the holder of the server's RSA key (PEM) alone, for connections in plain.
/// Nothing when the key is none, or too short for the password.
pub(super) fn for_key(
    password: Option<&SecretString>,
    nonce: &[u8],
    key: &[u8],
) -> Option<Vec<u8>> {
    let mut masked = in_clear(password);
    for (byte, mask) in masked.iter_mut().zip(nonce.iter().cycle()) {
        *byte ^= mask;
    }
    let der = SubjectPublicKeyInfoDer::from_pem_slice(key).ok()?;
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&der).ok()?).ok()?;
    let mut sealed = vec![0; key.ciphertext_size()];
    let sealed = key.encrypt(&OAEP_SHA1_MGF1SHA1, &masked, &mut sealed, None).ok()?;
    Some(sealed.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_no_proof() {
        for plugin in [Plugin::Native, Plugin::CachingSha2] {
            assert!(plugin.answer(None, &[7; 20]).is_empty());
            assert!(plugin.answer(Some(&String::new().into()), &[7; 20]).is_empty());
        }
    }

    #[test]
    fn a_key_that_is_none_takes_no_password() {
        let password = SecretString::from("p".to_owned());
        assert!(for_key(Some(&password), &[1; 20], b"not a key").is_none());
        let pem = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        assert!(for_key(Some(&password), &[1; 20], pem).is_none());
    }
}
