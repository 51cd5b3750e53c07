//! The words of the domain: pure values, no I/O.

mod access;
mod age;
mod change;
mod command;
mod connection;
mod digest;
mod gtid;
mod id;
mod intervals;
mod position;
mod proof;
mod protection;
mod server;
mod size;
mod state;
mod time;
mod transaction;
mod wrapped;

pub use access::{Access, AccessKind};
pub use age::{Age, AgeError};
pub use change::{ChangeKind, TablePattern, TablePatternError};
pub use command::CommandLine;
pub use connection::{Connection, Peer, TlsFacts};
pub use digest::{DigestError, Sha256Digest};
pub use gtid::{GtidParseError, GtidSet};
pub use id::{
    AttemptId, BackupId, BinlogName, ClusterName, ClusterUuid, DekId, DrillId, HistoryId, IdError,
    RunId, SegmentId, ServerName,
};
pub use position::BinlogPosition;
pub use proof::ProofKind;
pub use protection::{LockMode, Protection, Retention};
pub use server::{EngineKind, Flavor, ServerFacts, ServerVersion, TransportSecurity};
pub use size::ByteSize;
pub use state::{GtidState, Missing};
pub use time::{Period, Timestamp};
pub use transaction::{Gtid, GtidError};
pub use wrapped::WrappedDek;
