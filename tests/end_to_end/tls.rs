//! TLS over TCP to the database: our own connections and the engine's, with a private CA.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use backstay::mysql::{ConnectOptions, Endpoint, OptionFile, Tls, TlsMode};
use mysql_async::prelude::Queryable as _;

use crate::{
    authority::{Authority, Identity},
    home::{Done, Home},
    ledger, load,
    mariadb::{MariaDb, PASSWORD, root},
};

/// A MariaDB server that has this identity.
fn served_by(identity: &Identity) -> MariaDb {
    let option = |name: &str, path: &Path| format!("--ssl-{name}={}", path.display());
    MariaDb::start(&[
        &option("ca", &identity.ca),
        &option("cert", &identity.certificate),
        &option("key", &identity.key),
    ])
}

/// A backup over TCP.
fn backup(home: &Home, host: &str, server: &MariaDb, more: &[&str]) -> Done {
    let insecure = ["disabled", "preferred", "required"].iter().any(|mode| more.contains(mode));
    let password = home.path("password").display().to_string();
    let port = server.port.to_string();
    let mut args = vec!["backup", "--mysql-host", host, "--mysql-port", &port];
    args.extend(["--mysql-password-file", &password]);
    args.extend(more);
    args.extend(insecure.then_some("--allow-insecure-mysql"));
    if !more.contains(&"--mysql-user") {
        args.extend(["--mysql-user", "root"]);
    }
    home.run(&args)
}

/// The same, to 127.0.0.1, with so much TLS.
fn with(home: &Home, server: &MariaDb, mode: &str, ca: &Path) -> Done {
    let ca = ca.display().to_string();
    backup(home, "127.0.0.1", server, &["--mysql-tls", mode, "--mysql-tls-ca", &ca])
}

#[track_caller]
fn refused(done: Done, words: &str) {
    let done = done.expect(3).says("--mysql-tls").says(words);
    assert_eq!((&done.json()["kind"], &done.json()["retry"]), (&"preflight".into(), &false.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_ca_is_believed() {
    let (home, authority) = (Home::file(), Authority::new());
    let identity = authority.sign(home.dir.path(), "server", "127.0.0.1");
    let stranger = Authority::new().sign(home.dir.path(), "stranger", "127.0.0.1");
    let server = served_by(&identity);
    ledger::make(&server.socket).await;
    for mode in ["verify-identity", "verify-ca"] {
        let done = with(&home, &server, mode, &identity.ca).expect(0);
        assert_eq!(done.json()["tls"], "tls-verified", "{mode}");
    }
    let listed = home.listed();
    home.restore(&listed[0], "new");
    // Another CA did not sign it, and no CA at all means the public ones.
    for mode in ["verify-identity", "verify-ca"] {
        refused(with(&home, &server, mode, &stranger.ca), "certificate");
    }
    refused(backup(&home, "127.0.0.1", &server, &[]), "certificate");
    refused(with(&home, &server, "verify-ca", &home.path("no-such-file")), "no-such-file: No such");
    refused(with(&home, &server, "verify-ca", &home.path("password")), "certificate");
    assert_eq!(home.listed(), listed);
}

#[test]
fn a_certificate_for_another_name_is_no_identity() {
    let (home, authority) = (Home::file(), Authority::new());
    let identity = authority.sign(home.dir.path(), "server", "db-0.example");
    let stranger = Authority::new().sign(home.dir.path(), "stranger", "127.0.0.1");
    let server = served_by(&identity);
    refused(with(&home, &server, "verify-identity", &identity.ca), "db-0.example");
    let done = with(&home, &server, "verify-ca", &identity.ca).expect(0);
    assert_eq!(done.json()["tls"], "tls-verified");
    // Whoever answers: a CA that is given says nothing then.
    for ca in [&identity.ca, &stranger.ca] {
        let done = with(&home, &server, "required", ca).expect(0);
        assert_eq!(done.json()["tls"], "tls-unverified");
    }
}

#[test]
fn localhost_is_a_host_like_any_other() {
    let (home, authority) = (Home::file(), Authority::new());
    let identity = authority.sign(home.dir.path(), "server", "localhost");
    let server = served_by(&identity);
    let ca = identity.ca.display().to_string();
    let more = ["--mysql-tls", "verify-identity", "--mysql-tls-ca", &ca];
    let done = backup(&home, "localhost", &server, &more).expect(0);
    assert_eq!(done.json()["tls"], "tls-verified");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_may_demand_a_certificate_of_ours() {
    let (home, authority) = (Home::file(), Authority::new());
    let identity = authority.sign(home.dir.path(), "server", "127.0.0.1");
    let client = authority.sign(home.dir.path(), "client", "client");
    let server = served_by(&identity);
    let mut conn = load::connect(&server.socket).await;
    for sql in [
        format!("CREATE USER known@'%' IDENTIFIED BY '{PASSWORD}' REQUIRE X509"),
        "GRANT ALL ON *.* TO known@'%'".to_owned(),
    ] {
        conn.query_drop(sql).await.unwrap();
    }
    conn.disconnect().await.unwrap();
    let files =
        [&identity.ca, &client.certificate, &client.key].map(|path| path.display().to_string());
    let known = ["--mysql-user", "known", "--mysql-tls-ca", &files[0]];
    backup(&home, "127.0.0.1", &server, &known).expect(3).says("as `known`");
    let ours =
        [&known[..], &["--mysql-tls-cert", &files[1], "--mysql-tls-key", &files[2]]].concat();
    let done = backup(&home, "127.0.0.1", &server, &ours).expect(0);
    assert_eq!(done.json()["tls"], "tls-verified");
}

#[test]
fn a_server_without_tls_is_refused_unless_that_was_allowed() {
    let home = Home::file();
    let server = MariaDb::start(&["--skip-ssl"]);
    for mode in ["required", "verify-ca", "verify-identity"] {
        refused(backup(&home, "127.0.0.1", &server, &["--mysql-tls", mode]), "offers no TLS");
    }
    for mode in ["disabled", "preferred"] {
        let done = backup(&home, "127.0.0.1", &server, &["--mysql-tls", mode]).expect(0);
        assert_eq!(done.json()["tls"], "plain");
    }
}

/// Our own connection comes first and would refuse these, so the engine is asked by itself.
#[test]
fn the_engine_believes_nobody_else_either() {
    let (home, authority) = (Home::file(), Authority::new());
    let stranger = Authority::new().sign(home.dir.path(), "stranger", "127.0.0.1");
    let ours = authority.sign(home.dir.path(), "ours", "127.0.0.1");
    let elsewhere = authority.sign(home.dir.path(), "elsewhere", "db-0.example");
    let servers = [&ours, &elsewhere].map(served_by);
    for (server, mode, ca, connects) in [
        (&servers[0], TlsMode::VerifyIdentity, &ours, true),
        (&servers[0], TlsMode::VerifyIdentity, &stranger, false),
        (&servers[0], TlsMode::VerifyCa, &stranger, false),
        (&servers[1], TlsMode::VerifyCa, &ours, true),
        (&servers[1], TlsMode::VerifyIdentity, &ours, false),
        (&servers[0], TlsMode::Required, &stranger, true),
    ] {
        let endpoint = Endpoint::Tcp { host: "127.0.0.1".into(), port: server.port };
        let tls = Tls { mode, ca: Some(ca.ca.clone()), ..Tls::default() };
        let file =
            OptionFile::write(&ConnectOptions { tls, ..root(endpoint) }, home.dir.path()).unwrap();
        let scratch = tempfile::tempdir_in(home.dir.path()).unwrap();
        let output = Command::new("mariadb-backup")
            .arg(format!("--defaults-file={}", file.path().display()))
            .args(["--backup", "--stream=xbstream"])
            .arg(format!("--target-dir={}", scratch.path().join("e").display()))
            .stdout(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), connects, "{mode:?} {:?}: {said}", ca.ca);
        assert!(connects || said.contains("SSL connection error"), "{said}");
    }
}
