//! The events that name transactions: one (`Gtid`), or all that came before (`Previous_gtids`,
//! `Gtid_list`). Bodies are given without header and checksum.

use crate::model::{Flavor, Gtid, GtidSet, GtidState, Timestamp};

use super::{fields::Fields, header, tagged};

/// How a group's end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// MySQL: the first statement tells whether it is a transaction.
    Open,
    /// MariaDB: until a commit.
    Transaction,
    /// MariaDB: one statement.
    Standalone,
}

/// The first event of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opening {
    /// None for an anonymous transaction.
    pub(super) gtid: Option<Gtid>,
    pub(super) shape: Shape,
    /// Bytes of the whole group, this event included, if the server says.
    pub(super) length: Option<u64>,
    pub(super) committed_at: Option<Timestamp>,
    pub(super) original_committed_at: Option<Timestamp>,
}

/// Reads the event that begins a group: of MySQL (`Gtid_log_event` in its sources,
/// `control_events.h`) or of MariaDB (documentation, "GTID_EVENT").
pub(super) fn opening(kind: u8, server_id: u32, body: &[u8]) -> Option<Opening> {
    match kind {
        header::GTID | header::ANONYMOUS_GTID => mysql(kind == header::GTID, body),
        header::GTID_TAGGED => mysql_tagged(body),
        header::MARIADB_GTID => mariadb(server_id, body),
        _ => None,
    }
}

fn mysql(named: bool, body: &[u8]) -> Option<Opening> {
    let mut fields = Fields(body);
    let _flags = fields.u8()?;
    let uuid: [u8; 16] = fields.array()?;
    let number = fields.u64()?;
    let mut opening = Opening {
        gtid: named.then(|| Gtid::Mysql { source: uuid_text(uuid), number }),
        shape: Shape::Open,
        length: None,
        committed_at: None,
        original_committed_at: None,
    };
    // Since 5.7: a type code, then two numbers of the logical clock.
    if fields.u8() != Some(2) || fields.bytes(16).is_none() {
        return Some(opening);
    }
    // Since 8.0.1: 55 bits of microseconds; the highest says that the original ones follow.
    let Some(stamp) = fields.uint(7) else { return Some(opening) };
    let immediate = stamp & !FOLLOWED;
    let original = if stamp & FOLLOWED == 0 { immediate } else { fields.uint(7)? };
    opening.committed_at = instant(immediate);
    opening.original_committed_at = instant(original);
    // Since 8.0.2.
    opening.length = fields.length_encoded();
    Some(opening)
}

const FOLLOWED: u64 = 1 << 55;

fn mysql_tagged(body: &[u8]) -> Option<Opening> {
    let event = tagged::parse(body)?;
    let uuid = uuid_text(event.uuid);
    let source = if event.tag.is_empty() { uuid } else { format!("{uuid}:{}", event.tag) };
    let original = event.original_commit.unwrap_or(event.immediate_commit);
    Some(Opening {
        gtid: Some(Gtid::Mysql { source, number: event.number }),
        shape: Shape::Open,
        length: event.length,
        committed_at: instant(event.immediate_commit),
        original_committed_at: instant(original),
    })
}

/// `FL_STANDALONE` of MariaDB: there is no commit at the end.
const STANDALONE: u8 = 0x01;

fn mariadb(server: u32, body: &[u8]) -> Option<Opening> {
    let mut fields = Fields(body);
    let (sequence, domain, flags) = (fields.u64()?, fields.u32()?, fields.u8()?);
    Some(Opening {
        gtid: Some(Gtid::Mariadb { domain, server, sequence }),
        shape: if flags & STANDALONE == 0 { Shape::Transaction } else { Shape::Standalone },
        length: None,
        committed_at: None,
        original_committed_at: None,
    })
}

/// Nothing for 0, which old servers and unknown origins have.
fn instant(microseconds: u64) -> Option<Timestamp> {
    let microseconds = i64::try_from(microseconds).ok().filter(|&us| us > 0)?;
    Timestamp::from_microseconds(microseconds)
}

fn uuid_text(uuid: [u8; 16]) -> String {
    let hex = hex::encode(uuid);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Reads `Previous_gtids` (MySQL sources, `Gtid_set::encode`): a count, then for each uuid (and tag)
/// intervals whose end is exclusive. Since 8.3 the highest byte of the count is the format.
pub(super) fn previous_gtids(body: &[u8]) -> Option<GtidState> {
    let mut fields = Fields(body);
    let first = fields.u64()?;
    let (tags, count) = match first >> 56 {
        0 => (false, first),
        1 => (true, (first << 8) >> 16),
        _ => return None,
    };
    let mut set = GtidSet::empty(Flavor::Mysql);
    for _ in 0..count {
        let mut source = uuid_text(fields.array()?);
        if tags {
            let tag = std::str::from_utf8(tagged::text(&mut fields)?).ok()?;
            if !tag.is_empty() {
                source = format!("{source}:{tag}");
            }
        }
        for _ in 0..fields.u64()? {
            let (start, end) = (fields.u64()?, fields.u64()?);
            set.add(&format!("{source}:{start}-{}", end.checked_sub(1)?)).ok()?;
        }
    }
    fields.0.is_empty().then_some(GtidState::Mysql(set))
}

/// Reads `Gtid_list` (MariaDB documentation, "GTID_LIST_EVENT"): for each domain the last
/// transaction of each server, the last of all at the end.
pub(super) fn gtid_list(body: &[u8]) -> Option<GtidState> {
    let mut fields = Fields(body);
    let count = fields.u32()? & 0x0fff_ffff; // flags above
    let mut state = GtidState::empty(Flavor::Mariadb);
    for _ in 0..count {
        let (domain, server, sequence) = (fields.u32()?, fields.u32()?, fields.u64()?);
        state.add_mariadb(domain, server, sequence);
    }
    Some(state)
}
