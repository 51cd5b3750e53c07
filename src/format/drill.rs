//! What a drill has shown. It can be read without a key, so it names no table and no assertion.

use serde::{Deserialize, Serialize};

use super::Payload;
use crate::model::{BackupId, ClusterUuid, DrillId, GtidState, RunId, Sha256Digest, Timestamp};

/// The evidence of one drill: written once, at its end, signed by its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillRecord {
    /// Format version.
    pub version: u64,
    /// The drill; must be the name of the object.
    pub drill_id: DrillId,
    /// The cluster.
    pub cluster_uuid: ClusterUuid,
    /// The run that made it.
    pub run_id: RunId,
    /// When it began.
    pub started_at: Timestamp,
    /// When it had ended.
    pub finished_at: Timestamp,
    /// How it ended.
    pub status: DrillStatus,
    /// What has failed, in the order of the steps; nothing unless the status says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<DrillFailure>,
    /// The point that was to be recovered, in the words of a restore.
    pub target: String,
    /// What the point was drawn with, when it was drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What was recovered, and how fast; nothing when the restore failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<DrillRecovery>,
    /// The tables that were checked, if any were to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<DrillTables>,
    /// The assertions that were asked, if there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertions: Option<DrillAssertions>,
    /// The program's version.
    pub tool_version: String,
}

/// How a drill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DrillStatus {
    /// The recovered server stands exactly where it should, and everything that was asked holds.
    Proven,
    /// Everything that was asked holds, and there was no exact position to compare with.
    Unproven,
    /// Something failed.
    Failed,
}

impl DrillStatus {
    /// The word for it in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Unproven => "unproven",
            Self::Failed => "failed",
        }
    }
}

/// What failed in a drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillFailure {
    /// There is no recovered server.
    Restore,
    /// A backup was damaged, and another one had to take its place.
    DamagedBackup,
    /// It took longer than it may.
    TooSlow,
    /// The server found a table to be damaged.
    Tables,
    /// An assertion does not hold, or could not be asked.
    Assertions,
}

impl DrillFailure {
    /// The word for it in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Restore => "restore",
            Self::DamagedBackup => "damaged-backup",
            Self::TooSlow => "too-slow",
            Self::Tables => "tables",
            Self::Assertions => "assertions",
        }
    }
}

/// What was recovered, and how long it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillRecovery {
    /// The backup that it began with.
    pub backup_id: BackupId,
    /// SHA-256 of the stored bytes of its manifest.
    pub manifest_sha256: Sha256Digest,
    /// The transactions that the recovered server has, where the flavor tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtid_set: Option<GtidState>,
    /// Bytes of volumes that were fetched.
    pub stored_bytes: u64,
    /// Bytes of files that were written.
    pub payload_bytes: u64,
    /// Bytes of binary log that were planned to be replayed.
    pub log_bytes: u64,
    /// Transactions that were replayed.
    pub transactions: u64,
    /// Fetching, opening, writing the files, in milliseconds.
    pub extract_ms: u64,
    /// Preparing them.
    pub prepare_ms: u64,
    /// Replaying, with fetching.
    pub replay_ms: u64,
    /// Starting servers and asking them where they stand.
    pub start_ms: u64,
    /// All of it, and planning.
    pub total_ms: u64,
}

/// The verdicts on the tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillTables {
    /// Tables that were found to be whole.
    pub whole: u64,
    /// Tables that were found to be damaged, or could not be looked at.
    pub damaged: u64,
    /// Tables whose engine cannot check them.
    pub unchecked: u64,
    /// How long it took, in milliseconds.
    pub check_ms: u64,
}

/// The verdicts on the assertions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillAssertions {
    /// SHA-256 of the file that has them.
    pub file_sha256: Sha256Digest,
    /// What became of each, in the order of the file.
    pub outcomes: Vec<AssertionOutcome>,
    /// How long it took, in milliseconds.
    pub ask_ms: u64,
}

/// What became of an assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AssertionOutcome {
    /// It holds.
    Holds,
    /// It does not hold.
    False,
    /// It gave no answer that could be judged.
    Error,
}

impl Payload for DrillRecord {
    const WHAT: &'static str = "drill record";
    const TYPE: &'static str = "application/vnd.backstay.drill+json";
    const VERSION: u64 = 1;
}
