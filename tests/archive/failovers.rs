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
    walk::walk,
};

#[derive(Debug, Clone, Copy)]
enum Event {
    /// The old primary is read-only before the new one takes writes.
    Switchover,
    /// The old primary dies.
    Killed,
    /// The old primary lives on and takes writes of whoever is still connected.
    SplitBrain,
}

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
        let event = match (first + turn) % 3 {
            0 => Event::Switchover,
            1 => Event::Killed,
            _ => Event::SplitBrain,
        };
        tokio::time::sleep(chance.within(Duration::from_secs(3))).await;
        let lag = chance.within(Duration::from_millis(1500));
        let lags = chance.below(3) > 0;
        println!("turn {turn}: {event:?}, the replica lags by {:?}", lags.then_some(lag));
        one(&mut pair, event, lags.then_some(lag), &mut chance).await;
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

async fn one(pair: &mut Pair, event: Event, lag: Option<Duration>, chance: &mut Chance) {
    if let Some(lag) = lag {
        // What is committed from here on reaches the archive, and not the replica.
        if !matches!(event, Event::Switchover) {
            pair.replica.stop_receiving().await;
        }
        tokio::time::sleep(lag).await;
    }
    match event {
        Event::Switchover => pair.switch_over(chance.below(2) == 0).await,
        Event::Killed => {
            pair.primary.kill();
            tokio::time::sleep(chance.within(Duration::from_secs(2))).await;
            pair.promote_replica().await;
            back(pair, chance).await;
        }
        Event::SplitBrain => {
            pair.promote_replica().await;
            tokio::time::sleep(chance.within(Duration::from_secs(3))).await;
            // Now it is found out.
            pair.replica.kill();
            back(pair, chance).await;
        }
    }
}

/// The old primary comes back as a replica: it has what the new one lacks, so it is rebuilt.
async fn back(pair: &mut Pair, chance: &mut Chance) {
    let (copy, same_uuid) = (chance.below(2) == 0, chance.below(2) == 0);
    println!("rebuilt: copy {copy}, same uuid {same_uuid}");
    pair.replica.rebuild_from(&pair.primary, copy, same_uuid).await;
}
