//! The words of the domain: pure values, no I/O.

mod change;
mod command;
mod digest;
mod gtid;
mod id;
mod intervals;
mod position;
mod proof;
mod server;
mod size;
mod state;
mod time;
mod transaction;
mod wrapped;

pub use change::{ChangeKind, TablePattern, TablePatternError};
pub use command::CommandLine;
pub use digest::{DigestError, Sha256Digest};
pub use gtid::{GtidParseError, GtidSet};
pub use id::{
    AttemptId, BackupId, BinlogName, ClusterName, ClusterUuid, DekId, HistoryId, IdError, RunId,
    SegmentId, ServerName,
};
pub use position::BinlogPosition;
pub use proof::ProofKind;
pub use server::{EngineKind, Flavor, ServerFacts, ServerVersion, TransportSecurity};
pub use size::ByteSize;
pub use state::{GtidState, Missing};
pub use time::Timestamp;
pub use transaction::{Gtid, GtidError};
pub use wrapped::WrappedDek;
