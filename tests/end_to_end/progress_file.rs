//! The file that tells how far a job is: always whole, always true, and never a reason to fail.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    agent::{Agent, source},
    authority::Authority,
    home::{Done, Home, Job, strs},
    ledger,
    mariadb::MariaDb,
    termination::refused,
};

/// What the file said, one after the other, while a command ran.
fn watched(home: &Home, args: &[String], stop_at: Option<u64>) -> (Vec<Value>, Done) {
    let path = home.path("progress");
    let mut command = home.command();
    let mut job = Some(Job::start(command.args(args).arg("--progress-file").arg(&path)));
    let pid = job.as_ref().unwrap().pid();
    let (mut said, mut texts) = (Vec::new(), BTreeSet::new());
    let deadline = Instant::now() + Duration::from_mins(2);
    let running =
        || !fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default().contains(") Z ");
    while running() {
        assert!(Instant::now() < deadline, "no end: {said:?}");
        if let Ok(text) = fs::read_to_string(&path)
            && texts.insert(text.clone())
        {
            let now: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
            if stop_at.is_some_and(|bytes| now["bytes_done"].as_u64() >= Some(bytes)) {
                job.as_ref().unwrap().signal(Signal::TERM);
            }
            said.push(now);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let done = job.take().unwrap().wait();
    said.push(serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap());
    fs::remove_file(path).unwrap();
    (said, done)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_how_far_a_backup_and_a_restore_are() {
    let server = MariaDb::start(&["--binlog-format=ROW"]);
    ledger::make(&server.socket).await;
    ledger::ballast(&server.socket, 16).await;
    let (home, authority) = (Home::file(), Authority::new());
    authority.sign(home.dir.path(), "client", "client");
    // So slow that it can be watched.
    let agent = Agent::start(&authority, &server.socket, &["--rate-limit", "8MiB"]);
    let args = source(&home, agent.port, "client", "slow");
    let (said, done) = watched(&home, &args, None);
    let done = done.expect(0).json();
    let number = |told: &Value, field: &str| told[field].as_u64().unwrap();
    let (last, running) = said.split_last().unwrap();
    let midway = running.iter().filter(|told| number(told, "bytes_done") > 0).count();
    assert!(midway >= 2, "{said:#?}");
    assert!(running.iter().all(|told| told["state"] == "running" || told == last), "{said:#?}");
    for pair in said.windows(2) {
        assert!(number(&pair[0], "bytes_done") <= number(&pair[1], "bytes_done"), "{said:#?}");
        assert!(pair[0]["updated_at"].as_str() <= pair[1]["updated_at"].as_str(), "{said:#?}");
    }
    assert_eq!((&last["state"], &last["command"]), (&"ended".into(), &"backup".into()));
    assert_eq!(last["bytes_done"], done["bytes_read"]);
    let rate = number(&running[running.len() - 1], "bytes_per_second");
    assert!((1 << 20..16 << 20).contains(&rate), "{rate} bytes a second of 8 MiB");

    // A restore fetches and then replays.
    let mut archive = home.backup(&server.socket, &["--until-current"]);
    archive[0] = "archive".into();
    let writer = ledger::Writer::start(&server.socket);
    tokio::time::sleep(Duration::from_secs(1)).await;
    writer.stop().await;
    home.run(&strs(&archive)).expect(0);
    let restore = ["restore", "--datadir", home.path("new").to_str().unwrap()].map(String::from);
    let (restored, done) = watched(&home, &restore, None);
    let done = done.expect(0).json();
    let last = restored.last().unwrap();
    assert_eq!((&last["phase"], &last["command"]), (&"replay".into(), &"restore".into()));
    assert_eq!(last["transactions_done"], done["replay"]["transactions"], "{last} {done}");

    // It ends with the command, however that ends.
    let args = source(&home, agent.port, "client", "stopped");
    let (stopped, done) = watched(&home, &args, Some(1 << 20));
    done.expect(9);
    assert_eq!(stopped.last().unwrap()["state"], "ended");

    let all: Vec<PathBuf> = [said, restored, stopped]
        .concat()
        .iter()
        .enumerate()
        .map(|(number, told)| {
            let path = home.path(&format!("said-{number}.json"));
            fs::write(&path, told.to_string()).unwrap();
            path
        })
        .collect();
    assert_eq!(refused("progress.v1.json", &all), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_does_not_fail_because_nobody_can_see_it() {
    let server = MariaDb::start(&[]);
    ledger::make(&server.socket).await;
    let home = Home::file();
    let path = home.path("no/such/folder").display().to_string();
    let args = home.backup(&server.socket, &["--progress-file", &path]);
    home.run(&strs(&args)).expect(0).says("cannot write the progress file");
}
