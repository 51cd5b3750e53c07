//! The xbstream format: what the engines write, checked as it flows, and taken apart.
//!
//! A stream is a sequence of chunks, little-endian throughout (MariaDB
//! `extra/mariabackup/xbstream_{read,write}.cc`, Percona
//! `storage/innobase/xtrabackup/src/xbstream_read.cc`):
//!
//! ```text
//! "XBSTCK01"  flags u8  type u8  path length u32  path
//!   P payload   length u64  offset u64  crc32 u32  payload
//!   E the file ends
//!   S MariaDB: seek        offset u64
//!   S Percona: sparse      map size u32  length u64  offset u64  crc32 u32
//!                          map of (skip u32, length u32)  payload
//!   R MariaDB: rename      length u32  new path
//!   D MariaDB: remove
//! ```
//!
//! The checksum is CRC-32 (ISO 3309) of the payload, with the map before it. Names
//! and empty files have none: there the framing is all the protection there is.
//! `mbstream -x` exits with 0 on most damage, so it proves nothing; this does.

mod chunk;
mod error;
mod extract;
mod folder;
mod last_files;
mod ledger;
mod parser;
mod validate;
mod write;

pub use error::XbstreamError;
pub use extract::{Extractor, SyncPolicy};
pub use last_files::INFO_LIMIT;
pub use ledger::WholeStream;
pub use validate::Validator;
pub use write::{CLONE_INFO, Writer};

/// Whose stream it is: the letter `S` and the files that come last differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Percona XtraBackup.
    Percona,
    /// mariadb-backup.
    Mariadb,
    /// Our own [`Writer`].
    Clone,
}

impl Dialect {
    /// The dialect that an engine writes.
    #[must_use]
    pub fn of(engine: crate::model::EngineKind) -> Self {
        match engine {
            crate::model::EngineKind::Xtrabackup => Self::Percona,
            crate::model::EngineKind::MariadbBackup => Self::Mariadb,
            crate::model::EngineKind::Clone => Self::Clone,
        }
    }
}
