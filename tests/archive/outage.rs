//! A store that is down for long: the archiver waits, lets the server write, and loses nothing.

use std::time::{Duration, Instant};

use backstay::{
    model::{Flavor, GtidState},
    pipeline::log::tip,
};

use crate::{
    archiver::Archiver,
    chance::soak,
    home::Home,
    minio::Minio,
    node::{BASE, Node},
    reassembled,
    tokens::{self, Tokens},
    walk::{repository, walk},
};

/// 25 s; ten minutes in the soak, or as many seconds as `BACKSTAY_OUTAGE` says.
fn outage() -> Duration {
    let said = std::env::var("BACKSTAY_OUTAGE").ok().map(|seconds| seconds.parse().unwrap());
    Duration::from_secs(said.unwrap_or(if soak() { 600 } else { 25 }))
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_survives_a_store_that_is_down() {
    survive(Flavor::Mariadb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_survives_a_store_that_is_down() {
    survive(Flavor::Mysql).await;
}

async fn survive(flavor: Flavor) {
    let size = format!("--max-binlog-size={}", 1 << 20);
    let node = Node::start(flavor, 81, &[&size]);
    tokens::seed(&node).await;
    let mut minio = Minio::start(None);
    let home = Home::s3(&minio, &minio.endpoint(), "outage").await;
    let load = Tokens::start(node.port, 2, Duration::from_millis(5));
    let mut archiver = Archiver::start(&home, node.port, &[]);
    archiver.owns();
    tokio::time::sleep(Duration::from_secs(4)).await;
    minio.kill();
    let outage = outage();
    tokio::time::sleep(outage).await;
    assert!(archiver.is_alive(), "{}", archiver.said());
    minio.up();
    // It looks at least every ten seconds.
    let noticed = archiver.waits_for("the store is back", 1, Duration::from_mins(1));
    let began = Instant::now();
    let acknowledged = load.stop().await;
    assert!(acknowledged > 100, "{acknowledged}");
    let written: GtidState = node.executed().await.parse().unwrap();
    let reader = repository(&home, Some(&minio)).await;
    while !written.is_within(&tip(&reader).await.unwrap().frontier) {
        assert!(began.elapsed() < Duration::from_mins(3), "{}", archiver.said());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let took = began.elapsed();
    archiver.stop();
    Archiver::finish(&home, node.port, &[]);
    home.run(&["verify"]).expect(0);
    let walked = walk(&home, Some(&minio)).await;
    assert_eq!(walked.covers(&tokens::of(&node).await), 0);
    // The owner of before goes on: nothing had to be claimed again.
    assert_eq!(walked.epochs.len(), 2, "{}", walked.notes());
    let server = node.name().await;
    let files = walked.files.iter();
    let files =
        files.map(|((_, server, file, _), bytes)| ((server.clone(), file.clone()), bytes.clone()));
    let same = reassembled::assert_same(&files.collect(), &server, &node.data(), BASE);
    println!(
        "{flavor:?}: down for {outage:?}, noticed after {noticed:?}, caught up after {took:?}: {acknowledged} acknowledged, {same} files alike"
    );
}
