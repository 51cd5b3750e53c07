//! The database server.

use std::path::Path;

use serde_json::Value;

use crate::{
    authority::Identity,
    home::{Done, Home},
    mariadb::{Database, Kind, MariaDb},
    mysql9::Mysql9,
    servers::Bad,
};

fn with(identity: &Identity) -> Vec<String> {
    let option = |name: &str, path: &Path| format!("--ssl-{name}={}", path.display());
    vec![
        option("ca", &identity.ca),
        option("cert", &identity.certificate),
        option("key", &identity.key),
    ]
}

fn start<K: Kind>(options: &[String]) -> Database<K> {
    Database::start(&options.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Asks `doctor` about a server over TCP.
fn doctor(home: &Home, port: u16, ca: &Path, more: &[&str]) -> Done {
    let (password, port) = (home.path("password").display().to_string(), port.to_string());
    let ca = ca.display().to_string();
    let mut args = vec!["doctor", "--mysql-host", "127.0.0.1", "--mysql-port", &port];
    args.extend(["--mysql-user", "root", "--mysql-password-file", &password]);
    args.extend(["--mysql-tls-ca", &ca]);
    args.extend(more);
    home.run(&args)
}

fn check(done: &Done, name: &str) -> Value {
    let checks = done.json();
    checks.as_array().unwrap().iter().find(|check| check["check"] == name).unwrap().clone()
}

#[test]
fn a_server_whose_certificate_is_not_right_is_refused_in_words_of_its_own() {
    let home = Home::file();
    let bad = Bad::in_folder(home.dir.path());
    for (name, identity, words) in [
        ("expired", &bad.expired, ["expired", "have it renewed"]),
        ("elsewhere", &bad.elsewhere, ["db-0.example", "for other names"]),
        ("stranger", &bad.stranger, ["private authority", "--mysql-tls-ca"]),
    ] {
        let server: MariaDb = start(&with(identity));
        let done = doctor(&home, server.port, &bad.good.ca, &[]).expect(3);
        let server = check(&done, "server");
        assert_eq!(server["status"], "fail");
        for word in words {
            assert!(
                server["detail"].as_str().unwrap().contains(word),
                "{name}: no `{word}`: {server}"
            );
        }
    }
}

#[test]
fn versions_are_told_and_nothing_older_than_1_2_is_spoken() {
    let home = Home::file();
    let bad = Bad::in_folder(home.dir.path());
    for version in ["TLSv1.2", "TLSv1.3"] {
        let options = [with(&bad.good), vec![format!("--tls-version={version}")]].concat();
        let (maria, mysql): (MariaDb, Mysql9) = (start(&options), start(&options));
        for port in [maria.port, mysql.port] {
            let done = doctor(&home, port, &bad.good.ca, &[]);
            let detail = check(&done, "tls")["detail"].as_str().unwrap().to_owned();
            let wanted = format!("TLS {} with TLS_", version.trim_start_matches("TLSv"));
            assert!(detail.starts_with(&wanted), "{detail}");
            assert!(detail.contains("verified"), "{detail}");
        }
    }
    let old = ["--tls-version=TLSv1.1", "--ssl-cipher=ALL:@SECLEVEL=0"].map(String::from).to_vec();
    let server: MariaDb = start(&[with(&bad.good), old].concat());
    let done = doctor(&home, server.port, &bad.good.ca, &[]).expect(3);
    let detail = check(&done, "server")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("nothing newer than TLS 1.1"), "{detail}");
}

#[test]
fn what_verifies_nobody_has_to_be_asked_for_twice() {
    let home = Home::file();
    let bad = Bad::in_folder(home.dir.path());
    let server: MariaDb = start(&with(&bad.stranger));
    for mode in ["disabled", "preferred", "required"] {
        let password = home.path("password").display().to_string();
        let port = server.port.to_string();
        let args =
            ["archive", "--mysql-host", "127.0.0.1", "--mysql-port", &port, "--mysql-tls", mode];
        let args =
            [&args[..], &["--mysql-user", "root", "--mysql-password-file", &password]].concat();
        home.run(&args).expect(2).says("verifies nobody").says("--allow-insecure-mysql");
        let more = ["--mysql-tls", mode, "--allow-insecure-mysql"];
        let tls = check(&doctor(&home, server.port, &bad.good.ca, &more), "tls");
        assert_eq!(tls["status"], "warn", "{mode}: {tls}");
    }
}

#[test]
fn the_manifest_and_the_log_say_what_the_connection_was() {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let home = Home::file();
    let bad = Bad::in_folder(home.dir.path());
    let server: MariaDb = start(&with(&bad.good));
    let (password, port) = (home.path("password").display().to_string(), server.port.to_string());
    let ca = bad.good.ca.display().to_string();
    let mysql = [
        "--mysql-host",
        "127.0.0.1",
        "--mysql-port",
        &port,
        "--mysql-user",
        "root",
        "--mysql-password-file",
        &password,
        "--mysql-tls-ca",
        &ca,
    ];
    home.run(&[&["backup", "--id", "one"][..], &mysql].concat()).expect(0);
    let shown = home.run(&["show", "one"]).expect(0).json();
    let connections = shown["manifest"]["connections"].as_array().unwrap().clone();
    let database = connections.iter().find(|to| to["to"] == "database").unwrap();
    assert_eq!(database["security"], "tls-verified");
    assert_eq!(database["tls"]["version"], "1.3");
    let store = connections.iter().find(|to| to["to"] == "store").unwrap();
    assert_eq!(store["security"], "local");

    home.run(&[&["archive", "--until-current"][..], &mysql].concat()).expect(0);
    let first = std::fs::read(home.path("repo/c/log/00000000000000000001")).unwrap();
    let envelope = first.split(|byte| *byte == b'\n').next().unwrap();
    let envelope: Value = serde_json::from_slice(envelope).unwrap();
    let payload = BASE64_STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let record: Value = serde_json::from_slice(&payload).unwrap();
    let said = record["entry"]["connections"].as_array().unwrap();
    let database = said.iter().find(|to| to["to"] == "database").unwrap();
    assert_eq!(database["tls"]["version"], "1.3", "{record}");
}
