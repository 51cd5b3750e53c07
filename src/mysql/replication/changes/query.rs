//! `Query` events, their compressed form (MariaDB), and `Execute_load_query`.

use super::{
    super::{
        fields::{Fields, words},
        header,
    },
    unpack::{OUT, Unpack},
};

/// Bytes of a statement that are looked at: enough for a `DROP TABLE` of ten thousand tables.
pub(super) const STATEMENT: usize = 1 << 20;

/// Bytes of such an event that are kept: status variables and a schema stand before the statement.
pub(super) const KEPT: usize = STATEMENT + (70 << 10);

/// A statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// The session's schema.
    pub(super) schema: String,
    pub(super) text: Vec<u8>,
    /// Whether the statement goes on.
    pub(super) cut: bool,
}

/// Reads what was kept of the body of an event, which goes on when it was `cut`.
pub(super) fn read(kind: u8, body: &[u8], cut: bool) -> Option<Query> {
    let mut fields = Fields(body);
    let _thread_and_seconds = fields.bytes(8)?;
    let schema = usize::from(fields.u8()?);
    let _error = fields.u16()?;
    let variables = usize::from(fields.u16()?);
    if kind == header::EXECUTE_LOAD_QUERY {
        fields.bytes(13)?;
    }
    fields.bytes(variables)?;
    let schema = words(fields.bytes(schema)?);
    fields.u8()?; // a zero
    if kind == header::MARIADB_QUERY_COMPRESSED {
        let (text, more) = unpacked(fields)?;
        return Some(Query { schema, text, cut: cut || more });
    }
    let text = &fields.0[..fields.0.len().min(STATEMENT)];
    Some(Query { schema, text: text.to_vec(), cut: cut || text.len() < fields.0.len() })
}

/// 0x80, the algorithm (0: zlib), and the length's length; the length; then the text.
fn unpacked(mut fields: Fields<'_>) -> Option<(Vec<u8>, bool)> {
    let first = fields.u8()?;
    if first & 0xf0 != 0x80 {
        return None;
    }
    fields.bytes(usize::from(first & 7))?;
    let (mut unpack, mut text) = (Unpack::zlib(), Vec::new());
    let mut out = [0; OUT];
    while text.len() <= STATEMENT {
        match unpack.run(&mut fields.0, &mut out).ok()? {
            0 => return Some((text, false)),
            count => text.extend_from_slice(&out[..count]),
        }
    }
    text.truncate(STATEMENT);
    Some((text, true))
}
