//! The names of objects below the repository's URL.

use super::MarkSubject;
use crate::model::{
    AttemptId, BackupId, BinlogName, ClusterName, DekId, RunId, SegmentId, ServerName,
};

/// The record that makes a folder a cluster.
#[must_use]
pub fn cluster(cluster: &ClusterName) -> String {
    format!("{cluster}/cluster.json")
}

/// The folder of all runs.
#[must_use]
pub fn runs(cluster: &ClusterName) -> String {
    format!("{cluster}/runs/")
}

/// The record of a run.
#[must_use]
pub fn run(cluster: &ClusterName, run: RunId) -> String {
    format!("{cluster}/runs/{run}.json")
}

/// The folder of all DEKs.
#[must_use]
pub fn keys(cluster: &ClusterName) -> String {
    format!("{cluster}/keys/")
}

/// The folder of a DEK's records.
#[must_use]
pub fn key_folder(cluster: &ClusterName, dek: DekId) -> String {
    format!("{cluster}/keys/{dek}/")
}

/// One generation of a DEK's record.
#[must_use]
pub fn key(cluster: &ClusterName, dek: DekId, generation: u32) -> String {
    format!("{cluster}/keys/{dek}/{generation:08}.json")
}

/// The folder of all backups.
#[must_use]
pub fn backups(cluster: &ClusterName) -> String {
    format!("{cluster}/backups/")
}

/// The commit point of a backup.
#[must_use]
pub fn manifest(cluster: &ClusterName, backup: &BackupId) -> String {
    format!("{cluster}/backups/{backup}/manifest.json")
}

/// The folder of one attempt at a backup.
#[must_use]
pub fn attempt(cluster: &ClusterName, backup: &BackupId, attempt: AttemptId) -> String {
    format!("{cluster}/backups/{backup}/{attempt}/")
}

/// A volume of an attempt.
#[must_use]
pub fn volume(
    cluster: &ClusterName,
    backup: &BackupId,
    attempt: AttemptId,
    sequence: u32,
) -> String {
    format!("{cluster}/backups/{backup}/{attempt}/vol-{sequence:05}")
}

/// The folder of the audit chain.
#[must_use]
pub fn audit_folder(cluster: &ClusterName) -> String {
    format!("{cluster}/audit/")
}

/// A record of the audit chain; numbers begin at 1.
#[must_use]
pub fn audit(cluster: &ClusterName, number: u64) -> String {
    format!("{cluster}/audit/{number:020}")
}

/// The folder of the binlog log.
#[must_use]
pub fn log_folder(cluster: &ClusterName) -> String {
    format!("{cluster}/log/")
}

/// A record of the binlog log; numbers begin at 1.
#[must_use]
pub fn log(cluster: &ClusterName, number: u64) -> String {
    format!("{cluster}/log/{number:020}")
}

/// A sealed segment of a binlog file that begins at `start`.
#[must_use]
pub fn segment(
    cluster: &ClusterName,
    server: &ServerName,
    file: &BinlogName,
    start: u64,
    id: SegmentId,
) -> String {
    format!("{cluster}/segments/{server}/{file}/{start:020}-{id}")
}

/// The folder of all segments.
#[must_use]
pub fn segments(cluster: &ClusterName) -> String {
    format!("{cluster}/segments/")
}

/// The folder of what runs wrote to test the store.
#[must_use]
pub fn probes(cluster: &ClusterName) -> String {
    format!("{cluster}/probe/")
}

/// The folder of the marks of backups.
#[must_use]
pub fn backup_marks(cluster: &ClusterName) -> String {
    format!("{cluster}/marks/backups/")
}

/// The folder of the marks of runs.
#[must_use]
pub fn run_marks(cluster: &ClusterName) -> String {
    format!("{cluster}/marks/runs/")
}

/// The folder of the marks of one subject.
#[must_use]
pub fn mark_folder(cluster: &ClusterName, subject: &MarkSubject) -> String {
    match subject {
        MarkSubject::Backup(backup) => format!("{}{}/", backup_marks(cluster), backup.backup_id),
        MarkSubject::Run(run) => format!("{}{}/", run_marks(cluster), run.run_id),
    }
}

/// A mark; numbers begin at 1.
#[must_use]
pub fn mark(cluster: &ClusterName, subject: &MarkSubject, number: u32) -> String {
    format!("{}{number:08}.json", mark_folder(cluster, subject))
}

/// The folder of the horizons of the binlog log.
#[must_use]
pub fn horizons(cluster: &ClusterName) -> String {
    format!("{cluster}/horizons/")
}

/// A horizon; numbers begin at 1.
#[must_use]
pub fn horizon(cluster: &ClusterName, number: u64) -> String {
    format!("{cluster}/horizons/{number:020}")
}

/// In a copy, the folder of the audit chain of the repository that it was copied from.
#[must_use]
pub fn origin_audit_folder(cluster: &ClusterName) -> String {
    format!("{cluster}/origin/audit/")
}

/// A record of that chain, byte for byte.
#[must_use]
pub fn origin_audit(cluster: &ClusterName, number: u64) -> String {
    format!("{cluster}/origin/audit/{number:020}")
}
