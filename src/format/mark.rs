//! Marks: what was decided about a backup, or about a run that came to nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Payload;
use crate::model::{AttemptId, BackupId, ClusterUuid, DekId, RunId, Sha256Digest, Timestamp};

/// One decision. The marks of one subject are numbered; each is created only if nobody else was
/// quicker, so whoever decides knows all that was decided before. Signed by the run that wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkRecord {
    /// Format version.
    pub version: u64,
    /// The cluster.
    pub cluster_uuid: ClusterUuid,
    /// What it is about.
    pub subject: MarkSubject,
    /// Counts from 1.
    pub number: u32,
    /// The run that wrote it.
    pub run_id: RunId,
    /// When, by that run's clock.
    pub at: Timestamp,
    /// What was decided.
    pub kind: MarkKind,
    /// Why, for people.
    pub reason: String,
}

/// What a mark is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkSubject {
    /// A complete backup.
    Backup(MarkedBackup),
    /// A run that began, and has not committed anything.
    Run(MarkedRun),
}

/// A backup, such that another one under the same name is not meant, and what is left of it is
/// found when its manifest is gone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkedBackup {
    /// Its name.
    pub backup_id: BackupId,
    /// SHA-256 of its stored manifest.
    pub manifest_sha256: Sha256Digest,
    /// The attempt that holds its volumes.
    pub attempt: AttemptId,
    /// The DEK of its volumes.
    pub dek_id: DekId,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkedRun {
    /// Its id.
    pub run_id: RunId,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkKind {
    /// It is to be kept, whatever a policy says. It takes a tombstone away.
    Hold,
    /// It need not be held any more.
    Unhold,
    /// It will be removed when a time of grace is over. Nothing shall be built on it any more.
    Tombstone,
    /// The tombstone, or the sweep that has not removed anything yet, is taken back.
    Revoke,
    /// It is being removed: there is no way back.
    Sweep,
}

impl fmt::Display for MarkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hold => "hold",
            Self::Unhold => "unhold",
            Self::Tombstone => "tombstone",
            Self::Revoke => "revoke",
            Self::Sweep => "sweep",
        })
    }
}

impl Payload for MarkRecord {
    const WHAT: &'static str = "mark";
    const TYPE: &'static str = "application/vnd.backstay.mark+json";
    const VERSION: u64 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_says_what_it_is() {
        let run = MarkSubject::Run(MarkedRun { run_id: RunId::from_bytes([7; 16]) });
        let text = serde_json::to_string(&run).unwrap();
        assert_eq!(text, format!(r#"{{"run":{{"run_id":"{}"}}}}"#, "07".repeat(16)));
        assert_eq!(serde_json::from_str::<MarkSubject>(&text).unwrap(), run);
        assert!(serde_json::from_str::<MarkSubject>(&text.replace("run_id", "id")).is_err());
    }
}
