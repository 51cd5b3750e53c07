//! Physical backups made and started with the library alone.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use backstay::{
    model::{BinlogPosition, EngineKind, Flavor},
    mysql::{
        ConnectOptions, Endpoint, OptionFile, Server, TempBinlog, TempServer, engines,
        parse_innodb_position, temp_server_command,
        xbstream::{Dialect, Extractor, SyncPolicy, Validator, WholeStream},
    },
    process::{Child, Input, Output},
};

use crate::{
    load,
    mariadb::{self, root, run, short_dir},
    tools::wait_until,
};

pub(crate) fn engine() -> engines::Engine {
    let program = engines::discover(EngineKind::MariadbBackup, None).unwrap();
    let output = Command::new(&program).arg("--version").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    engines::parse_version(EngineKind::MariadbBackup, &program, &String::from_utf8_lossy(&said))
        .unwrap()
}

/// A backup with mariadb-backup, into a file, checked on its way.
pub(crate) async fn mariadb_backup(options: &ConnectOptions, to: &Path) -> WholeStream {
    let mut server = Server::connect(options).await.unwrap();
    let engine = engine();
    engines::check_version(&engine, server.version()).unwrap();
    let scratch = short_dir();
    let option_file = OptionFile::write(options, scratch.path()).unwrap();
    let args = engines::BackupArgs {
        option_file: option_file.path(),
        scratch: &scratch.path().join("scratch"),
        parallel: 2,
        datadir: None,
        incremental_lsn: None,
        server: &server.version().clone(),
    };
    let line = engines::backup_command(&engine, &args);
    let mut child = Child::spawn("mariadb-backup", &line, Input::Null, Output::Pipe).unwrap();
    let mut out = child.take_stdout().unwrap();
    let mut file = fs::File::create(to).unwrap();
    let whole = tokio::task::spawn_blocking(move || {
        let mut validator = Validator::new(Dialect::Mariadb);
        let mut buffer = vec![0; 1 << 20];
        loop {
            match out.read(&mut buffer).unwrap() {
                0 => return validator.finish().unwrap(),
                n => {
                    validator.feed(&buffer[..n]).unwrap();
                    file.write_all(&buffer[..n]).unwrap();
                }
            }
        }
    });
    let whole = whole.await.unwrap();
    let exit = child.wait().await.unwrap();
    assert!(engines::said_completed(exit.tail()), "{:?}", exit.tail());
    assert!(!server.facts().await.unwrap().is_replica);
    server.close().await;
    whole
}

pub(crate) fn extract(dialect: Dialect, mut from: impl Read, to: &Path) -> WholeStream {
    fs::create_dir_all(to).unwrap();
    let mut extractor = Extractor::new(dialect, to, SyncPolicy::AtEnd).unwrap();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer).unwrap() {
            0 => return extractor.finish().unwrap(),
            n => extractor.feed(&buffer[..n]).unwrap(),
        }
    }
}

pub(crate) fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(root).unwrap().to_owned();
                files.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

/// A temporary server over a data directory, with `root` and the password of the tests.
pub(crate) struct Temp {
    pub(crate) child: Child,
    pub(crate) socket: PathBuf,
    pub(crate) dir: tempfile::TempDir,
}

impl Temp {
    pub(crate) fn start(flavor: Flavor, program: &Path, datadir: &Path) -> Self {
        let dir = short_dir();
        let (socket, init) = (dir.path().join("s"), dir.path().join("init.sql"));
        let password = mariadb::PASSWORD;
        fs::write(
            &init,
            format!("SET sql_log_bin=0;\nALTER USER root@localhost IDENTIFIED BY '{password}';\n"),
        )
        .unwrap();
        let line = temp_server_command(&TempServer {
            flavor,
            program,
            datadir,
            socket: &socket,
            init_file: Some(&init),
            tmpdir: Some(dir.path()),
            server_id: 4_000_000_001,
            buffer_pool: 64 << 20,
            binlog: TempBinlog::Off,
            options: &BTreeMap::new(),
            // Where the position of a clone is read from; MariaDB skips it.
            extra: &["--loose-plugin-load-add=clone=mysql_clone.so".to_owned()],
        })
        .unwrap();
        let child = Child::spawn("temp-server", &line, Input::Null, Output::Null).unwrap();
        wait_until("temporary server", Duration::from_mins(1), || {
            assert!(child.is_running(), "{:#?}", child.tail());
            child.tail().iter().any(|line| line.contains("ready for connections"))
        });
        Self { child, socket, dir }
    }

    pub(crate) fn options(&self) -> ConnectOptions {
        root(Endpoint::Socket(self.socket.clone()))
    }

    pub(crate) async fn stop(self) {
        self.child.stop(Duration::from_mins(1)).await.unwrap();
        drop(self.dir);
    }
}

/// What InnoDB has recorded in a prepared backup, and the tables in it.
pub(crate) async fn recovered(datadir: &Path) -> (BinlogPosition, BTreeMap<String, u64>) {
    let recorded = fs::read_to_string(datadir.join("xtrabackup_binlog_pos_innodb")).unwrap();
    let position = parse_innodb_position(&recorded).unwrap();
    let temp = Temp::start(Flavor::Mariadb, Path::new("/usr/sbin/mariadbd"), datadir);
    let sums = load::checksums(&temp.socket).await;
    temp.stop().await;
    (position.expect("InnoDB committed something"), sums)
}

pub(crate) fn prepare(dir: &Path) {
    let line = engines::prepare_command(&engine(), dir, 64 << 20, false, None);
    run(Command::new(&line.program).args(&line.args));
}
