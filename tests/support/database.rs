//! What the throwaway servers of both flavors have in common: how they are made, started,
//! reached and ended.

use std::{
    marker::PhantomData,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use backstay::mysql::{ConnectOptions, Endpoint, Tls};

use crate::tools::{Daemon, free_port};

/// The password of `root` on every throwaway server.
pub(crate) const PASSWORD: &str = "root-pass#word";

/// What differs between the flavors.
pub(crate) trait Kind {
    /// The server's name, for its files.
    const NAME: &'static str;
    /// How an account is made that may be there already.
    const CREATE_USER: &'static str;
    /// Its own settings.
    const SETTINGS: &'static [&'static str];
    /// The server's program.
    fn program() -> PathBuf;
    /// Its version, from what it says of itself.
    fn version(said: &str) -> &str;
    /// Makes a data directory in which `root` has no password.
    fn make(datadir: &Path);
}

/// A running server; it ends when dropped.
pub(crate) struct Database<K> {
    // Fields are dropped in this order: the server ends before its folder goes.
    _daemon: Daemon,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) socket: PathBuf,
    pub(crate) port: u16,
    kind: PhantomData<K>,
}

impl<K: Kind> Database<K> {
    pub(crate) fn start(extra: &[&str]) -> Self {
        Self::start_by(&K::program(), extra)
    }

    /// By a program of the same version.
    pub(crate) fn start_by(program: &Path, extra: &[&str]) -> Self {
        let dir = short_dir();
        run(Command::new("cp").arg("-a").arg(Self::pristine()).arg(dir.path().join("data")));
        let init = Self::init_file(dir.path());
        let (socket, port) = (dir.path().join("s"), free_port());
        let mut command = Command::new(program);
        command
            .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1"])
            .arg("--innodb-buffer-pool-size=64M")
            .args(K::SETTINGS)
            .arg(format!("--datadir={}", dir.path().join("data").display()))
            .arg(format!("--socket={}", socket.display()))
            .arg(format!("--init-file={}", init.display()))
            .arg(format!("--port={port}"))
            // MariaDB removes temporary tables from this folder when it starts, whosever they are.
            .arg(format!("--tmpdir={}", dir.path().display()))
            .args(extra);
        let daemon = Daemon::start(K::NAME, dir.path(), &command);
        let log = dir.path().join(format!("{}.log", K::NAME));
        daemon.wait_until(K::NAME, Duration::from_secs(90), || ready(&log));
        Self { _daemon: daemon, dir, socket, port, kind: PhantomData }
    }

    /// A data directory in which nothing is, to be copied.
    pub(crate) fn pristine() -> PathBuf {
        let said = run(Command::new(K::program()).arg("--version"));
        template(&format!("{}-{}", K::NAME, K::version(&said)), K::make)
    }

    /// Statements for the server's start: root gets its password.
    pub(crate) fn init_file(dir: &Path) -> PathBuf {
        let init = dir.join("init.sql");
        let sql = format!(
            "SET sql_log_bin=0;\nALTER USER root@localhost IDENTIFIED BY '{PASSWORD}';\n\
             {} root@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n",
            K::CREATE_USER
        );
        std::fs::write(&init, sql).unwrap();
        init
    }

    /// As root, through the socket.
    pub(crate) fn options(&self) -> ConnectOptions {
        root(Endpoint::Socket(self.socket.clone()))
    }
}

/// A data directory made once and copied ever after. Made beside its place and moved there,
/// so that two test processes do not meet.
fn template(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
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

/// As root.
pub(crate) fn root(endpoint: Endpoint) -> ConnectOptions {
    let password = Some(PASSWORD.to_owned().into());
    ConnectOptions { endpoint, user: "root".to_owned(), password, tls: Tls::default() }
}

/// Both flavors say so after they have run the init file.
pub(crate) fn ready(log: &Path) -> bool {
    std::fs::read_to_string(log).is_ok_and(|log| log.contains("ready for connections"))
}
