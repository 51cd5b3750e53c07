//! How a connection was protected, and what its two ends agreed on.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::TransportSecurity;

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// The object store.
    Store,
    /// The key service.
    Kms,
    /// The service that holds the signer's key.
    Signer,
    /// The database server.
    Database,
    /// The agent that streams a backup.
    Source,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store => "store",
            Self::Kms => "kms",
            Self::Signer => "signer",
            Self::Database => "database",
            Self::Source => "source",
        })
    }
}

/// What a TLS handshake has agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFacts {
    /// `1.2` or `1.3`.
    pub version: String,
    /// The cipher suite by its IANA name, such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
}

/// A connection that was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// To whom.
    pub to: Peer,
    /// How it was protected.
    pub security: TransportSecurity,
    /// What TLS has agreed on, where there was TLS and it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFacts>,
}

impl Connection {
    /// One of which nothing more is known.
    #[must_use]
    pub fn new(to: Peer, security: TransportSecurity) -> Self {
        Self { to, security, tls: None }
    }
}
