//! The cluster's binlog log: numbered, hash-chained records of what is archived.

use serde::{Deserialize, Serialize};

use super::Payload;
use crate::model::{
    BinlogName, BinlogPosition, ClusterUuid, Connection, Flavor, GtidState, HistoryId, RunId,
    SegmentId, ServerName, ServerVersion, Sha256Digest, Timestamp,
};

/// Every record whose number is a multiple of this is a checkpoint, and no other is.
pub const CHECKPOINT_EVERY: u64 = 1024;

/// One record. What it says counts when its epoch is the newest at its place; a record of an
/// older epoch behind a newer one is void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRecord {
    /// Format version.
    pub version: u64,
    /// The cluster.
    pub cluster_uuid: ClusterUuid,
    /// Counts from 1 without holes.
    pub number: u64,
    /// SHA-256 of the envelope (with its line feed) of the record before; zeros for the first.
    pub previous: Sha256Digest,
    /// The run that wrote it.
    pub run_id: RunId,
    /// The epoch that it was written in; for an epoch record the one that it begins.
    pub epoch: u64,
    /// The archiver's clock.
    pub at: Timestamp,
    /// What it says.
    pub entry: LogEntry,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum LogEntry {
    /// Somebody claims the log.
    Epoch(EpochEntry),
    /// New bytes; they follow the envelope, sealed.
    Tail(TailEntry),
    /// Bytes in bulk, which supersede the tails of the same range.
    Segment(SegmentEntry),
    /// Transactions that no server had any more.
    Gap(GapEntry),
    /// Archived transactions that the next server does not have.
    Fork(ForkEntry),
    /// The archiver lives; and maybe, nothing happened.
    Heartbeat(HeartbeatEntry),
    /// A summary of the records since the last one.
    Checkpoint(CheckpointEntry),
}

/// Why a new epoch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EpochReason {
    /// Nothing was archived before.
    First,
    /// The owner had let go.
    Released,
    /// The owner was silent for long enough.
    Silence,
    /// An operator said so.
    Takeover,
    /// The same process goes on with a new DEK.
    Renewal,
    /// The same process found another server at its address.
    Server,
}

/// A claim to extend the log: a fencing token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochEntry {
    /// Why.
    pub reason: EpochReason,
    /// The server that is read.
    pub server: LogServer,
    /// The line of life that is extended.
    pub history: HistoryId,
    /// What that line of life came from, when it is not the first and begins here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Branch>,
    /// Where reading goes on in the file that was read before; nothing when it begins with another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<BinlogPosition>,
    /// The connections that the claimant has, and how each is protected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<Connection>,
}

/// Where a history leaves its parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// The parent.
    pub history: HistoryId,
    /// The transactions that the two have in common.
    pub at: GtidState,
}

/// The server that is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogServer {
    /// `server_uuid` of MySQL; `server_uid` of MariaDB where there is one, else `id-` and its id.
    pub name: ServerName,
    /// MySQL or MariaDB.
    pub flavor: Flavor,
    /// Its version.
    pub version: ServerVersion,
    /// `server_id`.
    pub server_id: u32,
}

/// Bytes of one binlog file, from one event boundary to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRange {
    /// The server.
    pub server: ServerName,
    /// The file.
    pub file: BinlogName,
    /// The time stamp of its format description.
    pub created: Timestamp,
    /// Offset of the first byte; 0 with the file's magic number.
    pub start: u64,
    /// Offset of the byte after the last.
    pub end: u64,
    /// Transactions that end in it.
    pub transactions: u64,
    /// Their names.
    pub gtids: GtidState,
    /// The earliest and the latest of their commit stamps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<CommitSpan>,
    /// The last transaction that is whole in the file up to `end`, when it ends in this range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_group: Option<GroupMark>,
    /// Whether a transaction is cut by `end`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// What the file begins with, in the range that begins at 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<Opening>,
    /// Whether the server had closed the file at `end`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
}

/// The earliest and the latest of some commit stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitSpan {
    /// The earliest.
    pub first: Timestamp,
    /// The latest.
    pub last: Timestamp,
}

/// A whole transaction in a file, to be recognised when it is read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupMark {
    /// Offset of its first event.
    pub begin: u64,
    /// Offset of the byte after its last event.
    pub end: u64,
    /// Its outline: a SHA-256 that no row goes into (docs/format.md).
    pub outline: Sha256Digest,
}

/// What a file begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The transactions before it: `Previous_gtids` of MySQL, `Gtid_list` of MariaDB.
    pub previous: GtidState,
    /// The outline of its first events up to that list.
    pub outline: Sha256Digest,
}

/// A sealed object that holds a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedRange {
    /// The sequence number in its header: counts what the run has sealed.
    pub sequence: u64,
    /// Bytes of the object.
    pub bytes: u64,
    /// SHA-256 of the object.
    pub sha256: Sha256Digest,
    /// Chunks in it.
    pub chunks: u32,
}

/// New bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TailEntry {
    /// What they are.
    pub range: LogRange,
    /// The object that follows the envelope.
    pub sealed: SealedRange,
}

/// Bytes in bulk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentEntry {
    /// What they are.
    pub range: LogRange,
    /// Where they are.
    pub data: SegmentData,
}

/// Where the bytes of a segment are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SegmentData {
    /// In an object of its own.
    Object {
        /// Part of its name.
        id: SegmentId,
        /// The object.
        sealed: SealedRange,
    },
    /// In these tails of the log (first and last number of each run of neighbours), which a
    /// successor could not open and therefore promoted.
    Tails(Vec<(u64, u64)>),
}

/// Transactions that were purged before they were archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GapEntry {
    /// The server whose oldest file begins too late.
    pub server: ServerName,
    /// That file.
    pub file: BinlogName,
    /// The names of what is missing.
    pub missing: String,
    /// How many there are (MariaDB: at most).
    pub transactions: u64,
    /// The latest commit that was archived before the gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Timestamp>,
    /// Where the archive goes on.
    pub resumes_at: GtidState,
}

/// Archived transactions that the next server does not have and will never deliver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForkEntry {
    /// The server that has them.
    pub left: ServerName,
    /// The server that goes on without them.
    pub taken: ServerName,
    /// Their names.
    pub forked: String,
    /// How many there are (MariaDB: at most).
    pub transactions: u64,
    /// The frontier without them.
    pub frontier: GtidState,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatEntry {
    /// The server.
    pub server: ServerName,
    /// The end of what is archived of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<BinlogPosition>,
    /// The server's clock, read before the server said that its log ends at `position`: nothing
    /// was committed between the last archived transaction and this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_until: Option<Timestamp>,
    /// Whether the archiver ends here, so that the next need not wait.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub released: bool,
}

/// A summary, from which reading can begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointEntry {
    /// SHA-256 of the envelope of the checkpoint before; zeros for the first.
    pub previous_checkpoint: Sha256Digest,
    /// Number of the epoch record in force.
    pub epoch_record: u64,
    /// The transactions that are durable.
    pub frontier: GtidState,
    /// The latest commit stamp among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_until: Option<Timestamp>,
    /// Up to when nothing was committed behind what is durable, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_until: Option<Timestamp>,
    /// The segments recorded since the checkpoint before.
    pub segments: Vec<SegmentSummary>,
    /// The numbers of the epoch, gap and fork records since then.
    pub notes: Vec<u64>,
    /// The files that are not wholly in segments.
    pub files: Vec<OpenFile>,
}

/// A segment in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentSummary {
    /// The number of its record.
    pub number: u64,
    /// The number of the record that first made a part of it durable: its first tail, or itself.
    /// By it ranges stand in the order of the log, however late their segment came.
    pub first_record: u64,
    /// What it holds.
    pub range: LogRange,
    /// Bytes of its object, or of its tails.
    pub bytes: u64,
}

/// A file that is not wholly in segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenFile {
    /// The server.
    pub server: ServerName,
    /// The file.
    pub file: BinlogName,
    /// The time stamp of its format description.
    pub created: Timestamp,
    /// The end of its last segment.
    pub segmented: u64,
    /// The end of what is durable.
    pub durable: u64,
    /// Whether the server had closed it there.
    pub closed: bool,
    /// An event boundary below 4 GiB, as near to `durable` as is known: dump positions have 32 bits.
    pub boundary: u64,
    /// What it begins with.
    pub opening: Opening,
    /// Its last whole transaction that is durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_group: Option<GroupMark>,
    /// The numbers of the tails behind `segmented`.
    pub tails: Vec<(u64, u64)>,
}

impl Payload for LogRecord {
    const WHAT: &'static str = "log record";
    const TYPE: &'static str = "application/vnd.backstay.log+json";
    const VERSION: u64 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_names_its_kind_and_takes_no_other_field() {
        let entry = LogEntry::Heartbeat(HeartbeatEntry {
            server: "id-7".parse().unwrap(),
            position: None,
            quiet_until: None,
            released: false,
        });
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(text, r#"{"kind":"heartbeat","server":"id-7"}"#);
        assert_eq!(serde_json::from_str::<LogEntry>(&text).unwrap(), entry);
        let more = text.replace('}', r#","more":1}"#);
        assert!(serde_json::from_str::<LogEntry>(&more).is_err());
        assert!(serde_json::from_str::<LogEntry>(r#"{"kind":"pulse","server":"a"}"#).is_err());
    }
}
