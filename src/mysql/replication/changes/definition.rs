//! Statements that define something, in `Query` events that are replayed: read once, for whoever
//! follows what they do.

use super::{
    super::{header::HEADER, relay::checksum_bytes},
    query,
    words::words,
};

/// Bytes of a statement in which its first word stands, behind whatever comments.
const BEGINNING: usize = 4096;

/// A statement that creates, alters or drops something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The server that wrote it, and its session there.
    pub(super) session: ([u8; 4], [u8; 4]),
    /// The session's schema.
    pub(super) schema: String,
    pub(super) text: Vec<u8>,
}

impl Definition {
    /// Reads a `Query` event, compressed or not, header and checksum included; nothing when its
    /// statement defines nothing. `checksums` says that there is one.
    #[must_use]
    pub fn read(event: &[u8], checksums: bool) -> Option<Self> {
        let end = event.len().checked_sub(checksum_bytes(checksums))?;
        let body = event.get(HEADER..end)?;
        let session = (event.get(5..9)?.try_into().ok()?, body.get(..4)?.try_into().ok()?);
        let query = query::read(*event.get(4)?, body, false)?;
        let (schema, text) = (query.schema, query.text);
        defines(&text).then_some(Self { session, schema, text })
    }
}

/// Cheap, for statements that insert a megabyte.
fn defines(text: &[u8]) -> bool {
    let words = words(&text[..text.len().min(BEGINNING)]);
    let verbs = ["CREATE", "ALTER", "DROP"];
    words.first().is_some_and(|first| verbs.iter().any(|verb| first.is(verb)))
}
