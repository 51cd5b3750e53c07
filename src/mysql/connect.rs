//! One connection to a server, over mysql_async, for queries and settings.

use std::{collections::BTreeMap, time::Duration};

use mysql_async::{Conn, DriverError, Error, Row, prelude::Queryable as _};

use crate::model::{Connection, Flavor, ServerVersion, TransportSecurity};

use super::{ConnectOptions, Endpoint, MysqlError, dial};

/// How long a connection may take to be made.
pub(super) const CONNECT: Duration = Duration::from_secs(15);
/// How long a statement may take unless said otherwise.
pub(super) const STATEMENT: Duration = Duration::from_mins(2);

/// A connection to a server whose version is known.
#[derive(Debug)]
pub struct Server {
    pub(super) conn: Conn,
    version: ServerVersion,
    connection: Connection,
    endpoint: Endpoint,
}

impl Server {
    /// Connects, within 15 s.
    ///
    /// # Errors
    /// [`MysqlError::Unreachable`], [`MysqlError::AccessDenied`], [`MysqlError::Tls`].
    pub async fn connect(options: &ConnectOptions) -> Result<Self, MysqlError> {
        let (mut conn, connection) = dial::open(options).await?;
        let doing = "asking for the version";
        let version: Option<String> =
            within(doing, STATEMENT, conn.query_first("SELECT VERSION()")).await?;
        let text = version.unwrap_or_default();
        let version = text
            .parse()
            .map_err(|_| MysqlError::unexpected("the server's version", format!("`{text}`")))?;
        Ok(Self { conn, version, connection, endpoint: options.endpoint.clone() })
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
        self.connection.security
    }

    /// The same, with what TLS has agreed on.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
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
