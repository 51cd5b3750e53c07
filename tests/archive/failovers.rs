//! Primaries come and go under load. Afterwards the archive has all that the last one has, tells
//! of every transaction that only it has, and had one owner at any time.

use std::time::Duration;

use backstay::model::Flavor;

use crate::{
    archiver::Archiver,
    chance::{Chance, soak},
    home::Home,
    pair::Pair,
    tokens::{self, Tokens},
    turns::Event,
    walk::walk,
};

#[tokio::test(flavor = "multi_thread")]
async fn failovers_of_mysql_leave_no_gap() {
    failovers(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failovers_of_mariadb_leave_no_gap() {
    failovers(Flavor::Mariadb).await;
}

async fn failovers(flavor: Flavor) {
    let mut chance = Chance::seeded();
    let mut pair = Pair::start(flavor).await;
    let home = Home::file();
    let mut archiver = Archiver::start(&home, pair.address.port, &[]);
    archiver.owns();
    let load = Tokens::start(pair.address.port, 3, Duration::from_millis(5));
    let turns = if soak() { 20 } else { 3 };
    let first = chance.below(3);
    for turn in 0..turns {
        let event = Event::of(first + turn);
        tokio::time::sleep(chance.within(Duration::from_secs(3))).await;
        pair.next_turn(turn, event, &mut chance).await;
        // Sometimes the next one comes before the archiver has noticed this one.
        if chance.below(3) > 0 {
            let took = archiver.reads(&pair.primary.name().await, Duration::from_secs(90));
            println!("turn {turn}: noticed after {took:?}");
        }
        assert!(archiver.is_alive(), "{}", archiver.said());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let acknowledged = load.stop().await;
    archiver.stop();
    Archiver::finish(&home, pair.address.port, &[]);
    let there = tokens::of(&pair.primary).await;
    let walked = walk(&home, None).await;
    let forked = walked.covers(&there);
    println!(
        "{acknowledged} acknowledged, {} there, {forked} forked in {} forks, {} records, {} epochs, {} void",
        there.len(),
        walked.forks.len(),
        walked.records.len(),
        walked.epochs.len(),
        walked.void
    );
}
