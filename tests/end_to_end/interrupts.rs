//! Signals: what is asked to stop cleans up, and what is killed takes its children along.

use std::{path::Path, thread, time::Duration};

use backstay::model::Flavor;
use rustix::process::Signal;

use crate::{
    chance::{Chance, soak},
    children::{Seen, below},
    home::{Home, strs},
    ledger, load,
    mariadb::MariaDb,
    mysql9::Mysql9,
    served::Served,
    tools::wait_until,
};

async fn mariadb() -> MariaDb {
    let server = MariaDb::start(&[]);
    ledger::make(&server.socket).await;
    ledger::ballast(&server.socket, 24).await;
    server
}

fn all_end(children: &[Seen]) {
    wait_until("the children end", Duration::from_secs(10), || {
        !children.iter().any(Seen::is_alive)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_backup_leaves_nothing() {
    let mut chance = Chance::seeded();
    let server = mariadb().await;
    let home = Home::file();
    for (turn, signal) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        let id = format!("stopped-{turn}");
        let mut job = home.start(&strs(&home.backup(&server.socket, &["--id", &id])));
        job.child("mariadb-backup").expect("the engine was never seen");
        thread::sleep(chance.within(Duration::from_millis(150)));
        let children = below(job.pid());
        job.signal(signal);
        let done = job.wait().expect(9);
        assert_eq!(
            (&done.json()["kind"], &done.json()["retry"]),
            (&"stopped".into(), &true.into())
        );
        all_end(&children);
        assert_eq!(home.listed(), Vec::<String>::new());
        assert_eq!(home.left_behind(&server.socket), Vec::<std::path::PathBuf>::new());
        assert_eq!(volumes(&home.path("repo"), &id), Vec::<String>::new());
        home.run(&strs(&home.backup(&server.socket, &["--id", &id]))).expect(0);
        std::fs::remove_dir_all(home.path("repo")).unwrap();
    }
}

/// Files below a folder whose path holds this word.
fn volumes(folder: &Path, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains(word) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_backup_takes_the_engine_along() {
    let server = mariadb().await;
    let home = Home::file();
    let args = home.backup(&server.socket, &["--id", "killed"]);
    let mut job = home.start(&strs(&args));
    job.child("mariadb-backup").expect("the engine was never seen");
    let children = below(job.pid());
    job.signal(Signal::KILL);
    job.wait().expect(-9);
    all_end(&children);
    assert_eq!(home.listed(), Vec::<String>::new());
    home.run(&strs(&args)).expect(0);
    home.restore("killed", "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_clone_takes_its_server_along() {
    let server = Mysql9::start(&[]);
    load::seed(&server.socket, 500).await;
    let home = Home::file();
    let args = home.backup(&server.socket, &["--engine", "clone", "--id", "killed"]);
    let mut job = home.start(&strs(&args));
    job.child("mysqld").expect("the temporary server was never seen");
    let children = below(job.pid());
    job.signal(Signal::KILL);
    job.wait().expect(-9);
    all_end(&children);
    home.run(&strs(&args)).expect(0);
    let datadir = home.path("new").display().to_string();
    let restore = ["restore", "--datadir", &datadir];
    let mut job = home.start(&restore);
    job.child("mysqld").expect("the server of the proof was never seen");
    let children = below(job.pid());
    job.signal(Signal::KILL);
    job.wait().expect(-9);
    all_end(&children);
    assert_eq!(home.run(&restore).expect(0).json()["status"], "proven");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_or_stopped_restore_is_done_again() {
    let mut chance = Chance::seeded();
    let server = mariadb().await;
    let home = Home::file();
    home.run(&strs(&home.backup(&server.socket, &["--id", "base"]))).expect(0);
    let expected = load::checksums(&server.socket).await;
    let begun = std::time::Instant::now();
    home.restore("base", "usual");
    let usual = begun.elapsed();
    for turn in 0..if soak() { 20 } else { 4 } {
        let datadir = home.path(&format!("new-{turn}"));
        let restore = ["restore", "--datadir", datadir.to_str().unwrap()];
        let job = home.start(&restore);
        let after = chance.within(usual);
        thread::sleep(after);
        let children = below(job.pid());
        let signal = if turn % 2 == 0 { Signal::KILL } else { Signal::TERM };
        job.signal(signal);
        let done = job.wait();
        println!("turn {turn}: {signal:?} after {after:?} of {usual:?}: exit {}", done.code);
        let stopped = if turn % 2 == 0 { -9 } else { 9 };
        assert!([0, stopped].contains(&done.code), "{done:?}");
        all_end(&children);
        if done.code != 0 {
            assert_eq!(home.run(&restore).expect(0).json()["status"], "proven");
        }
        let restored = Served::over(Flavor::Mariadb, &datadir);
        assert_eq!(load::checksums(&restored.socket).await, expected);
        drop(restored);
        std::fs::remove_dir_all(datadir).unwrap();
    }
}
