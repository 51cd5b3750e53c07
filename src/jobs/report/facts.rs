//! What was gathered: everything that the judgement rests on, and no store behind it.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{
    ActCount, ConfigurationRow, ConnectionUse, Evidence, Identity, LossRow, RecoveryPoint,
    RestoreRow, VerifyRow,
};
use crate::{
    format::Manifest,
    jobs::keys::status::KeyStatus,
    model::{AccessKind, BackupId, DekId, Protection, RunId, Sha256Digest, Timestamp},
    pipeline::{ChainHead, Finding, audit::OpenAct},
};

/// The period that is reported on, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Period {
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    pub(super) now: Timestamp,
}

impl Period {
    pub(super) fn has(&self, at: Timestamp) -> bool {
        self.since <= at && at <= self.until
    }
}

/// Everything.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) period: Period,
    /// When the cluster was made.
    pub(super) created_at: Timestamp,
    pub(super) backups: Vec<BackupFact>,
    /// Manifests that are not believed.
    pub(super) unbelieved: Vec<Finding>,
    pub(super) sealed: Vec<SealedFact>,
    /// Volumes and segments that there are; some of them were looked at.
    pub(super) sealed_total: u64,
    pub(super) keys: Vec<KeyFact>,
    pub(super) key_status: KeyStatus,
    pub(super) trail: Trail,
    /// Nothing when no binary log is archived; a finding when it cannot be read.
    pub(super) log: Option<Result<LogFacts, Finding>>,
    pub(super) locks: Vec<LockFact>,
}

/// A backup.
#[derive(Debug)]
pub(super) struct BackupFact {
    pub(super) object: String,
    pub(super) sha256: Sha256Digest,
    pub(super) manifest: Manifest,
}

impl BackupFact {
    pub(super) fn evidence(&self) -> Evidence {
        Evidence::new(&self.object, self.sha256)
    }

    pub(super) fn id(&self) -> &BackupId {
        &self.manifest.backup_id
    }
}

/// A volume or segment whose beginning was looked at.
#[derive(Debug)]
pub(super) struct SealedFact {
    pub(super) object: String,
    pub(super) sha256: Sha256Digest,
    /// Why it is not what it should be.
    pub(super) wrong: Option<String>,
}

impl SealedFact {
    pub(super) fn evidence(&self) -> Evidence {
        Evidence::new(&self.object, self.sha256)
    }
}

/// A DEK: its record that counts.
#[derive(Debug)]
pub(super) struct KeyFact {
    pub(super) dek: DekId,
    pub(super) object: String,
    pub(super) sha256: Sha256Digest,
    pub(super) generation: u32,
    pub(super) created_at: Timestamp,
    pub(super) run: RunId,
    /// Names of KEKs, and the algorithms of their wraps.
    pub(super) wraps: Vec<(String, String)>,
}

impl KeyFact {
    pub(super) fn evidence(&self) -> Evidence {
        Evidence::new(&self.object, self.sha256)
    }
}

/// A record of the audit chain.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mark {
    pub(super) at: Timestamp,
    pub(super) run: RunId,
    pub(super) evidence: Evidence,
}

/// The audit chain.
#[derive(Debug)]
pub(super) struct Trail {
    pub(super) head: ChainHead,
    pub(super) records: u64,
    pub(super) findings: Vec<Finding>,
    pub(super) more_findings: u64,
    /// Whether a head was asked for.
    pub(super) asked: bool,
    /// Whether it is there.
    pub(super) contains: bool,
    pub(super) first: Option<Mark>,
    pub(super) last: Option<Mark>,
    /// Backups that were committed: the digest of the manifest, and the record that says so.
    pub(super) committed: BTreeMap<String, (Sha256Digest, Evidence)>,
    /// Epochs of the log that have a record.
    pub(super) epochs: BTreeSet<u64>,
    /// Gaps and forks that have a record: the numbers of the log's.
    pub(super) losses: BTreeSet<u64>,
    /// Runs that have said that they rewrap.
    pub(super) rewraps: BTreeSet<RunId>,
    /// Of the period, from here on.
    pub(super) acts: Vec<ActCount>,
    pub(super) identities: Vec<Identity>,
    pub(super) connections: Vec<(ConnectionUse, Evidence)>,
    pub(super) accesses: Vec<AccessFact>,
    /// Runs that do not say who ran them.
    pub(super) nameless: Vec<Mark>,
    pub(super) restores: Vec<RestoreRow>,
    /// The last restore that was proven, whenever it was.
    pub(super) proven: Option<(Mark, RestoreRow)>,
    pub(super) verifications: Vec<(VerifyRow, Mark)>,
    /// The last rewrap that ended well, and the last that did not.
    pub(super) rewrapped: Option<Mark>,
    pub(super) rewrap_failed: Option<(Mark, String)>,
    pub(super) configurations: Vec<ConfigurationRow>,
    pub(super) open: Vec<OpenAct>,
}

/// With what credentials runs reached the store.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AccessFact {
    pub(super) kind: AccessKind,
    pub(super) principal: Option<String>,
    pub(super) acts: u64,
    pub(super) last: Mark,
}

/// The binlog log.
#[derive(Debug)]
pub(super) struct LogFacts {
    pub(super) head: ChainHead,
    pub(super) archived_until: Option<Timestamp>,
    /// Epochs of the period: their numbers, records and runs.
    pub(super) epochs: Vec<(u64, Evidence, Timestamp)>,
    /// The run that used one DEK for the longest time, and for how many hours.
    pub(super) longest: Option<(RunId, f64)>,
    pub(super) gaps: Vec<LossRow>,
    pub(super) forks: Vec<LossRow>,
    pub(super) points: Vec<RecoveryPoint>,
}

/// What keeps an object from being removed.
#[derive(Debug)]
pub(super) struct LockFact {
    pub(super) object: String,
    pub(super) sha256: Option<Sha256Digest>,
    /// Whether it is a record of the audit chain.
    pub(super) is_audit: bool,
    /// As the store says, or why it does not.
    pub(super) protection: Result<Protection, String>,
}
