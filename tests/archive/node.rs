//! A server of either flavor that is killed, stopped, rebuilt, and started again in its place.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use backstay::model::Flavor;
use mysql_async::{Conn, prelude::Queryable as _};
use rustix::process::Signal;

use crate::{
    children::signal,
    load,
    mariadb::{MariaDb, PASSWORD, ready, run, short_dir},
    mysql9::{Mysql9, mysqld},
    tools::{Daemon, free_port},
};

/// The binary logs of every node are called `bin.000001`, ….
pub(crate) const BASE: &str = "bin";

/// A server, running or not.
pub(crate) struct Node {
    // The server ends before its folder goes.
    daemon: Option<Daemon>,
    pub(crate) flavor: Flavor,
    pub(crate) id: u32,
    pub(crate) port: u16,
    pub(crate) socket: PathBuf,
    starts: u32,
    /// Whether its binary log begins with its first transaction.
    pub(crate) is_whole: bool,
    extra: Vec<String>,
    dir: tempfile::TempDir,
}

impl Node {
    /// A server without data that runs.
    pub(crate) fn start(flavor: Flavor, id: u32, extra: &[&str]) -> Self {
        let dir = short_dir();
        let mut node = Self {
            daemon: None,
            flavor,
            id,
            port: free_port(),
            socket: dir.path().join("s"),
            starts: 0,
            is_whole: true,
            extra: extra.iter().map(|&word| word.to_owned()).collect(),
            dir,
        };
        node.fill();
        node.up(&[]);
        node
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A file beside its data.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Begins again without data, under the same address and server id; of MySQL, under the same
    /// uuid if so wished. MariaDB makes its own of port and network card.
    pub(crate) fn rebuild(&mut self, same_uuid: bool) {
        let uuid = self.clear().filter(|_| same_uuid);
        self.is_whole = true;
        self.fill();
        self.keep(uuid);
        // What it wrote in its former life comes from another server now. MariaDB cannot do that.
        let own: &[&str] = match self.flavor {
            Flavor::Mysql => &["--replicate-same-server-id"],
            Flavor::Mariadb => &[],
        };
        self.up(own);
    }

    /// Begins again with a physical copy of another server's data, and with no binary log. Returns
    /// the position of the copy where the server would not know it itself.
    pub(crate) async fn rebuild_from_copy(&mut self, source: &Self, same_uuid: bool) -> String {
        let uuid = self.clear().filter(|_| same_uuid);
        self.is_whole = false;
        let data = self.data().display().to_string();
        let mut position = String::new();
        match self.flavor {
            Flavor::Mysql => source.run(&format!("CLONE LOCAL DATA DIRECTORY = '{data}'")).await,
            Flavor::Mariadb => {
                let mut command = Command::new("mariadb-backup");
                command.args(["--no-defaults", "--backup", "--user=root"]);
                command.arg(format!("--password={PASSWORD}"));
                command.arg(format!("--socket={}", source.socket.display()));
                run(command.arg(format!("--target-dir={data}")));
                let mut command = Command::new("mariadb-backup");
                run(command.args(["--prepare", &format!("--target-dir={data}")]));
                let info = fs::read_to_string(self.data().join("xtrabackup_binlog_info")).unwrap();
                info.split_whitespace().nth(2).unwrap().clone_into(&mut position);
            }
        }
        self.keep(uuid);
        self.up(&[]);
        position
    }

    /// Ends it and removes its data, but for its uuid.
    fn clear(&mut self) -> Option<Vec<u8>> {
        self.daemon = None;
        let uuid = fs::read(self.data().join("auto.cnf")).ok();
        let _ = fs::remove_dir_all(self.data());
        uuid
    }

    fn keep(&self, uuid: Option<Vec<u8>>) {
        if let Some(uuid) = uuid {
            fs::write(self.data().join("auto.cnf"), uuid).unwrap();
        }
    }

    /// Gives it a data directory in which nothing is.
    fn fill(&self) {
        let pristine = match self.flavor {
            Flavor::Mariadb => MariaDb::pristine(),
            Flavor::Mysql => Mysql9::pristine(),
        };
        copy(&pristine, &self.data());
    }

    /// Starts it over its data.
    pub(crate) fn up(&mut self, more: &[&str]) {
        assert!(self.daemon.is_none(), "it runs");
        let dir = self.dir.path();
        let (mut command, init) = match self.flavor {
            Flavor::Mariadb => (Command::new("mariadbd"), MariaDb::init_file(dir)),
            Flavor::Mysql => (Command::new(mysqld()), Mysql9::init_file(dir)),
        };
        command.args(["--no-defaults", "--user=root", "--sync-binlog=1"]);
        command.args(["--bind-address=127.0.0.1", "--innodb-buffer-pool-size=64M"]);
        command.args([format!("--log-bin={BASE}"), format!("--server-id={}", self.id)]);
        command.args(match self.flavor {
            Flavor::Mariadb => {
                ["--log-slave-updates", "--skip-slave-start", "--innodb-log-file-size=32M"]
                    .as_slice()
            }
            Flavor::Mysql => &[
                "--gtid-mode=ON",
                "--enforce-gtid-consistency=ON",
                "--log-replica-updates=ON",
                "--skip-replica-start=ON",
                "--mysqlx=OFF",
                "--plugin-load-add=clone=mysql_clone.so",
                "--innodb-redo-log-capacity=64M",
            ],
        });
        command.arg(format!("--datadir={}", self.data().display()));
        command.arg(format!("--socket={}", self.socket.display()));
        command.arg(format!("--init-file={}", init.display()));
        command.arg(format!("--port={}", self.port));
        // MariaDB removes temporary tables from this folder when it starts, whosever they are.
        command.arg(format!("--tmpdir={}", dir.display()));
        command.args(&self.extra).args(more);
        self.starts += 1;
        let name = format!("up-{}", self.starts);
        let log = dir.join(format!("{name}.log"));
        let daemon = Daemon::start(&name, dir, &command);
        daemon.wait_until(&format!("server {}", self.id), Duration::from_secs(90), || ready(&log));
        self.daemon = Some(daemon);
    }

    /// Kills it as a power cut would, but for what the system still has in memory.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.daemon = None;
    }

    /// Shuts it down.
    pub(crate) fn down(&mut self) {
        self.daemon = None;
    }

    pub(crate) fn signal(&self, which: Signal) {
        signal(self.daemon.as_ref().unwrap().pid(), which);
    }

    /// As root.
    pub(crate) async fn conn(&self) -> Conn {
        load::connect(&self.socket).await
    }

    /// Runs a statement as root.
    pub(crate) async fn run(&self, sql: &str) {
        self.try_run(sql).await.unwrap_or_else(|e| panic!("server {}: {sql}: {e}", self.id));
    }

    pub(crate) async fn try_run(&self, sql: &str) -> Result<(), mysql_async::Error> {
        let mut conn = self.conn().await;
        let done = conn.query_drop(sql).await;
        conn.disconnect().await?;
        done
    }

    /// The first column of the first row, as text.
    pub(crate) async fn ask(&self, sql: &str) -> String {
        self.column(sql).await.into_iter().next().unwrap_or_default()
    }

    /// The first column.
    pub(crate) async fn column(&self, sql: &str) -> Vec<String> {
        let mut conn = self.conn().await;
        let rows: Vec<Option<String>> = conn.query(sql).await.unwrap();
        conn.disconnect().await.unwrap();
        rows.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// Its binary logs, by name.
    pub(crate) async fn logs(&self) -> Vec<String> {
        let mut conn = self.conn().await;
        let rows: Vec<mysql_async::Row> = conn.query("SHOW BINARY LOGS").await.unwrap();
        conn.disconnect().await.unwrap();
        rows.iter().map(|row| row.get::<String, _>("Log_name").unwrap()).collect()
    }

    /// All transactions that it has written: a set of MySQL, the state of MariaDB.
    pub(crate) async fn executed(&self) -> String {
        self.ask(match self.flavor {
            Flavor::Mysql => "SELECT REPLACE(@@GLOBAL.gtid_executed, '\\n', '')",
            Flavor::Mariadb => "SELECT @@GLOBAL.gtid_binlog_state",
        })
        .await
    }

    /// What the archiver calls it.
    pub(crate) async fn name(&self) -> String {
        match self.flavor {
            Flavor::Mysql => self.ask("SELECT @@GLOBAL.server_uuid").await,
            Flavor::Mariadb => format!("id-{}", self.id),
        }
    }

    /// Empties its binary log.
    pub(crate) async fn reset(&self) {
        self.run(match self.flavor {
            Flavor::Mysql => "RESET BINARY LOGS AND GTIDS",
            Flavor::Mariadb => "RESET MASTER",
        })
        .await;
    }
}

/// Copies a folder to a place where nothing is.
pub(crate) fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to));
}
