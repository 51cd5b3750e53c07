//! Key files on the local disk: one JSON object each, secret ones readable by their owner alone.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::model::Timestamp;

/// What a key file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// A symmetric KEK: wraps and unwraps.
    Symmetric,
    /// An X25519 KEK with its private half: wraps and unwraps.
    X25519,
    /// The public half of an X25519 KEK: wraps, and cannot unwrap.
    X25519Public,
    /// An Ed25519 signer.
    Ed25519Signer,
}

/// A key file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file system said no.
    #[error("{operation} key file {path}: {cause}", path = path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        cause: std::io::Error,
    },
    /// Others may read it.
    #[error("key file {path} may be read by others (mode {mode:04o}): run `chmod 600 {path}`, and consider the key exposed",
        path = path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds something else.
    #[error("key file {path}: {why}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never its contents.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    backstay_key: u64,
    kind: KeyKind,
    id: String,
    created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Zeroizing<String>>,
}

/// A key as it was read from, or will be written to, a file.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// What it is.
    pub kind: KeyKind,
    /// Names the key without telling it: the first 16 bytes of SHA-256 over its kind and public half.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The public half, where there is one.
    pub public: Option<[u8; 32]>,
    secret: Option<Zeroizing<[u8; 32]>>,
}

impl KeyFile {
    /// A key made of these halves.
    #[must_use]
    pub fn new(kind: KeyKind, public: Option<[u8; 32]>, secret: Option<[u8; 32]>) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"backstay/1 key id");
        match (&public, &secret) {
            (Some(public), _) => hash.update(public),
            // The id of a symmetric key is a hash of the key: 32 random bytes cannot be guessed from it.
            (None, Some(secret)) => hash.update(secret),
            (None, None) => {}
        }
        let id = hex::encode(&hash.finalize()[..16]);
        Self { kind, id, created_at: Timestamp::now(), public, secret: secret.map(Zeroizing::new) }
    }

    /// The secret half.
    #[must_use]
    pub fn secret(&self) -> Option<&[u8; 32]> {
        self.secret.as_deref()
    }

    /// The same key without its secret half.
    #[must_use]
    pub fn public_half(&self) -> Self {
        Self { kind: KeyKind::X25519Public, secret: None, ..self.clone() }
    }

    /// Creates the file with mode 0600; an existing file is never touched.
    ///
    /// # Errors
    /// When the file exists, or the folder does not.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyFileError> {
        let io = |cause| KeyFileError::Io { operation: "create", path: path.to_owned(), cause };
        let stored = Stored {
            backstay_key: 1,
            kind: self.kind,
            id: self.id.clone(),
            created_at: self.created_at,
            public: self.public.map(|key| STANDARD.encode(key)),
            secret: self.secret.as_ref().map(|key| Zeroizing::new(STANDARD.encode(**key))),
        };
        let text = serde_json::to_string_pretty(&stored).map_err(|e| io(e.into()))?;
        create_private(path, Zeroizing::new(text + "\n").as_bytes()).map_err(io)
    }

    /// Reads a key file; one with a secret must be readable by its owner alone.
    ///
    /// # Errors
    /// When it cannot be read, others may read it, or it is no key file.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let io = |cause| KeyFileError::Io { operation: "read", path: path.to_owned(), cause };
        let malformed =
            |why: &str| KeyFileError::Malformed { path: path.to_owned(), why: why.to_owned() };
        let file = fs::File::open(path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        let mode = meta.mode() & 0o7777;
        let mut text = Zeroizing::new(String::new());
        file.take(64 << 10).read_to_string(&mut text).map_err(io)?;
        let key = Self::parse(&text).map_err(|why| malformed(&why))?;
        // Kubernetes mounts a Secret as root's, readable by the pod's group alone (fsGroup): there
        // the group is how its reader is let in, and the file cannot be made stricter.
        let by_group = meta.uid() == 0
            && !rustix::process::geteuid().is_root()
            && matches!(mode & 0o077, 0o040);
        if key.secret.is_some() && mode & 0o077 != 0 && !by_group {
            return Err(KeyFileError::Permissions { path: path.to_owned(), mode });
        }
        Ok(key)
    }

    /// Reads the text of a key file.
    ///
    /// # Errors
    /// Why it is none; never with any of its contents.
    pub fn parse(text: &str) -> Result<Self, String> {
        // serde_json's message could quote the text; the line is enough.
        let stored: Stored = serde_json::from_str(text)
            .map_err(|e| format!("it is not a key file of backstay (line {})", e.line()))?;
        if stored.backstay_key != 1 {
            return Err("it was written by a newer backstay".into());
        }
        let half = |text: &str| {
            let bytes = Zeroizing::new(STANDARD.decode(text).unwrap_or_default());
            <[u8; 32]>::try_from(bytes.as_slice())
                .map_err(|_| "a key in it is not 32 bytes of base64".to_owned())
        };
        let public = stored.public.as_deref().map(half).transpose()?;
        let secret = stored.secret.as_ref().map(|text| half(text)).transpose()?;
        let whole = match stored.kind {
            KeyKind::Symmetric => secret.is_some(),
            KeyKind::X25519 | KeyKind::Ed25519Signer => secret.is_some() && public.is_some(),
            KeyKind::X25519Public => secret.is_none() && public.is_some(),
        };
        let key = Self { created_at: stored.created_at, ..Self::new(stored.kind, public, secret) };
        if !whole || key.id != stored.id {
            return Err("its halves, its id and its kind do not belong together".into());
        }
        Ok(key)
    }
}

/// Creates `path` with mode 0600 and these bytes, and sees them to the disk.
pub(super) fn create_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kek");
        let key = KeyFile::new(KeyKind::Symmetric, None, Some([7; 32]));
        key.write_new(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(key.write_new(&path), Err(KeyFileError::Io { .. })));
        assert_eq!(KeyFile::read(&path).unwrap().secret(), Some(&[7; 32]));
    }

    #[test]
    fn looser_permissions_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kek");
        KeyFile::new(KeyKind::Symmetric, None, Some([7; 32])).write_new(&path).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(KeyFile::read(&path), Err(KeyFileError::Permissions { .. })),
                "{mode:o}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(KeyFile::read(&path).is_ok());
    }

    #[test]
    fn an_error_never_tells_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kek");
        let key = KeyFile::new(KeyKind::Symmetric, None, Some([7; 32]));
        key.write_new(&path).unwrap();
        let secret = STANDARD.encode([7; 32]);
        let text = fs::read_to_string(&path).unwrap();
        for bad in [
            text.replace("symmetric", "x25519"),
            text.replace("secret", "sekret"),
            text.replace(&secret, &secret[1..]),
        ] {
            fs::write(&path, bad).unwrap();
            let error = KeyFile::read(&path).unwrap_err().to_string();
            assert!(!error.contains(&secret[1..]), "{error}");
        }
        assert!(!format!("{key:?}").contains(", 7"), "{key:?}");
    }
}
