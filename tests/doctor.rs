//! `backstay doctor` on a real MariaDB server and a local repository: all well, and not.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "support/mariadb.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod mariadb;
#[path = "support/tools.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod tools;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use backstay::mysql::Server;
use mariadb::{MariaDb, PASSWORD};
use serde_json::Value;

fn doctor(dir: &Path, args: &[&str]) -> (i32, Vec<Value>, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_backstay"))
        .args(["doctor", "--format", "json"])
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&stdout).into_owned();
    let checks = serde_json::from_str(&told)
        .unwrap_or_else(|e| panic!("{e}: {told}{}", String::from_utf8_lossy(&stderr)));
    (status.code().unwrap(), checks, told)
}

fn status<'a>(checks: &'a [Value], name: &str) -> &'a str {
    let found = checks.iter().find(|check| check["check"] == name);
    found.map_or("absent", |check| check["status"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_and_a_repository_are_judged() {
    let source = MariaDb::start(&["--binlog-format=ROW"]);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("pw"), PASSWORD).unwrap();
    let kek = format!("file:{}", dir.path().join("kek").display());
    let made = Command::new(env!("CARGO_BIN_EXE_backstay"))
        .args(["keys", "new", "--kek", &kek])
        .status()
        .unwrap();
    assert!(made.success());
    let repo = format!("file://{}", dir.path().join("repo").display());
    let socket = source.socket.display().to_string();
    let mysql = ["--mysql-socket", &socket, "--mysql-password-file", "pw", "--mysql-user"];
    let store = ["--repo", &repo, "--cluster", "shop", "--kek", &kek, "--datadir", "new"];

    let (code, checks, told) = doctor(dir.path(), &[&mysql[..], &["root"], &store[..]].concat());
    assert_eq!(code, 0, "{told}");
    for name in [
        "server",
        "tls",
        "clock",
        "engine",
        "store",
        "store create-only",
        "store put",
        "store get",
        "store list",
        "store delete",
        "kek",
        "signer",
        "disk",
        "memory",
        "setting sync_binlog",
    ] {
        assert_eq!(status(&checks, name), "ok", "{name}: {told}");
    }
    assert!(!told.contains(PASSWORD));
    let left: Vec<_> = walk(&dir.path().join("repo"));
    assert!(left.is_empty(), "the probe is removed again: {left:?}");

    // An identity that can only wrap is well: it takes backups.
    let public = format!("{kek}.pub");
    let (code, checks, told) =
        doctor(dir.path(), &["--repo", &repo, "--cluster", "shop", "--kek", &public]);
    assert_eq!((code, status(&checks, "kek")), (0, "ok"), "{told}");
    assert!(told.contains("cannot unwrap"), "{told}");
    assert_eq!(status(&checks, "server"), "not-checked");

    // Another trust file does not believe our signer.
    let other = dir.path().join("other").display().to_string();
    let made = Command::new(env!("CARGO_BIN_EXE_backstay"))
        .args(["keys", "new", "--kek", &format!("file:{other}")])
        .status()
        .unwrap();
    assert!(made.success());
    let trust = format!("{other}.trust");
    let (code, checks, _) = doctor(dir.path(), &["--kek", &kek, "--trust", &trust]);
    assert_eq!((code, status(&checks, "signer")), (3, "fail"));

    // The account that the manual tells to make.
    let page = include_str!("../docs/operations.md");
    let line = |words: &str| page.lines().find(|line| line.contains(words)).unwrap();
    let mut root = Server::connect(&source.options()).await.unwrap();
    let account = line("CREATE USER backup@localhost").replace('…', PASSWORD);
    for sql in [&account, line("-- MariaDB")] {
        let sql = sql.split(';').next().unwrap();
        root.execute("making the account", sql, Duration::from_secs(10)).await.unwrap();
    }
    root.close().await;
    let (code, _, told) = doctor(dir.path(), &[&mysql[..], &["backup"], &store[..]].concat());
    assert_eq!(code, 0, "{told}");

    // A user with too few privileges, on a server that syncs its log when it likes.
    let mut root = Server::connect(&source.options()).await.unwrap();
    for sql in [
        "SET GLOBAL sync_binlog = 0",
        "CREATE USER few@localhost IDENTIFIED BY 'root-pass#word'",
        "GRANT RELOAD, PROCESS ON *.* TO few@localhost",
    ] {
        root.execute("setting the stage", sql, Duration::from_secs(10)).await.unwrap();
    }
    root.close().await;
    let (code, checks, told) = doctor(dir.path(), &[&mysql[..], &["few"]].concat());
    assert_eq!(code, 3, "{told}");
    assert_eq!(status(&checks, "setting sync_binlog"), "warn");
    assert_eq!(status(&checks, "grant LOCK TABLES"), "fail");
    assert_eq!(status(&checks, "grant RELOAD"), "ok");
    assert_eq!(status(&checks, "store"), "not-checked");

    // Nobody answers.
    let (code, checks, _) =
        doctor(dir.path(), &["--mysql-socket", "/nowhere/s", "--mysql-user", "root"]);
    assert_eq!((code, status(&checks, "server")), (3, "fail"));
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.map(Result::unwrap) {
        if entry.path().is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}
