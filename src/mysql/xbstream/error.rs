//! Why a stream is not whole.

use std::{io, path::PathBuf};

/// An error of a stream. Offsets count bytes from the beginning of the stream.
#[derive(Debug, thiserror::Error)]
pub enum XbstreamError {
    /// Something that is no chunk: damage, or a text that somebody appended.
    #[error(
        "the stream has no chunk at byte {at} where one must begin: {found}: it is damaged, or something else was appended"
    )]
    NoChunk {
        /// Where.
        at: u64,
        /// The first bytes there, printable.
        found: String,
    },
    /// A chunk that breaks a rule of the format.
    #[error("the chunk at byte {at} of the stream{of} is malformed: {why}", of = of(path))]
    Malformed {
        /// Where the chunk begins.
        at: u64,
        /// The file it is for; empty when it was not read yet.
        path: String,
        /// The rule.
        why: String,
    },
    /// Bytes differ from those that the engine wrote.
    #[error("the chunk at byte {at} of the stream{of} fails its checksum: the chunk says {expected:08x}, its bytes say {actual:08x}", of = of(path))]
    Checksum {
        /// Where the chunk begins.
        at: u64,
        /// The file it is for.
        path: String,
        /// CRC-32 in the chunk.
        expected: u32,
        /// CRC-32 of the bytes.
        actual: u32,
    },
    /// The stream ended inside a chunk.
    #[error("the stream was cut inside a chunk, after {at} bytes{of}: the engine or the connection ended early", of = of(path))]
    Cut {
        /// Bytes that came.
        at: u64,
        /// The file that was being read.
        path: String,
    },
    /// The stream ended while files were open.
    #[error(
        "the stream ended after {at} bytes with {count} files open, such as `{example}`: the engine ended early"
    )]
    Open {
        /// Bytes that came.
        at: u64,
        /// How many.
        count: usize,
        /// One of them.
        example: String,
    },
    /// The engine writes this file at the end, and it is missing or empty.
    #[error(
        "the stream is well formed but has no {missing} ({at} bytes, {files} files): the engine failed before it was done; see its log"
    )]
    NotFinished {
        /// Bytes that came.
        at: u64,
        /// Files that came.
        files: u64,
        /// What is missing.
        missing: String,
    },
    /// It was used after it had failed.
    #[error("the stream failed before and was fed again")]
    Failed,
    /// A file could not be written.
    #[error("extracting {path}: {source}{hint}", path = path.display(), hint = hint(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("reading {path} for the stream: {why}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

fn of(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" (file `{path}`)") }
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull => ": free some space, or choose another folder",
        io::ErrorKind::AlreadyExists => ": the folder must be empty",
        _ if source.raw_os_error() == Some(24) => ": raise the limit on open files (ulimit -n)",
        _ => "",
    }
}
