//! `backstay serve` as a process of its own, and what clients of it need.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    authority::{Authority, Identity},
    children,
    home::{Done, Home, Job},
    mariadb::{PASSWORD, short_dir},
    tools::{free_port, tools, wait_until},
};

/// A running agent; killed when dropped.
pub(crate) struct Agent {
    job: Job,
    dir: tempfile::TempDir,
    pub(crate) port: u16,
    metrics: u16,
}

impl Agent {
    /// Serves the server at this socket to whoever this authority has signed as `client`.
    pub(crate) fn start(authority: &Authority, socket: &Path, more: &[&str]) -> Self {
        let path = std::env::var("PATH").unwrap();
        Self::start_with(authority, socket, more, &path)
    }

    /// The same, with its programs from these folders.
    pub(crate) fn start_with(
        authority: &Authority,
        socket: &Path,
        more: &[&str],
        path: &str,
    ) -> Self {
        let dir = short_dir();
        authority.sign(dir.path(), "server", "127.0.0.1");
        let files = Identity::at(dir.path(), "server");
        let (port, metrics) = (free_port(), free_port());
        fs::create_dir(dir.path().join("t")).unwrap();
        fs::write(dir.path().join("password"), PASSWORD).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstay"));
        command.env("PATH", format!("{}:{path}", tools().join("mysql9/bin").display()));
        command.env("TMPDIR", dir.path().join("t")).stdin(Stdio::null());
        // Neither a repository nor a key.
        command.args([
            "serve",
            "--format",
            "json",
            "--mysql-user",
            "root",
            "--allow-client",
            "client",
        ]);
        command.arg("--mysql-socket").arg(socket);
        command.arg("--mysql-password-file").arg(dir.path().join("password"));
        command.arg("--tls-cert").arg(files.certificate).arg("--tls-key").arg(files.key);
        command.arg("--client-ca").arg(files.ca);
        command.arg("--listen").arg(format!("127.0.0.1:{port}"));
        command.arg("--listen-metrics").arg(format!("127.0.0.1:{metrics}"));
        let job = Job::start(command.args(more));
        let agent = Self { job, dir, port, metrics };
        wait_until("the agent listens", Duration::from_secs(30), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        agent
    }

    pub(crate) fn pid(&self) -> i32 {
        self.job.pid()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Its engine, once it runs.
    pub(crate) fn engine(&mut self, word: &str) -> Option<children::Seen> {
        self.job.child(word)
    }

    /// The engines below it now.
    pub(crate) fn engines(&self, word: &str) -> Vec<children::Seen> {
        let mut below = children::below(self.pid());
        below.retain(|seen| seen.command.contains(word));
        below
    }

    /// What it has left in its temporary folder.
    pub(crate) fn left_behind(&self) -> Vec<PathBuf> {
        fs::read_dir(self.dir.path().join("t")).unwrap().map(|e| e.unwrap().path()).collect()
    }

    /// Asks it in plain HTTP.
    pub(crate) fn told(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(("127.0.0.1", self.metrics)).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    }

    /// The value of a metric; 0 when it is not told.
    pub(crate) fn metric(&self, sample: &str) -> f64 {
        self.value(sample).map_or(0.0, |value| value.parse().unwrap())
    }

    /// The same, of one that counts.
    pub(crate) fn count(&self, sample: &str) -> u64 {
        self.value(sample).map_or(0, |value| value.parse().unwrap())
    }

    fn value(&self, sample: &str) -> Option<String> {
        let text = self.told("/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map(ToOwned::to_owned)
    }

    /// Asks it to end.
    pub(crate) fn stop(self) -> Done {
        self.job.signal(rustix::process::Signal::TERM);
        self.job.wait()
    }
}

/// curl as this client, not started yet.
pub(crate) fn curl(home: &Home, client: &str, port: u16, path: &str) -> Command {
    let files = Identity::at(home.dir.path(), client);
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "120"]);
    command.arg("--cacert").arg(files.ca).arg("--cert").arg(files.certificate);
    command.arg("--key").arg(files.key).arg(format!("https://127.0.0.1:{port}{path}"));
    command.stdin(Stdio::null());
    command
}

/// The arguments of a backup from an agent, as this client.
pub(crate) fn source(home: &Home, port: u16, client: &str, id: &str) -> Vec<String> {
    let files = Identity::at(home.dir.path(), client);
    let text = |path: &Path| path.display().to_string();
    let url = format!("https://127.0.0.1:{port}");
    let mut args = ["backup", "--id", id, "--source", &url].map(ToOwned::to_owned).to_vec();
    for (flag, path) in [
        ("--source-ca", &files.ca),
        ("--source-cert", &files.certificate),
        ("--source-key", &files.key),
    ] {
        args.extend([flag.to_owned(), text(path)]);
    }
    args
}
