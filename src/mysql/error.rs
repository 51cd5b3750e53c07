//! What can go wrong with a server, an engine or its files.

use std::{io, path::PathBuf, time::Duration};

/// An error of this room. None holds a password.
#[derive(Debug, thiserror::Error)]
pub enum MysqlError {
    /// Nobody answers.
    #[error("connecting to {endpoint}: {why}: is the server running, and is this its address?")]
    Unreachable {
        /// Socket or host and port.
        endpoint: String,
        /// The cause.
        why: String,
    },
    /// The server refuses the user.
    #[error(
        "connecting to {endpoint} as `{user}`: {why}: check user and password file, and from where the user may connect"
    )]
    AccessDenied {
        /// Socket or host and port.
        endpoint: String,
        /// The user's name.
        user: String,
        /// The server's words.
        why: String,
    },
    /// Encryption was asked for and could not be had.
    #[error(
        "securing the connection to {endpoint}: {why}: check --mysql-tls, the CA file and the server's certificate"
    )]
    Tls {
        /// Socket or host and port.
        endpoint: String,
        /// The cause.
        why: String,
    },
    /// The server refuses a statement, or the connection broke.
    #[error("{doing}: {why}{hint}")]
    Query {
        /// What was being done.
        doing: String,
        /// The server's words.
        why: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// No answer in time.
    #[error("{doing}: no answer within {after:?}: is the server overloaded, or a lock held?")]
    Timeout {
        /// What was being done.
        doing: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// It cannot work with this server, engine or version.
    #[error("{what}: {why}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// Why not, and what would.
        why: String,
    },
    /// The server, an engine or one of its files said something else than it should.
    #[error("reading {what}: {why}")]
    Unexpected {
        /// What was read.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The server no longer has the binary log that was asked for, or never had.
    #[error("reading the binary log {file}: {why}: it was purged or the server was reset")]
    Purged {
        /// The binary log.
        file: String,
        /// The server's words.
        why: String,
    },
    /// The server's binary log ends before the place that was asked for.
    #[error(
        "reading the binary log {file} from byte {offset}: {why}: the server lost the end of its log, or it is another server"
    )]
    PastEnd {
        /// The binary log.
        file: String,
        /// What was asked for, in bytes.
        offset: u64,
        /// The server's words.
        why: String,
    },
    /// The server ends a dump of its binary log, in words of its own.
    #[error("reading the binary log {file}: the server says: {why} (error {code})")]
    DumpRefused {
        /// The binary log.
        file: String,
        /// The server's error number.
        code: u16,
        /// The server's words.
        why: String,
    },
    /// A connection that stood is gone: to connect again may help.
    #[error("{doing}: the connection to {endpoint} was lost: {why}")]
    Lost {
        /// What was being done.
        doing: String,
        /// Socket or host and port.
        endpoint: String,
        /// The cause.
        why: String,
    },
    /// Another server answers than the one whose binary log is wanted.
    #[error(
        "reading the binary log {file}: {answers} answers at {endpoint}, and not {wanted}: does the address lead to more than one server?"
    )]
    OtherServer {
        /// The binary log.
        file: String,
        /// Socket or host and port.
        endpoint: String,
        /// Who is there.
        answers: String,
        /// Who should be.
        wanted: String,
    },
    /// What came from the server is not what it wrote, or nothing that we understand.
    #[error(
        "reading the binary log {file} at byte {offset}: {why}: read it again; if it stays so, the server's file is damaged"
    )]
    Damaged {
        /// The binary log.
        file: String,
        /// Where the event begins, in bytes.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// A file of ours.
    #[error("{doing} {path}: {source}", path = path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl MysqlError {
    pub(super) fn unexpected(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Unexpected { what: what.into(), why: why.into() }
    }

    /// It cannot work with this.
    pub(crate) fn unsupported(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), why: why.into() }
    }
}
