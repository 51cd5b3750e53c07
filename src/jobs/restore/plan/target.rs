//! Where a restore is to end.

use std::fmt;

use crate::model::{Gtid, GtidState, Timestamp};

/// Where a restore is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// With the last transaction that is archived.
    Latest,
    /// Before the first transaction, in the order of the binary log, that was committed later.
    Time(Timestamp),
    /// Directly behind the last of these transactions.
    Gtid(GtidState),
    /// Directly before this transaction.
    Before(Gtid),
    /// With the backup itself.
    Backup,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Time(at) => write!(f, "time {at}"),
            Self::Gtid(state) => write!(f, "gtid {state}"),
            Self::Before(gtid) => write!(f, "before-gtid {gtid}"),
            Self::Backup => f.write_str("backup"),
        }
    }
}
