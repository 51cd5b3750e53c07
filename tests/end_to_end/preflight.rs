//! What can be known before anything is started, and the exit codes for it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::{
    home::{Home, strs},
    ledger,
    mariadb::MariaDb,
    minio::Minio,
    small_disk::Small,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_says_what_stands_in_its_way() {
    let server = MariaDb::start(&[]);
    let mut home = Home::file();
    // No server, no flag, no key.
    let args = home.backup(Path::new("/tmp/no-such-socket"), &[]);
    home.run(&strs(&args)).expect(4).says("no-such-socket");
    home.run(&["backup"]).expect(2).says("--mysql-socket");
    home.run(&["backup", "--source", "stdin"]).expect(2).says("--engine");
    home.run(&["backup", "--source", "http://db-0"]).expect(2).says("not a source");
    home.run(&["backup", "--id", "a/b"]).expect(2);
    // A wrong password.
    let mut args = home.backup(&server.socket, &[]);
    fs::write(home.path("wrong"), "not-it").unwrap();
    let at = args.iter().position(|arg| arg.ends_with("/password")).unwrap();
    args[at] = home.path("wrong").display().to_string();
    home.run(&strs(&args)).expect(3).says("as `root`");
    // An engine that is older than its server.
    let old = home.path("old");
    fs::create_dir(&old).unwrap();
    let engine = old.join("mariadb-backup");
    fs::write(
        &engine,
        "#!/bin/sh\necho \"$0 based on MariaDB server 10.6.4-MariaDB Linux (x86_64)\" >&2\n",
    )
    .unwrap();
    fs::set_permissions(&engine, fs::Permissions::from_mode(0o755)).unwrap();
    let args = home.backup(&server.socket, &[]);
    let mut command = home.command();
    let path = format!("{}:{}", old.display(), std::env::var("PATH").unwrap());
    let job = crate::home::Job::start(command.args(&args).env("PATH", path));
    job.wait().expect(3).says("10.6");
    assert_eq!(home.listed(), Vec::<String>::new());
    // The id is taken by something that we do not believe.
    let args = home.backup(&server.socket, &["--id", "taken"]);
    home.run(&strs(&args)).expect(0);
    let kek = home.flags.iter().position(|flag| flag.starts_with("file:")).unwrap();
    home.flags[kek] = format!("file:{}", home.path("other").display());
    home.run(&["keys", "new"]).expect(0);
    home.run(&strs(&args)).expect(8).says("taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_says_what_stands_in_its_way() {
    let server = MariaDb::start(&[]);
    ledger::make(&server.socket).await;
    let home = Home::file();
    home.run(&["restore"]).expect(2);
    let datadir = home.path("new").display().to_string();
    home.run(&["restore", "--datadir", &datadir]).expect(7);
    home.run(&strs(&home.backup(&server.socket, &["--id", "base"]))).expect(0);
    home.run(&["restore", "--datadir", &datadir, "--backup", "no-such"]).expect(7).says("no-such");
    assert!(!home.path("new").exists());
    // A folder that is not empty is left as it is.
    fs::create_dir(home.path("full")).unwrap();
    fs::write(home.path("full/ibdata1"), "precious").unwrap();
    let full = home.path("full").display().to_string();
    home.run(&["restore", "--datadir", &full]).expect(3).says("not empty");
    assert_eq!(fs::read_to_string(home.path("full/ibdata1")).unwrap(), "precious");
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);
    // A disk that is too small.
    let _small = Small::mount(&home.path("small"));
    let small = home.path("small").display().to_string();
    home.run(&["restore", "--datadir", &small]).expect(3).says("free");
    assert_eq!(fs::read_dir(&small).unwrap().count(), 0);
    // Two at once.
    let mut first = home.start(&["restore", "--datadir", &datadir]);
    first.child("mariadb-backup").expect("the first restore was never seen");
    home.run(&["restore", "--datadir", &datadir]).expect(3).says("another restore");
    assert_eq!(first.wait().expect(0).json()["status"], "proven");
    // And once it is done, its folder is as full as any other.
    home.run(&["restore", "--datadir", &datadir]).expect(3).says("not empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_is_told_from_one_that_is_missing() {
    let minio = Minio::shared();
    let mut home = Home::s3(minio, &minio.endpoint(), "codes").await;
    home.run(&["list"]).expect(0);
    home.env[1].1 = "not-the-secret-key".into();
    home.run(&["list"]).expect(5);
    home.env[1].1 = Home::s3(minio, &minio.endpoint(), "codes-2").await.env[1].1.clone();
    let repo = home.flags.iter().position(|flag| flag.starts_with("s3://")).unwrap();
    home.flags[repo] = "s3://no-such-bucket/p".into();
    home.run(&["list"]).expect(3).says("no-such-bucket");
}
