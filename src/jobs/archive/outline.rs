//! Outlines: what a transaction or the beginning of a file is recognised by when it is read
//! again. No row goes into them, so they may stand in records that anybody can read.

use sha2::{Digest, Sha256};

use crate::model::Sha256Digest;

/// Bytes of an event's header.
const HEADER: usize = 19;
/// Bytes of an event's checksum.
const CHECKSUM: usize = 4;
/// Events that name transactions or count them, and hold no data:
/// Xid, Gtid, Anonymous_gtid, Gtid_tagged of MySQL; Gtid of MariaDB.
const NAMING: [u8; 5] = [16, 33, 34, 42, 162];

/// The outline of a run of events: a SHA-256 over the header of each, and over the body of those
/// that name transactions.
#[derive(Debug, Clone, Default)]
pub(super) struct Outline {
    hash: Sha256,
    /// The event being read: its bytes so far and its length, and whether all of it counts.
    at: u64,
    length: u64,
    whole: bool,
}

impl Outline {
    /// An event begins. At the beginning of a file every event counts whole.
    pub(super) fn event(&mut self, length: u64, kind: u8, opening: bool) {
        self.at = 0;
        self.length = length;
        self.whole = opening || NAMING.contains(&kind);
    }

    /// Its next bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let counts =
            if self.whole { self.length.saturating_sub(CHECKSUM as u64) } else { HEADER as u64 };
        let left = usize::try_from(counts.saturating_sub(self.at)).unwrap_or(usize::MAX);
        self.hash.update(&bytes[..bytes.len().min(left)]);
        self.at += bytes.len() as u64;
    }

    /// The outline of the events so far.
    pub(super) fn digest(&self) -> Sha256Digest {
        Sha256Digest(self.hash.clone().finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(rows: &[u8], gtid: &[u8]) -> Sha256Digest {
        let mut outline = Outline::default();
        for (kind, body) in [(33, gtid), (30, rows)] {
            outline.event((HEADER + body.len() + CHECKSUM) as u64, kind, false);
            // In pieces, as they come.
            outline.bytes(&[kind; 7]);
            outline.bytes(&[kind; HEADER - 7]);
            outline.bytes(body);
            outline.bytes(&[9; CHECKSUM]);
        }
        outline.digest()
    }

    #[test]
    fn names_count_and_rows_do_not() {
        assert_eq!(outline(b"card 4111", b"a:1"), outline(b"card 5500", b"a:1"));
        assert_ne!(outline(b"card 4111", b"a:1"), outline(b"card 4111", b"a:2"));
    }
}
