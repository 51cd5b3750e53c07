//! Every persisted struct, and nothing else. `docs/format.md` is the normative text.
//!
//! A reader refuses a version that is newer than its own, by name, before it looks at
//! anything else. Nothing here does I/O or holds a key.

pub mod audit;
mod drill;
mod dsse;
mod error;
mod header;
mod horizon;
mod index;
pub mod layout;
mod log;
mod manifest;
mod mark;
mod record;

pub use audit::AuditRecord;
pub use drill::{
    AssertionOutcome, DrillAssertions, DrillFailure, DrillRecord, DrillRecovery, DrillStatus,
    DrillTables,
};
pub use dsse::{Envelope, MAX_RECORD_BYTES, Opened, Payload};
pub use error::FormatError;
pub use header::{
    COMMITMENT_BYTES, Compression, HEADER_BYTES, ObjectHeader, ObjectKind,
    SUITE_AES256GCM_HKDF_SHA256,
};
pub use horizon::HorizonRecord;
pub use index::{ChunkEntry, Index, MAX_CHUNKS, TAG_BYTES, TRAILER_BYTES, Trailer};
pub use log::{
    Branch, CHECKPOINT_EVERY, CheckpointEntry, CommitSpan, EpochEntry, EpochReason, ForkEntry,
    GapEntry, GroupMark, HeartbeatEntry, LogEntry, LogRange, LogRecord, LogServer, OpenFile,
    Opening, SealedRange, SegmentData, SegmentEntry, SegmentSummary, TailEntry,
};
pub use manifest::{BaseRecord, EngineRecord, LockRecord, Manifest, SourceRecord, VolumeRecord};
pub use mark::{MarkKind, MarkRecord, MarkSubject, MarkedBackup, MarkedRun};
pub use record::{ClusterRecord, KeyRecord, Role, RunIdentity, RunLock, RunRecord};
