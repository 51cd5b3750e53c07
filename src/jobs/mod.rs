//! One use case a file or folder. A job is told everything it needs, asks nobody, prints
//! nothing, and returns a result that is a versioned JSON object.

pub mod archive;
pub mod audit;
pub mod backup;
mod choose;
pub mod copy;
pub mod doctor;
pub mod drill;
mod error;
pub mod exporter;
pub mod find;
pub mod hold;
mod identity;
pub mod keys;
pub mod list;
pub mod prune;
pub mod report;
pub mod restore;
mod scratch;
pub mod serve;
pub mod show;
mod temp_server;
pub mod verify;
pub mod window;
mod witness;

use choose::{Committed, choose};
pub use error::JobError;
use witness::connections;
pub use witness::{ExitOf, Recorded, Witness, failure};

use crate::{
    format::Manifest,
    model::{BackupId, BinlogPosition, EngineKind, Flavor, ProofKind, Timestamp},
    pipeline::{PipelineError, Standing},
};

/// What `list` and `show` tell of a backup.
#[derive(Debug, Clone, serde::Serialize)]
pub struct BackupSummary {
    /// Version of this object.
    pub version: u32,
    /// The backup.
    pub backup_id: BackupId,
    /// `complete`, or `damaged` when its manifest is not believed.
    pub status: &'static str,
    /// Why it is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What was decided about it; nothing for most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<BackupMark>,
    /// What made it.
    pub engine: Option<EngineKind>,
    /// The backup that it stands on when it is an increment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<BackupId>,
    /// The server's flavor.
    pub flavor: Option<Flavor>,
    /// The server's version.
    pub server_version: Option<String>,
    /// When the job began.
    pub started_at: Option<Timestamp>,
    /// When it was stored.
    pub finished_at: Option<Timestamp>,
    /// The latest instant that it can be restored to with the archived binary logs; its own
    /// without them. `list` alone tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restorable_until: Option<Timestamp>,
    /// Bytes of the stream.
    pub bytes_read: Option<u64>,
    /// Bytes in the repository.
    pub bytes_stored: Option<u64>,
    /// `exit`, `verdict`, or `framing`, which is unproven until a restore has proven it.
    pub proof: Option<ProofKind>,
    /// The exact set of transactions.
    pub gtid_set: Option<String>,
    /// The binlog position.
    #[serde(flatten)]
    pub position: Position,
}

/// What was decided about a backup.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BackupMark {
    /// `held`: no policy removes it. `tombstoned`: it will be removed, and is not restored any more.
    pub kind: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
}

impl BackupMark {
    /// What people are told of a standing.
    fn of(standing: Standing) -> Option<Self> {
        let (kind, mark) = match standing {
            Standing::Free => return None,
            Standing::Held(mark) => ("held", mark),
            Standing::Tombstoned(mark) | Standing::Swept(mark) => ("tombstoned", mark),
        };
        Some(Self { kind, since: mark.at, reason: mark.reason })
    }
}

/// A binlog position in results, both fields `null` when the binary log was off.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Position {
    /// The file's base name.
    pub binlog_file: Option<String>,
    /// Offset in bytes.
    pub binlog_position: Option<u64>,
}

impl From<Option<BinlogPosition>> for Position {
    fn from(position: Option<BinlogPosition>) -> Self {
        match position {
            Some(BinlogPosition { file, position }) => {
                Self { binlog_file: Some(file), binlog_position: Some(position) }
            }
            None => Self::default(),
        }
    }
}

impl BackupSummary {
    fn new(id: BackupId, manifest: Result<&Manifest, &PipelineError>) -> Self {
        let problem = manifest.err().map(ToString::to_string);
        let manifest = manifest.ok();
        let server = manifest.and_then(|m| m.server.as_ref());
        Self {
            version: 1,
            backup_id: id,
            status: if problem.is_none() { "complete" } else { "damaged" },
            problem,
            mark: None,
            engine: manifest.map(|m| m.engine.kind),
            base: manifest.and_then(|m| Some(m.base.as_ref()?.backup_id.clone())),
            flavor: server.map(|s| s.flavor),
            server_version: server.map(|s| s.version.text.clone()),
            started_at: manifest.map(|m| m.started_at),
            finished_at: manifest.map(|m| m.finished_at),
            restorable_until: None,
            bytes_read: manifest.map(|m| m.bytes_read),
            bytes_stored: manifest.map(|m| m.bytes_stored),
            proof: manifest.map(|m| m.proof),
            gtid_set: server.and_then(|s| s.gtid_set.as_ref()).map(ToString::to_string),
            position: server.and_then(|s| s.position.clone()).into(),
        }
    }
}
