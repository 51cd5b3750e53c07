//! After every failover a restore to the latest point is what the surviving primary is: no fork comes
//! back, whichever base the restore begins with.

use std::time::Duration;

use backstay::model::Flavor;

use crate::{
    archiver::Archiver,
    chance::{Chance, soak},
    home::{Home, strs},
    load,
    pair::Pair,
    points::{restore, sums},
    tokens::Tokens,
    turns::Event,
};

#[tokio::test(flavor = "multi_thread")]
async fn mysql_survivors_come_back() {
    survivors(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_survivors_come_back() {
    survivors(Flavor::Mariadb).await;
}

async fn survivors(flavor: Flavor) {
    let mut chance = Chance::seeded();
    let mut pair = Pair::start(flavor).await;
    let home = Home::file();
    home.run(&strs(&home.backup(&pair.primary.socket, &["--id", "base"]))).expect(0);
    let mut archiver = Archiver::start(&home, pair.address.port, &[]);
    archiver.owns();
    let first = chance.below(3);
    for turn in 0..if soak() { 20 } else { 2 } {
        let load = Tokens::start(pair.address.port, 2, Duration::from_millis(5));
        tokio::time::sleep(chance.within(Duration::from_secs(1))).await;
        if chance.below(3) == 0 {
            // It may have what the next primary lacks.
            let id = format!("base-{turn}");
            home.run(&strs(&home.backup(&pair.primary.socket, &["--id", &id]))).expect(0);
        }
        pair.next_turn(turn, Event::of(first + turn), &mut chance).await;
        archiver.reads(&pair.primary.name().await, Duration::from_secs(90));
        tokio::time::sleep(chance.within(Duration::from_secs(1))).await;
        load.stop().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(archiver.is_alive(), "{}", archiver.said());
        let survivor = load::checksums(&pair.primary.socket).await;
        let datadir = home.path("new");
        let done = restore(&home, &datadir, &[]).expect(0).json();
        assert_eq!(done["status"], "proven", "{done:#}");
        println!("turn {turn}: from {}, {}", done["backup_id"], done["replay"]["transactions"]);
        assert_eq!(sums(flavor, &datadir).await, survivor, "{done:#}");
        std::fs::remove_dir_all(&datadir).unwrap();
    }
    archiver.stop();
}
