//! A throwaway MariaDB server, of the system.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

#[path = "database.rs"]
mod database;

pub(crate) use database::*;

/// A running server; it ends when dropped.
pub(crate) type MariaDb = Database<MariaDbKind>;

pub(crate) struct MariaDbKind;

impl Kind for MariaDbKind {
    const NAME: &'static str = "mariadbd";
    const CREATE_USER: &'static str = "CREATE OR REPLACE USER";
    const SETTINGS: &'static [&'static str] =
        &["--log-bin=bin", "--sync-binlog=1", "--server-id=11", "--innodb-log-file-size=32M"];

    fn program() -> PathBuf {
        "mariadbd".into()
    }

    fn version(said: &str) -> &str {
        said.split_whitespace().find(|word| word.contains("MariaDB")).unwrap()
    }

    fn make(datadir: &Path) {
        let mut command = Command::new("mariadb-install-db");
        command.args(["--no-defaults", "--user=root", "--skip-test-db"]);
        command.arg("--auth-root-authentication-method=normal");
        run(command.arg(format!("--datadir={}", datadir.display())));
    }
}
