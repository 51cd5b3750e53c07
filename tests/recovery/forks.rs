//! What a failover left behind never comes back unasked, and comes back when it is asked for.

use std::time::Duration;

use backstay::model::Flavor;

use crate::{
    archiver::Archiver,
    home::{Home, strs},
    load,
    pair::Pair,
    points::{restore, sums},
    tokens::Tokens,
};

#[tokio::test(flavor = "multi_thread")]
async fn mysql_forks_come_back_when_asked_for() {
    forks(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_forks_come_back_when_asked_for() {
    forks(Flavor::Mariadb).await;
}

async fn forks(flavor: Flavor) {
    let mut pair = Pair::start(flavor).await;
    let home = Home::file();
    home.run(&strs(&home.backup(&pair.primary.socket, &["--id", "base"]))).expect(0);
    let mut archiver = Archiver::start(&home, pair.address.port, &[]);
    archiver.owns();
    let write = async |pair: &Pair, wanted: u64| {
        let tokens = Tokens::start(pair.primary.port, 2, Duration::from_millis(5));
        tokio::time::sleep(Duration::from_millis(wanted)).await;
        tokens.stop().await
    };
    write(&pair, 700).await;
    pair.switch_over(false).await;
    let name = pair.primary.name().await;
    archiver.reads(&name, Duration::from_mins(1));
    write(&pair, 700).await;
    // What follows reaches the archive, and never the replica: a fork.
    pair.replica.caught_up(&pair.primary).await;
    pair.replica.stop_receiving().await;
    write(&pair, 500).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let left = load::checksums(&pair.primary.socket).await;
    pair.promote_replica().await;
    pair.address.cut();
    let name = pair.primary.name().await;
    archiver.reads(&name, Duration::from_mins(1));
    write(&pair, 700).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    archiver.stop();
    let survivor = load::checksums(&pair.primary.socket).await;
    let window = home.run(&["window"]).expect(0).json();
    assert_eq!(window["forks"].as_array().unwrap().len(), 1, "{window:#}");
    let datadir = home.path("new");
    let done = restore(&home, &datadir, &[]).expect(0).json();
    assert_eq!(done["status"], "proven", "{done:#}");
    assert_eq!(sums(flavor, &datadir).await, survivor, "{done:#}");
    assert_ne!(left, survivor);
    std::fs::remove_dir_all(&datadir).unwrap();
    let fork = &window["forks"][0];
    let record = fork["record"].to_string();
    let done = restore(&home, &datadir, &["--fork", &record]).expect(0).json();
    assert_eq!(done["status"], "proven", "{done:#}");
    assert_eq!(sums(flavor, &datadir).await, left, "{done:#}");
    let names: Vec<_> = done["to_rebuild"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 2, "{done:#}");
    std::fs::remove_dir_all(&datadir).unwrap();
    restore(&home, &datadir, &["--fork", "1"]).expect(7).says("fork record 1 is not in the log");
}
