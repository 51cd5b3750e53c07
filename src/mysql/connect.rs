//! One connection to a server, over mysql_async, for queries and settings.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use mysql_async::{
    ClientIdentity, Conn, DriverError, Error, IoError, OptsBuilder, Row, SslOpts,
    prelude::Queryable as _,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::model::{Flavor, ServerVersion, TransportSecurity};

use super::MysqlError;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(15);
/// How long a statement may take unless said otherwise.
pub(super) const STATEMENT: Duration = Duration::from_secs(120);

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

/// A connection to a server whose version is known.
#[derive(Debug)]
pub struct Server {
    pub(super) conn: Conn,
    version: ServerVersion,
    transport: TransportSecurity,
    endpoint: Endpoint,
}

impl Server {
    /// Connects, within 15 s.
    ///
    /// # Errors
    /// [`MysqlError::Unreachable`], [`MysqlError::AccessDenied`], [`MysqlError::Tls`].
    pub async fn connect(options: &ConnectOptions) -> Result<Self, MysqlError> {
        let (mut conn, transport) = open(options).await?;
        let doing = "asking for the version";
        let version: Option<String> =
            within(doing, STATEMENT, conn.query_first("SELECT VERSION()")).await?;
        let text = version.unwrap_or_default();
        let version = text
            .parse()
            .map_err(|_| MysqlError::unexpected("the server's version", format!("`{text}`")))?;
        Ok(Self { conn, version, transport, endpoint: options.endpoint.clone() })
    }

    /// `version()` of the server.
    #[must_use]
    pub fn version(&self) -> &ServerVersion {
        &self.version
    }

    /// MySQL or MariaDB.
    #[must_use]
    pub fn flavor(&self) -> Flavor {
        self.version.flavor()
    }

    /// How this connection is protected.
    #[must_use]
    pub fn transport(&self) -> TransportSecurity {
        self.transport
    }

    /// Where the server listens.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Runs a statement and drops what it returns. `doing` is for errors: "taking a clone".
    /// Nothing secret may be in the statement: servers quote statements in errors.
    ///
    /// # Errors
    /// When the server refuses it, or does not answer within `limit`.
    pub async fn execute(
        &mut self,
        doing: &str,
        sql: &str,
        limit: Duration,
    ) -> Result<(), MysqlError> {
        within(doing, limit, self.conn.query_drop(sql)).await
    }

    /// One global variable; nothing when this server has no such variable.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn setting(&mut self, name: &str) -> Result<Option<String>, MysqlError> {
        let doing = format!("reading the setting {name}");
        let query = self.conn.exec_first("SHOW GLOBAL VARIABLES WHERE Variable_name = ?", (name,));
        let row: Option<(String, Option<String>)> = within(&doing, STATEMENT, query).await?;
        Ok(row.and_then(|(_, value)| value))
    }

    /// All global variables.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn settings(&mut self) -> Result<BTreeMap<String, String>, MysqlError> {
        let query = self.conn.query::<(String, Option<String>), _>("SHOW GLOBAL VARIABLES");
        let rows = within("reading the settings", STATEMENT, query).await?;
        Ok(rows.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect())
    }

    /// All rows of a small result.
    pub(super) async fn rows(&mut self, doing: &str, sql: &str) -> Result<Vec<Row>, MysqlError> {
        within(doing, STATEMENT, self.conn.query(sql)).await
    }

    /// Says good-bye. Dropping the connection does too, less politely.
    pub async fn close(self) {
        let _ = tokio::time::timeout(CONNECT, self.conn.disconnect()).await;
    }
}

/// A column of a row as text, whatever its type; empty when it is absent or NULL.
pub(super) fn text(row: &Row, column: &str) -> String {
    row.get_opt::<String, _>(column).and_then(Result::ok).unwrap_or_default()
}

/// The same, by number.
pub(super) fn text_at(row: &Row, column: usize) -> String {
    row.get_opt::<String, _>(column).and_then(Result::ok).unwrap_or_default()
}

/// Runs a query with a limit, and words its failure.
pub(super) async fn within<T>(
    doing: &str,
    limit: Duration,
    query: impl Future<Output = Result<T, Error>>,
) -> Result<T, MysqlError> {
    match tokio::time::timeout(limit, query).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failed(doing, &error)),
        Err(_) => Err(MysqlError::Timeout { doing: doing.to_owned(), after: limit }),
    }
}

fn failed(doing: &str, error: &Error) -> MysqlError {
    let hint = match error {
        // ER_ACCESS_DENIED and the like: 1044, 1045, 1142, 1143, 1227, 1370, 3118.
        Error::Server(e) if matches!(e.code, 1044 | 1045 | 1142 | 1143 | 1227 | 1370) => {
            ": the user lacks a privilege; `backstay doctor` lists what is needed"
        }
        Error::Io(_) | Error::Driver(DriverError::ConnectionClosed) => {
            ": the connection broke; has the server gone?"
        }
        _ => "",
    };
    MysqlError::Query { doing: doing.to_owned(), why: error.to_string(), hint }
}

async fn open(options: &ConnectOptions) -> Result<(Conn, TransportSecurity), MysqlError> {
    let mut builder = OptsBuilder::default()
        .user(Some(options.user.clone()))
        .pass(options.password.as_ref().map(|p| p.expose_secret().to_owned()))
        .prefer_socket(false)
        .tcp_keepalive(Some(Duration::from_secs(30)));
    match &options.endpoint {
        Endpoint::Socket(path) => {
            builder = builder.socket(Some(path.to_string_lossy()));
            return Ok((attempt(builder, options).await?, TransportSecurity::Local));
        }
        Endpoint::Tcp { host, port } => {
            builder = builder.ip_or_hostname(host.clone()).tcp_port(*port)
        }
    }
    let secured = match options.tls.mode {
        TlsMode::Disabled => {
            return Ok((attempt(builder, options).await?, TransportSecurity::Plain));
        }
        TlsMode::Preferred | TlsMode::Required => TransportSecurity::TlsUnverified,
        TlsMode::VerifyCa | TlsMode::VerifyIdentity => TransportSecurity::TlsVerified,
    };
    let tls = builder.clone().ssl_opts(Some(ssl_options(&options.tls, &options.endpoint)?));
    match attempt(tls, options).await {
        Err(MysqlError::Tls { why, .. })
            if options.tls.mode == TlsMode::Preferred && why == NO_TLS =>
        {
            Ok((attempt(builder, options).await?, TransportSecurity::Plain))
        }
        opened => Ok((opened?, secured)),
    }
}

const NO_TLS: &str = "the server offers no TLS";

fn ssl_options(tls: &Tls, endpoint: &Endpoint) -> Result<SslOpts, MysqlError> {
    let verify = matches!(tls.mode, TlsMode::VerifyCa | TlsMode::VerifyIdentity);
    let mut ssl = SslOpts::default()
        .with_danger_accept_invalid_certs(!verify)
        .with_danger_skip_domain_validation(tls.mode != TlsMode::VerifyIdentity);
    if let Some(ca) = tls.ca.clone().filter(|_| verify) {
        ssl = ssl.with_root_certs(vec![ca.into()]).with_disable_built_in_roots(true);
    }
    match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            ssl = ssl.with_client_identity(Some(ClientIdentity::new(
                cert.clone().into(),
                key.clone().into(),
            )));
        }
        (None, None) => {}
        _ => {
            let why = "a client certificate needs its key, and a key its certificate".to_owned();
            return Err(MysqlError::Tls { endpoint: endpoint.to_string(), why });
        }
    }
    Ok(ssl)
}

async fn attempt(builder: OptsBuilder, options: &ConnectOptions) -> Result<Conn, MysqlError> {
    let endpoint = options.endpoint.to_string();
    let error = match tokio::time::timeout(CONNECT, Conn::new(builder)).await {
        Ok(Ok(conn)) => return Ok(conn),
        Ok(Err(error)) => error,
        Err(_) => {
            return Err(MysqlError::Unreachable {
                endpoint,
                why: format!("no answer within {CONNECT:?}"),
            });
        }
    };
    Err(match error {
        Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            MysqlError::Tls { endpoint, why: NO_TLS.to_owned() }
        }
        Error::Io(IoError::Tls(e)) => MysqlError::Tls { endpoint, why: e.to_string() },
        // rustls reports a failed handshake inside an I/O error.
        Error::Io(IoError::Io(e))
            if e.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) =>
        {
            MysqlError::Tls { endpoint, why: e.to_string() }
        }
        Error::Server(e) if matches!(e.code, 1044 | 1045 | 1130 | 1698 | 1862 | 3118 | 3159) => {
            MysqlError::AccessDenied { endpoint, user: options.user.clone(), why: e.message }
        }
        other => MysqlError::Unreachable { endpoint, why: other.to_string() },
    })
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

    #[test]
    fn half_an_identity_is_refused() {
        let tls = Tls { mode: TlsMode::Required, cert: Some("c.pem".into()), ..Tls::default() };
        assert!(ssl_options(&tls, &Endpoint::Socket("s".into())).is_err());
    }
}
