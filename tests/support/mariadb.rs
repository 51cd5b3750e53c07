//! A throwaway MariaDB server.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use backstay::mysql::{ConnectOptions, Endpoint, Tls};

use crate::tools::{Daemon, free_port, wait_until};

/// The password of `root` on every throwaway server.
pub(crate) const PASSWORD: &str = "root-pass#word";

/// A running server; it ends when dropped.
pub(crate) struct MariaDb {
    // Fields are dropped in this order: the server ends before its folder goes.
    _daemon: Daemon,
    _dir: tempfile::TempDir,
    pub(crate) socket: PathBuf,
    pub(crate) port: u16,
}

/// A data directory made once and copied ever after. Made beside its place and moved there,
/// so that two test processes do not meet.
pub(crate) fn template(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !place.exists() {
        let beside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let fresh = beside.path().join("data");
        make(&fresh);
        let _ = std::fs::rename(&fresh, &place);
    }
    place
}

/// Runs a command; its output is shown when it fails.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{err}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A folder on `/tmp`: socket paths must be short.
pub(crate) fn short_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("bs").tempdir_in("/tmp").unwrap()
}

/// A data directory with nothing in it, to be copied.
pub(crate) fn pristine() -> PathBuf {
    let version = run(Command::new("mariadbd").arg("--version"));
    let version = version.split_whitespace().find(|w| w.contains("MariaDB")).unwrap();
    template(&format!("mariadb-{version}"), |made| {
        let mut command = Command::new("mariadb-install-db");
        command.args([
            "--no-defaults",
            "--user=root",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]);
        run(command.arg(format!("--datadir={}", made.display())));
    })
}

/// A file of statements for the server's start: root gets its password.
pub(crate) fn init_file(dir: &Path) -> PathBuf {
    let init = dir.join("init.sql");
    std::fs::write(&init, format!(
        "SET sql_log_bin=0;\nALTER USER root@localhost IDENTIFIED BY '{PASSWORD}';\n\
         CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n"
    )).unwrap();
    init
}

impl MariaDb {
    pub(crate) fn start(extra: &[&str]) -> Self {
        let dir = short_dir();
        run(Command::new("cp").arg("-a").arg(pristine()).arg(dir.path().join("data")));
        let init = init_file(dir.path());
        let (socket, port) = (dir.path().join("s"), free_port());
        let mut command = Command::new("mariadbd");
        command
            .args([
                "--no-defaults",
                "--user=root",
                "--log-bin=bin",
                "--sync-binlog=1",
                "--server-id=11",
            ])
            .args([
                "--innodb-buffer-pool-size=64M",
                "--innodb-log-file-size=32M",
                "--bind-address=127.0.0.1",
            ])
            .arg(format!("--datadir={}", dir.path().join("data").display()))
            .arg(format!("--socket={}", socket.display()))
            .arg(format!("--init-file={}", init.display()))
            .arg(format!("--port={port}"))
            .args(extra);
        let daemon = Daemon::start("mariadbd", dir.path(), &command);
        wait_until("MariaDB", Duration::from_mins(1), || ready(&dir.path().join("mariadbd.log")));
        Self { _daemon: daemon, _dir: dir, socket, port }
    }

    /// As root, through the socket.
    pub(crate) fn options(&self) -> ConnectOptions {
        root(Endpoint::Socket(self.socket.clone()))
    }
}

/// As root.
pub(crate) fn root(endpoint: Endpoint) -> ConnectOptions {
    let password = Some(PASSWORD.to_owned().into());
    ConnectOptions { endpoint, user: "root".to_owned(), password, tls: Tls::default() }
}

/// Both flavors say so after they have run the init file.
pub(crate) fn ready(log: &Path) -> bool {
    std::fs::read_to_string(log).is_ok_and(|log| log.contains("ready for connections"))
}
