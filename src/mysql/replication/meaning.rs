//! What an event says, read from as much of it as was kept.

use super::{
    captured::Meaning,
    fields::{Fields, words},
    groups::Sign,
    gtids::{self, Opening},
    header::{self, CHECKSUM, HEADER, Header},
};

/// The most that is kept of an event whose beginning is enough: status variables (64 KiB at
/// most), a schema's name and a short statement.
const HEAD: usize = 80 << 10;
/// The most that an event may have which is read whole and says little; one piece at most.
const SMALL: usize = 64 << 10;
/// The most that a list of all earlier transactions may have: a million intervals.
const LIST: usize = 16 << 20;

/// How much of an event has to be kept, in bytes with its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// All, and it may have no more than this.
    Whole(usize),
    /// So much of its beginning.
    Head(usize),
}

pub(super) fn keep(kind: u8) -> Keep {
    match kind {
        header::FORMAT_DESCRIPTION
        | header::ROTATE
        | header::HEARTBEAT
        | header::HEARTBEAT_V2
        | header::GTID
        | header::ANONYMOUS_GTID
        | header::GTID_TAGGED
        | header::MARIADB_GTID => Keep::Whole(SMALL),
        header::PREVIOUS_GTIDS | header::MARIADB_GTID_LIST => Keep::Whole(LIST),
        header::QUERY | header::INCIDENT => Keep::Head(HEAD),
        _ => Keep::Head(HEADER),
    }
}

/// A format description (MySQL internals, "FORMAT_DESCRIPTION_EVENT").
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) server_version: String,
    /// Whether the events of the file carry a CRC32.
    pub(super) checksums: bool,
}

/// Reads a whole format description, header included.
pub(super) fn format(event: &[u8]) -> Option<Format> {
    let mut fields = Fields(event.get(HEADER..)?);
    if fields.u16()? != 4 {
        return None; // binary logs of MySQL 4.1 and earlier
    }
    let server_version = words(Fields(fields.bytes(50)?).until_nul());
    let _created = fields.u32()?;
    if usize::from(fields.u8()?) != HEADER {
        return None;
    }
    let version = server_version.parse::<crate::model::ServerVersion>().ok()?;
    if version.numbers < (5, 6, 1) {
        return None; // no checksums, not even of this event: what it says could not be believed
    }
    let algorithm = *event.get(event.len().checked_sub(CHECKSUM + 1)?)?;
    // 0: none; 1: CRC32. Nothing else was ever defined.
    (algorithm <= 1).then_some(Format { server_version, checksums: algorithm == 1 })
}

/// Reads what was kept of an event. `whole` says whether that is all of it; a checksum, of the
/// given length, is at its end.
pub(super) fn read<'a>(
    header: &Header,
    kept: &'a [u8],
    whole: bool,
    checksum: usize,
) -> Result<(Meaning, Sign<'a>), String> {
    let end = if whole { kept.len().saturating_sub(checksum) } else { kept.len() };
    let body = kept.get(HEADER..end).unwrap_or_default();
    let garbled = || format!("the event of type {} is malformed", header.kind);
    Ok(match header.kind {
        header::GTID | header::ANONYMOUS_GTID | header::GTID_TAGGED | header::MARIADB_GTID => {
            let opening =
                gtids::opening(header.kind, header.server_id, body).ok_or_else(garbled)?;
            (named(&opening), Sign::Opens(opening))
        }
        header::PREVIOUS_GTIDS => {
            (Meaning::Previous(gtids::previous_gtids(body).ok_or_else(garbled)?), Sign::Beside)
        }
        header::MARIADB_GTID_LIST => {
            (Meaning::Previous(gtids::gtid_list(body).ok_or_else(garbled)?), Sign::Beside)
        }
        header::QUERY => (
            Meaning::Other,
            Sign::Statement(if whole { Some(statement(body).ok_or_else(garbled)?) } else { None }),
        ),
        header::EXECUTE_LOAD_QUERY | header::MARIADB_QUERY_COMPRESSED => {
            (Meaning::Other, Sign::Statement(None))
        }
        header::XID | header::XA_PREPARE | header::TRANSACTION_PAYLOAD => {
            (Meaning::Other, Sign::Commits)
        }
        header::ROTATE => {
            let next = rotation(body).ok_or_else(garbled)?.1;
            (Meaning::Rotate { next }, Sign::Beside)
        }
        header::STOP => (Meaning::Stop, Sign::Beside),
        header::INCIDENT => {
            (Meaning::Incident { message: incident(body).ok_or_else(garbled)? }, Sign::Commits)
        }
        header::MARIADB_START_ENCRYPTION => (Meaning::StartEncryption, Sign::Beside),
        header::MARIADB_BINLOG_CHECKPOINT => (Meaning::Other, Sign::Beside),
        _ => (Meaning::Other, Sign::Within),
    })
}

fn named(opening: &Opening) -> Meaning {
    opening.gtid.clone().map_or(Meaning::Anonymous, Meaning::Gtid)
}

/// The text of a `Query` event (MySQL internals, "QUERY_EVENT").
fn statement(body: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields(body);
    let _thread_and_seconds = fields.bytes(8)?;
    let schema = usize::from(fields.u8()?);
    let _error = fields.u16()?;
    let variables = usize::from(fields.u16()?);
    fields.bytes(variables + schema + 1)?;
    Some(fields.0)
}

/// Where a `Rotate` event leads: the offset, and the file's name.
pub(super) fn rotation(body: &[u8]) -> Option<(u64, String)> {
    let mut fields = Fields(body);
    let offset = fields.u64()?;
    let name = file_name(fields.0)?;
    Some((offset, name))
}

/// A binary log's name: text, without a folder or anything that cannot be printed.
pub(super) fn file_name(bytes: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(bytes).ok()?;
    let good = !name.is_empty() && !name.contains(|c: char| c.is_control() || c == '/');
    good.then(|| name.to_owned())
}

/// The words of an `Incident` event (MySQL sources, `Incident_event`).
fn incident(body: &[u8]) -> Option<String> {
    let mut fields = Fields(body);
    let number = fields.u16()?;
    let length = usize::from(fields.u8().unwrap_or_default());
    let message = words(fields.bytes(length).unwrap_or(fields.0));
    Some(if message.is_empty() { format!("incident {number}") } else { message })
}

/// A `HEARTBEAT_V2` event (MySQL sources, `Heartbeat_event_v2`): type, length and value of fields.
pub(super) fn heartbeat(body: &[u8]) -> Option<(String, u64)> {
    let mut fields = Fields(body);
    let (mut file, mut position) = (None, None);
    while !fields.0.is_empty() {
        let kind = fields.length_encoded()?;
        if kind == 0 {
            break;
        }
        let length = usize::try_from(fields.length_encoded()?).ok()?;
        let value = fields.bytes(length)?;
        match kind {
            1 => file = file_name(value),
            2 => position = Fields(value).length_encoded(),
            _ => {}
        }
    }
    Some((file?, position?))
}
