//! The audit record: one act, chained to the one before, and what the acts tell beside.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Payload;
use crate::model::{BackupId, ClusterUuid, Connection, RunId, Sha256Digest, Timestamp};

/// What is done, as `action` has it. A reader passes over any other text.
pub mod action {
    /// A backup begins.
    pub const BACKUP_BEGUN: &str = "backup-begun";
    /// A backup exists.
    pub const BACKUP_COMMITTED: &str = "backup-committed";
    /// It exists, and another run was quicker to make it.
    pub const BACKUP_ENDED: &str = "backup-ended";
    /// A backup came to nothing.
    pub const BACKUP_FAILED: &str = "backup-failed";
    /// An archiver owns the log.
    pub const ARCHIVE_BEGUN: &str = "archive-begun";
    /// It has let go of it.
    pub const ARCHIVE_ENDED: &str = "archive-ended";
    /// It could not go on, or another one has claimed the log.
    pub const ARCHIVE_FAILED: &str = "archive-failed";
    /// Transactions were purged before they were archived.
    pub const ARCHIVE_GAP: &str = "archive-gap";
    /// Archived transactions are missing on the server that took over.
    pub const ARCHIVE_FORK: &str = "archive-fork";
    /// Key records get another wrap.
    pub const REWRAP_BEGUN: &str = "rewrap-begun";
    /// They have it, as far as the record says.
    pub const REWRAP_ENDED: &str = "rewrap-ended";
    /// Backups and logs are pruned.
    pub const PRUNE_BEGUN: &str = "prune-begun";
    /// What was due is done.
    pub const PRUNE_ENDED: &str = "prune-ended";
    /// It could not be done.
    pub const PRUNE_FAILED: &str = "prune-failed";
    /// A backup has got a tombstone.
    pub const PRUNE_TOMBSTONE: &str = "prune-tombstone";
    /// A tombstone was taken away.
    pub const PRUNE_REVOKE: &str = "prune-revoke";
    /// A backup is removed: its manifest may be missing from now on.
    pub const PRUNE_SWEPT: &str = "prune-swept";
    /// The beginning of the log is forgotten, and what is superseded.
    pub const PRUNE_LOG: &str = "prune-log";
    /// A run that came to nothing has got a tombstone.
    pub const PRUNE_RUN_TOMBSTONE: &str = "prune-run-tombstone";
    /// What a run has left that came to nothing is removed.
    pub const PRUNE_RUN_SWEPT: &str = "prune-run-swept";
    /// A backup is held.
    pub const HOLD_SET: &str = "hold-set";
    /// It is held no more.
    pub const HOLD_LIFTED: &str = "hold-lifted";
    /// Something is copied into this repository.
    pub const COPY_BEGUN: &str = "copy-begun";
    /// All of it is there.
    pub const COPY_ENDED: &str = "copy-ended";
    /// It could not be copied.
    pub const COPY_FAILED: &str = "copy-failed";
    /// A backup exists, that was copied from another repository.
    pub const COPY_BACKUP: &str = "copy-backup";
    /// The log goes as far as that of another repository.
    pub const COPY_LOG: &str = "copy-log";
    /// A point is recovered for real, to be looked at.
    pub const DRILL_BEGUN: &str = "drill-begun";
    /// It was, and a drill record says what was seen.
    pub const DRILL_ENDED: &str = "drill-ended";
    /// It was not, or something was wrong with it.
    pub const DRILL_FAILED: &str = "drill-failed";
    /// The settings of a kind of job are not those that were seen last.
    pub const CONFIGURATION_SEEN: &str = "configuration-seen";
    /// The chain was verified.
    pub const AUDIT_VERIFIED: &str = "audit-verified";
    /// Records of the chain were handed out.
    pub const AUDIT_EXPORTED: &str = "audit-exported";
    /// A report was made.
    pub const REPORT_MADE: &str = "report-made";
}

/// One act, or one end of it. Signed by the run that did it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct AuditRecord {
    /// Format version.
    pub version: u64,
    /// The cluster.
    pub cluster_uuid: ClusterUuid,
    /// Counts from 1 without holes.
    pub number: u64,
    /// SHA-256 of the stored bytes of the record before; zeroes for the first.
    pub previous: Sha256Digest,
    /// The run.
    pub run_id: RunId,
    /// When.
    pub at: Timestamp,
    /// What was done: one of [`action`], `JOB-begun`, `JOB-ended` or `JOB-failed`, or something newer.
    pub action: String,
    /// To what: a backup id, a server, the name of a KEK, a target, a period.
    pub subject: String,
    /// SHA-256 of what the act rests on or left behind, where there is such a thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_sha256: Option<Sha256Digest>,
    /// How the act ended; nothing when this record does not end one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Digest of the settings that it began with; a `configuration-seen` has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Sha256Digest>,
    /// The connections that it used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<Connection>,
    /// What more there is to say of such an act.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// How an act ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The command ended with 0.
    Success,
    /// It ended otherwise.
    Failure,
}

/// Why an act failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The command's exit code.
    pub exit_code: u8,
    /// The word for it.
    pub kind: String,
    /// What went wrong, cut to [`LONGEST_ERROR`] characters; never a secret.
    pub error: String,
}

/// Characters of an error that are recorded.
pub const LONGEST_ERROR: usize = 300;

/// What acts of each kind tell. Of an action that is not known here nothing is known of its details.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Details {
    /// Of `backup-begun`.
    Backup(BackupDetails),
    /// Of each `archive-…`.
    Archive(ArchiveDetails),
    /// Of each `restore-…` and `drill-…`, and of each `plan-…`: a restore that was only planned.
    Restore(RestoreDetails),
    /// Of each `verify-…`.
    Verify(VerifyDetails),
    /// Of each `find-…`.
    Find(FindDetails),
    /// Of each `rewrap-…`.
    Rewrap(RewrapDetails),
    /// Of `prune-ended`.
    Prune(PruneDetails),
    /// Of `configuration-seen`.
    Configuration(ConfigurationDetails),
    /// Of `report-made`.
    Report(ReportDetails),
    /// Of an action that is not known here.
    Other(Map<String, Value>),
}

/// What a backup is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupDetails {
    /// The engine.
    pub engine: String,
    /// `local`, `stdin` or `https`.
    pub source: String,
}

/// Where the log stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveDetails {
    /// The epoch.
    pub epoch: u64,
    /// The log record that `record_sha256` is of.
    pub record: u64,
    /// Why the log was claimed or let go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many transactions a gap or fork has; of MariaDB at most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transactions: Option<u64>,
}

/// What was restored, and how that was proven.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreDetails {
    /// The base backup, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<BackupId>,
    /// The data directory that is filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datadir: Option<String>,
    /// `proven`, `unproven`, `planned`, or of a drill `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What the restored server had to have: a GTID set, a position, or the hash of a long one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What it has, written alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<String>,
    /// Whether the two are the same; nothing when there was nothing to compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equal: Option<bool>,
    /// Transactions that were replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transactions: Option<u64>,
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyDetails {
    /// `full` or `quick`.
    pub mode: String,
    /// `ok` or `damaged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Backups that were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<u64>,
    /// Things that are wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<u64>,
    /// Head of the audit chain that was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_head: Option<String>,
    /// Head of the log that was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_head: Option<String>,
    /// Whether a head that was kept elsewhere was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh: Option<bool>,
}

/// What was searched for. Which table is not told: these records can be read without a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindDetails {
    /// Whether a table or a schema was named.
    pub table: bool,
    /// The kind of change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Committed then or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Committed then or earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Transactions that were told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<u64>,
}

/// What became of the key records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewrapDetails {
    /// The KEK that opens the DEKs.
    pub from: String,
    /// KEKs whose wraps shall go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    /// DEKs that got the new wrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrapped: Option<u64>,
    /// DEKs that lost wraps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
    /// DEKs that could not be rewrapped, or were not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
}

/// What a prune has removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneDetails {
    /// Objects that it has removed.
    pub objects_removed: u64,
    /// Their bytes, as far as they are known.
    pub bytes_removed: u64,
    /// Objects that were to go, and that a lock of the store holds.
    pub objects_locked: u64,
}

/// The settings of a kind of job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigurationDetails {
    /// Names and values; none of them is secret.
    pub settings: BTreeMap<String, String>,
}

/// What a report says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportDetails {
    /// `text`, `json` or `html`: `record_sha256` is of the document as it was printed.
    pub format: String,
    /// Controls that hold.
    pub holds: Vec<String>,
    /// Controls that fail.
    pub fails: Vec<String>,
    /// Controls that are not shown.
    pub not_shown: Vec<String>,
}

impl AuditRecord {
    /// The job that it is of: the first word of the action.
    #[must_use]
    pub fn job(&self) -> &str {
        self.action.split('-').next().unwrap_or_default()
    }

    /// Whether an act begins with it.
    #[must_use]
    pub fn begins(&self) -> bool {
        self.action.ends_with("-begun")
    }

    /// Whether an act ends with it.
    #[must_use]
    pub fn ends(&self) -> bool {
        self.outcome.is_some() || self.action == action::BACKUP_COMMITTED
    }
}

impl Payload for AuditRecord {
    const WHAT: &'static str = "audit record";
    const TYPE: &'static str = "application/vnd.backstay.audit+json";
    const VERSION: u64 = 1;
}

impl Details {
    /// Reads the details of an act.
    ///
    /// # Errors
    /// When the action is known, and its details are not these.
    fn of(action: &str, fields: Map<String, Value>) -> Result<Self, serde_json::Error> {
        let fields = Value::Object(fields);
        Ok(match action {
            action::BACKUP_BEGUN => Self::Backup(BackupDetails::deserialize(fields)?),
            action::ARCHIVE_BEGUN
            | action::ARCHIVE_ENDED
            | action::ARCHIVE_FAILED
            | action::ARCHIVE_GAP
            | action::ARCHIVE_FORK => Self::Archive(ArchiveDetails::deserialize(fields)?),
            "restore-begun"
            | "restore-ended"
            | "restore-failed"
            | "plan-begun"
            | "plan-ended"
            | "plan-failed"
            | action::DRILL_BEGUN
            | action::DRILL_ENDED
            | action::DRILL_FAILED => Self::Restore(RestoreDetails::deserialize(fields)?),
            "verify-begun" | "verify-ended" | "verify-failed" => {
                Self::Verify(VerifyDetails::deserialize(fields)?)
            }
            "find-begun" | "find-ended" | "find-failed" => {
                Self::Find(FindDetails::deserialize(fields)?)
            }
            action::REWRAP_BEGUN | action::REWRAP_ENDED => {
                Self::Rewrap(RewrapDetails::deserialize(fields)?)
            }
            action::PRUNE_ENDED => Self::Prune(PruneDetails::deserialize(fields)?),
            action::CONFIGURATION_SEEN => {
                Self::Configuration(ConfigurationDetails::deserialize(fields)?)
            }
            action::REPORT_MADE => Self::Report(ReportDetails::deserialize(fields)?),
            _ => Self::Other(Map::deserialize(fields)?),
        })
    }
}

/// A record before its details are understood.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u64,
    cluster_uuid: ClusterUuid,
    number: u64,
    previous: Sha256Digest,
    run_id: RunId,
    at: Timestamp,
    action: String,
    subject: String,
    record_sha256: Option<Sha256Digest>,
    outcome: Option<Outcome>,
    failure: Option<Failure>,
    configuration: Option<Sha256Digest>,
    #[serde(default)]
    connections: Vec<Connection>,
    details: Option<Map<String, Value>>,
}

impl TryFrom<Stored> for AuditRecord {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        if stored.failure.is_some() != (stored.outcome == Some(Outcome::Failure)) {
            return Err("a failure says why, and nothing else does".into());
        }
        let details = stored.details.map(|fields| Details::of(&stored.action, fields));
        Ok(Self {
            version: stored.version,
            cluster_uuid: stored.cluster_uuid,
            number: stored.number,
            previous: stored.previous,
            run_id: stored.run_id,
            at: stored.at,
            action: stored.action,
            subject: stored.subject,
            record_sha256: stored.record_sha256,
            outcome: stored.outcome,
            failure: stored.failure,
            configuration: stored.configuration,
            connections: stored.connections,
            details: details.transpose().map_err(|e| format!("details: {e}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(action: &str, more: &str) -> Result<AuditRecord, serde_json::Error> {
        let zeros = "0".repeat(64);
        serde_json::from_str(&format!(
            r#"{{"version":1,"cluster_uuid":"{id}","number":1,"previous":"{zeros}","run_id":"{id}",
                "at":"2026-11-20T20:43:17Z","action":"{action}","subject":"s"{more}}}"#,
            id = "0a".repeat(16),
        ))
    }

    #[test]
    fn details_of_a_known_action_have_their_shape_and_others_any() {
        let known = record("find-ended", r#","outcome":"success","details":{"table":true}"#);
        let told = Details::Find(FindDetails { table: true, ..FindDetails::default() });
        assert_eq!(known.unwrap().details, Some(told));
        for bad in [r#"{"table":1}"#, "{}", r#"{"table":true,"name":"cards"}"#, "[]", "\"x\""] {
            assert!(record("find-ended", &format!(r#","details":{bad}"#)).is_err(), "{bad}");
        }
        let newer = record("hold-set", r#","details":{"until":"2027","more":[1]}"#).unwrap();
        assert!(matches!(&newer.details, Some(Details::Other(map)) if map.len() == 2));
        let again: AuditRecord =
            serde_json::from_value(serde_json::to_value(&newer).unwrap()).unwrap();
        assert_eq!(again, newer);
    }

    #[test]
    fn a_failure_says_why_and_nothing_else_does() {
        let why = r#","failure":{"exit_code":6,"kind":"integrity","error":"e"}"#;
        for (more, good) in [
            (format!(r#","outcome":"failure"{why}"#), true),
            (r#","outcome":"failure""#.to_owned(), false),
            (format!(r#","outcome":"success"{why}"#), false),
            (why.to_owned(), false),
            (r#","outcome":"maybe""#.to_owned(), false),
            (r#","extra":1"#.to_owned(), false),
        ] {
            assert_eq!(record("verify-ended", &more).is_ok(), good, "{more}");
        }
    }

    #[test]
    fn an_act_begins_and_ends_by_its_words() {
        let begun = record("backup-begun", "").unwrap();
        assert!(begun.begins() && !begun.ends());
        let committed = record(action::BACKUP_COMMITTED, "").unwrap();
        assert!(committed.ends() && !committed.begins());
        assert_eq!((begun.job(), committed.job()), ("backup", "backup"));
        let gap = record(action::ARCHIVE_GAP, "").unwrap();
        assert!(!gap.begins() && !gap.ends());
    }
}
