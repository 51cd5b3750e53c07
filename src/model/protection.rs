//! What keeps a stored object from being removed (S3 Object Lock).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// How strict a retention is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// Those with a right of its own may shorten or lift it.
    Governance,
    /// Nobody may, not even the account's root user.
    Compliance,
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Governance => "governance",
            Self::Compliance => "compliance",
        })
    }
}

/// A retention: until when a version of an object may not be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// How strict it is.
    pub mode: LockMode,
    /// Until when.
    pub until: Timestamp,
}

/// What protects a stored object, as the store says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protection {
    /// Its retention, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Whether a legal hold is on it.
    #[serde(default)]
    pub legal_hold: bool,
}
