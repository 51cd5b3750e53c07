//! Archiver, server and store are killed, cut off and held up at random moments, under load. What
//! was durable once stays so; closed files are archived byte for byte; the log's chain verifies.

use std::time::{Duration, Instant};

use backstay::{
    model::Flavor,
    pipeline::log::{LogState, tip},
};

use crate::{
    archiver::Archiver,
    chance::{Chance, soak},
    home::Home,
    minio::Minio,
    node::{BASE, Node},
    reassembled,
    tokens::{self, Tokens},
    walk::{repository, walk},
    wire::Wire,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    Archiver,
    Server,
    Store,
    WireCut,
    WireHeld,
    AnswersLost,
    StoreBusy,
}

const KILLS: [Blow; 3] = [Blow::Archiver, Blow::Server, Blow::Store];
const FAULTS: [Blow; 4] = [Blow::AnswersLost, Blow::WireCut, Blow::WireHeld, Blow::StoreBusy];

/// How long an archiver tries one request.
const GIVES_UP: Duration = Duration::from_secs(15);

struct Stage {
    chance: Chance,
    archiver: Option<Archiver>,
    node: Node,
    home: Home,
    wire: Wire,
    minio: Minio,
    load: Tokens,
    /// What was durable before each blow.
    durable: Vec<LogState>,
    /// How often an archiver gave up and was started again.
    restarts: u32,
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_mysql_stays_archived() {
    killed(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_mariadb_stays_archived() {
    killed(Flavor::Mariadb).await;
}

async fn killed(flavor: Flavor) {
    let mut stage = Stage::start(flavor).await;
    let (wanted, mut kills) = (if soak() { 100 } else { 8 }, stage.chance.below(3));
    let (until, mut faults) = (kills + wanted, 3);
    while kills < until {
        let blow = if stage.chance.below(3) == 0 {
            faults += 1;
            FAULTS[faults % 4]
        } else {
            kills += 1;
            KILLS[usize::try_from(kills % 3).unwrap()]
        };
        stage.strike(until - kills, blow).await;
        // Sometimes the next blow comes before this one is overcome.
        if kills == until || stage.chance.below(4) > 0 {
            stage.goes_on().await;
        }
    }
    stage.ends().await;
}

impl Stage {
    async fn start(flavor: Flavor) -> Self {
        let chance = Chance::seeded();
        // Small files, that many are closed.
        let size = format!("--max-binlog-size={}", 256 << 10);
        let node = Node::start(flavor, 71, &[&size]);
        tokens::seed(&node).await;
        let minio = Minio::start(None);
        let wire = Wire::before(minio.port());
        let home = Home::s3(&minio, &wire.endpoint(), "killed").await;
        let load = Tokens::start(node.port, 3, Duration::from_millis(8));
        let mut archiver = Archiver::start(&home, node.port, &[]);
        archiver.owns();
        let archiver = Some(archiver);
        Self { chance, archiver, node, home, wire, minio, load, durable: Vec::new(), restarts: 0 }
    }

    /// The log, past the wire; nothing while the store does not answer.
    async fn log(&self) -> Option<LogState> {
        let repository = repository(&self.home, Some(&self.minio)).await;
        let log = tokio::time::timeout(Duration::from_secs(10), tip(&repository)).await;
        log.ok()?.ok()
    }

    async fn strike(&mut self, left: u64, blow: Blow) {
        let after = self.chance.within(Duration::from_millis(1200));
        let outage = self.chance.within(Duration::from_millis(1200));
        println!("{left} kills left: {blow:?} after {after:?} for {outage:?}");
        tokio::time::sleep(after).await;
        self.durable.extend(self.log().await);
        match blow {
            Blow::Archiver => {
                if let Some(archiver) = self.archiver.take() {
                    archiver.kill();
                }
                tokio::time::sleep(outage / 2).await;
                self.begin();
            }
            Blow::Server => {
                self.node.kill();
                tokio::time::sleep(outage).await;
                self.node.up(&[]);
            }
            Blow::Store => {
                self.minio.kill();
                tokio::time::sleep(outage).await;
                self.minio.up();
            }
            Blow::WireCut => self.wire.cut(outage).await,
            Blow::WireHeld => self.wire.hold(outage).await,
            // Until the archiver gives up: what it wrote last is there, and it has not heard so.
            Blow::AnswersLost => self.wire.lose_answers(GIVES_UP + outage / 4).await,
            Blow::StoreBusy => self.wire.answer_503(outage).await,
        }
    }

    /// As an operator would, who knows that the owner is dead; now and then as one who does not.
    fn begin(&mut self) {
        let waits = soak() && self.chance.below(10) == 0;
        let how: &[&str] = if waits { &[] } else { &["--takeover"] };
        self.archiver = Some(Archiver::start(&self.home, self.node.port, how));
    }

    /// By itself, whatever it was. An archiver that could not even begin is started again.
    async fn goes_on(&mut self) {
        let began = Instant::now();
        let mut before = None;
        loop {
            let log = self.log().await;
            let number = log.map(|log| log.head.number);
            before = before.or(number);
            // More than signs of life.
            if number.zip(before).is_some_and(|(now, before)| now > before + 3) {
                println!("   goes on after {:?}", began.elapsed());
                return;
            }
            let archiver = self.archiver.as_mut().unwrap();
            assert!(began.elapsed() < Duration::from_secs(90), "{}", archiver.said());
            if !archiver.is_alive() {
                let done = self.archiver.take().unwrap().ends();
                assert!([4, 5].contains(&done.code), "{done:?}");
                self.restarts += 1;
                self.begin();
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    async fn ends(mut self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let acknowledged = self.load.acknowledged.clone();
        self.load.stop().await;
        self.archiver.take().unwrap().stop();
        Archiver::finish(&self.home, self.node.port, &[]);
        let verified = self.home.run(&["verify"]).expect(0).json();
        assert_eq!(verified["log"]["status"], "ok", "{verified}");
        let walked = walk(&self.home, Some(&self.minio)).await;
        // Each record holds the hash of the one before it.
        for log in &self.durable {
            let next = usize::try_from(log.head.number).unwrap();
            let chained = walked.records[next].previous;
            assert_eq!(chained, log.head.sha256, "record {next} was durable");
            assert!(log.frontier.is_within(&walked.state.frontier), "{}", log.frontier);
        }
        let there = tokens::of(&self.node).await;
        assert_eq!(walked.covers(&there), 0, "nothing is archived that the server does not have");
        assert_eq!(walked.forks, []);
        let acknowledged: Vec<String> = acknowledged.lock().unwrap().keys().cloned().collect();
        for token in &acknowledged {
            assert!(walked.tokens.contains_key(token), "{token} was acknowledged");
        }
        let server = self.node.name().await;
        let files = walked.files.iter();
        let files = files
            .map(|((_, server, file, _), bytes)| ((server.clone(), file.clone()), bytes.clone()));
        let same = reassembled::assert_same(&files.collect(), &server, &self.node.data(), BASE);
        println!(
            "{} acknowledged, {} there, {same} files alike, {} records, {} epochs, {} void, {} restarts",
            acknowledged.len(),
            there.len(),
            walked.records.len(),
            walked.epochs.len(),
            walked.void,
            self.restarts
        );
    }
}
