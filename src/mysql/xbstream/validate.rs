//! Checks a stream as it flows by, and keeps nothing of it but the information files.

use super::{
    Dialect, WholeStream, XbstreamError,
    ledger::Ledger,
    parser::{Parser, Problem, Sink},
};

/// Checks a stream that is fed to it in pieces of any size.
#[derive(Debug)]
pub struct Validator {
    parser: Parser,
    books: Books,
}

#[derive(Debug)]
struct Books(Ledger);

impl Validator {
    /// For a stream of this dialect.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self { parser: Parser::new(dialect), books: Books(Ledger::new(dialect)) }
    }

    /// Takes the next bytes. They are not kept.
    ///
    /// # Errors
    /// The first rule that the stream breaks; every later call fails too.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), XbstreamError> {
        self.parser.feed(bytes, &mut self.books)
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parser.at()
    }

    /// The stream is at its end: is it whole?
    ///
    /// # Errors
    /// When it was cut, a file is open, or one of the engine's last files is missing or empty.
    pub fn finish(self) -> Result<WholeStream, XbstreamError> {
        self.parser.finish()?;
        self.books.0.close(self.parser.at())
    }
}

impl Sink for Books {
    fn begin(&mut self, path: &[u8], offset: u64, rewrite: bool) -> Result<(), Problem> {
        self.0.begin(path, offset, rewrite).map(drop)
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.0.data(bytes).map(drop)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), Problem> {
        self.0.skip(bytes)
    }

    fn end(&mut self, path: &[u8]) -> Result<(), Problem> {
        self.0.end(path).map(drop)
    }

    fn seek(&mut self, path: &[u8], offset: u64, rewrite: bool) -> Result<(), Problem> {
        self.0.seek(path, offset, rewrite).map(drop)
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), Problem> {
        self.0.rename(from, to).map(drop)
    }

    fn remove(&mut self, path: &[u8]) -> Result<(), Problem> {
        self.0.remove(path).map(drop)
    }
}
