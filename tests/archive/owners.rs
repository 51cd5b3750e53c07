//! Several archivers for one cluster: one owns the log, and who has lost it ships nothing more.

use std::time::{Duration, Instant};

use backstay::model::Flavor;
use rustix::process::Signal;

use crate::{
    archiver::Archiver,
    home::Home,
    node::Node,
    tokens::{self, Tokens},
    walk::walk,
};

/// Until a standby takes over from an owner that is silent: 30 s, and a look every 2 s.
const TAKEN_OVER: Duration = Duration::from_secs(36);

struct Stage {
    node: Node,
    home: Home,
    load: Tokens,
}

impl Stage {
    async fn start(flavor: Flavor) -> Self {
        let node = Node::start(flavor, 61, &[]);
        tokens::seed(&node).await;
        let load = Tokens::start(node.port, 2, Duration::from_millis(5));
        Self { node, home: Home::file(), load }
    }

    fn archiver(&self, more: &[&str]) -> Archiver {
        Archiver::start(&self.home, self.node.port, more)
    }

    /// Ends everything: the archive has all, and nothing but that.
    async fn ends(self, owner: Archiver, epochs: usize) {
        assert!(self.load.stop().await > 100);
        tokio::time::sleep(Duration::from_secs(1)).await;
        owner.stop();
        Archiver::finish(&self.home, self.node.port, &[]);
        let walked = walk(&self.home, None).await;
        assert_eq!(walked.covers(&tokens::of(&self.node).await), 0);
        assert_eq!(walked.epochs.len(), epochs + 1, "{}", walked.notes());
        assert_eq!(walked.forks, []);
        println!("{} records, {} void", walked.records.len(), walked.void);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_start_at_once_one_owns_the_log() {
    let stage = Stage::start(Flavor::Mariadb).await;
    let mut both = [stage.archiver(&[]), stage.archiver(&[])];
    let began = Instant::now();
    while both.iter().all(|one| one.times("standing by") == 0) {
        assert!(began.elapsed() < Duration::from_mins(1), "{}", both[0].said());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let began = Instant::now();
    while both.iter().all(|one| one.times("claimed the log") == 0) {
        assert!(began.elapsed() < Duration::from_mins(1), "{}", both[0].said());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let owns = |one: &Archiver| one.times("claimed the log") == 1;
    assert_eq!(both.iter().filter(|one| owns(one)).count(), 1);
    both.sort_by_key(|one| !owns(one));
    let [first, mut second] = both;
    assert_eq!(second.times("claimed the log"), 0, "{}", second.said());
    // The owner lets go: the other need not wait.
    first.stop();
    let took = second.waits_for("claimed the log", 1, Duration::from_secs(20));
    println!("after a clean stop: {took:?}");
    // A third is told to take over; the second is fenced.
    let mut third = stage.archiver(&["--takeover"]);
    let took = third.waits_for("claimed the log", 1, Duration::from_secs(20));
    println!("told to take over: {took:?}");
    second.ends().expect(8).says("fenced: run");
    stage.ends(third, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_from_a_killed_owner() {
    let stage = Stage::start(Flavor::Mysql).await;
    let mut first = stage.archiver(&[]);
    first.owns();
    let mut second = stage.archiver(&[]);
    second.waits_for("standing by", 1, Duration::from_secs(20));
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.kill();
    let took = second.waits_for("claimed the log", 1, TAKEN_OVER);
    println!("after a kill: {took:?}");
    assert!(took > Duration::from_secs(25), "{took:?} is no silence");
    stage.ends(second, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_slept_is_fenced() {
    let stage = Stage::start(Flavor::Mariadb).await;
    let mut first = stage.archiver(&[]);
    first.owns();
    let mut second = stage.archiver(&[]);
    second.waits_for("standing by", 1, Duration::from_secs(20));
    tokio::time::sleep(Duration::from_secs(2)).await;
    first.signal(Signal::STOP);
    let took = second.waits_for("claimed the log", 1, TAKEN_OVER);
    println!("after a sleep: {took:?}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    first.signal(Signal::CONT);
    let woke = Instant::now();
    first.ends().expect(8).says("fenced: run");
    println!("fenced after {:?}", woke.elapsed());
    assert!(woke.elapsed() < Duration::from_secs(12));
    stage.ends(second, 2).await;
}

/// A standby that slept has not seen the owner's silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_slept_takes_nothing_over() {
    let stage = Stage::start(Flavor::Mysql).await;
    let mut first = stage.archiver(&[]);
    first.owns();
    let mut second = stage.archiver(&[]);
    second.waits_for("standing by", 1, Duration::from_secs(20));
    second.signal(Signal::STOP);
    tokio::time::sleep(Duration::from_secs(33)).await;
    second.signal(Signal::CONT);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(second.times("claimed the log"), 0, "{}", second.said());
    assert!(first.is_alive(), "{}", first.said());
    drop(second);
    stage.ends(first, 1).await;
}

/// The owner writes all the time, and is given up all the same, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_owner_is_taken_over_from_at_once() {
    for flavor in [Flavor::Mysql, Flavor::Mariadb] {
        let stage = Stage::start(flavor).await;
        let mut owner = stage.archiver(&[]);
        owner.owns();
        for turn in 1..=8 {
            tokio::time::sleep(Duration::from_millis(70 * turn)).await;
            let mut next = stage.archiver(&["--takeover"]);
            let took = next.waits_for("claimed the log", 1, Duration::from_secs(20));
            println!("{flavor:?}: told to take over: {took:?}");
            owner.ends().expect(8).says("fenced: run");
            owner = next;
        }
        stage.ends(owner, 9).await;
    }
}
