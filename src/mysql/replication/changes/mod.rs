//! Which transactions of a binary log changed a table, and how: pure, and in little memory however
//! large a transaction is. Bytes go in as they come; whole transactions come out.

mod definition;
mod payload;
mod query;
mod rows;
mod scheduled;
mod statement;
mod table;
mod tally;
mod temporary;
mod unpack;
mod words;

use super::{
    super::MysqlError,
    captured::{Captured, Group, Meaning},
    events::Events,
    header::{CHECKSUM, HEADER},
};
pub use definition::Definition;
pub use scheduled::{EventChange, EventChangeKind, event_change};
use tally::Tally;
pub use tally::{Change, Wanted};
pub use temporary::TemporaryTables;

/// A transaction that did something that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its name and place.
    pub group: Group,
    /// What it did, in order.
    pub changes: Vec<Change>,
    /// Whether it did more such things than are told of.
    pub more: bool,
}

/// Reads the transactions of one file.
#[derive(Debug)]
pub struct Transactions {
    events: Events,
    tally: Tally,
    /// Where the event begins.
    begins: u64,
    /// Where in the event the next byte lies, and where its body ends.
    at: u64,
    body_end: u64,
}

impl Transactions {
    /// Reads a file from behind its magic number.
    #[must_use]
    pub fn new(file: impl Into<String>, wanted: Wanted) -> Self {
        Self::of(Events::new(file, 4), wanted)
    }

    /// Reads a file from the event that begins at `offset`; when that lies within a transaction,
    /// from the next one on.
    #[must_use]
    pub fn headless(file: impl Into<String>, offset: u64, wanted: Wanted) -> Self {
        Self::of(Events::headless(file, offset), wanted)
    }

    fn of(events: Events, wanted: Wanted) -> Self {
        Self { events, tally: Tally::new(wanted), begins: 0, at: 0, body_end: 0 }
    }

    /// Takes bytes from the front of `input` until a transaction has ended in which something is
    /// that was looked for; nothing when the input is used up.
    ///
    /// # Errors
    /// [`MysqlError::Damaged`]: these are not the bytes of a binary log, or something is in them
    /// that has to be understood and is not.
    pub fn take(&mut self, input: &mut &[u8]) -> Result<Option<Transaction>, MysqlError> {
        while let Some(captured) = self.events.take(input)? {
            match captured {
                Captured::Event { offset, length, kind } => {
                    // Nearly every server writes checksums.
                    let checksum =
                        if self.events.checksums() == Some(false) { 0 } else { CHECKSUM };
                    (self.begins, self.at) = (offset, 0);
                    self.body_end = length.saturating_sub(checksum as u64);
                    self.tally.begin_outer(kind);
                }
                Captured::Bytes(bytes) => {
                    let body = self.body(&bytes);
                    self.tally.bytes_outer(body).map_err(|why| self.damaged(why))?;
                }
                Captured::End(end) => {
                    self.tally.end_outer().map_err(|why| self.damaged(why))?;
                    if matches!(end.meaning, Meaning::Gtid(_) | Meaning::Anonymous) {
                        self.tally.opening();
                    }
                    if let Some(group) = end.group {
                        let (changes, more) = self.tally.take();
                        if !changes.is_empty() || more {
                            return Ok(Some(Transaction { group, changes, more }));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn damaged(&self, why: String) -> MysqlError {
        MysqlError::Damaged { file: self.events.file().to_owned(), offset: self.begins, why }
    }

    /// What of these bytes belongs to the body of the event.
    fn body<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let within = |offset: u64| {
            let in_piece = offset.saturating_sub(self.at);
            usize::try_from(in_piece).unwrap_or(usize::MAX).min(bytes.len())
        };
        let (from, to) = (within(HEADER as u64), within(self.body_end));
        self.at += bytes.len() as u64;
        bytes.get(from..to).unwrap_or_default()
    }
}
