//! An operator's home: keys, a password file, a repository; and the program, run there.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    children,
    mariadb::{PASSWORD, run, short_dir},
    minio::{Minio, REGION},
    tools::tools,
};

/// How long any one command may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(4);

pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) flags: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = short_dir();
        fs::create_dir(dir.path().join("t")).unwrap();
        fs::write(dir.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        let kek = format!("file:{}", dir.path().join("kek").display());
        let flags =
            ["--cluster", "c", "--format", "json", "--kek", &kek].map(String::from).to_vec();
        let home = Self { dir, flags, env: Vec::new() };
        run(home.command().args(["keys", "new"]));
        home
    }

    /// With a repository on the disk.
    pub(crate) fn file() -> Self {
        let mut home = Self::new();
        let repo = format!("file://{}", home.path("repo").display());
        home.flags.extend(["--repo".to_owned(), repo]);
        home
    }

    /// With a repository in MinIO, reached through this endpoint.
    pub(crate) async fn s3(minio: &Minio, endpoint: &str, bucket: &str) -> Self {
        minio.bucket(bucket, false).await;
        Self::in_bucket(minio, endpoint, bucket)
    }

    /// The same, in a bucket that is there.
    pub(crate) fn in_bucket(minio: &Minio, endpoint: &str, bucket: &str) -> Self {
        let mut home = Self::new();
        let repo = format!("s3://{bucket}/p");
        let more = ["--repo", &repo, "--store-endpoint", endpoint, "--store-region", REGION];
        home.flags.extend(more.map(String::from));
        let keys = fs::read_to_string(minio.credentials_file()).unwrap();
        for (name, variable) in [
            ("aws_access_key_id = ", "AWS_ACCESS_KEY_ID"),
            ("aws_secret_access_key = ", "AWS_SECRET_ACCESS_KEY"),
        ] {
            let value = keys.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            home.env.push((variable.to_owned(), value.to_owned()));
        }
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program with the flags that every command takes.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstay"));
        let path = std::env::var("PATH").unwrap();
        command.args(&self.flags).stdin(Stdio::null()).envs(self.env.iter().cloned());
        command.env("PATH", format!("{}:{path}", tools().join("mysql9/bin").display()));
        command.env("TMPDIR", self.path("t"));
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        let mut command = self.command();
        Job::start(command.args(args)).wait()
    }

    /// Starts a command.
    pub(crate) fn start(&self, args: &[&str]) -> Job {
        let mut command = self.command();
        Job::start(command.args(args))
    }

    /// The arguments of a backup of the server at this socket.
    pub(crate) fn backup(&self, socket: &Path, more: &[&str]) -> Vec<String> {
        let password = self.path("password").display().to_string();
        let socket = socket.display().to_string();
        let mut args = vec!["backup", "--mysql-socket", &socket, "--mysql-user", "root"];
        args.extend(["--mysql-password-file", &password]);
        args.extend(more);
        args.into_iter().map(ToOwned::to_owned).collect()
    }

    /// Restores into a fresh folder of this name.
    pub(crate) fn restore(&self, id: &str, name: &str) -> PathBuf {
        let datadir = self.path(name);
        let done = self.run(&["restore", "--backup", id, "--datadir", datadir.to_str().unwrap()]);
        done.expect(0);
        datadir
    }

    /// The ids that `list` shows, all of them complete.
    pub(crate) fn listed(&self) -> Vec<String> {
        let list = self.run(&["list"]).expect(0).json();
        let list = list.as_array().unwrap().iter();
        list.map(|backup| {
            assert_eq!(backup["status"], "complete", "{backup}");
            backup["backup_id"].as_str().unwrap().to_owned()
        })
        .collect()
    }

    /// What the program has left in the temporary folder, and its option files for this server.
    pub(crate) fn left_behind(&self, socket: &Path) -> Vec<PathBuf> {
        let socket = socket.to_str().unwrap();
        let ours = |path: &PathBuf| {
            path.to_string_lossy().contains("/backstay-")
                && fs::read_to_string(path).is_ok_and(|text| text.contains(socket))
        };
        let paths = |folder: &Path| -> Vec<PathBuf> {
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
        };
        let mut left = paths(&self.path("t"));
        left.extend(paths(Path::new("/dev/shm")).into_iter().filter(ours));
        left
    }
}

/// Text arguments as the other functions take them.
pub(crate) fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// A command at work; killed when dropped.
pub(crate) struct Job {
    child: std::process::Child,
    out: File,
    err: File,
}

impl Job {
    pub(crate) fn start(command: &mut Command) -> Self {
        let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
        Self { child: command.spawn().unwrap(), out, err }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        children::signal(self.pid(), signal);
    }

    /// Waits for a descendant whose command line holds this word; nothing when the command ends first.
    pub(crate) fn child(&mut self, word: &str) -> Option<children::Seen> {
        while self.child.try_wait().unwrap().is_none() {
            let is_it = |seen: &children::Seen| {
                seen.command.contains(word)
                    && !seen.command.contains("__child")
                    && !seen.command.contains("--version")
            };
            if let Some(seen) = children::below(self.pid()).into_iter().find(is_it) {
                return Some(seen);
            }
            thread::sleep(Duration::from_millis(2));
        }
        None
    }

    /// Waits for its end.
    pub(crate) fn wait(self) -> Done {
        self.wait_for(PATIENCE)
    }

    /// Waits for its end, for at most so long.
    pub(crate) fn wait_for(mut self, patience: Duration) -> Done {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > patience {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("no end within {patience:?}: {}", read(&mut self.err));
            }
            thread::sleep(Duration::from_millis(10));
        };
        let code = status.code().unwrap_or_else(|| -status.signal().unwrap());
        Done { code, out: read(&mut self.out), err: read(&mut self.err) }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(file: &mut File) -> String {
    use std::io::Seek as _;
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How a command ended: its exit code, or the signal below zero.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n{}\n{}", self.out, self.err);
        self
    }

    /// And the message holds these words.
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(self.err.contains(words) || self.out.contains(words), "no `{words}` in {self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}
