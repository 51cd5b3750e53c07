//! A second reader, written from docs/format.md alone, puts a real archive together again:
//! `tests/decoder/backstay_log.py`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use backstay::pipeline::log::tip;
use mysql_async::prelude::Queryable as _;
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};

use crate::{
    capture::archive_args,
    home::{Home, strs},
    load,
    mariadb::MariaDb,
    mysql9::Mysql9,
    reassembled,
    tools::tools,
};

#[tokio::test(flavor = "multi_thread")]
async fn it_reads_what_was_archived_of_mariadb() {
    let server = MariaDb::start(&[]);
    agree(&server.socket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reads_what_was_archived_of_mysql() {
    let server = Mysql9::start(&[]);
    agree(&server.socket).await;
}

/// Archives under load, through a kill and a successor; then both readers must find the same.
async fn agree(socket: &Path) {
    let home = Home::file();
    load::seed(socket, 500).await;
    let args = archive_args(&home, socket, &["--rpo", "200ms"]);
    let job = home.start(&strs(&args));
    let writers = load::Load::start(socket, 2);
    let mut conn = load::connect(socket).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    conn.query_drop("FLUSH BINARY LOGS").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // Its tails stay, and its successor cannot open them.
    job.signal(Signal::KILL);
    drop(job.wait());
    let takeover = archive_args(&home, socket, &["--rpo", "200ms", "--takeover"]);
    let job = home.start(&strs(&takeover));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    conn.query_drop("FLUSH BINARY LOGS").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(writers.stop().await > 100);
    job.signal(Signal::TERM);
    job.wait().expect(9);

    let repository = reassembled::repository(&home).await;
    let head = tip(&repository).await.unwrap().head.to_string();
    for way in ["--check", "--tip"] {
        let said = decode(&home, &[way]);
        assert!(said.contains(&format!("log head {head}\n")), "{way}: {said}, and not {head}");
    }
    let out = home.path("files");
    let said = decode(&home, &["--files", out.to_str().unwrap()]);
    assert!(!said.contains("outlines checked: 0\n"), "{said}");
    let (_, files) = reassembled::files(&home).await;
    let mut theirs: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut closed = 0;
    for line in said.lines().filter(|line| line.ends_with(" closed") || line.ends_with(" open")) {
        let [sha256, server, file, _, state] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        if state == "closed" {
            closed += 1;
            let folder = socket.parent().unwrap().join("data");
            let served = fs::read(folder.join(file)).unwrap();
            assert_eq!(hex::encode(Sha256::digest(served)), sha256, "{file}");
        }
        theirs.insert((server.to_owned(), file.to_owned()), sha256.to_owned());
    }
    println!("{said}");
    assert!(closed >= 2, "{said}");
    let ours = files.into_iter().map(|(name, bytes)| (name, hex::encode(Sha256::digest(bytes))));
    assert_eq!(theirs, ours.collect());
}

/// Runs the second reader on the repository of a home.
fn decode(home: &Home, action: &[&str]) -> String {
    let done = Command::new(tools().join("venv/bin/python"))
        .arg("-B")
        .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/decoder/backstay_log.py"))
        .current_dir(home.dir.path())
        .args(["--repo", "repo", "--cluster", "c", "--kek", "kek", "--trust", "kek.trust"])
        .args(action)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    said
}
