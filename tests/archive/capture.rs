//! What is captured is what the server wrote, byte for byte.

use std::{path::Path, process::Command, time::Duration};

use mysql_async::prelude::Queryable as _;
use rustix::process::Signal;

use crate::{
    home::{Home, strs},
    keyring::with_keyring,
    load,
    mariadb::{MariaDb, PASSWORD, run, short_dir},
    mysql9::Mysql9,
    reassembled,
    tools::tool,
};

/// The arguments that reach a server.
pub(crate) fn archive_args(home: &Home, socket: &Path, more: &[&str]) -> Vec<String> {
    let mut args = home.backup(socket, more);
    "archive".clone_into(&mut args[0]);
    args
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_files_come_back_byte_for_byte() {
    let server = MariaDb::start(&[]);
    let folder = server.socket.parent().unwrap().join("data");
    cycle(&server.socket, &folder, "bin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_files_come_back_byte_for_byte() {
    let server = Mysql9::start(&[]);
    let folder = server.socket.parent().unwrap().join("data");
    cycle(&server.socket, &folder, "binlog").await;
}

/// Encrypted on the server's disk, compressed in the log, and the connection killed again and
/// again: the files are those that the server's own tool fetches.
#[tokio::test(flavor = "multi_thread")]
async fn mysql_encrypted_and_compressed_through_lost_connections() {
    let dir = short_dir();
    let program = with_keyring(dir.path());
    let plugins = format!("--plugin-dir={}", dir.path().join("plugins").display());
    let compression = "--binlog-transaction-compression=ON";
    let server = Mysql9::start_by(&program, &[&plugins, "--binlog-encryption=ON", compression]);
    let socket = &server.socket;
    let home = Home::file();
    load::seed(socket, 500).await;
    let job = home.start(&strs(&archive_args(&home, socket, &["--rpo", "200ms"])));
    let writers = load::Load::start(socket, 2);
    let mut conn = load::connect(socket).await;
    let mut killed = 0;
    for round in 0..8 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let dumps: Vec<u64> = conn
            .query(
                "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'",
            )
            .await
            .unwrap();
        for id in dumps {
            killed += u32::from(conn.query_drop(format!("KILL {id}")).await.is_ok());
        }
        if round % 3 == 0 {
            conn.query_drop("FLUSH BINARY LOGS").await.unwrap();
        }
    }
    writers.stop().await;
    assert!(killed >= 4, "only {killed} connections were killed");
    tokio::time::sleep(Duration::from_secs(1)).await;
    job.signal(Signal::TERM);
    job.wait().expect(9);
    home.run(&strs(&archive_args(&home, socket, &["--until-current"]))).expect(0);
    let (archive, files) = reassembled::files(&home).await;
    let name = archive.state.owner.as_ref().unwrap().server.name.to_string();
    let raw = dir.path().join("raw");
    std::fs::create_dir(&raw).unwrap();
    let logs: Vec<String> = conn
        .query_map("SHOW BINARY LOGS", |row: mysql_async::Row| row.get(0).unwrap())
        .await
        .unwrap();
    run(Command::new(tool("mysql9/bin/mysqlbinlog"))
        .args(["--no-defaults", "--read-from-remote-server", "--raw", "--user=root"])
        .env("MYSQL_PWD", PASSWORD)
        .arg(format!("--socket={}", socket.display()))
        .arg(format!("--result-file={}/", raw.display()))
        .args(&logs));
    assert!(reassembled::assert_same(&files, &name, &raw, "binlog") >= 3);
}

async fn cycle(socket: &Path, folder: &Path, base: &str) {
    let home = Home::file();
    load::seed(socket, 500).await;
    let job = home.start(&strs(&archive_args(&home, socket, &["--rpo", "200ms"])));
    let writers = load::Load::start(socket, 2);
    let mut conn = load::connect(socket).await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        conn.query_drop("FLUSH BINARY LOGS").await.unwrap();
    }
    assert!(writers.stop().await > 100);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    job.signal(Signal::TERM);
    let done = job.wait().expect(9);
    println!("{}", done.err);
    // Once more, for what is left; the log was released, so nobody waits.
    let done = home.run(&strs(&archive_args(&home, socket, &["--until-current"]))).expect(0).json();
    println!("{done}");
    let (archive, files) = reassembled::files(&home).await;
    println!("{} records, {} segments", archive.state.head.number, archive.segments.len());
    let server = archive.state.owner.as_ref().unwrap().server.name.to_string();
    assert!(reassembled::assert_same(&files, &server, folder, base) >= 4);
}
