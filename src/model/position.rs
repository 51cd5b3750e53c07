//! A place in one server's binary log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The end of an event: a file's base name, and the offset of the byte after the event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinlogPosition {
    /// Base name, such as `binlog.000042`; never a path.
    pub file: String,
    /// Offset in bytes.
    pub position: u64,
}

impl fmt::Display for BinlogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.position)
    }
}
