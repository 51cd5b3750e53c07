//! The newest record of a chain.

use std::{fmt, str::FromStr};

use crate::model::Sha256Digest;

/// The newest record of the chain: whoever keeps it can later prove a roll-back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHead {
    /// Its number; 0 for an empty chain.
    pub number: u64,
    /// SHA-256 of its stored bytes.
    pub sha256: Sha256Digest,
}

impl fmt::Display for ChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.sha256)
    }
}

/// A text that is no head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a head: NUMBER:HASH is expected, as an earlier run printed it")]
pub struct HeadError(String);

impl FromStr for ChainHead {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Self, HeadError> {
        let wrong = || HeadError(text.chars().take(120).collect());
        let (number, hash) = text.split_once(':').ok_or_else(wrong)?;
        Ok(Self {
            number: number.parse().map_err(|_| wrong())?,
            sha256: hash.parse().map_err(|_| wrong())?,
        })
    }
}

impl ChainHead {
    /// The head of an empty chain.
    pub const EMPTY: Self = Self { number: 0, sha256: Sha256Digest([0; 32]) };
}
