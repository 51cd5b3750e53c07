//! What stands in the way of a clone: `doctor` says beforehand what `backup` would say.

use std::{fs, path::Path};

use mysql_async::prelude::Queryable as _;
use serde_json::Value;

use crate::{
    home::{Done, Home, Job},
    load,
    mariadb::PASSWORD,
    mysql9::Mysql9,
    small_disk::Small,
};

/// The account that the manual tells to make for MySQL.
fn documented_account() -> [String; 2] {
    let page = include_str!("../../docs/operations.md");
    let line = |words: &str| {
        let line = page.lines().find(|line| line.contains(words)).unwrap();
        line.split(';').next().unwrap().to_owned()
    };
    [line("CREATE USER backup@localhost").replace('…', PASSWORD), line("-- MySQL")]
}

fn run(home: &Home, command: &str, socket: &Path, user: &str, more: &[&str], path: &str) -> Done {
    let mut args = home.backup(socket, &["--engine", "clone", "--mysql-user", user]);
    command.clone_into(&mut args[0]);
    let twice = args.iter().position(|arg| arg == "root").unwrap();
    args.drain(twice - 1..=twice);
    args.extend(more.iter().copied().map(ToOwned::to_owned));
    let mut program = home.command();
    if !path.is_empty() {
        program.env("PATH", path);
    }
    Job::start(program.args(args)).wait()
}

fn check<'a>(checks: &'a Value, name: &str) -> &'a Value {
    checks.as_array().unwrap().iter().find(|check| check["check"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_beforehand_what_a_clone_would_run_into() {
    let server = Mysql9::start(&[]);
    let home = Home::file();
    let mut conn = load::connect(&server.socket).await;
    for sql in documented_account().iter().map(String::as_str).chain([
        "CREATE DATABASE d",
        "CREATE USER blind@localhost IDENTIFIED BY 'root-pass#word'",
        "GRANT BACKUP_ADMIN, PROCESS, REPLICATION CLIENT ON *.* TO blind@localhost",
    ]) {
        conn.query_drop(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    let well = run(&home, "doctor", &server.socket, "backup", &[], "").expect(0).json();
    let engine = check(&well, "engine");
    assert_eq!(engine["status"], "ok", "{well}");
    assert!(engine["detail"].as_str().unwrap().contains("mysqld starts on the copy"), "{engine}");
    run(&home, "backup", &server.socket, "backup", &["--id", "well"], "").expect(0);

    let _small = Small::mount(&home.path("small"));
    let small = home.path("small").display().to_string();
    let nowhere = home.path("nowhere").display().to_string();
    for (user, more, path, words) in [
        ("blind", vec![], "", "GRANT SELECT"),
        ("backup", vec![], "/usr/bin:/bin", "and the data is of"),
        ("backup", vec!["--scratch", &small], "", "a clone needs"),
        ("backup", vec!["--scratch", &nowhere], "", "is no folder"),
    ] {
        both_refuse(&home, &server.socket, user, &more, path, words);
    }
    for (before, words, after) in [
        ("CREATE TABLE d.torn (a INT) ENGINE=MyISAM", "d.torn (MyISAM)", "DROP TABLE d.torn"),
        ("UNINSTALL PLUGIN clone", "INSTALL PLUGIN clone", "DO 0"),
    ] {
        conn.query_drop(before).await.unwrap_or_else(|e| panic!("{before}: {e}"));
        both_refuse(&home, &server.socket, "backup", &[], "", words);
        conn.query_drop(after).await.unwrap();
    }
    conn.disconnect().await.unwrap();
    assert_eq!(fs::read_dir(home.path("small")).unwrap().count(), 0);
    assert_eq!(home.left_behind(&server.socket), Vec::<std::path::PathBuf>::new());
    assert_eq!(home.listed(), ["well"]);
}

#[track_caller]
fn both_refuse(home: &Home, socket: &Path, user: &str, more: &[&str], path: &str, words: &str) {
    run(home, "backup", socket, user, more, path).expect(3).says(words);
    let said = run(home, "doctor", socket, user, more, path).expect(3).json();
    let engine = check(&said, "engine");
    assert_eq!(engine["status"], "fail", "{said}");
    assert!(engine["detail"].as_str().unwrap().contains(words), "{words}: {engine}");
}
