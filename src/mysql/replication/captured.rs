//! What a dump yields.

use bytes::Bytes;

use crate::model::{Gtid, GtidState, Timestamp};

/// One step of a dump. The order is: `File`, then for each event `Event`, `Bytes`…, `End`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Captured {
    /// What follows belongs to this file.
    File {
        /// The server's name for it, without a folder.
        name: String,
        /// Where the next byte belongs, in bytes from the start of the file. The first four bytes
        /// of each file (its magic) are not in the protocol: a file begins at 4.
        offset: u64,
    },
    /// An event begins.
    Event {
        /// Its first byte, from the start of the file.
        offset: u64,
        /// Its whole length in bytes, header and checksum included.
        length: u64,
        /// Its type code.
        kind: u8,
    },
    /// The next bytes of the event, at most 64 KiB, exactly as the server has them in its file.
    Bytes(Bytes),
    /// The event is complete, and its CRC32 holds (if the server writes any).
    End(EventEnd),
    /// Nothing new happened for the heartbeat's time.
    Heartbeat {
        /// The file that the server has reached.
        file: String,
        /// The byte in it.
        position: u64,
    },
    /// The server has no more. Only with [`DumpRequest::until_end`](super::DumpRequest::until_end).
    Eof,
}

/// An event that came whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventEnd {
    /// The byte after it, from the start of the file; counted, never taken from the event.
    pub end: u64,
    /// Seconds since the Unix epoch, as in the event's header. A client may have chosen it.
    pub timestamp: u32,
    /// The server where the event was first written.
    pub server_id: u32,
    /// What it says.
    pub meaning: Meaning,
    /// The event group (transaction) that this event ends.
    pub group: Option<Group>,
    /// Whether an event group is open after this event.
    pub in_group: bool,
}

/// What an event says, as far as archiving is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// The first event of each file.
    FormatDescription {
        /// The version of the server that wrote the file.
        server_version: String,
        /// When it began the file, in seconds since the Unix epoch.
        created: u32,
        /// Whether its events carry a CRC32.
        checksums: bool,
    },
    /// The transactions in all earlier files: `Previous_gtids` of MySQL, `Gtid_list` of MariaDB.
    Previous(GtidState),
    /// A transaction with a name begins.
    Gtid(Gtid),
    /// A transaction of MySQL without a name begins.
    Anonymous,
    /// The file ends here.
    Rotate {
        /// The file that comes next.
        next: String,
    },
    /// The server was shut down.
    Stop,
    /// The server may have lost events here: replicas stop.
    Incident {
        /// The server's words.
        message: String,
    },
    /// MariaDB keeps what follows encrypted in its file. It sends it in plain.
    StartEncryption,
    /// Anything else.
    Other,
}

/// An event group: what is applied as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name; none for an anonymous transaction of MySQL.
    pub gtid: Option<Gtid>,
    /// The first byte of its first event (the one that names it), from the start of the file.
    pub begin: u64,
    /// The byte after its last event.
    pub end: u64,
    /// When it was committed on this server: MySQL's `immediate_commit_timestamp` in
    /// microseconds, else the second in the header of its first event.
    pub committed_at: Timestamp,
    /// When it was committed where it comes from, if the server tells (MySQL 8.0.1 and later).
    pub original_committed_at: Option<Timestamp>,
}
