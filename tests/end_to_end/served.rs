//! A server of the tests over a restored data directory.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use backstay::model::Flavor;

use crate::{
    mariadb::{MariaDb, ready, short_dir},
    mysql9::mysqld,
    tools::{Daemon, wait_until},
};

pub(crate) struct Served {
    _daemon: Daemon,
    _dir: tempfile::TempDir,
    pub(crate) socket: PathBuf,
}

impl Served {
    pub(crate) fn over(flavor: Flavor, datadir: &Path) -> Self {
        let dir = short_dir();
        let socket = dir.path().join("s");
        let mut command = match flavor {
            Flavor::Mariadb => Command::new("mariadbd"),
            Flavor::Mysql => Command::new(mysqld()),
        };
        command.args(["--no-defaults", "--user=root", "--skip-networking"]);
        command.args(["--server-id=77", "--innodb-buffer-pool-size=64M"]);
        command.arg(format!("--datadir={}", datadir.display()));
        command.arg(format!("--socket={}", socket.display()));
        // MariaDB removes temporary tables from this folder when it starts, whosever they are.
        command.arg(format!("--tmpdir={}", dir.path().display()));
        if flavor == Flavor::Mysql {
            command.args(["--mysqlx=OFF", "--skip-log-bin"]);
        }
        let log = dir.path().join("restored.log");
        let daemon = Daemon::start("restored", dir.path(), &command);
        wait_until("the restored server", Duration::from_secs(90), || ready(&log));
        Self { _daemon: daemon, _dir: dir, socket }
    }
}

/// The process of a server that has not been killed yet.
pub(crate) fn pid(server: &MariaDb) -> i32 {
    let file = server.socket.with_file_name("mariadbd.pid");
    std::fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

/// Starts a MariaDB that was killed again, over its data. End it before the server is dropped.
pub(crate) fn start_again(server: &MariaDb, turn: u64) -> Daemon {
    let dir = server.socket.parent().unwrap();
    let name = format!("again-{turn}");
    let log = dir.join(format!("{name}.log"));
    let mut command = Command::new("mariadbd");
    command
        .args(["--no-defaults", "--user=root", "--log-bin=bin", "--sync-binlog=1"])
        .args(["--server-id=11", "--bind-address=127.0.0.1", "--innodb-buffer-pool-size=64M"])
        .args(["--innodb-log-file-size=32M"])
        .arg(format!("--datadir={}", dir.join("data").display()))
        .arg(format!("--socket={}", server.socket.display()))
        .arg(format!("--port={}", server.port));
    let daemon = Daemon::start(&name, dir, &command);
    wait_until("MariaDB again", Duration::from_mins(1), || ready(&log));
    daemon
}
