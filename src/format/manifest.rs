//! The commit point of a base backup.

use serde::{Deserialize, Serialize};

use super::Payload;
use crate::model::{
    AttemptId, BackupId, ClusterUuid, Connection, DekId, EngineKind, LockMode, ProofKind, RunId,
    ServerFacts, Sha256Digest, Timestamp, TransportSecurity,
};

/// A complete base backup. Written last, create-only, signed by its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format version.
    pub version: u64,
    /// The backup; must be the name of the folder.
    pub backup_id: BackupId,
    /// The attempt that succeeded.
    pub attempt: AttemptId,
    /// The cluster.
    pub cluster_uuid: ClusterUuid,
    /// The run that made it.
    pub run_id: RunId,
    /// The DEK of its volumes.
    pub dek_id: DekId,
    /// When the job began.
    pub started_at: Timestamp,
    /// When the stream had been stored.
    pub finished_at: Timestamp,
    /// What made the stream.
    pub engine: EngineRecord,
    /// What an increment stands on; a full backup has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseRecord>,
    /// Where the stream came from.
    pub source: SourceRecord,
    /// The server, when it could be asked or the stream says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerFacts>,
    /// What entitles this backup to be called whole.
    pub proof: ProofKind,
    /// Files in the stream.
    pub files: u64,
    /// Bytes of the stream.
    pub bytes_read: u64,
    /// Bytes of file contents in the stream: what a restore needs on disk, before redo.
    pub payload_bytes: u64,
    /// Bytes of all volumes.
    pub bytes_stored: u64,
    /// The volumes in order; concatenated plaintexts are the stream.
    pub volumes: Vec<VolumeRecord>,
    /// The connections that were used, and how each was protected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<Connection>,
    /// How its volumes are locked; nothing when no lock was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockRecord>,
    /// The program's version.
    pub tool_version: String,
}

/// The lock that the volumes of a backup were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockRecord {
    /// How strict it is.
    pub mode: LockMode,
    /// Until when none of them can be removed.
    pub until: Timestamp,
    /// Whether a legal hold is on them, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub legal_hold: bool,
}

/// What made the stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineRecord {
    /// The engine.
    pub kind: EngineKind,
    /// Its version, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `to_lsn` of the backup, where the engine tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_lsn: Option<u64>,
}

/// The backup that an increment stands on: without it the increment is nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseRecord {
    /// The backup, full or an increment itself.
    pub backup_id: BackupId,
    /// SHA-256 of the stored bytes of its manifest.
    pub manifest_sha256: Sha256Digest,
    /// Where the increment begins: the base's `to_lsn`.
    pub from_lsn: u64,
}

/// Where the stream came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRecord {
    /// `local`, `stdin` or `https`.
    pub kind: String,
    /// How the connection to the database was protected.
    pub database_transport: TransportSecurity,
    /// How the stream itself travelled.
    pub stream_transport: TransportSecurity,
}

/// A sealed volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeRecord {
    /// Counts from 0; names the object in the attempt's folder and stands in its header.
    pub sequence: u32,
    /// Bytes of the stored object.
    pub bytes: u64,
    /// SHA-256 of the stored object.
    pub sha256: Sha256Digest,
    /// Chunks in it.
    pub chunks: u32,
    /// Bytes of plaintext in it.
    pub plain_bytes: u64,
}

impl Payload for Manifest {
    const WHAT: &'static str = "backup manifest";
    const TYPE: &'static str = "application/vnd.backstay.manifest+json";
    const VERSION: u64 = 1;
}
