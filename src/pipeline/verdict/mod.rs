//! The stream of our own agent: a backup in frames, with the server's facts at its beginning and
//! the agent's verdict at its end. `docs/serve.md` is the specification.
//!
//! ```text
//! "BSTREAM1"  frame*
//! frame: type u8  length u32, big-endian  payload
//!   H head: JSON, first and once       D data: 1 byte to 1 MiB of the backup
//!   K nothing: the agent is alive      V verdict: JSON, last and once
//! ```
//!
//! HTTP says how a stream began and not how the engine ended, so the verdict comes in band. Without
//! one, or with bytes behind it, a stream is worth nothing.

mod read;
#[cfg(test)]
mod tests;
mod write;

use serde::{Deserialize, Serialize};

pub use read::{Pending, VerdictReader};
pub use write::{data, head, keep_alive, magic, verdict};

use crate::model::{Connection, EngineKind, ServerFacts, Sha256Digest, Timestamp, TlsFacts};

/// The path below which the agent streams.
pub const PATH: &str = "/backstay/v1/backup";
/// The media type of a stream.
pub const MEDIA_TYPE: &str = "application/vnd.backstay.stream.v1";
/// What a stream begins with.
pub const MAGIC: &[u8; 8] = b"BSTREAM1";
/// The most data in a frame, in bytes.
pub const MAX_DATA: usize = 1 << 20;
/// The most bytes of a head or a verdict: GTID sets can be long.
pub const MAX_DOCUMENT: usize = 4 << 20;
/// The version of head and verdict.
pub const VERSION: u32 = 1;

/// The letter of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Head,
    Data,
    KeepAlive,
    Verdict,
}

impl Kind {
    const fn letter(self) -> u8 {
        match self {
            Self::Head => b'H',
            Self::Data => b'D',
            Self::KeepAlive => b'K',
            Self::Verdict => b'V',
        }
    }

    fn of(letter: u8) -> Option<Self> {
        [Self::Head, Self::Data, Self::KeepAlive, Self::Verdict]
            .into_iter()
            .find(|kind| kind.letter() == letter)
    }

    /// How long the payload may be.
    fn allows(self, length: usize) -> bool {
        match self {
            Self::Head | Self::Verdict => (1..=MAX_DOCUMENT).contains(&length),
            Self::Data => (1..=MAX_DATA).contains(&length),
            Self::KeepAlive => length == 0,
        }
    }
}

/// What is known when the stream begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Version of this object.
    pub version: u32,
    /// The agent's own version.
    pub agent_version: String,
    /// What makes the backup.
    pub engine: EngineKind,
    /// Its version, where it is known by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// When the agent began, by its clock.
    pub started_at: Timestamp,
    /// The agent's own connection to the server.
    pub database: Connection,
    /// What the agent and its client have agreed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFacts>,
    /// The server before the engine began: its position is not yet that of the backup.
    pub server: ServerFacts,
}

/// How an engine ended, and what it wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Said {
    /// It was reaped with status 0, said that it had completed, and its stream was whole.
    Complete {
        /// Version of this object.
        version: u32,
        /// The engine's exit status, which is 0.
        exit_status: i32,
        /// The engine's version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        engine_version: Option<String>,
        /// Bytes in all data frames.
        bytes: u64,
        /// Their SHA-256.
        sha256: Sha256Digest,
        /// When it ended, by the agent's clock.
        finished_at: Timestamp,
        /// The server at the instant of the backup, with the exact set of transactions.
        server: Box<ServerFacts>,
    },
    /// It failed.
    Failed {
        /// Version of this object.
        version: u32,
        /// Why.
        error: String,
    },
}

/// Proof that our agent said that the backup is whole, and that it is what was received. Only
/// [`VerdictReader`] makes one.
#[derive(Debug, Clone)]
pub struct Verdict {
    engine_version: Option<String>,
    bytes: u64,
    server: ServerFacts,
}

impl Verdict {
    /// The engine's version.
    #[must_use]
    pub fn engine_version(&self) -> Option<&str> {
        self.engine_version.as_deref()
    }

    /// Bytes of the backup.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The server at the instant of the backup.
    #[must_use]
    pub fn server(&self) -> &ServerFacts {
        &self.server
    }
}
