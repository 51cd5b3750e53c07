//! Where a server is, and how it is to be reached.

use std::{fmt, path::PathBuf};

use secrecy::SecretString;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Socket(PathBuf),
    /// TCP.
    Tcp {
        /// Name or address; TLS verifies the certificate against it.
        host: String,
        /// Port.
        port: u16,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// How much protection a TCP connection must have (as MySQL's `--ssl-mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// None.
    Disabled,
    /// TLS when the server offers it; its certificate is not verified.
    #[default]
    Preferred,
    /// TLS, or no connection; the certificate is not verified.
    Required,
    /// TLS with a certificate from the given CA.
    VerifyCa,
    /// TLS with a certificate from the given CA, or a public one, for this host.
    VerifyIdentity,
}

impl TlsMode {
    /// Whether the server's certificate is verified.
    #[must_use]
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyIdentity)
    }

    /// The spelling of MySQL's `--ssl-mode`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "DISABLED",
            Self::Preferred => "PREFERRED",
            Self::Required => "REQUIRED",
            Self::VerifyCa => "VERIFY_CA",
            Self::VerifyIdentity => "VERIFY_IDENTITY",
        }
    }
}

/// TLS for a TCP connection; a Unix socket needs none.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// How much is demanded.
    pub mode: TlsMode,
    /// PEM file of the CAs to trust; without it the public ones.
    pub ca: Option<PathBuf>,
    /// PEM file of the client's certificate.
    pub cert: Option<PathBuf>,
    /// PEM file of the client's key.
    pub key: Option<PathBuf>,
}

/// Everything that a connection takes. Its `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Where.
    pub endpoint: Endpoint,
    /// As whom.
    pub user: String,
    /// With what, if anything.
    pub password: Option<SecretString>,
    /// How protected.
    pub tls: Tls,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_show_no_password() {
        let options = ConnectOptions {
            endpoint: Endpoint::Tcp { host: "db".into(), port: 3306 },
            user: "backup".into(),
            password: Some("hunter2-secret".to_owned().into()),
            tls: Tls::default(),
        };
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
