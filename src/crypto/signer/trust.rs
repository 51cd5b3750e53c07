//! The trust file: which signers a reader believes. It never comes from the bucket.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::{
    crypto::{CryptoError, PUBLIC_KEY_BYTES, keyfile, verify},
    model::{ClusterName, ClusterUuid},
};

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
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    clusters: BTreeMap<String, ClusterUuid>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSigner {
    id: String,
    algorithm: String,
    public: String,
    /// The roles of runs that it may vouch for; all of them when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Believed {
    id: String,
    public: [u8; PUBLIC_KEY_BYTES],
    roles: Option<Vec<String>>,
}

/// The signers that a reader believes, and which cluster it expects under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    signers: Vec<Believed>,
    clusters: BTreeMap<String, ClusterUuid>,
}

impl Trust {
    /// Believes one signer.
    #[must_use]
    pub fn of(id: &str, public: [u8; PUBLIC_KEY_BYTES]) -> Self {
        let signers = vec![Believed { id: id.to_owned(), public, roles: None }];
        Self { signers, clusters: BTreeMap::new() }
    }

    /// The same, and under this name this cluster and no other: a signer vouches for all its
    /// clusters, so that one could be put in the place of another.
    #[must_use]
    pub fn pinning(mut self, cluster: &ClusterName, uuid: ClusterUuid) -> Self {
        self.clusters.insert(cluster.to_string(), uuid);
        self
    }

    /// The cluster that is expected under a name; nothing when any is.
    #[must_use]
    pub fn pinned(&self, cluster: &ClusterName) -> Option<ClusterUuid> {
        self.clusters.get(cluster.as_str()).copied()
    }

    /// The same, but believes them only when they vouch for runs of these roles. Whoever may sign can
    /// call a run of their own a backup: who only reads is to be believed as a reader alone.
    #[must_use]
    pub fn limited_to(mut self, roles: &[String]) -> Self {
        self.signers.iter_mut().for_each(|signer| signer.roles = Some(roles.to_vec()));
        self
    }

    /// Whether the signer of this name may vouch for a run of this role.
    #[must_use]
    pub fn allows(&self, id: &str, role: &str) -> bool {
        let of = |signer: &&Believed| signer.id == id;
        let roles = self.signers.iter().filter(of).map(|signer| &signer.roles);
        roles.into_iter().any(|roles| roles.as_ref().is_none_or(|r| r.iter().any(|r| r == role)))
    }

    /// The names of the signers.
    pub fn signers(&self) -> impl Iterator<Item = &str> {
        self.signers.iter().map(|signer| signer.id.as_str())
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
                Some(public) if signer.algorithm == "ed25519" => {
                    if signers.iter().any(|known: &Believed| known.id == signer.id) {
                        // Which of the two limits would count?
                        return Err(wrong(format!("it names signer {} twice", signer.id)));
                    }
                    signers.push(Believed { id: signer.id, public, roles: signer.roles });
                }
                _ => return Err(wrong(format!("signer {} has no Ed25519 public key", signer.id))),
            }
        }
        if signers.is_empty() {
            return Err(wrong("it names no signer, so nothing could be believed".into()));
        }
        Ok(Self { signers, clusters: stored.clusters })
    }

    /// Creates a trust file; an existing one is never touched.
    ///
    /// # Errors
    /// When the file exists, or the folder does not.
    pub fn write_new(&self, path: &Path) -> Result<(), TrustError> {
        let wrong = |why: String| TrustError { operation: "create", path: path.to_owned(), why };
        let text = self.text().map_err(wrong)?;
        keyfile::create_private(path, text.as_bytes()).map_err(|e| wrong(e.to_string()))
    }

    /// Writes it in the place of the file that it was read from: whole, or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn write_over(&self, path: &Path) -> Result<(), TrustError> {
        let wrong = |why: String| TrustError { operation: "write", path: path.to_owned(), why };
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let text = self.text().map_err(wrong)?;
        keyfile::create_private(&beside, text.as_bytes()).map_err(|e| wrong(e.to_string()))?;
        fs::rename(&beside, path).map_err(|e| wrong(e.to_string()))
    }

    fn text(&self) -> Result<String, String> {
        let signers = self.signers.iter().map(|signer| StoredSigner {
            id: signer.id.clone(),
            algorithm: "ed25519".into(),
            public: STANDARD.encode(signer.public),
            roles: signer.roles.clone(),
        });
        let clusters = self.clusters.clone();
        let stored = Stored { backstay_trust: 1, signers: signers.collect(), clusters };
        serde_json::to_string_pretty(&stored).map(|text| text + "\n").map_err(|e| e.to_string())
    }

    /// Which of these signers signed the message. The names in envelopes are not believed.
    ///
    /// # Errors
    /// When none did.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<&str, CryptoError> {
        let signer =
            self.signers.iter().find(|one| verify(&one.public, message, signature).is_ok());
        signer.map(|signer| signer.id.as_str()).ok_or(CryptoError::BadSignature)
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
    fn a_pin_is_kept_and_a_bad_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust");
        let (name, other) = ("shop".parse().unwrap(), "bank".parse().unwrap());
        let uuid = ClusterUuid::from_bytes([7; 16]);
        let trust = Trust::of("friend", RunKey::generate().unwrap().public_key());
        trust.write_new(&path).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains("clusters"));
        let pinned = Trust::read(&path).unwrap().pinning(&name, uuid);
        pinned.write_over(&path).unwrap();
        let read = Trust::read(&path).unwrap();
        assert_eq!((&read, read.pinned(&name), read.pinned(&other)), (&pinned, Some(uuid), None));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let text = fs::read_to_string(&path).unwrap().replace(&uuid.to_string(), "07");
        fs::write(&path, text).unwrap();
        assert!(Trust::read(&path).unwrap_err().to_string().contains("07"));
    }

    #[test]
    fn a_signer_can_be_believed_for_some_roles_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust");
        let reader = RunKey::generate().unwrap();
        Trust::of("reader", reader.public_key())
            .limited_to(&["read".into()])
            .write_new(&path)
            .unwrap();
        let trust = Trust::read(&path).unwrap();
        assert!(trust.allows("reader", "read") && !trust.allows("reader", "backup"));
        assert!(!trust.allows("stranger", "read"));
        assert!(Trust::of("all", reader.public_key()).allows("all", "backup"));
    }

    #[test]
    fn an_empty_trust_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust");
        fs::write(&path, r#"{"backstay_trust":1,"signers":[]}"#).unwrap();
        assert!(Trust::read(&path).is_err());
    }
}
