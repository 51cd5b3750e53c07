//! A Job whose pod is killed at any moment and tried again with the same id, however often, ends with
//! exactly one complete backup.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use backstay::model::Flavor;
use rustix::process::Signal;

use crate::{
    chance::{Chance, soak},
    children::below,
    home::{Home, strs},
    ledger,
    mariadb::MariaDb,
    served::Served,
    tools::wait_until,
};

/// When a pod is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So long after its start.
    After(Duration),
    /// So long after its manifest was stored: it is complete, and has not said so.
    Committed(Duration),
}

impl Moment {
    /// Two of three anywhere, one of three about the commit, which is over too quickly to be hit by chance.
    fn of(chance: &mut Chance, usual: Duration) -> Self {
        if chance.below(3) == 0 {
            Self::Committed(chance.within(Duration::from_millis(20)))
        } else {
            Self::After(chance.within(usual))
        }
    }

    fn wait(self, job: i32, manifest: &Path) {
        match self {
            Self::After(time) => thread::sleep(time),
            Self::Committed(time) => {
                let lives = || Path::new(&format!("/proc/{job}/exe")).exists();
                while !manifest.exists() && lives() {
                    thread::sleep(Duration::from_micros(200));
                }
                thread::sleep(time);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_ends_with_exactly_one_complete_backup() {
    let mut chance = Chance::seeded();
    let server = MariaDb::start(&["--binlog-format=ROW"]);
    ledger::make(&server.socket).await;
    ledger::ballast(&server.socket, 8).await;
    let home = Home::file();
    let writer = ledger::Writer::start(&server.socket);
    let begun = Instant::now();
    home.run(&strs(&home.backup(&server.socket, &["--id", "usual"]))).expect(0);
    // The first one is the slowest: nothing is in any cache yet.
    let mut usual = begun.elapsed();
    let (mut before, mut behind, mut too_late) = (0, 0, 0);
    let turns = if soak() { 50 } else { 4 };
    for turn in 0..turns {
        // As the chart names it: the cluster's name and the Job's UID.
        let id = format!("c-0b5f3c1e-7a52-4f0a-9d57-{turn:012}");
        let folder = home.path(&format!("repo/c/backups/{id}"));
        let manifest = folder.join("manifest.json");
        let args = home.backup(&server.socket, &["--id", &id]);
        for _ in 0..=chance.below(3) {
            let there = manifest.exists();
            let moment = Moment::of(&mut chance, usual);
            let job = home.start(&strs(&args));
            moment.wait(job.pid(), &manifest);
            let children = below(job.pid());
            job.signal(Signal::KILL);
            let done = job.wait();
            assert!([0, -9].contains(&done.code), "turn {turn}, {moment:?}: {done:?}");
            wait_until("its children end", Duration::from_secs(10), || {
                !children.iter().any(crate::children::Seen::is_alive)
            });
            match (done.code, there || manifest.exists()) {
                (0, _) => too_late += 1,
                (_, false) => before += 1,
                (_, true) => behind += 1,
            }
            println!("turn {turn}: {moment:?} of {usual:?}: exit {}", done.code);
        }
        let was_complete = manifest.exists();
        let begun = Instant::now();
        let done = home.run(&strs(&args)).expect(0).json();
        if !was_complete {
            usual = usual.min(begun.elapsed());
        }
        let status = if was_complete { "already-complete" } else { "complete" };
        assert_eq!((&done["status"], &done["backup_id"]), (&status.into(), &id.as_str().into()));
        exactly_one(&home, &id, turn);
        // And once more, as by a controller that has not seen how the pod ended.
        let again = home.run(&strs(&args)).expect(0).json();
        assert_eq!(again["status"], "already-complete");
        exactly_one(&home, &id, turn);
        let datadir = home.restore(&id, &format!("restored-{turn}"));
        let restored = Served::over(Flavor::Mariadb, &datadir);
        assert!(ledger::check(&restored.socket).await > 0);
        drop(restored);
        fs::remove_dir_all(datadir).unwrap();
    }
    writer.stop().await;
    println!(
        "{turns} jobs: {before} kills before the commit, {behind} behind it, {too_late} too late"
    );
    if soak() {
        assert!(before > 0 && behind > 0, "a moment was never hit");
    }
    // Nobody has recorded anything twice, or out of order.
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["verify"]).expect(0);
}

/// It is listed once, its folder has one manifest, and no other backup has come or gone.
fn exactly_one(home: &Home, id: &str, turn: usize) {
    let listed = home.listed();
    assert_eq!(listed.iter().filter(|other| *other == id).count(), 1, "{listed:?}");
    // The undisturbed one, those of the turns before, and this one.
    assert_eq!(listed.len(), turn + 2, "{listed:?}");
    let folder = home.path(&format!("repo/c/backups/{id}"));
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let manifests = names.filter(|name| name.to_string_lossy().starts_with("manifest")).count();
    assert_eq!(manifests, 1);
}
