//! A throwaway MySQL 9 server, of the tools.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use backstay::mysql::{ConnectOptions, Endpoint};

use crate::{
    mariadb::{PASSWORD, ready, root, run, short_dir, template},
    tools::{Daemon, free_port, tool, wait_until},
};

/// A running server; it ends when dropped.
pub(crate) struct Mysql9 {
    _daemon: Daemon,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) socket: PathBuf,
    pub(crate) port: u16,
}

/// Its program.
pub(crate) fn mysqld() -> PathBuf {
    tool("mysql9/bin/mysqld")
}

/// A data directory with nothing in it, to be copied.
pub(crate) fn pristine() -> PathBuf {
    let version = run(Command::new(mysqld()).arg("--version"));
    let version = version.split("Ver ").nth(1).unwrap().split_whitespace().next().unwrap();
    template(&format!("mysql-{version}"), |made| {
        let mut command = Command::new(mysqld());
        command.args(["--no-defaults", "--initialize-insecure", "--user=root"]);
        run(command.arg(format!("--datadir={}", made.display())));
        std::fs::remove_file(made.join("auto.cnf")).unwrap(); // each server has a uuid of its own
    })
}

/// A file of statements for the server's start: root gets its password.
pub(crate) fn init_file(dir: &Path) -> PathBuf {
    let init = dir.join("init.sql");
    std::fs::write(&init, format!(
        "SET sql_log_bin=0;\nALTER USER root@localhost IDENTIFIED BY '{PASSWORD}';\n\
         CREATE USER IF NOT EXISTS root@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n"
    )).unwrap();
    init
}

impl Mysql9 {
    pub(crate) fn start(extra: &[&str]) -> Self {
        let dir = short_dir();
        run(Command::new("cp").arg("-a").arg(pristine()).arg(dir.path().join("data")));
        let init = init_file(dir.path());
        let (socket, port) = (dir.path().join("s"), free_port());
        let mut command = Command::new(mysqld());
        command
            .args(["--no-defaults", "--user=root", "--log-bin=binlog", "--server-id=21"])
            .args([
                "--gtid-mode=ON",
                "--enforce-gtid-consistency=ON",
                "--mysqlx=OFF",
                "--plugin-load-add=clone=mysql_clone.so",
            ])
            .args([
                "--innodb-buffer-pool-size=64M",
                "--innodb-redo-log-capacity=64M",
                "--bind-address=127.0.0.1",
            ])
            .arg(format!("--datadir={}", dir.path().join("data").display()))
            .arg(format!("--socket={}", socket.display()))
            .arg(format!("--init-file={}", init.display()))
            .arg(format!("--port={port}"))
            .args(extra);
        let daemon = Daemon::start("mysqld", dir.path(), &command);
        wait_until("MySQL", Duration::from_secs(90), || ready(&dir.path().join("mysqld.log")));
        Self { _daemon: daemon, dir, socket, port }
    }

    /// As root, through the socket.
    pub(crate) fn options(&self) -> ConnectOptions {
        root(Endpoint::Socket(self.socket.clone()))
    }
}
