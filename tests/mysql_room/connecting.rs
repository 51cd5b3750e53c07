//! Connecting: refusals told apart, TLS, and credentials on their way to the engines.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use backstay::{
    model::TransportSecurity,
    mysql::{ConnectOptions, Endpoint, MysqlError, OptionFile, Server, Tls, TlsMode},
};
use mysql_async::prelude::Queryable as _;

use crate::{
    load,
    mariadb::{MariaDb, root, run, short_dir},
    mysql9::Mysql9,
    physical::mariadb_backup,
    tools,
};

#[tokio::test(flavor = "multi_thread")]
async fn failures_to_connect_are_told_apart() {
    let source = Mysql9::start(&[]);
    let tcp = |mode, ca: Option<&str>| {
        let ca = ca.map(|name| source.dir.path().join("data").join(name));
        let endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: source.port };
        ConnectOptions { tls: Tls { mode, ca, cert: None, key: None }, ..root(endpoint) }
    };
    for (mode, ca, transport) in [
        (TlsMode::Disabled, None, TransportSecurity::Plain),
        (TlsMode::Preferred, None, TransportSecurity::TlsUnverified),
        (TlsMode::Required, None, TransportSecurity::TlsUnverified),
        (TlsMode::VerifyCa, Some("ca.pem"), TransportSecurity::TlsVerified),
    ] {
        let server =
            Server::connect(&tcp(mode, ca)).await.unwrap_or_else(|e| panic!("{mode:?}: {e}"));
        assert_eq!(server.transport(), transport);
    }
    // A public CA did not sign it; and the certificate names no host.
    for (mode, ca) in [(TlsMode::VerifyCa, None), (TlsMode::VerifyIdentity, Some("ca.pem"))] {
        let error = Server::connect(&tcp(mode, ca)).await.unwrap_err();
        assert!(matches!(error, MysqlError::Tls { .. }), "{mode:?}: {error}");
    }
    let wrong =
        ConnectOptions { password: Some("not-this-one".to_owned().into()), ..source.options() };
    let error = Server::connect(&wrong).await.unwrap_err();
    assert!(matches!(error, MysqlError::AccessDenied { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("not-this-one"));
    let nobody = root(Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: tools::free_port() });
    assert!(matches!(Server::connect(&nobody).await.unwrap_err(), MysqlError::Unreachable { .. }));

    // A server without TLS: preferred goes on in plain, required does not.
    let plain = MariaDb::start(&["--skip-ssl"]);
    let endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: plain.port };
    let mut options = root(endpoint);
    assert_eq!(Server::connect(&options).await.unwrap().transport(), TransportSecurity::Plain);
    options.tls.mode = TlsMode::Required;
    assert!(matches!(Server::connect(&options).await.unwrap_err(), MysqlError::Tls { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_password_reaches_real_programs_through_the_option_file() {
    let password = r#" #;a'b"c\d\n[x]$=%ü "#;
    let (mysql, maria) = (Mysql9::start(&[]), MariaDb::start(&[]));
    for (socket, port, client) in [
        (&mysql.socket, mysql.port, tools::tool("mysql9/bin/mysql")),
        (&maria.socket, maria.port, PathBuf::from("mariadb")),
    ] {
        let quoted = password.replace('\\', "\\\\").replace('\'', "''");
        let mut conn = load::connect(socket).await;
        conn.query_drop(format!("CREATE USER 'odd'@'%' IDENTIFIED BY '{quoted}'")).await.unwrap();
        conn.query_drop("GRANT ALL ON *.* TO 'odd'@'%'").await.unwrap();
        for endpoint in
            [Endpoint::Socket(socket.clone()), Endpoint::Tcp { host: "127.0.0.1".into(), port }]
        {
            let odd = ConnectOptions {
                user: "odd".into(),
                password: Some(password.to_owned().into()),
                ..root(endpoint)
            };
            Server::connect(&odd).await.unwrap();
            let file = OptionFile::write(&odd, Path::new("/tmp")).unwrap();
            let mut command = Command::new(&client);
            command.arg(format!("--defaults-file={}", file.path().display())).args([
                "-N",
                "-e",
                "SELECT CURRENT_USER()",
            ]);
            assert_eq!(run(&mut command), "odd@%\n");
        }
    }
    let odd = ConnectOptions {
        user: "odd".into(),
        password: Some(password.to_owned().into()),
        ..maria.options()
    };
    let dir = short_dir();
    assert!(mariadb_backup(&odd, &dir.path().join("stream")).await.files() > 50);
    let none = fs::read_dir("/dev/shm")
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("backstay-"))
        .count();
    assert!(none < 3, "option files are left behind");
}
