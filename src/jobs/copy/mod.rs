//! `copy`: backups and binary logs into a second repository, byte for byte, without a key.
//!
//! Everything is verified on its way: records by their signatures, sealed objects by the hashes in
//! these records. It is written in the order in which it was written first, so at every moment the
//! copy is a whole repository that merely has less. What is there already is not copied again; what
//! the other side has decided for itself (prunes, rewraps, its audit chain) stays as it is.

mod backups;
mod execute;
mod log;
mod plan;

use std::sync::Arc;

use serde::Serialize;

use super::{ExitOf, JobError};
use crate::{
    crypto::signer::Signer,
    format::RunIdentity,
    model::{BackupId, RunId, Timestamp},
    pipeline::{Progress, Repository},
};

/// What to copy, and where to.
#[derive(Debug)]
pub struct Request {
    /// Where from.
    pub from: Arc<Repository>,
    /// Where to.
    pub to: Arc<Repository>,
    /// Vouches for the run, whose acts the copy's audit chain tells of.
    pub signer: Box<dyn Signer>,
    /// Who runs it.
    pub identity: RunIdentity,
    /// What of it.
    pub scope: Scope,
    /// Begin the copy's log anew where the original's begins, though that leaves a hole between.
    pub restart_log: bool,
    /// What failures are told as, in the audit chain.
    pub exit_of: ExitOf,
    /// Where to count, and where to be told to stop.
    pub progress: Arc<Progress>,
}

/// What to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// Whatever is needed to reach every instant since then that can be reached.
    Since(Timestamp),
    /// One backup, without binary logs.
    Backup(BackupId),
}

/// What was copied.
#[derive(Debug, Clone, Serialize)]
pub struct Copied {
    /// Version of this object.
    pub version: u32,
    /// `planned`: nothing was touched. `complete`; `incomplete`: some could not be copied. `stopped`
    /// by a signal.
    pub status: &'static str,
    /// Where from.
    pub from: String,
    /// Where to.
    pub to: String,
    /// The backups, newest first.
    pub backups: Vec<CopiedBackup>,
    /// The binlog log; nothing when one backup was asked for, or there is none.
    pub log: Option<CopiedLog>,
    /// Objects that were copied, records among them.
    pub objects_copied: u64,
    /// Their bytes.
    pub bytes_copied: u64,
    /// The run that has written to the copy's audit chain; none when there was nothing to do.
    pub run_id: Option<RunId>,
    /// The head of the copy's audit chain, when the run has written to it.
    pub audit_head: Option<String>,
}

/// What became of a backup.
#[derive(Debug, Clone, Serialize)]
pub struct CopiedBackup {
    /// The backup.
    pub backup_id: BackupId,
    /// When it was stored.
    pub finished_at: Option<Timestamp>,
    /// Bytes of its volumes.
    pub bytes_stored: u64,
    /// `copy` (in a plan), `copied`, `already` (it was there), `pruned` (it was removed there),
    /// `tombstoned` (it will be removed here), `damaged`, or `differs` (another one is there).
    pub status: &'static str,
    /// Why it was not copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What became of the binlog log.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CopiedLog {
    /// Records up to this number are not in the copy.
    pub begins: u64,
    /// The number of its last record here.
    pub records: u64,
    /// The number of the copy's last record, before.
    pub records_before: u64,
    /// Records that were copied. Tails that segments have superseded are not.
    pub records_copied: u64,
    /// Segments that were copied.
    pub segments_copied: u64,
    /// The head, which is the same in both.
    pub head: String,
}

/// Says what would be copied, and touches nothing.
///
/// # Errors
/// When what is stored cannot be read or believed.
pub async fn planned(request: &Request) -> Result<Copied, JobError> {
    let plan = plan::make(request).await?;
    Ok(plan.told(request))
}

/// Copies.
///
/// # Errors
/// When another cluster is there, something differs, or a store or the signer fails. What was copied
/// before stays, and is not copied again by the next run.
pub async fn run(request: &Request) -> Result<Copied, JobError> {
    let plan = plan::make(request).await?;
    execute::run(request, plan).await
}

impl Copied {
    /// Whether nothing is missing that was asked for.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.backups.iter().any(|backup| matches!(backup.status, "damaged" | "differs"))
    }
}
