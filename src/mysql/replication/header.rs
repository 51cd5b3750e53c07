//! The header of an event, and the codes that matter here (MySQL internals, "Binary Log Event
//! Header"; MariaDB documentation, "2-Binlog Event Header").

use super::fields::Fields;

/// Bytes of an event's header, in every version since MySQL 5.0.
pub(super) const HEADER: usize = 19;
/// Where the flags lie in it.
pub(super) const FLAGS_AT: usize = 17;
/// Bytes of a CRC32 at the end of an event.
pub(super) const CHECKSUM: usize = 4;

/// The server is still writing the file; only in its format description, and only on disk.
pub(super) const IN_USE: u8 = 0x01;
/// Made up for a replica; not in the file.
const ARTIFICIAL: u16 = 0x20;

pub(super) const QUERY: u8 = 2;
pub(super) const STOP: u8 = 3;
pub(super) const ROTATE: u8 = 4;
pub(super) const FORMAT_DESCRIPTION: u8 = 15;
pub(super) const XID: u8 = 16;
pub(super) const EXECUTE_LOAD_QUERY: u8 = 18;
pub(super) const TABLE_MAP: u8 = 19;
pub(super) const WRITE_ROWS_V1: u8 = 23;
pub(super) const UPDATE_ROWS_V1: u8 = 24;
pub(super) const DELETE_ROWS_V1: u8 = 25;
pub(super) const INCIDENT: u8 = 26;
pub(super) const HEARTBEAT: u8 = 27;
pub(super) const ROWS_QUERY: u8 = 29;
pub(super) const WRITE_ROWS: u8 = 30;
pub(super) const UPDATE_ROWS: u8 = 31;
pub(super) const DELETE_ROWS: u8 = 32;
pub(super) const GTID: u8 = 33;
pub(super) const ANONYMOUS_GTID: u8 = 34;
pub(super) const PREVIOUS_GTIDS: u8 = 35;
pub(super) const XA_PREPARE: u8 = 38;
pub(super) const PARTIAL_UPDATE_ROWS: u8 = 39;
pub(super) const TRANSACTION_PAYLOAD: u8 = 40;
pub(super) const HEARTBEAT_V2: u8 = 41;
pub(super) const GTID_TAGGED: u8 = 42;
pub(super) const MARIADB_ANNOTATE_ROWS: u8 = 160;
pub(super) const MARIADB_BINLOG_CHECKPOINT: u8 = 161;
pub(super) const MARIADB_GTID: u8 = 162;
pub(super) const MARIADB_GTID_LIST: u8 = 163;
pub(super) const MARIADB_START_ENCRYPTION: u8 = 164;
pub(super) const MARIADB_QUERY_COMPRESSED: u8 = 165;
pub(super) const MARIADB_WRITE_ROWS_COMPRESSED_V1: u8 = 166;
pub(super) const MARIADB_UPDATE_ROWS_COMPRESSED_V1: u8 = 167;
pub(super) const MARIADB_DELETE_ROWS_COMPRESSED_V1: u8 = 168;
pub(super) const MARIADB_WRITE_ROWS_COMPRESSED: u8 = 169;
pub(super) const MARIADB_UPDATE_ROWS_COMPRESSED: u8 = 170;
pub(super) const MARIADB_DELETE_ROWS_COMPRESSED: u8 = 171;

/// What stands before every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Seconds since the Unix epoch.
    pub(super) timestamp: u32,
    pub(super) kind: u8,
    pub(super) server_id: u32,
    /// Of the whole event.
    pub(super) length: u32,
    /// Where the server says that the event ends: its low 32 bits, or 0.
    pub(super) end: u32,
    flags: u16,
}

impl Header {
    pub(super) fn parse(bytes: [u8; HEADER]) -> Option<Self> {
        let mut fields = Fields(&bytes);
        let header = Self {
            timestamp: fields.u32()?,
            kind: fields.u8()?,
            server_id: fields.u32()?,
            length: fields.u32()?,
            end: fields.u32()?,
            flags: fields.u16()?,
        };
        (header.length as usize >= HEADER).then_some(header)
    }

    /// Whether the event is not in the file, in which the next event would end at `end`.
    /// A true event whose end is a multiple of 4 GiB says 0, too.
    pub(super) fn is_made_up(&self, end: u64) -> bool {
        self.flags & ARTIFICIAL != 0
            || matches!(self.kind, HEARTBEAT | HEARTBEAT_V2)
            || (self.end == 0 && end.trailing_zeros() < 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u8, end: u32, flags: u8) -> Header {
        let mut bytes = [0; HEADER];
        bytes[4] = kind;
        bytes[9] = 40;
        bytes[13..17].copy_from_slice(&end.to_le_bytes());
        bytes[FLAGS_AT] = flags;
        Header::parse(bytes).unwrap()
    }

    #[test]
    fn what_a_server_makes_up_is_told_from_what_it_has() {
        assert!(header(ROTATE, 0, 0x20).is_made_up(44));
        assert!(header(FORMAT_DESCRIPTION, 0, 0).is_made_up(500));
        assert!(header(HEARTBEAT, 500, 0).is_made_up(540));
        assert!(!header(XID, 540, 0).is_made_up(540));
        assert!(!header(XID, 0, 0).is_made_up(1 << 32));
        assert!(header(XID, 0, 0).is_made_up((1 << 32) + 40));
    }

    #[test]
    fn an_event_is_no_shorter_than_its_header() {
        let mut bytes = [0; HEADER];
        bytes[9] = 18;
        assert_eq!(Header::parse(bytes), None);
    }
}
