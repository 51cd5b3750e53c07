//! What a parsed stream is told to.

use super::XbstreamError;

/// The receiver. Paths are relative, checked, and without a leading `./`.
pub(super) trait Sink {
    /// A chunk of `path` begins at `offset` of the file.
    fn begin(&mut self, path: &[u8], offset: u64, rewrite: bool) -> Result<(), Problem>;
    /// Bytes that follow the last ones of the current file.
    fn data(&mut self, bytes: &[u8]) -> Result<(), Problem>;
    /// Leaves a hole of this many bytes in the current file.
    fn skip(&mut self, bytes: u64) -> Result<(), Problem>;

    /// The file is complete.
    fn end(&mut self, path: &[u8]) -> Result<(), Problem>;
    /// The next bytes of `path` go to `offset`.
    fn seek(&mut self, path: &[u8], offset: u64, rewrite: bool) -> Result<(), Problem>;
    /// A complete file gets another name.
    fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), Problem>;
    /// A complete file is taken back.
    fn remove(&mut self, path: &[u8]) -> Result<(), Problem>;
    /// There is a folder, which may stay empty.
    fn folder(&mut self, path: &[u8]) -> Result<(), Problem>;
}

/// A sink's refusal; the parser adds where.
pub(super) enum Problem {
    Rule(String),
    Error(XbstreamError),
}

impl From<&str> for Problem {
    fn from(why: &str) -> Self {
        Self::Rule(why.to_owned())
    }
}

impl From<String> for Problem {
    fn from(why: String) -> Self {
        Self::Rule(why)
    }
}
