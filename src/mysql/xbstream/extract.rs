//! Takes a stream apart into a folder, with the same checks.

use std::path::Path;

use super::{
    Dialect, WholeStream, XbstreamError,
    folder::Folder,
    ledger::Ledger,
    parser::{Parser, Problem, Sink},
};

/// When extracted files reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// When the system likes: for scratch folders.
    Never,
    /// Before [`Extractor::finish`] returns (syncfs(2)).
    AtEnd,
    /// Each file when it is complete, its folders at the end.
    EachFile,
}

/// Writes the files of a stream below a folder. Blocking.
#[derive(Debug)]
pub struct Extractor {
    parser: Parser,
    taker: Taker,
}

#[derive(Debug)]
struct Taker {
    ledger: Ledger,
    folder: Folder,
}

impl Extractor {
    /// For a stream of this dialect, into a folder that exists. Folders are made with mode
    /// 0700 and files with 0640; no symbolic link is followed and no file is overwritten.
    ///
    /// # Errors
    /// When the folder cannot be opened.
    pub fn new(dialect: Dialect, dir: &Path, sync: SyncPolicy) -> Result<Self, XbstreamError> {
        let folder = Folder::open(dir, sync)?;
        let taker = Taker { ledger: Ledger::new(dialect), folder };
        Ok(Self { parser: Parser::new(dialect), taker })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// The first rule that the stream breaks, or a file that cannot be written.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), XbstreamError> {
        self.parser.feed(bytes, &mut self.taker)
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parser.at()
    }

    /// The stream is at its end: is it whole? Syncs as the policy says.
    ///
    /// # Errors
    /// As [`super::Validator::finish`], and when syncing fails. What was extracted stays.
    pub fn finish(self) -> Result<WholeStream, XbstreamError> {
        self.parser.finish()?;
        let whole = self.taker.ledger.close(self.parser.at())?;
        self.taker.folder.sync()?;
        Ok(whole)
    }
}

impl From<XbstreamError> for Problem {
    fn from(error: XbstreamError) -> Self {
        Self::Error(error)
    }
}

impl Sink for Taker {
    fn begin(&mut self, path: &[u8], offset: u64, rewrite: bool) -> Result<(), Problem> {
        let opened = self.ledger.begin(path, offset, rewrite)?;
        Ok(self.folder.open_file(path, opened)?)
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let at = self.ledger.data(bytes)?;
        Ok(self.folder.write(bytes, at)?)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), Problem> {
        self.ledger.skip(bytes)
    }

    fn end(&mut self, path: &[u8]) -> Result<(), Problem> {
        let (opened, size) = self.ledger.end(path)?;
        self.folder.open_file(path, opened)?;
        Ok(self.folder.close(path, size)?)
    }

    fn seek(&mut self, path: &[u8], offset: u64, rewrite: bool) -> Result<(), Problem> {
        let opened = self.ledger.seek(path, offset, rewrite)?;
        Ok(self.folder.open_file(path, opened)?)
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), Problem> {
        if self.ledger.rename(from, to)? {
            self.folder.rename(from, to)?;
        }
        Ok(())
    }

    fn remove(&mut self, path: &[u8]) -> Result<(), Problem> {
        if self.ledger.remove(path)? {
            self.folder.remove(path)?;
        }
        Ok(())
    }
}
