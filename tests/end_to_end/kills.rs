//! Everything that takes part in a backup is killed at random moments. Never is a backup listed
//! that does not restore; the next run with the same id succeeds; nothing is left in the store.

use std::{fs, path::Path, thread, time::Duration};

use backstay::model::Flavor;
use rustix::process::Signal;

use crate::{
    authority::Authority,
    chance::{Chance, soak},
    children::signal,
    home::{Done, Home, strs},
    https_server::source,
    ledger,
    manager::Manager,
    mariadb::MariaDb,
    minio::Minio,
    proxy::Proxy,
    served::{Served, pid, start_again},
    tools::Daemon,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Engine,
    Job,
    StoreCut,
    StoreHeld,
    Source,
    Database,
}

const VICTIMS: [Victim; 6] = [
    Victim::Engine,
    Victim::Database,
    Victim::StoreCut,
    Victim::Job,
    Victim::Source,
    Victim::StoreHeld,
];

struct Stage {
    chance: Chance,
    minio: Minio,
    proxy: Proxy,
    home: Home,
    /// The server of now, once the first one was killed; it ends before the first one's folder goes.
    again: Option<Daemon>,
    server: MariaDb,
    authority: Authority,
    /// Bytes of an undisturbed stream.
    bytes: u64,
    /// How long an undisturbed backup takes.
    usual: Duration,
    /// Uploads of jobs that were killed themselves.
    awaiting_prune: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_no_listed_backup_fails_to_restore() {
    let chance = Chance::seeded();
    let server = MariaDb::start(&["--binlog-format=ROW"]);
    ledger::make(&server.socket).await;
    ledger::ballast(&server.socket, 24).await;
    let minio = Minio::start(None);
    let proxy = Proxy::before(minio.port());
    let home = Home::s3(&minio, &proxy.endpoint(), "kills").await;
    let authority = Authority::new();
    authority.sign(home.dir.path(), "client", "client");
    let writer = ledger::Writer::start(&server.socket);
    let begun = std::time::Instant::now();
    let done = home.run(&strs(&home.backup(&server.socket, &["--id", "usual"]))).expect(0);
    let usual = begun.elapsed();
    let bytes = done.json()["bytes_read"].as_u64().unwrap();
    let mut stage = Stage {
        chance,
        minio,
        proxy,
        home,
        again: None,
        server,
        authority,
        bytes,
        usual,
        awaiting_prune: 0,
    };
    for turn in 0..if soak() { 50 } else { 8 } {
        stage.turn(turn).await;
    }
    writer.stop().await;
}

impl Stage {
    async fn turn(&mut self, turn: u64) {
        let victim = VICTIMS[usize::try_from(turn).unwrap() % VICTIMS.len()];
        let id = format!("run-{turn}");
        let after = self.chance.within(self.usual);
        println!("turn {turn}: {victim:?} after {after:?}");
        let first = self.disturbed(victim, &id, after);
        println!("turn {turn}: exit {}", first.code);
        let allowed: &[i32] = match victim {
            Victim::Engine | Victim::Source | Victim::Database => &[0, 4],
            Victim::StoreCut | Victim::StoreHeld => &[0, 5],
            Victim::Job => &[0, -9],
        };
        assert!(allowed.contains(&first.code), "{victim:?}: {first:?}");
        self.proxy.heal();
        if victim == Victim::Database {
            self.again = None;
            self.again = Some(start_again(&self.server, turn));
        }
        let listed = self.home.listed().contains(&id);
        assert!(listed || first.code != 0, "a success that is not listed");
        let uploads = self.uploads();
        if victim == Victim::Job {
            self.awaiting_prune = uploads; // nobody was left to abort it
        }
        assert_eq!(uploads, self.awaiting_prune, "left after {victim:?}: {first:?}");
        if listed {
            self.restores(&id, "early").await;
        }
        let again = self.home.run(&strs(&self.home.backup(&self.server.socket, &["--id", &id])));
        let status = again.expect(0).json()["status"].clone();
        assert_eq!(status, if listed { "already-complete" } else { "complete" });
        if !listed {
            self.restores(&id, "again").await;
        }
    }

    /// Runs a backup and kills the victim.
    fn disturbed(&mut self, victim: Victim, id: &str, after: Duration) -> Done {
        let (home, chance) = (&self.home, &mut self.chance);
        let mut args = home.backup(&self.server.socket, &["--id", id]);
        let bytes = self.bytes;
        let mut manager = None;
        match victim {
            Victim::StoreCut => {
                self.proxy.cut_after(chance.below(bytes), chance.within(Duration::from_secs(3)));
            }
            Victim::StoreHeld => {
                self.proxy.hold_after(chance.below(bytes), chance.within(Duration::from_secs(3)));
            }
            Victim::Source => {
                let killed_at = Some(1 + chance.below(bytes));
                let killed = Manager::start(&self.authority, &self.server.socket, killed_at);
                args = source(home, "127.0.0.1", killed.port, "client", "mariadb-backup");
                args.extend(["--id".to_owned(), id.to_owned()]);
                manager = Some(killed);
            }
            _ => {}
        }
        let mut job = home.start(&strs(&args));
        match victim {
            Victim::Engine => {
                if let Some(engine) = job.child("mariadb-backup") {
                    thread::sleep(after / 2);
                    engine.kill();
                }
            }
            Victim::Job => {
                thread::sleep(after);
                job.signal(Signal::KILL);
            }
            Victim::Database => {
                thread::sleep(after);
                signal(
                    self.again.as_ref().map_or_else(|| pid(&self.server), Daemon::pid),
                    Signal::KILL,
                );
            }
            _ => {}
        }
        let done = job.wait();
        drop(manager);
        done
    }

    /// Uploads that were begun and neither completed nor aborted: the server keeps a folder for each.
    fn uploads(&self) -> usize {
        let data = self.minio.credentials_file();
        let place = data.parent().unwrap().join("data/.minio.sys/multipart");
        let folders = |path: &Path| -> Vec<_> {
            let list = fs::read_dir(path).into_iter().flatten();
            list.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
        };
        let uploads = |path: &std::path::PathBuf| {
            folders(path).iter().filter(|upload| upload.join("xl.meta").exists()).count()
        };
        folders(&place).iter().map(uploads).sum()
    }

    async fn restores(&self, id: &str, name: &str) {
        let datadir = self.home.restore(id, &format!("{id}-{name}"));
        let server = Served::over(Flavor::Mariadb, &datadir);
        ledger::check(&server.socket).await;
        drop(server);
        fs::remove_dir_all(datadir).unwrap();
    }
}
