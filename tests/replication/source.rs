//! A server of either flavor, to be dumped.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use backstay::mysql::{ConnectOptions, Endpoint};
use mysql_async::{Conn, prelude::Queryable as _};

use crate::{
    load,
    mariadb::{MariaDb, root},
    mysql9::Mysql9,
};

/// A running server; it ends when dropped.
pub(crate) enum Source {
    Mysql(Mysql9),
    Maria(MariaDb),
}

impl Source {
    pub(crate) fn mysql(extra: &[&str]) -> Self {
        Self::Mysql(Mysql9::start(extra))
    }

    pub(crate) fn maria(extra: &[&str]) -> Self {
        Self::Maria(MariaDb::start(extra))
    }

    /// Both, with the same further options.
    pub(crate) fn both(extra: &[&str]) -> [Self; 2] {
        [Self::mysql(extra), Self::maria(extra)]
    }

    pub(crate) fn is_mysql(&self) -> bool {
        matches!(self, Self::Mysql(_))
    }

    pub(crate) fn socket(&self) -> &Path {
        match self {
            Self::Mysql(server) => &server.socket,
            Self::Maria(server) => &server.socket,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Mysql(server) => server.port,
            Self::Maria(server) => server.port,
        }
    }

    /// As root, through the socket.
    pub(crate) fn options(&self) -> ConnectOptions {
        root(Endpoint::Socket(self.socket().to_owned()))
    }

    pub(crate) fn datadir(&self) -> PathBuf {
        self.socket().with_file_name("data")
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> u32 {
        let name = if self.is_mysql() { "mysqld.pid" } else { "mariadbd.pid" };
        fs::read_to_string(self.socket().with_file_name(name)).unwrap().trim().parse().unwrap()
    }

    pub(crate) async fn conn(&self) -> Conn {
        load::connect(self.socket()).await
    }

    pub(crate) async fn run(&self, statements: &[&str]) {
        let mut conn = self.conn().await;
        for statement in statements {
            conn.query_drop(*statement).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
        }
        conn.disconnect().await.unwrap();
    }

    /// Its binary logs, the oldest first.
    pub(crate) async fn logs(&self) -> Vec<String> {
        let rows: Vec<mysql_async::Row> =
            self.conn().await.query("SHOW BINARY LOGS").await.unwrap();
        rows.iter().map(|row| row.get(0).unwrap()).collect()
    }

    /// The binary logs on disk, all but the one that is written.
    pub(crate) async fn closed(&self) -> BTreeMap<String, Vec<u8>> {
        let mut names = self.logs().await;
        names.pop();
        let read = |name: String| {
            let bytes = fs::read(self.datadir().join(&name)).unwrap();
            (name, bytes)
        };
        names.into_iter().map(read).collect()
    }
}
