//! What is captured is what the server wrote, byte for byte.

use std::{path::Path, time::Duration};

use mysql_async::prelude::Queryable as _;
use rustix::process::Signal;

use crate::{
    home::{Home, strs},
    load,
    mariadb::MariaDb,
    mysql9::Mysql9,
    reassembled,
};

/// The arguments that reach a server.
pub(crate) fn archive_args(home: &Home, socket: &Path, more: &[&str]) -> Vec<String> {
    let mut args = home.backup(socket, more);
    args[0] = "archive".to_owned();
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
