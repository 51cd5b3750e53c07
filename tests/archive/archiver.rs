//! The archiver at work, and what it says meanwhile.

use std::os::unix::process::ExitStatusExt as _;
use std::{
    fs::{self, File},
    path::PathBuf,
    process::Child,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    children,
    home::{Done, Home},
};

/// A running archiver; killed when dropped.
pub(crate) struct Archiver {
    child: Child,
    err: PathBuf,
    out: PathBuf,
    name: u32,
}

impl Archiver {
    /// Archives from whoever answers at this port.
    pub(crate) fn start(home: &Home, port: u16, more: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let name = COUNT.fetch_add(1, Ordering::Relaxed);
        let (out, err) =
            (home.path(&format!("out-{name}")), home.path(&format!("archiver-{name}.log")));
        let mut command = home.command();
        command.args(["archive", "--mysql-host", "127.0.0.1", "--mysql-user", "root"]);
        command.args(["--mysql-tls", "preferred", "--allow-insecure-mysql"]);
        command.args(["--mysql-port", &port.to_string()]);
        command.arg("--mysql-password-file");
        command.arg(home.path("password")).args(["--rpo", "200ms"]).args(more);
        command.env("RUST_BACKTRACE", "1");
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        Self { child: command.spawn().unwrap(), err, out, name }
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// How often it has said these words.
    pub(crate) fn times(&self, words: &str) -> usize {
        self.said().matches(words).count()
    }

    /// Waits until it has said these words so many times.
    #[track_caller]
    pub(crate) fn waits_for(&mut self, words: &str, times: usize, patience: Duration) -> Duration {
        let began = Instant::now();
        while self.times(words) < times {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("archiver {}: {status} before `{words}`:\n{}", self.name, self.said());
            }
            assert!(
                began.elapsed() < patience,
                "archiver {}: no `{words}` within {patience:?}:\n{}",
                self.name,
                self.said()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        began.elapsed()
    }

    /// Waits until it owns the log.
    #[track_caller]
    pub(crate) fn owns(&mut self) -> Duration {
        self.waits_for("claimed the log", 1, Duration::from_mins(1))
    }

    /// Waits until its last claim is for this server.
    #[track_caller]
    pub(crate) fn reads(&mut self, server: &str, patience: Duration) -> Duration {
        let began = Instant::now();
        loop {
            let said = self.said();
            let claim = said.lines().rfind(|line| line.contains("claimed the log"));
            if claim.is_some_and(|line| line.contains(server)) {
                return began.elapsed();
            }
            assert!(self.is_alive(), "it ended: {said}");
            assert!(began.elapsed() < patience, "it does not read {server}: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        children::signal(i32::try_from(self.child.id()).unwrap(), signal);
    }

    #[track_caller]
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ends(mut self) -> Done {
        let began = Instant::now();
        while self.is_alive() {
            assert!(
                began.elapsed() < Duration::from_mins(2),
                "archiver {}: no end:\n{}",
                self.name,
                self.said()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let status = self.child.wait().unwrap();
        let code = status.code().unwrap_or_else(|| -status.signal().unwrap());
        Done { code, out: fs::read_to_string(&self.out).unwrap(), err: self.said() }
    }

    /// Asks it to stop: it ships what it has, and lets go of the log.
    #[track_caller]
    pub(crate) fn stop(self) -> Done {
        self.signal(Signal::TERM);
        self.ends().expect(9)
    }

    /// Kills it.
    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
    }

    /// Ships what is left, and ends.
    #[track_caller]
    pub(crate) fn finish(home: &Home, port: u16, more: &[&str]) -> Done {
        let more: Vec<&str> = more.iter().copied().chain(["--until-current"]).collect();
        Self::start(home, port, &more).ends().expect(0)
    }
}

impl Drop for Archiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- archiver {}\n{}", self.name, self.said());
        }
    }
}
