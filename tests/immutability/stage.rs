//! What whole runs need: a bucket with Object Lock, a server with rows, somebody to run it all.

use std::{collections::BTreeMap, fs::File, path::Path, path::PathBuf, process::Stdio};

use backstay::model::Flavor;

use crate::{
    home::{Done, Home, Job, strs},
    load, locked,
    minio::{Minio, REGION},
    policies::{Session, policy},
    served::Served,
};

/// How everything is locked here.
pub(crate) const LOCK: [&str; 6] =
    ["--lock", "compliance", "--lock-for", "30d", "--lock-audit-for", "400d"];

/// A home whose repository is in a bucket of its own with Object Lock.
pub(crate) async fn home(bucket: &str) -> Home {
    let minio = Minio::shared();
    locked::bucket(&minio.client(), bucket, Some(REGION)).await;
    Home::in_bucket(minio, &minio.endpoint(), bucket)
}

/// Somebody with the rights of one of the policies.
pub(crate) async fn role(name: &str, bucket: &str) -> Session {
    Session::of(Minio::shared(), &policy(name, bucket)).await
}

/// Runs a command as somebody.
pub(crate) fn run_as(home: &Home, who: &Session, args: &[&str]) -> Done {
    let mut command = home.command();
    Job::start(command.args(args).envs(who.env())).wait()
}

/// The same with the public half of the KEK alone, as a writer has it.
pub(crate) fn write_as(home: &Home, who: &Session, args: &[&str]) -> Done {
    let mut command = home.command();
    let public = format!("file:{}", home.path("kek.pub").display());
    Job::start(command.args(args).args(["--kek", &public]).envs(who.env())).wait()
}

/// Arguments of an archiver that ships what there is.
pub(crate) fn archive(home: &Home, socket: &Path, more: &[&str]) -> Vec<String> {
    let mut args = home.backup(socket, more);
    args[0] = "archive".into();
    args.push("--until-current".into());
    args
}

/// Some more rows.
pub(crate) async fn insert(socket: &Path, text: &str) {
    use mysql_async::prelude::Queryable as _;
    let mut conn = load::connect(socket).await;
    conn.query_drop(format!("INSERT INTO `load`.t0 (k, v) VALUES (1, '{text}')")).await.unwrap();
    conn.disconnect().await.unwrap();
}

/// The tables of a restored data directory.
pub(crate) async fn restored(datadir: &Path) -> BTreeMap<String, u64> {
    let server = Served::over(Flavor::Mariadb, datadir);
    load::checksums(&server.socket).await
}

/// Backs a genuine stream up under this id, without a server.
pub(crate) fn feed(home: &Home, id: &str, more: &[&str]) -> Done {
    let archive = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/xtrabackup-8.0/archives/full.xbstream.zst");
    let path = home.path("stream");
    let plain = zstd::stream::decode_all(File::open(archive).unwrap()).unwrap();
    std::fs::write(&path, plain).unwrap();
    let mut command = home.command();
    command.args(["backup", "--source", "stdin", "--engine", "xtrabackup", "--id", id]).args(more);
    Job::start(command.stdin(Stdio::from(File::open(path).unwrap()))).wait()
}

/// Arguments of a backup of the server at this socket, locked.
pub(crate) fn backup(home: &Home, socket: &Path, id: &str) -> Vec<String> {
    let more = [&["--id", id][..], &LOCK].concat();
    let args = home.backup(socket, &more);
    assert!(strs(&args).contains(&"compliance"));
    args
}
