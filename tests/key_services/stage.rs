//! What whole runs need: a server with something in it, a home whose keys are in a service.

use std::{fs::File, path::PathBuf, process::Stdio, time::Duration};

use backstay::mysql::Server;

use crate::{
    home::{Done, Home, Job},
    mariadb::MariaDb,
};

/// A home whose KEK is in a service; whom to believe is in the file `trust`.
pub(crate) fn home(kek: &str, signer: Option<&str>, env: &[(&str, &str)]) -> Home {
    let mut home = Home::file();
    by(&mut home, kek);
    let trust = home.path("trust").display().to_string();
    home.flags.extend(["--trust".to_owned(), trust]);
    if let Some(signer) = signer {
        home.flags.extend(["--signer".to_owned(), signer.to_owned()]);
    }
    home.env.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    home
}

/// The same, with the local signer that every home has.
pub(crate) fn home_with_local_signer(kek: &str, env: &[(&str, &str)]) -> Home {
    let mut home = home(kek, None, env);
    std::fs::copy(home.path("kek.trust"), home.path("trust")).unwrap();
    let signer = format!("file:{}", home.path("kek.signer").display());
    home.flags.extend(["--signer".to_owned(), signer]);
    home
}

/// The home with another KEK.
pub(crate) fn by(home: &mut Home, kek: &str) {
    let at = home.flags.iter().position(|flag| flag == "--kek").unwrap();
    kek.clone_into(&mut home.flags[at + 1]);
}

/// Runs a command with more in its environment.
pub(crate) fn with(home: &Home, args: &[&str], env: &[(&str, &str)]) -> Done {
    let mut command = home.command();
    Job::start(command.args(args).envs(env.iter().copied())).wait()
}

/// A server with a row, so that a restore has something to prove.
pub(crate) async fn source() -> MariaDb {
    let source = MariaDb::start(&[]);
    let mut server = Server::connect(&source.options()).await.unwrap();
    for sql in
        ["CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY)", "INSERT d.t VALUES (7)"]
    {
        server.execute("setting the stage", sql, Duration::from_secs(10)).await.unwrap();
    }
    server.close().await;
    source
}

/// Backs a genuine stream up under this id, without a server.
pub(crate) fn feed(home: &Home, id: &str) -> Done {
    let archive = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/xtrabackup-8.0/archives/full.xbstream.zst");
    let path = home.path("stream");
    let plain = zstd::stream::decode_all(File::open(archive).unwrap()).unwrap();
    std::fs::write(&path, plain).unwrap();
    let mut command = home.command();
    command.args(["backup", "--source", "stdin", "--engine", "xtrabackup", "--id", id]);
    Job::start(command.stdin(Stdio::from(File::open(path).unwrap()))).wait()
}
