//! The address leads elsewhere, or nowhere, while connections stand: the archiver finds out by
//! itself, and never takes one server for another.

use std::time::{Duration, Instant};

use backstay::model::Flavor;
use rustix::process::Signal;

use crate::{
    address::Address,
    archiver::Archiver,
    home::Home,
    pair::{NOTICED, Pair},
    tokens::{self, Tokens},
    walk::{Walked, repository, walk},
};

struct Stage {
    archiver: Archiver,
    pair: Pair,
    home: Home,
    /// Writes to the primary itself, whatever the address says.
    load: Tokens,
}

impl Stage {
    async fn start(flavor: Flavor) -> Self {
        let pair = Pair::start(flavor).await;
        let home = Home::file();
        let mut archiver = Archiver::start(&home, pair.address.port, &[]);
        archiver.owns();
        let load = Tokens::start(pair.primary.port, 2, Duration::from_millis(10));
        tokio::time::sleep(Duration::from_secs(1)).await;
        Self { archiver, pair, home, load }
    }

    /// The number of the log's last record, and how many transactions are durable.
    async fn durable(&self) -> (u64, usize) {
        let state =
            backstay::pipeline::log::tip(&repository(&self.home, None).await).await.unwrap();
        (state.head.number, state.epoch().try_into().unwrap())
    }

    /// New bytes become durable.
    async fn goes_on(&mut self, within: Duration) {
        let began = Instant::now();
        let (before, _) = self.durable().await;
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert!(self.archiver.is_alive(), "{}", self.archiver.said());
            // More than signs of life, of which there is one in ten seconds.
            let (now, _) = self.durable().await;
            if now >= before + 4 {
                return;
            }
            assert!(began.elapsed() < within, "it does not go on: {}", self.archiver.said());
        }
    }

    async fn ends(self, epochs: usize, forks: usize) -> Walked {
        self.load.stop().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.archiver.stop();
        self.pair.address.point(self.pair.primary.port);
        Archiver::finish(&self.home, self.pair.address.port, &[]);
        let walked = walk(&self.home, None).await;
        walked.covers(&tokens::of(&self.pair.primary).await);
        assert_eq!(walked.forks.len(), forks, "{}", walked.notes());
        assert_eq!(walked.epochs.len(), epochs + 1, "{}", walked.notes());
        walked
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_is_noticed_though_the_connection_stands() {
    for flavor in [Flavor::Mysql, Flavor::Mariadb] {
        let mut stage = Stage::start(flavor).await;
        // The demoted primary lives on, and the archiver is connected to it.
        stage.pair.switch_over(true).await;
        stage.load.stop().await;
        stage.load = Tokens::start(stage.pair.primary.port, 2, Duration::from_millis(10));
        let took = stage.archiver.reads(&stage.pair.primary.name().await, NOTICED);
        println!("{flavor:?}: noticed after {took:?}");
        assert_eq!(stage.archiver.times("connecting again"), 0, "{}", stage.archiver.said());
        stage.goes_on(Duration::from_secs(5)).await;
        stage.ends(2, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_replica_is_not_archived() {
    let mut stage = Stage::start(Flavor::Mysql).await;
    // By mistake the address leads to the replica.
    stage.pair.address.point(stage.pair.replica.port);
    stage.archiver.waits_for("read-only server answers", 1, NOTICED);
    stage.goes_on(Duration::from_secs(5)).await;
    // Nor when the connection to the primary breaks.
    stage.pair.address.cut();
    stage.archiver.waits_for("it is read-only, and not the one", 2, NOTICED);
    let (before, epoch) = stage.durable().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (after, _) = stage.durable().await;
    assert!(after <= before + 1, "signs of life only");
    assert_eq!(epoch, 1);
    stage.pair.address.point(stage.pair.primary.port);
    stage.goes_on(NOTICED).await;
    stage.ends(1, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_leads_now_here_now_there_mixes_nothing_of_mysql() {
    now_here_now_there(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_leads_now_here_now_there_mixes_nothing_of_mariadb() {
    now_here_now_there(Flavor::Mariadb).await;
}

async fn now_here_now_there(flavor: Flavor) {
    let mut stage = Stage::start(flavor).await;
    let (primary, replica) = (stage.pair.primary.port, stage.pair.replica.port);
    for turns in [Address::BY_TURNS, Address::BY_CHANCE] {
        stage.pair.address.alternate(primary, replica, turns);
        for cut in 0..3 {
            stage.pair.address.cut();
            let began = Instant::now();
            // It pauses longer each time.
            stage.goes_on(Duration::from_secs(25)).await;
            println!("{flavor:?} {turns} {cut}: goes on after {:?}", began.elapsed());
        }
    }
    // Looking around meets the primary, too.
    let down = stage.archiver.times("\"to\":\"source-down\"");
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(stage.archiver.times("\"to\":\"source-down\""), down);
    assert_eq!(stage.archiver.times("read-only"), 0, "{}", stage.archiver.said());
    // Whoever begins behind such an address begins with the primary.
    let (home, port) = (&stage.home, stage.pair.address.port);
    let mut next = Archiver::start(home, port, &["--takeover"]);
    next.owns();
    std::mem::replace(&mut stage.archiver, next).ends().expect(8);
    stage.goes_on(Duration::from_secs(10)).await;
    let name = stage.pair.primary.name().await;
    let walked = stage.ends(2, 0).await;
    assert!(walked.files.keys().all(|(_, server, ..)| *server == name), "{}", walked.notes());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_where_nobody_answers_ends_no_dump() {
    let mut stage = Stage::start(Flavor::Mariadb).await;
    stage.pair.address.nobody();
    stage.archiver.waits_for("does not answer", 1, NOTICED);
    stage.goes_on(Duration::from_secs(5)).await;
    stage.ends(1, 0).await;
}

/// A server that hangs: its owner keeps the log, and goes on when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_does_not_cost_the_log() {
    let mut stage = Stage::start(Flavor::Mysql).await;
    let mut standby = Archiver::start(&stage.home, stage.pair.address.port, &[]);
    standby.waits_for("standing by", 1, Duration::from_secs(20));
    stage.pair.primary.signal(Signal::STOP);
    tokio::time::sleep(Duration::from_secs(50)).await;
    stage.pair.primary.signal(Signal::CONT);
    stage.goes_on(Duration::from_secs(30)).await;
    assert_eq!(standby.times("claimed the log"), 0, "{}", standby.said());
    drop(standby);
    stage.ends(1, 0).await;
}
