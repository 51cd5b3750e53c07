//! A throwaway MySQL 9 server, of the tools.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    mariadb::{Database, Kind, run},
    tools::tool,
};

/// A running server; it ends when dropped.
pub(crate) type Mysql9 = Database<Mysql9Kind>;

pub(crate) struct Mysql9Kind;

/// Its program.
pub(crate) fn mysqld() -> PathBuf {
    tool("mysql9/bin/mysqld")
}

impl Kind for Mysql9Kind {
    const NAME: &'static str = "mysqld";
    const CREATE_USER: &'static str = "CREATE USER IF NOT EXISTS";
    const SETTINGS: &'static [&'static str] = &[
        "--log-bin=binlog",
        "--server-id=21",
        "--gtid-mode=ON",
        "--enforce-gtid-consistency=ON",
        "--mysqlx=OFF",
        "--plugin-load-add=clone=mysql_clone.so",
        "--innodb-redo-log-capacity=64M",
    ];

    fn program() -> PathBuf {
        mysqld()
    }

    fn version(said: &str) -> &str {
        said.split("Ver ").nth(1).unwrap().split_whitespace().next().unwrap()
    }

    fn make(datadir: &Path) {
        let mut command = Command::new(mysqld());
        command.args(["--no-defaults", "--initialize-insecure", "--user=root"]);
        run(command.arg(format!("--datadir={}", datadir.display())));
        std::fs::remove_file(datadir.join("auto.cnf")).unwrap(); // each server has a uuid of its own
    }
}
