//! What a container leaves behind for Kubernetes: for every exit code a message that is short enough and
//! that the published schema takes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use mysql_async::prelude::Queryable as _;
use rustix::process::Signal;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    home::{Done, Home, Job, strs},
    ledger,
    load::connect,
    mariadb::MariaDb,
    minio::Minio,
    mysql9::Mysql9,
    tools::tool,
};

/// The kubelet cuts what is longer.
const LIMIT: usize = 2048;

/// Holds files against one of the published schemas; those that it refuses, and why.
pub(crate) fn refused(schema: &str, files: &[PathBuf]) -> Vec<String> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let told = Command::new(tool("venv/bin/python"))
        .arg(project.join("tests/end_to_end/judge_messages.py"))
        .arg(project.join("docs/schemas").join(schema))
        .args(files)
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told = String::from_utf8(told.stdout).unwrap();
    assert_eq!(told.lines().count(), files.len(), "{told}");
    told.lines().filter(|line| !line.starts_with("taken ")).map(ToOwned::to_owned).collect()
}

/// The messages of many runs.
struct Messages {
    dir: tempfile::TempDir,
    files: Vec<PathBuf>,
    codes: BTreeSet<i32>,
}

impl Messages {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, files: Vec::new(), codes: BTreeSet::new() }
    }

    /// Where the next one goes.
    fn next(&self) -> PathBuf {
        self.dir.path().join(format!("{}.json", self.files.len()))
    }

    fn start(&self, home: &Home, args: &[&str]) -> Job {
        let mut command = home.command();
        // As the kubelet makes it.
        fs::write(self.next(), "").unwrap();
        Job::start(command.args(args).env("BACKSTAY_TERMINATION_LOG", self.next()))
    }

    /// Takes the message of a run that has ended.
    #[track_caller]
    fn take(&mut self, done: Done, code: i32) -> Value {
        let done = done.expect(code);
        let text = fs::read_to_string(self.next()).unwrap();
        assert!(text.len() <= LIMIT, "{} bytes", text.len());
        let message: Value =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {done:?}"));
        println!("exit {code}: {text}");
        if message["status"] == "failed" {
            assert_eq!(message["exit_code"], code);
        }
        self.files.push(self.next());
        self.codes.insert(code);
        message
    }

    #[track_caller]
    fn run(&mut self, home: &Home, args: &[&str], code: i32) -> Value {
        let done = self.start(home, args).wait();
        self.take(done, code)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_exit_code_leaves_a_message_that_the_schema_takes() {
    let server = MariaDb::start(&["--binlog-format=ROW"]);
    ledger::make(&server.socket).await;
    ledger::ballast(&server.socket, 24).await;
    let mut messages = Messages::new();
    let mut home = Home::file();
    let datadir = home.path("restored").display().to_string();
    let restore = ["restore", "--datadir", &datadir];
    let base = home.backup(&server.socket, &["--id", "base"]);

    // 9: told to stop.
    let mut job = messages.start(&home, &strs(&base));
    job.child("mariadb-backup").expect("the engine was never seen");
    job.signal(Signal::TERM);
    let done = job.wait();
    assert_eq!(messages.take(done, 9)["kind"], "stopped");

    // 0: done, in each of its words.
    assert_eq!(messages.run(&home, &strs(&base), 0)["status"], "complete");
    assert_eq!(messages.run(&home, &strs(&base), 0)["status"], "already-complete");
    let mut archive = home.backup(&server.socket, &["--until-current"]);
    archive[0] = "archive".into();
    messages.run(&home, &strs(&archive), 0);
    messages.run(&home, &[&restore[..], &["--plan"]].concat(), 0);
    assert_eq!(messages.run(&home, &restore, 0)["status"], "proven");
    for command in
        [&["verify"][..], &["show"], &["window"], &["keys", "status"], &["report", "--since", "1d"]]
    {
        messages.run(&home, command, 0);
    }
    assert_eq!(messages.run(&home, &["list"], 0)["items"][0]["backup_id"], "base");
    messages.run(&home, &["prune", "--keep-last", "1", "--plan"], 0);
    let mut doctor = base.clone();
    doctor[0] = "doctor".into();
    doctor.truncate(doctor.len() - 2);
    let checks = messages.run(&home, &strs(&doctor), 0);
    assert!(checks["items"].as_array().is_some_and(|checks| !checks.is_empty()), "{checks}");

    // 1: nothing that has a name of its own.
    messages.run(&home, &["man", "/proc/there-is-no-such-folder"], 1);
    // 2: a command line that is not understood, and one that is and makes no sense.
    let message = messages.run(&home, &["backup", "--no-such-flag"], 2);
    assert!(message["error"].as_str().is_some_and(|e| e.contains("--no-such-flag")), "{message}");
    messages.run(&home, &["backup", "--source", "stdin"], 2);
    // 3: what must be so is not.
    fs::write(home.path("wrong"), "not-it").unwrap();
    let mut stranger = home.backup(&server.socket, &["--id", "other"]);
    let at = stranger.iter().position(|arg| arg.ends_with("/password")).unwrap();
    stranger[at] = home.path("wrong").display().to_string();
    messages.run(&home, &strs(&stranger), 3);
    // 4: no source.
    let nowhere = home.backup(Path::new("/tmp/no-such-socket"), &[]);
    messages.run(&home, &strs(&nowhere), 4);
    // 5: a store that refuses.
    let minio = Minio::start(None);
    let mut refusing = Home::s3(&minio, &minio.endpoint(), "refusing").await;
    refusing.env.last_mut().unwrap().1 = "another-secret".into();
    messages.run(&refusing, &["list"], 5);
    // 7: what is not there.
    messages.run(
        &home,
        &["restore", "--datadir", &home.path("no").display().to_string(), "--backup", "none"],
        7,
    );
    // 6: not what was written, as the result of a check and as the end of a job.
    damage(&home.path("repo/c/backups/base"));
    assert_eq!(messages.run(&home, &["verify"], 6)["status"], "damaged");
    let other = home.path("damaged").display().to_string();
    let message = messages.run(&home, &["restore", "--datadir", &other, "--backup", "base"], 6);
    assert_eq!((&message["status"], &message["kind"]), (&"failed".into(), &"integrity".into()));
    // 8: somebody else's.
    let kek = home.flags.iter().position(|flag| flag.starts_with("file:")).unwrap();
    home.flags[kek] = format!("file:{}", home.path("other").display());
    home.run(&["keys", "new"]).expect(0);
    messages.run(&home, &strs(&base), 8);

    assert_eq!(messages.codes.iter().copied().collect::<Vec<_>>(), (0..=9).collect::<Vec<_>>());
    assert_eq!(refused("termination-message.v1.json", &messages.files), Vec::<String>::new());
    // The schema refuses what is no message: that it takes the others says something.
    let failed = serde_json::json!({
        "version": 1, "status": "failed", "exit_code": 4, "kind": "source", "retry": true, "error": "e"
    });
    let mut bad = Vec::new();
    for (field, value) in [
        ("version", 2.into()),
        ("exit_code", 3.into()),
        ("exit_code", 10.into()),
        ("kind", "database".into()),
        ("retry", false.into()),
        ("error", Value::Null),
        ("status", "well".into()),
    ] {
        let mut message = failed.clone();
        message[field] = value;
        bad.push(messages.dir.path().join(format!("bad-{}.json", bad.len())));
        fs::write(bad.last().unwrap(), message.to_string()).unwrap();
    }
    assert_eq!(refused("termination-message.v1.json", &bad).len(), bad.len());
}

/// Changes one byte in the middle of a volume.
fn damage(folder: &Path) {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if entry.file_name().to_string_lossy().starts_with("vol-") {
                let mut bytes = fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                return fs::write(path, bytes).unwrap();
            }
        }
    }
    panic!("no volume");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_very_long_gtid_set_is_told_by_its_hash() {
    let server = Mysql9::start(&[]);
    ledger::make(&server.socket).await;
    // Holes everywhere, as after many failovers.
    let intervals: Vec<String> =
        (0..6000).map(|n| format!("{}-{}", n * 10 + 1, n * 10 + 5)).collect();
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let set = format!("{uuid}:{}", intervals.join(":"));
    assert!(set.len() > 50_000);
    let mut conn = connect(&server.socket).await;
    conn.query_drop(format!("SET GLOBAL gtid_purged = '+{set}'")).await.unwrap();
    conn.disconnect().await.unwrap();
    let mut messages = Messages::new();
    let home = Home::file();
    let args = home.backup(&server.socket, &["--engine", "clone", "--id", "base"]);
    let job = messages.start(&home, &strs(&args));
    let done = job.wait_for(Duration::from_mins(4)).expect(0);
    let whole = done.json()["gtid_set"].as_str().unwrap().to_owned();
    assert!(whole.contains(&intervals[5999]) && whole.len() > 50_000);
    let hash = format!("sha256:{}", hex::encode(Sha256::digest(&whole)));
    assert_eq!(messages.take(done, 0)["gtid_set"], hash);
    let datadir = home.path("restored").display().to_string();
    let message = messages.run(&home, &["restore", "--datadir", &datadir, "--backup", "base"], 0);
    assert_eq!((&message["status"], &message["proof"]["equal"]), (&"proven".into(), &true.into()));
    assert_eq!(message["proof"]["expected"]["gtid_set"], message["proof"]["actual"]["gtid_set"]);
    assert_eq!(refused("termination-message.v1.json", &messages.files), Vec::<String>::new());
}

#[test]
fn nothing_is_left_where_nobody_asked_for_it() {
    let (home, dir) = (Home::file(), tempfile::tempdir().unwrap());
    let mut command = home.command();
    // An empty variable is none, as everywhere.
    let command = command.current_dir(dir.path()).env("BACKSTAY_TERMINATION_LOG", "");
    Job::start(command.arg("list")).wait().expect(0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    // One that cannot be written is told, and is no failure of the job.
    let mut command = home.command();
    let command = command.env("BACKSTAY_TERMINATION_LOG", dir.path().join("no/such/folder"));
    Job::start(command.arg("list")).wait().expect(0).says("cannot write the termination message");
}
