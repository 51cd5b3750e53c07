//! `Table_map`: which table a number stands for, and how long its columns are (MySQL sources,
//! `Table_map_event`; MariaDB documentation, "TABLE_MAP_EVENT").

use super::super::fields::{Fields, words};

/// The table that a rows event speaks of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) columns: Vec<Cell>,
    /// Columns of type JSON, of which an update may hold parts alone.
    pub(super) json: usize,
}

/// How a value of a column is stored in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    /// In so many bytes.
    Fixed(u16),
    /// Behind its length, which takes so many bytes.
    Prefixed(u8),
    /// In a way that is not known here: a type of a later version.
    Unknown,
}

/// The number of the table: six bytes.
pub(super) fn id(body: &[u8]) -> Option<u64> {
    Fields(body).uint(6)
}

/// Schema and table alone.
pub(super) fn names(body: &[u8]) -> Option<(String, String)> {
    named(body).map(|(schema, table, _)| (schema, table))
}

fn named(body: &[u8]) -> Option<(String, String, Fields<'_>)> {
    let mut fields = Fields(body);
    fields.bytes(8)?; // number and flags
    let mut name = || {
        let length = usize::from(fields.u8()?);
        let name = words(fields.bytes(length)?);
        fields.u8()?; // a zero
        Some(name)
    };
    let (schema, table) = (name()?, name()?);
    Some((schema, table, fields))
}

impl Table {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let (schema, name, mut fields) = named(body)?;
        let count = usize::try_from(fields.length_encoded()?).ok()?;
        let types = fields.bytes(count)?;
        let length = usize::try_from(fields.length_encoded()?).ok()?;
        let mut metadata = Fields(fields.bytes(length)?);
        let columns = types.iter().map(|kind| cell(*kind, &mut metadata)).collect();
        let json = types.iter().map(|kind| usize::from(*kind == JSON)).sum();
        Some(Self { schema, name, columns, json })
    }
}

const ENUM: u8 = 247;
const SET: u8 = 248;
const JSON: u8 = 245;

/// The type codes are MySQL's `enum_field_types`; 140 and 141 are MariaDB's compressed columns.
fn cell(kind: u8, metadata: &mut Fields<'_>) -> Cell {
    known(kind, metadata).unwrap_or(Cell::Unknown)
}

fn known(kind: u8, metadata: &mut Fields<'_>) -> Option<Cell> {
    Some(match kind {
        6 => Cell::Fixed(0),                         // NULL
        1 | 13 => Cell::Fixed(1),                    // TINYINT, YEAR
        2 => Cell::Fixed(2),                         // SMALLINT
        9 | 10 | 11 | 14 => Cell::Fixed(3),          // MEDIUMINT, DATE, TIME
        3 | 7 => Cell::Fixed(4),                     // INT, TIMESTAMP
        8 | 12 => Cell::Fixed(8),                    // BIGINT, DATETIME
        4 | 5 => Cell::Fixed(metadata.u8()?.into()), // FLOAT, DOUBLE
        17 => Cell::Fixed(4 + fraction(metadata)?),  // TIMESTAMP(n)
        18 => Cell::Fixed(5 + fraction(metadata)?),  // DATETIME(n)
        19 => Cell::Fixed(3 + fraction(metadata)?),  // TIME(n)
        16 => {
            // BIT
            let (bits, bytes) = (metadata.u8()?, metadata.u8()?);
            Cell::Fixed(u16::from(bytes) + u16::from(bits > 0))
        }
        246 => decimal(metadata.u8()?, metadata.u8()?),
        15 | 253 | 141 => Cell::Prefixed(if metadata.u16()? < 256 { 1 } else { 2 }),
        140 | 242 | JSON | 249..=252 | 255 => match metadata.u8()? {
            prefix @ 1..=4 => Cell::Prefixed(prefix),
            _ => Cell::Unknown,
        },
        ENUM | SET => {
            let (_, bytes) = (metadata.u8()?, metadata.u8()?);
            Cell::Fixed(bytes.into())
        }
        254 => string(metadata.u8()?, metadata.u8()?),
        // Its metadata are of unknown length, so nothing behind it can be told either.
        _ => {
            metadata.0 = &[];
            Cell::Unknown
        }
    })
}

/// Bytes of the fraction of a second.
fn fraction(metadata: &mut Fields<'_>) -> Option<u16> {
    Some(u16::from(metadata.u8()?).div_ceil(2))
}

/// `CHAR`, and what is kept like it: the first byte holds the true type and, turned round, two
/// bits of the length.
fn string(first: u8, second: u8) -> Cell {
    let (kind, length) = if first & 0x30 == 0x30 {
        (first, u16::from(second))
    } else {
        (first | 0x30, u16::from(second) | u16::from((first & 0x30) ^ 0x30) << 4)
    };
    match kind {
        ENUM | SET => Cell::Fixed(length),
        _ => Cell::Prefixed(if length < 256 { 1 } else { 2 }),
    }
}

/// `DECIMAL`: nine digits take four bytes, fewer take less (MySQL sources, `decimal_bin_size`).
fn decimal(precision: u8, scale: u8) -> Cell {
    const LEFT: [u16; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
    let Some(whole) = precision.checked_sub(scale) else { return Cell::Unknown };
    let bytes = |digits: u8| u16::from(digits / 9) * 4 + LEFT[usize::from(digits % 9)];
    Cell::Fixed(bytes(whole) + bytes(scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_take_what_the_servers_say() {
        assert_eq!(decimal(14, 4), Cell::Fixed(5 + 2));
        assert_eq!(decimal(65, 30), Cell::Fixed(12 + 4 + 12 + 2));
        assert_eq!(decimal(3, 4), Cell::Unknown);
        // CHAR(10) utf8mb4: 40 bytes; CHAR(255) utf8mb4: 1020 bytes.
        assert_eq!(string(254, 40), Cell::Prefixed(1));
        assert_eq!(string(0xfe ^ 0x30, 0xfc), Cell::Prefixed(2));
        assert_eq!(string(ENUM, 2), Cell::Fixed(2));
        assert_eq!(cell(18, &mut Fields(&[6])), Cell::Fixed(8));
        assert_eq!(cell(16, &mut Fields(&[3, 1])), Cell::Fixed(2));
        assert_eq!(cell(15, &mut Fields(&[0, 1])), Cell::Prefixed(2));
        assert_eq!(cell(15, &mut Fields(&[0])), Cell::Unknown);
    }

    #[test]
    fn a_type_of_the_future_hides_what_stands_behind_it() {
        let mut metadata = Fields(&[1, 2, 3]);
        assert_eq!(cell(200, &mut metadata), Cell::Unknown);
        assert!(metadata.0.is_empty());
    }
}
