//! A store that is down: the archiver waits, and loses nothing.

use std::time::Duration;

use rustix::process::Signal;

use crate::{
    capture::archive_args,
    home::{Home, strs},
    load,
    mariadb::MariaDb,
    minio::Minio,
    mysql9::Mysql9,
    reassembled,
};

fn outage() -> Duration {
    Duration::from_secs(if std::env::var_os("BACKSTAY_SOAK").is_some() { 3600 } else { 25 })
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_survives_a_store_that_is_down() {
    let server = MariaDb::start(&[]);
    survive(&server.socket, "bin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_survives_a_store_that_is_down() {
    let server = Mysql9::start(&[]);
    survive(&server.socket, "binlog").await;
}

async fn survive(socket: &std::path::Path, base: &str) {
    let mut minio = Minio::start(None);
    let home = Home::s3(&minio, &minio.endpoint(), "outage").await;
    load::seed(socket, 500).await;
    let job = home.start(&strs(&archive_args(&home, socket, &["--rpo", "200ms"])));
    let writers = load::Load::start(socket, 2);
    tokio::time::sleep(Duration::from_secs(4)).await;
    minio.kill();
    tokio::time::sleep(outage()).await;
    minio.up();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(writers.stop().await > 100);
    // It tries again within 15 s, and then catches up.
    tokio::time::sleep(Duration::from_secs(25)).await;
    job.signal(Signal::TERM);
    let done = job.wait().expect(9);
    assert!(done.err.contains("the store is back"), "{}", done.err);
    // What came after the signal.
    home.run(&strs(&archive_args(&home, socket, &["--until-current"]))).expect(0);
    let (archive, files) = reassembled::files(&home).await;
    let server = archive.state.owner.as_ref().unwrap().server.name.to_string();
    let folder = socket.parent().unwrap().join("data");
    reassembled::assert_same(&files, &server, &folder, base);
}
