//! Relay logs made from archived bytes: what stands before the transactions in each of them.

use super::header::{self, CHECKSUM, HEADER, PREVIOUS_GTIDS};
use crate::model::Flavor;

/// The base name of the relay logs that a restore applies.
pub const RELAY_BASE: &str = "backstay-relay";
/// What a binary or relay log begins with.
const MAGIC: &[u8; 4] = b"\xfebin";
/// Where a format description has the instant when its server was started; 0 unless the file is the
/// first since then.
const CREATED: std::ops::Range<usize> = HEADER + 52..HEADER + 56;
/// Who does not know the event may pass over it.
const IGNORABLE: u16 = 0x80;

/// The name of the relay log with this number, from 1.
#[must_use]
pub fn relay_name(number: u32) -> String {
    format!("{RELAY_BASE}.{number:06}")
}

/// The first bytes of a relay log: the magic, the source's format description, and for MySQL,
/// which refuses a log without it, an empty `Previous_gtids`.
///
/// `goes_on` says that the bytes behind it continue a file whose beginning is in the relay log before.
/// An applier takes a format description that was written at a server's start for that start, and
/// drops all temporary tables; so only the first one may say it.
#[must_use]
pub fn relay_head(flavor: Flavor, format_description: &[u8], goes_on: bool) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(format_description);
    let event = &mut head[MAGIC.len()..];
    let (Some(body), true) = (event.len().checked_sub(CHECKSUM), event.len() > CREATED.end) else {
        return head;
    };
    if goes_on {
        event[CREATED].fill(0);
        let sum = crc32fast::hash(&event[..body]);
        event[body..].copy_from_slice(&sum.to_le_bytes());
    }
    let checksums = has_checksums(event);
    if flavor == Flavor::Mysql {
        let server_id: [u8; 4] = event[5..9].try_into().unwrap_or_default();
        previous_gtids(&mut head, server_id, checksums);
    }
    head
}

/// Whether a format description was written when its server started, and not when it only began
/// another file.
#[must_use]
pub fn is_of_a_start(format_description: &[u8]) -> bool {
    format_description.get(CREATED).is_some_and(|created| created != [0; 4])
}

/// Bytes of an event's checksum.
pub(super) fn checksum_bytes(checksums: bool) -> usize {
    if checksums { CHECKSUM } else { 0 }
}

/// Whether the events behind a format description carry a CRC32.
#[must_use]
pub fn has_checksums(format_description: &[u8]) -> bool {
    // The algorithm stands before the description's own.
    let at = format_description.len().checked_sub(CHECKSUM + 1);
    at.and_then(|at| format_description.get(at)) == Some(&1)
}

/// What an event is to whoever puts relay logs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayRole {
    /// What a file begins with.
    FormatDescription,
    /// Of a file, and of no transaction: `Stop`, `Rotate`, `Previous_gtids`, and MariaDB's
    /// `Binlog_checkpoint`, `Gtid_list` and `Start_encryption`.
    Beside,
    /// A statement, compressed or not.
    Statement,
    /// Anything else of a transaction.
    Other,
}

impl RelayRole {
    /// Of the event with this type code.
    #[must_use]
    pub fn of(kind: u8) -> Self {
        match kind {
            header::FORMAT_DESCRIPTION => Self::FormatDescription,
            header::STOP
            | header::ROTATE
            | header::PREVIOUS_GTIDS
            | header::MARIADB_BINLOG_CHECKPOINT
            | header::MARIADB_GTID_LIST
            | header::MARIADB_START_ENCRYPTION => Self::Beside,
            header::QUERY | header::MARIADB_QUERY_COMPRESSED => Self::Statement,
            _ => Self::Other,
        }
    }
}

fn previous_gtids(head: &mut Vec<u8>, server_id: [u8; 4], checksums: bool) {
    let length = HEADER + 8 + checksum_bytes(checksums);
    let mut event = Vec::with_capacity(length);
    event.extend_from_slice(&[0; 4]);
    event.push(PREVIOUS_GTIDS);
    event.extend_from_slice(&server_id);
    event.extend_from_slice(&u32::try_from(length).unwrap_or_default().to_le_bytes());
    let end = u32::try_from(head.len() + length).unwrap_or_default();
    event.extend_from_slice(&end.to_le_bytes());
    event.extend_from_slice(&IGNORABLE.to_le_bytes());
    // No source, so no interval.
    event.extend_from_slice(&0_u64.to_le_bytes());
    if checksums {
        event.extend_from_slice(&crc32fast::hash(&event).to_le_bytes());
    }
    head.extend_from_slice(&event);
}

#[cfg(test)]
mod tests {
    use super::super::{Captured, Events, Meaning};
    use super::*;

    fn format_description() -> Vec<u8> {
        let mut event = vec![9, 0, 0, 0, 15, 7, 0, 0, 0];
        event.extend_from_slice(&122_u32.to_le_bytes());
        event.extend_from_slice(&126_u32.to_le_bytes());
        event.extend_from_slice(&[0, 0, 4, 0]);
        event.extend_from_slice(b"9.7.1");
        event.resize(CREATED.start, 0);
        event.extend_from_slice(&1_700_000_000_u32.to_le_bytes());
        event.push(19);
        event.resize(122 - CHECKSUM - 1, 0);
        event.push(1);
        let sum = crc32fast::hash(&event);
        event.extend_from_slice(&sum.to_le_bytes());
        event
    }

    #[test]
    fn a_head_is_read_as_a_file_is() {
        for goes_on in [false, true] {
            let head = relay_head(Flavor::Mysql, &format_description(), goes_on);
            assert!(head.starts_with(MAGIC));
            let created = &head[MAGIC.len()..][CREATED];
            assert_eq!(created == [0; 4], goes_on);
            assert_eq!(is_of_a_start(&head[MAGIC.len()..]), !goes_on);
            let mut events = Events::new("r", 4);
            let mut input = &head[4..];
            let mut seen = Vec::new();
            while let Some(captured) = events.take(&mut input).unwrap() {
                if let Captured::End(end) = captured {
                    seen.push(end.meaning);
                }
            }
            assert!(matches!(seen[0], Meaning::FormatDescription { checksums: true, .. }));
            let Meaning::Previous(state) = &seen[1] else { panic!("{seen:?}") };
            assert!(state.is_empty() && events.is_between());
        }
        let head = relay_head(Flavor::Mariadb, &format_description(), false);
        assert_eq!(head[4..], format_description());
    }
}
