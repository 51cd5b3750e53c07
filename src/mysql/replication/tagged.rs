//! `Gtid_tagged_log_event` (42), which MySQL 8.3 and later write for a GTID with a tag, in the
//! format of its library `mysql::serialization` (MySQL sources, `libs/mysql/serialization`,
//! "Serialization encoding format").

use super::fields::Fields;

/// An integer of variable length: as many low one-bits in the first byte as bytes follow it.
pub(super) fn uint(fields: &mut Fields<'_>) -> Option<u64> {
    let first = fields.u8()?;
    let more = first.trailing_ones() as usize;
    if more == 8 {
        return fields.u64();
    }
    let rest = fields.uint(more)?;
    let low_bits = 7 - more;
    Some(if more == 7 { rest } else { u64::from(first >> (more + 1)) | (rest << low_bits) })
}

/// A signed one: the sign is the lowest bit; a negative number is complemented.
fn int(fields: &mut Fields<'_>) -> Option<i64> {
    let raw = uint(fields)?;
    let magnitude = (raw >> 1).cast_signed();
    Some(if raw & 1 == 1 { !magnitude } else { magnitude })
}

/// A text: its length, then its bytes.
pub(super) fn text<'a>(fields: &mut Fields<'a>) -> Option<&'a [u8]> {
    let length = usize::try_from(uint(fields)?).ok()?;
    fields.bytes(length)
}

/// Of the encoding; 9.7 writes it.
const VERSION: u64 = 1;

fn skip<T>(field: Option<T>) -> Option<()> {
    field.map(|_| ())
}

/// The fields of the event that are of use here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tagged {
    pub(super) uuid: [u8; 16],
    pub(super) number: u64,
    pub(super) tag: String,
    /// Microseconds since the Unix epoch.
    pub(super) immediate_commit: u64,
    /// Left out when it is the immediate one.
    pub(super) original_commit: Option<u64>,
    pub(super) length: Option<u64>,
}

/// Reads the body of the event, after its header and without its checksum.
pub(super) fn parse(body: &[u8]) -> Option<Tagged> {
    let mut fields = Fields(body);
    let version = uint(&mut fields)?;
    let size = uint(&mut fields)?;
    let _last_non_ignorable = uint(&mut fields)?;
    // The size counts from the first byte.
    if version != VERSION || size != body.len() as u64 {
        return None;
    }
    let mut tagged = Tagged::default();
    while !fields.0.is_empty() {
        // In the order of `Gtid_event::define_fields`; defaults are left out.
        match uint(&mut fields)? {
            0 => skip(uint(&mut fields))?, // flags
            1 => {
                for byte in &mut tagged.uuid {
                    *byte = u8::try_from(uint(&mut fields)?).ok()?;
                }
            }
            2 => tagged.number = u64::try_from(int(&mut fields)?).ok()?,
            3 => tagged.tag = String::from_utf8(text(&mut fields)?.to_vec()).ok()?,
            4 | 5 => skip(int(&mut fields))?, // last committed, sequence number
            6 => tagged.immediate_commit = uint(&mut fields)?,
            7 => tagged.original_commit = Some(uint(&mut fields)?),
            8 => tagged.length = Some(uint(&mut fields)?),
            // Versions, the commit group's ticket, and what later versions add at the end.
            _ => break,
        }
    }
    (tagged.number > 0).then_some(tagged)
}
