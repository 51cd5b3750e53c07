//! A restore that is killed at any moment, and the same command again.

use std::time::{Duration, Instant};

use backstay::model::Flavor;
use rustix::process::Signal;

use crate::{
    archiver::Archiver,
    chance::{Chance, soak},
    home::{Home, strs},
    load::{self, Load},
    node::Node,
    points::{look, restore, sums},
};

#[tokio::test(flavor = "multi_thread")]
async fn mysql_restores_are_done_again_when_killed() {
    killed(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_restores_are_done_again_when_killed() {
    killed(Flavor::Mariadb).await;
}

async fn killed(flavor: Flavor) {
    let mut chance = Chance::seeded();
    let node = Node::start(flavor, 73, &[]);
    load::seed(&node.socket, 500).await;
    let home = Home::file();
    home.run(&strs(&home.backup(&node.socket, &["--id", "base"]))).expect(0);
    let writers = Load::start(&node.socket, 2);
    tokio::time::sleep(Duration::from_secs(3)).await;
    writers.stop().await;
    let last = look(&node).await;
    Archiver::finish(&home, node.port, &[]);
    drop(node);
    let datadir = home.path("new");
    let begun = Instant::now();
    restore(&home, &datadir, &[]).expect(0);
    let whole = begun.elapsed();
    for turn in 0..if soak() { 50 } else { 4 } {
        std::fs::remove_dir_all(&datadir).unwrap();
        let mut blows = 0;
        loop {
            let after = chance.within(whole);
            let job = home.start(&["restore", "--datadir", datadir.to_str().unwrap()]);
            tokio::time::sleep(after).await;
            job.signal(Signal::KILL);
            let done = job.wait();
            blows += 1;
            println!("turn {turn}: {} after {after:?}", done.code);
            // Two blows before it may live; once it was done before the blow.
            if blows == 2 || done.code == 0 {
                break;
            }
        }
        if datadir.join(".backstay-restore").exists() || !datadir.exists() {
            let done = restore(&home, &datadir, &[]).expect(0).json();
            assert_eq!(done["status"], "proven", "{done:#}");
        } else {
            restore(&home, &datadir, &[]).expect(3).says("is not empty");
        }
        assert_eq!(sums(flavor, &datadir).await, last.sums);
    }
}
