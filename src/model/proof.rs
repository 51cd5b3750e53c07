//! What entitles a backup to be called whole.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the end of a stream was proven, beside its framing, which is checked always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProofKind {
    /// We started the engine, and it ended with status 0 and said that it had completed.
    Exit,
    /// The agent beside the engine said so, in band.
    Verdict,
    /// Nobody said anything: the framing is whole, and that is all one can know.
    Framing,
}

impl fmt::Display for ProofKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exit => "exit",
            Self::Verdict => "verdict",
            Self::Framing => "framing",
        })
    }
}
