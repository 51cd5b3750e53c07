//! The small signed records: cluster, run, key.

use serde::{Deserialize, Serialize};

use super::Payload;
use crate::model::{
    AccessKind, ClusterUuid, DekId, LockMode, RunId, Sha256Digest, Timestamp, WrappedDek,
};

/// What makes a folder a cluster. Signed by the run that wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterRecord {
    /// Format version of the whole cluster folder.
    pub version: u64,
    /// Random, and bound into everything that is sealed or signed here.
    pub cluster_uuid: ClusterUuid,
    /// The run that created it.
    pub run_id: RunId,
    /// When.
    pub created_at: Timestamp,
}

/// What a run may write: a record of another role is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A base backup.
    Backup,
    /// The binlog log.
    Archive,
    /// Further generations of key records; such a run seals nothing, and has no DEK.
    Rewrap,
    /// Audit records alone: it reads, and says so. It has no DEK either.
    Read,
    /// Marks and horizons; it has no DEK either.
    Prune,
    /// What it copies is signed already; horizons of the copy. It has no DEK either.
    Copy,
    /// What a drill has shown, and audit records; it has no DEK either.
    Drill,
}

impl Role {
    /// The word for it in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Archive => "archive",
            Self::Rewrap => "rewrap",
            Self::Read => "read",
            Self::Prune => "prune",
            Self::Copy => "copy",
            Self::Drill => "drill",
        }
    }

    /// Whether such a run seals data, and has a DEK of its own.
    #[must_use]
    pub fn seals(self) -> bool {
        matches!(self, Self::Backup | Self::Archive)
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Who ran a job, as far as the job can tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunIdentity {
    /// Host or pod name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Name of the operating system's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The pod's name in Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The pod's namespace in Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// As whom the object store knows it, such as the ARN of an assumed role; never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Where its credentials for the object store come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessKind>,
}

/// For how long a run locks what it writes, each object from when it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunLock {
    /// How strict the locks are.
    pub mode: LockMode,
    /// Volumes, manifests, the log, tails and segments, in seconds.
    pub data_seconds: u64,
    /// Key records and claims of the log, in seconds.
    pub key_seconds: u64,
    /// Audit, run and cluster records, in seconds.
    pub evidence_seconds: u64,
    /// Whether a legal hold is on everything, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub legal_hold: bool,
}

/// A run and its public key. Signed by a signer, which readers pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// Format version.
    pub version: u64,
    /// The run.
    pub run_id: RunId,
    /// The cluster that it writes to.
    pub cluster_uuid: ClusterUuid,
    /// What it may write.
    pub role: Role,
    /// Its Ed25519 public key (RFC 8032), 64 hexadecimal digits.
    pub public_key: Sha256Digest,
    /// The DEK that it seals with; a run that seals nothing has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dek_id: Option<DekId>,
    /// When it began.
    pub started_at: Timestamp,
    /// Who ran it.
    pub identity: RunIdentity,
    /// How it locks what it writes; nothing when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<RunLock>,
    /// The program's version.
    pub tool_version: String,
}

/// A DEK, wrapped. Signed by the run that wrote it. The newest generation counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Format version.
    pub version: u64,
    /// The cluster.
    pub cluster_uuid: ClusterUuid,
    /// The DEK.
    pub dek_id: DekId,
    /// Counts from 1; rewrapping writes the next.
    pub generation: u32,
    /// The run that wrote this generation.
    pub run_id: RunId,
    /// When.
    pub created_at: Timestamp,
    /// Commits to the DEK itself, so that no unwrapping can yield another key.
    pub commitment: Sha256Digest,
    /// The DEK under one or more KEKs.
    pub wraps: Vec<WrappedDek>,
}

macro_rules! payload {
    ($name:ident, $what:literal, $type:literal) => {
        impl Payload for $name {
            const WHAT: &'static str = $what;
            const TYPE: &'static str = concat!("application/vnd.backstay.", $type, "+json");
            const VERSION: u64 = 1;
        }
    };
}

payload!(ClusterRecord, "cluster record", "cluster");
payload!(RunRecord, "run record", "run");
payload!(KeyRecord, "key record", "key");
