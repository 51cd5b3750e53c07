//! The agent, the network between, and the engine are killed at random moments. Never is a backup
//! listed that does not restore, and the next one succeeds.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use backstay::model::Flavor;
use rustix::process::Signal;

use crate::{
    agent::{Agent, source},
    authority::Authority,
    chance::{Chance, soak},
    children::signal,
    home::{Home, strs},
    ledger,
    mariadb::MariaDb,
    mysql9::Mysql9,
    proxy::Proxy,
    served::Served,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Agent,
    Network,
    Engine,
}

const VICTIMS: [Victim; 3] = [Victim::Agent, Victim::Network, Victim::Engine];

#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    let server = MariaDb::start(&["--binlog-format=ROW"]);
    ledger::make(&server.socket).await;
    ledger::ballast(&server.socket, 16).await;
    turns(Flavor::Mariadb, &server.socket, &[], "mariadb-backup").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql() {
    let server = Mysql9::start(&[]);
    ledger::make(&server.socket).await;
    // The engine is the server itself; what runs below the agent is the server over the clone.
    turns(Flavor::Mysql, &server.socket, &["--engine", "clone"], "mysqld").await;
}

async fn turns(flavor: Flavor, socket: &Path, more: &[&str], engine: &str) {
    let mut chance = Chance::seeded();
    let (home, authority) = (Home::file(), Authority::new());
    authority.sign(home.dir.path(), "client", "client");
    let writer = ledger::Writer::start(socket);
    let mut agent = Agent::start(&authority, socket, more);
    let begun = Instant::now();
    let done = home.run(&strs(&source(&home, agent.port, "client", "usual"))).expect(0).json();
    let (usual, bytes) = (begun.elapsed(), done["bytes_read"].as_u64().unwrap());
    let mut ends: BTreeMap<(Victim, i32), usize> = BTreeMap::new();
    for turn in 0..if soak() { 30 } else { 3 } {
        let victim = VICTIMS[turn % VICTIMS.len()];
        let (id, after) = (format!("run-{turn}"), chance.within(usual));
        let wire = Proxy::before_source(agent.port);
        let job = home.start(&strs(&source(&home, wire.port(), "client", &id)));
        match victim {
            Victim::Agent => {
                thread::sleep(after);
                signal(agent.pid(), Signal::KILL);
            }
            Victim::Network => wire.cut_after(chance.below(bytes), Duration::ZERO),
            Victim::Engine => {
                if let Some(engine) = agent.engine(engine) {
                    thread::sleep(after / 2);
                    engine.kill();
                }
            }
        }
        let done = job.wait();
        println!("turn {turn}: {victim:?} after {after:?}: exit {}", done.code);
        *ends.entry((victim, done.code)).or_default() += 1;
        let listed = home.listed().contains(&id);
        assert!([0, 4].contains(&done.code), "{victim:?}: {done:?}");
        assert_eq!(listed, done.code == 0, "{victim:?}: {done:?}");
        if listed {
            restores(&home, flavor, &id).await;
        }
        if matches!(victim, Victim::Agent) {
            agent = Agent::start(&authority, socket, more);
        } else {
            crate::tools::wait_until("the agent has tidied up", Duration::from_secs(30), || {
                agent.count("backstay_serve_streams_running") == 0
            });
            assert_eq!(agent.left_behind(), Vec::<std::path::PathBuf>::new(), "after {victim:?}");
            assert!(agent.engines(engine).is_empty(), "after {victim:?}");
        }
    }
    println!("{flavor:?}: {ends:?}");
    if soak() {
        let broken = VICTIMS.iter().filter(|victim| ends.contains_key(&(**victim, 4))).count();
        assert_eq!(broken, VICTIMS.len(), "one of them was never killed in time: {ends:?}");
    }
    // After all that, the same id as one that failed.
    let again = home.run(&strs(&source(&home, agent.port, "client", "run-0"))).expect(0).json();
    writer.stop().await;
    if again["status"] == "complete" {
        restores(&home, flavor, "run-0").await;
    }
}

async fn restores(home: &Home, flavor: Flavor, id: &str) {
    let datadir = home.restore(id, &format!("{id}-restored"));
    let server = Served::over(flavor, &datadir);
    ledger::check(&server.socket).await;
    drop(server);
    fs::remove_dir_all(datadir).unwrap();
}
