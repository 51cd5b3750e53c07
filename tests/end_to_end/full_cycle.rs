//! Backup and restore under write load: what is restored is what the source was at the recorded position.

use std::{collections::BTreeMap, path::Path, time::Duration};

use backstay::model::Flavor;

use crate::{
    home::{Home, strs},
    ledger, load,
    mariadb::MariaDb,
    minio::Minio,
    mysql9::Mysql9,
    reference,
    served::Served,
};

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_to_files() {
    let source = MariaDb::start(&["--binlog-format=ROW"]);
    cycle(&Home::file(), Flavor::Mariadb, &source.socket, source.port, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_to_s3() {
    let source = MariaDb::start(&["--binlog-format=MIXED"]);
    let minio = Minio::shared();
    let home = Home::s3(minio, &minio.endpoint(), "cycle-mariadb").await;
    cycle(&home, Flavor::Mariadb, &source.socket, source.port, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_to_files_by_clone() {
    let source = Mysql9::start(&[]);
    cycle(&Home::file(), Flavor::Mysql, &source.socket, source.port, &["--engine", "clone"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_to_s3_by_clone() {
    let source = Mysql9::start(&[]);
    let minio = Minio::shared();
    let home = Home::s3(minio, &minio.endpoint(), "cycle-mysql").await;
    cycle(&home, Flavor::Mysql, &source.socket, source.port, &["--engine", "clone"]).await;
}

async fn cycle(home: &Home, flavor: Flavor, socket: &Path, port: u16, more: &[&str]) {
    ledger::make(socket).await;
    load::seed(socket, 3_000).await;
    let (writers, writer) = (load::Load::start(socket, 2), ledger::Writer::start(socket));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let scratch = home.path("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let args = [more, &["--id", "cycle", "--scratch", scratch.to_str().unwrap()]].concat();
    let done = home.run(&strs(&home.backup(socket, &args))).expect(0).json();
    assert!(writers.stop().await > 50);
    writer.stop().await;
    assert_eq!((&done["status"], &done["proof"]), (&"complete".into(), &"exit".into()), "{done}");
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0, "the scratch folder is not empty");
    assert_eq!(home.left_behind(socket), Vec::<std::path::PathBuf>::new());
    home.run(&["verify"]).expect(0);
    home.run(&["verify", "--quick"]).expect(0);

    let position =
        (done["binlog_file"].as_str().unwrap(), done["binlog_position"].as_u64().unwrap());
    let expected = reference::at(flavor, port, position).await;
    let datadir = home.path("new");
    let restored = home.run(&["restore", "--datadir", datadir.to_str().unwrap()]).expect(0).json();
    assert_eq!(restored["status"], "proven", "{restored}");
    assert_eq!(home.left_behind(socket), Vec::<std::path::PathBuf>::new());
    let (found, count) = read(flavor, &datadir).await;
    assert!(count > 0);
    assert_eq!(found, expected, "at {position:?}");
    // The source has gone on since: a comparison with it would have failed.
    assert_ne!(load::checksums(socket).await, expected);
}

async fn read(flavor: Flavor, datadir: &Path) -> (BTreeMap<String, u64>, u64) {
    let server = Served::over(flavor, datadir);
    let sums = load::checksums(&server.socket).await;
    (sums, ledger::check(&server.socket).await)
}
