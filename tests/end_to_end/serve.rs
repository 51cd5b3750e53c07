//! `backstay serve` on real servers: what it streams, to whom, and how it ends.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use backstay::{
    jobs::serve::{self, Endpoint, Outcome, Status, TlsFiles},
    model::Flavor,
    pipeline::Progress,
};
use mysql_async::prelude::Queryable as _;
use rustix::process::Signal;

use crate::{
    agent::{Agent, curl, source},
    authority::{Authority, Identity},
    home::{Home, strs},
    ledger,
    load::connect,
    mariadb::{MariaDb, PASSWORD, run},
    mysql9::Mysql9,
    served::Served,
    tools::{free_port, wait_until},
};

struct Room {
    home: Home,
    authority: Authority,
}

impl Room {
    fn new() -> Self {
        let (home, authority) = (Home::file(), Authority::new());
        authority.sign(home.dir.path(), "client", "client");
        Self { home, authority }
    }

    fn agent(&self, socket: &Path, more: &[&str]) -> Agent {
        Agent::start(&self.authority, socket, more)
    }
}

async fn mariadb(megabytes: u32) -> MariaDb {
    let server = MariaDb::start(&["--binlog-format=ROW"]);
    ledger::make(&server.socket).await;
    ledger::ballast(&server.socket, megabytes).await;
    server
}

fn is_running(agent: &Agent) -> bool {
    agent.count("backstay_serve_streams_running") > 0
}

fn streams(agent: &Agent, path: &str, outcome: &str) -> u64 {
    let sample = format!("backstay_serve_streams_total{{path=\"{path}\",outcome=\"{outcome}\"}}");
    agent.count(&sample)
}

const VERDICT: &str = "/backstay/v1/backup";
const MANAGER: &str = "/cluster/backup";

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_from_the_agent_has_its_verdict_and_the_exact_set() {
    let server = mariadb(4).await;
    let room = Room::new();
    let agent = room.agent(&server.socket, &[]);
    let writer = ledger::Writer::start(&server.socket);
    // The Job has no login and does not say which engine.
    let args = source(&room.home, agent.port, "client", "agent");
    let done = room.home.run(&strs(&args)).expect(0).json();
    assert_eq!((&done["status"], &done["proof"]), (&"complete".into(), &"verdict".into()));
    assert_eq!(done["engine"], "mariadb-backup");
    let shown = room.home.run(&["show", "agent"]).expect(0).json();
    let manifest = &shown["manifest"];
    assert_eq!(manifest["server"]["gtid_exact"], true, "{shown}");
    assert!(manifest["engine"]["version"].as_str().unwrap().contains("MariaDB"), "{shown}");
    assert_eq!(manifest["source"]["database_transport"], "local", "{shown}");
    assert_eq!(manifest["source"]["stream_transport"], "tls-verified", "{shown}");
    // What the Job says that it expects is held against what the agent says that it is.
    let mut other = source(&room.home, agent.port, "client", "other");
    other.extend(["--engine".into(), "xtrabackup".into()]);
    room.home.run(&strs(&other)).expect(2).says("the agent runs mariadb-backup");
    // By its path a manager's stream is asked for; it proves less.
    let mut plain = source(&room.home, agent.port, "client", "plain");
    let url = plain.iter_mut().find(|arg| arg.starts_with("https://")).unwrap();
    url.push_str(MANAGER);
    room.home.run(&strs(&plain)).expect(2).says("give --engine");
    plain.extend(["--engine".into(), "mariadb-backup".into()]);
    wait_until("the turn is free", Duration::from_secs(20), || !is_running(&agent));
    let done = room.home.run(&strs(&plain)).expect(0).json();
    assert_eq!(done["proof"], "framing");
    writer.stop().await;
    for (id, name) in [("agent", "a"), ("plain", "b")] {
        let datadir = room.home.restore(id, name);
        assert!(ledger::check(&Served::over(Flavor::Mariadb, &datadir).socket).await > 0);
    }
    wait_until("it is counted", Duration::from_secs(10), || {
        streams(&agent, VERDICT, "complete") == 1
    });
    assert_eq!(streams(&agent, MANAGER, "complete"), 1);
    assert!(agent.count("backstay_serve_sent_bytes_total") > 8_000_000);
    assert!(agent.metric("backstay_serve_certificate_expiry_timestamp_seconds") > 1.7e9);
    assert!(agent.told("/healthz").ends_with("ok\n"));
    assert_eq!(agent.left_behind(), Vec::<std::path::PathBuf>::new());
    let done = agent.stop().expect(0).json();
    assert_eq!((&done["status"], &done["complete"]), (&"stopped".into(), &2.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_is_streamed_with_its_verdict() {
    let server = Mysql9::start(&[]);
    ledger::make(&server.socket).await;
    let room = Room::new();
    let agent = room.agent(&server.socket, &["--engine", "clone"]);
    let writer = ledger::Writer::start(&server.socket);
    let args = source(&room.home, agent.port, "client", "clone");
    let done = room.home.run(&strs(&args)).expect(0).json();
    writer.stop().await;
    assert_eq!((&done["engine"], &done["proof"]), (&"clone".into(), &"verdict".into()));
    assert!(done["gtid_set"].as_str().is_some_and(|set| !set.is_empty()), "{done}");
    let datadir = room.home.restore("clone", "new");
    assert!(ledger::check(&Served::over(Flavor::Mysql, &datadir).socket).await > 0);
    assert_eq!(agent.left_behind(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_that_are_listed_and_valid_are_let_in() {
    let server = MariaDb::start(&[]);
    let room = Room::new();
    let folder = room.home.dir.path();
    let agent = room.agent(&server.socket, &["--allow-client", "CN=by-its-subject"]);
    let refused = |client: &str, words: &str| {
        let done = room.home.run(&strs(&source(&room.home, agent.port, client, "no")));
        done.expect(4).says(words);
        assert_eq!(room.home.listed(), Vec::<String>::new());
    };
    // Of the same CA, with a name that is on no list; a common name is no DNS name, and the reverse.
    room.authority.sign(folder, "unlisted", "somebody");
    refused("unlisted", "403");
    refused("unlisted", "somebody");
    room.authority.sign(folder, "by-dns", "by-its-subject.example");
    refused("by-dns", "403");
    // Of another CA.
    Authority::new().sign(folder, "stranger", "client");
    fs::copy(room.home.path("client-ca.pem"), room.home.path("stranger-ca.pem")).unwrap();
    refused("stranger", "GET");
    // Of the right CA and name, and no longer valid.
    room.authority.sign_expired(folder, "expired", "client");
    refused("expired", "GET");
    // With none.
    let ca = Identity::at(folder, "client").ca;
    let url = format!("https://127.0.0.1:{}{VERDICT}", agent.port);
    let nobody =
        Command::new("curl").args(["-sS", "--noproxy", "*", "--cacert"]).arg(ca).arg(url).output();
    let nobody = nobody.unwrap();
    assert!(!nobody.status.success() && nobody.stdout.is_empty(), "{nobody:?}");
    assert!(agent.count("backstay_serve_refused_total{reason=\"not-allowed\"}") >= 3);
    assert!(agent.count("backstay_serve_refused_total{reason=\"handshake\"}") >= 3);
    assert_eq!(streams(&agent, VERDICT, "failed"), 0, "an engine was looked for");
    // And by the subject's name alone.
    room.authority.sign(folder, "subject", "by-its-subject");
    room.home.run(&strs(&source(&room.home, agent.port, "subject", "yes"))).expect(0);
    let answer = curl(&room.home, "client", agent.port, "/").output().unwrap();
    assert!(String::from_utf8_lossy(&answer.stdout).contains("nothing else"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_backup_at_a_time_and_a_client_that_goes_away_ends_its_engine() {
    let server = mariadb(24).await;
    let room = Room::new();
    // So slow that nothing ends by itself.
    let mut agent = room.agent(&server.socket, &["--rate-limit", "256KiB"]);
    for path in [VERDICT, MANAGER] {
        let mut first = curl(&room.home, "client", agent.port, path);
        let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let engine = agent.engine("mariadb-backup").unwrap();
        // The second one is told to come again.
        let second =
            curl(&room.home, "client", agent.port, path).arg("--include").output().unwrap();
        let said = String::from_utf8_lossy(&second.stdout).to_lowercase();
        assert!(
            said.contains("503 service unavailable") && said.contains("retry-after: 30"),
            "{said}"
        );
        let done = room.home.run(&strs(&source(&room.home, agent.port, "client", "busy")));
        assert_eq!(done.expect(4).says("another backup").json()["retry"], true);
        assert!(engine.is_alive());
        first.kill().unwrap();
        first.wait().unwrap();
        wait_until("the engine ends", Duration::from_secs(20), || !engine.is_alive());
        wait_until("the turn is free", Duration::from_secs(20), || !is_running(&agent));
        assert_eq!(streams(&agent, path, "abandoned"), 1);
        assert_eq!(agent.left_behind(), Vec::<std::path::PathBuf>::new());
    }
    assert_eq!(agent.count("backstay_serve_refused_total{reason=\"busy\"}"), 4);
    // An engine that fails is no clean end, not even without a verdict.
    for (path, code) in [(MANAGER, 18), (VERDICT, 0)] {
        let mut command = curl(&room.home, "client", agent.port, path);
        let client = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        agent.engine("mariadb-backup").unwrap().kill();
        let done = client.wait_with_output().unwrap();
        assert_eq!(done.status.code(), Some(code), "{path}");
        let said = String::from_utf8_lossy(&done.stdout).contains("\"status\":\"failed\"");
        assert_eq!(said, path == VERDICT);
    }
    // The agent is told to end in the middle: the Job must not take what it has for a backup.
    let job = room.home.start(&strs(&source(&room.home, agent.port, "client", "stopped")));
    let engine = agent.engine("mariadb-backup").unwrap();
    let begun = Instant::now();
    agent.stop().expect(0);
    assert!(begun.elapsed() < Duration::from_secs(25) && !engine.is_alive());
    job.wait().expect(4);
    assert_eq!(room.home.listed(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_rotated_under_load_and_nothing_is_dropped() {
    let server = mariadb(8).await;
    let room = Room::new();
    let agent = room.agent(&server.socket, &["--rate-limit", "1MiB"]);
    let files = Identity::at(agent.folder(), "server");
    let status = |client: &str| {
        let mut command = curl(&room.home, client, agent.port, "/");
        command.args(["--output", "/dev/null", "--write-out", "%{http_code}"]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let job = room.home.start(&strs(&source(&room.home, agent.port, "client", "rotated")));
    wait_until("the stream begins", Duration::from_secs(30), || is_running(&agent));
    // A pair that does not fit, a file that is none, one that has expired: all are told, none is used.
    let (good, key) = (fs::read(&files.certificate).unwrap(), fs::read(&files.key).unwrap());
    let elsewhere = tempfile::tempdir().unwrap();
    let other = room.authority.sign(elsewhere.path(), "other", "127.0.0.1");
    let expired = room.authority.sign_expired(elsewhere.path(), "expired", "127.0.0.1");
    let mut told = 0;
    for bad in [fs::read(other.key).unwrap(), b"nothing".to_vec()] {
        fs::write(&files.key, bad).unwrap();
        told += 1;
        wait_until("it is told", Duration::from_secs(10), || {
            agent.count("backstay_serve_certificates_refused_total") >= told
        });
        assert_eq!(status("client"), "404");
    }
    fs::write(&files.certificate, fs::read(expired.certificate).unwrap()).unwrap();
    fs::write(&files.key, fs::read(expired.key).unwrap()).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(status("client"), "404");
    assert!(agent.count("backstay_serve_certificates_refused_total") > told);
    fs::write(&files.certificate, good).unwrap();
    fs::write(&files.key, key).unwrap();
    // Another CA for both sides, while clients come and go all the time.
    let successor = Authority::new();
    successor.sign(room.home.dir.path(), "new", "client");
    let folder = tempfile::tempdir().unwrap();
    let next = successor.sign(folder.path(), "server", "127.0.0.1");
    let both = [fs::read(&files.ca).unwrap(), fs::read(&next.ca).unwrap()].concat();
    for client in ["client", "new"] {
        fs::write(Identity::at(room.home.dir.path(), client).ca, &both).unwrap();
    }
    let loaded = || agent.metric("backstay_serve_certificate_loaded_timestamp_seconds");
    for (from, to) in [
        (both.as_slice(), &files.ca),
        (&fs::read(&next.certificate).unwrap(), &files.certificate),
        (&fs::read(&next.key).unwrap(), &files.key),
    ] {
        fs::write(to, from).unwrap();
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            assert_eq!(status("client"), "404", "a client was dropped");
        }
    }
    assert_eq!(status("new"), "404");
    // The old CA is taken away.
    let before = loaded();
    fs::write(&files.ca, fs::read(&next.ca).unwrap()).unwrap();
    wait_until("it is read", Duration::from_secs(10), || loaded() > before);
    assert_eq!((status("new").as_str(), status("client").as_str()), ("404", "000"));
    // The stream that had begun with the first certificate has lived through all of it.
    assert!(is_running(&agent), "the stream was too short for this test");
    let done = job.wait().expect(0).json();
    assert_eq!(done["proof"], "verdict");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_seeded_from_the_agent() {
    let server = mariadb(2).await;
    let room = Room::new();
    let agent = room.agent(&server.socket, &[]);
    let writer = ledger::Writer::start(&server.socket);
    let seed = room.home.path("seed");
    fs::create_dir(&seed).unwrap();
    let stream = room.home.path("seed.xb");
    run(curl(&room.home, "client", agent.port, MANAGER).arg("--fail").arg("--output").arg(&stream));
    run(Command::new("mbstream")
        .arg("-x")
        .arg("-C")
        .arg(&seed)
        .stdin(fs::File::open(&stream).unwrap()));
    run(Command::new("mariadb-backup")
        .arg("--prepare")
        .arg(format!("--target-dir={}", seed.display())));
    let info = fs::read_to_string(seed.join("xtrabackup_binlog_info")).unwrap();
    let position = info.trim().rsplit('\t').next().unwrap();
    let replica = Served::over(Flavor::Mariadb, &seed);
    let mut conn = connect(&replica.socket).await;
    for sql in [
        format!("SET GLOBAL gtid_slave_pos = '{position}'"),
        format!(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='root', \
             MASTER_PASSWORD='{PASSWORD}', MASTER_USE_GTID=slave_pos",
            server.port
        ),
        "START SLAVE".to_owned(),
    ] {
        conn.query_drop(sql).await.unwrap();
    }
    writer.stop().await;
    let mut source = connect(&server.socket).await;
    let end: Option<String> = source.query_first("SELECT @@gtid_binlog_pos").await.unwrap();
    let waited: Option<i64> =
        conn.exec_first("SELECT MASTER_GTID_WAIT(?, 60)", (end.unwrap(),)).await.unwrap();
    assert_eq!(waited, Some(0), "the replica does not follow");
    assert_eq!(ledger::check(&replica.socket).await, ledger::check(&server.socket).await);
    drop((conn, source));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_begin_says_why() {
    let server = MariaDb::start(&[]);
    let room = Room::new();
    // The engine is not for this server.
    let agent = room.agent(&server.socket, &["--engine", "clone"]);
    let done = room.home.run(&strs(&source(&room.home, agent.port, "client", "no")));
    done.expect(4).says("500 Internal Server Error");
    drop(agent);
    let refused = |args: &[&str], words: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstay"));
        let output = command.arg("serve").args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    };
    let files = Identity::at(room.home.dir.path(), "client");
    let (cert, key, ca) = (
        files.certificate.to_str().unwrap(),
        files.key.to_str().unwrap(),
        files.ca.to_str().unwrap(),
    );
    let tls = ["--tls-cert", cert, "--tls-key", key, "--client-ca", ca];
    refused(&tls, "--allow-client");
    let all = [&tls[..], &["--allow-client", "*.example"]].concat();
    refused(&all, "no name of a client");
    let login = ["--mysql-socket", "/nowhere", "--mysql-user", "u", "--allow-client", "client"];
    refused(
        &[&["--tls-cert", cert, "--tls-key", ca, "--client-ca", ca], &login[..]].concat(),
        "private key",
    );
    refused(&[&tls[..], &login, &["--rate-limit", "7"]].concat(), "--rate-limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_job_that_waits_for_the_agent() {
    let server = mariadb(4).await;
    let room = Room::new();
    let agent = room.agent(&server.socket, &["--rate-limit", "128KiB"]);
    let job = room.home.start(&strs(&source(&room.home, agent.port, "client", "slow")));
    wait_until("the stream begins", Duration::from_secs(30), || is_running(&agent));
    job.signal(Signal::TERM);
    job.wait().expect(9);
    wait_until("the engine ends", Duration::from_secs(20), || {
        agent.engines("mariadb-backup").is_empty()
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_given_up() {
    let server = mariadb(24).await;
    let room = Room::new();
    let folder = tempfile::tempdir().unwrap();
    let files = room.authority.sign(folder.path(), "server", "127.0.0.1");
    let port = free_port();
    let (status, progress): (Arc<Status>, Arc<Progress>) = (Arc::default(), Arc::default());
    let serving = tokio::spawn(serve::run(serve::Request {
        connect: server.options(),
        engine: None,
        datadir: None,
        scratch: None,
        listen: ([127, 0, 0, 1], port).into(),
        tls: TlsFiles { certificate: files.certificate, key: files.key, client_ca: files.ca },
        allowed: vec!["client".parse().unwrap()],
        rate_limit: None,
        stall: Duration::from_secs(2),
        status: Arc::clone(&status),
        progress: Arc::clone(&progress),
    }));
    let up = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    wait_until("the agent listens", Duration::from_secs(20), up);
    let mut client = curl(&room.home, "client", port, VERDICT);
    // So slow that what lies between the two is soon full, and then not at all.
    let mut client = client.args(["--limit-rate", "64k"]).stdout(Stdio::null()).spawn().unwrap();
    wait_until("it sends", Duration::from_secs(30), || status.read().bytes > 0);
    let pid = i32::try_from(client.id()).unwrap();
    crate::children::signal(pid, Signal::STOP);
    wait_until("it is given up", Duration::from_secs(40), || {
        status.read().streams.get(&(Endpoint::Verdict, Outcome::Abandoned)) == Some(&1)
    });
    assert_eq!(status.read().running, 0);
    crate::children::signal(pid, Signal::CONT);
    assert!(!client.wait().unwrap().success(), "a clean end of a stream that was given up");
    progress.stop();
    assert_eq!(serving.await.unwrap().unwrap().incomplete, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_xtrabackup_writes_is_streamed() {
    let server = Mysql9::start(&[]);
    let room = Room::new();
    // Percona's program is not to be had here: this one writes what it wrote once.
    let bin = room.home.path("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("stream"), &*crate::streams::archive("full")).unwrap();
    let version: Option<String> =
        connect(&server.socket).await.query_first("SELECT VERSION()").await.unwrap();
    let version = version.unwrap();
    let program = |end: &str| {
        let script = format!(
            "#!/bin/sh\n\
             if [ \"$1\" = --version ]; then\n\
             echo 'xtrabackup version {version} based on MySQL server {version} Linux (x86_64)' >&2; exit 0\n\
             fi\n\
             cat {}\n{end}\n",
            bin.join("stream").display()
        );
        let path = bin.join("xtrabackup");
        fs::write(&path, script).unwrap();
        run(Command::new("chmod").arg("755").arg(&path));
    };
    program("echo 'completed OK!' >&2");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let agent =
        Agent::start_with(&room.authority, &server.socket, &["--engine", "xtrabackup"], &path);
    let get = |path: &str| curl(&room.home, "client", agent.port, path).output().unwrap();
    let got = get(MANAGER);
    assert!(got.status.success() && got.stdout == fs::read(bin.join("stream")).unwrap());
    // The position in it is of another server, which cannot say which transactions those are.
    wait_until("the turn is free", Duration::from_secs(20), || !is_running(&agent));
    let got = get(VERDICT);
    assert!(String::from_utf8_lossy(&got.stdout).contains("\"status\":\"failed\""));
    // Whole, and the engine's status is not 0, or it has not said that it completed.
    for end in ["echo 'completed OK!' >&2; exit 1", "exit 0"] {
        program(end);
        wait_until("the turn is free", Duration::from_secs(20), || !is_running(&agent));
        assert_eq!(get(MANAGER).status.code(), Some(18), "{end}");
    }
}
