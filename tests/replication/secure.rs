//! How a dump is let in: TLS, certificates, and each way to prove a password.

use std::{fs, path::PathBuf, time::Duration};

use backstay::{
    model::TransportSecurity,
    mysql::{
        ConnectOptions, Endpoint, MysqlError, Tls, TlsMode,
        replication::{Captured, Dump, DumpRequest},
    },
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::{capture::request, mariadb::short_dir, source::Source, tools::tool};

/// A CA, and what it has signed, as files in a folder.
struct Papers {
    dir: tempfile::TempDir,
}

impl Papers {
    fn new() -> Self {
        let dir = short_dir();
        let issuer = authority();
        let write = |name: &str, pem: String| fs::write(dir.path().join(name), pem).unwrap();
        write("ca.pem", issuer.0);
        for (name, host) in [("server", "127.0.0.1"), ("client", "archiver")] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, host);
            write(&format!("{name}.pem"), params.signed_by(&key, &issuer.1).unwrap().pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        write("other-ca.pem", authority().0);
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn server_options(&self) -> Vec<String> {
        [("ssl-ca", "ca.pem"), ("ssl-cert", "server.pem"), ("ssl-key", "server.key")]
            .map(|(option, name)| format!("--{option}={}", self.path(name).display()))
            .to_vec()
    }
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority of a test");
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

/// How far a dump comes: its first step, or why not.
async fn attempt(options: &ConnectOptions) -> Result<TransportSecurity, MysqlError> {
    // Any file will do: whether it exists is said after the login.
    let mut dump = Dump::start(options, &request("nothing.000001", 4)).await?;
    match dump.next().await {
        Err(MysqlError::Purged { .. }) => Ok(dump.transport()),
        other => panic!("{other:?}"),
    }
}

fn user(name: &str, password: &str, endpoint: Endpoint, mode: TlsMode) -> ConnectOptions {
    ConnectOptions {
        endpoint,
        user: name.to_owned(),
        password: Some(password.to_owned().into()),
        tls: Tls { mode, ..Tls::default() },
    }
}

fn tcp(host: &str, port: u16) -> Endpoint {
    Endpoint::Tcp { host: host.to_owned(), port }
}

async fn make(source: &Source, name: &str, how: &str) {
    source
        .run(&[
            &format!("CREATE USER {name}@'%' {how}"),
            &format!("GRANT REPLICATION SLAVE ON *.* TO {name}@'%'"),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tls_mode_demands_what_it_says() {
    use TlsMode::{Disabled, Preferred, Required, VerifyCa, VerifyIdentity};
    use TransportSecurity::{Plain, TlsUnverified, TlsVerified};
    let papers = Papers::new();
    let options = papers.server_options();
    for source in Source::both(&options.iter().map(String::as_str).collect::<Vec<_>>()) {
        make(&source, "plain", "IDENTIFIED BY 'Secret-1'").await;
        make(&source, "tls", "IDENTIFIED BY 'Secret-1' REQUIRE SSL").await;
        make(&source, "paper", "IDENTIFIED BY 'Secret-1' REQUIRE SUBJECT '/CN=archiver'").await;
        let port = source.port();
        let try_as = async |name: &str, host: &str, mode, ca: Option<&str>, cert: bool| {
            let mut options = user(name, "Secret-1", tcp(host, port), mode);
            options.tls.ca = ca.map(|name| papers.path(name));
            options.tls.cert = cert.then(|| papers.path("client.pem"));
            options.tls.key = cert.then(|| papers.path("client.key"));
            attempt(&options).await
        };
        let (ca, ip) = (Some("ca.pem"), "127.0.0.1");
        for (name, mode, ca, cert, expected) in [
            ("plain", Disabled, None, false, Plain),
            ("plain", Preferred, None, false, TlsUnverified),
            ("plain", Required, None, false, TlsUnverified),
            ("plain", VerifyCa, ca, false, TlsVerified),
            ("plain", VerifyIdentity, ca, false, TlsVerified),
            ("tls", Preferred, None, false, TlsUnverified),
            ("tls", VerifyIdentity, ca, false, TlsVerified),
            ("paper", Required, None, true, TlsUnverified),
            ("paper", VerifyIdentity, ca, true, TlsVerified),
        ] {
            let got = try_as(name, ip, mode, ca, cert).await;
            assert_eq!(got.unwrap_or_else(|e| panic!("{name} {mode:?}: {e}")), expected);
        }
        // The certificate is for the address, not for this name of it.
        assert_eq!(try_as("plain", "localhost", VerifyCa, ca, false).await.unwrap(), TlsVerified);
        for (host, mode, ca) in [
            ("localhost", VerifyIdentity, ca),
            (ip, VerifyCa, Some("other-ca.pem")),
            (ip, VerifyIdentity, Some("other-ca.pem")),
            (ip, VerifyCa, None),
            (ip, VerifyCa, Some("missing.pem")),
            (ip, VerifyCa, Some("server.key")),
        ] {
            let error = try_as("plain", host, mode, ca, false).await.unwrap_err();
            assert!(matches!(error, MysqlError::Tls { .. }), "{host} {mode:?} {ca:?}: {error}");
        }
        for (name, mode) in [("tls", Disabled), ("paper", Required), ("paper", Disabled)] {
            let error = try_as(name, ip, mode, None, false).await.unwrap_err();
            assert!(matches!(error, MysqlError::AccessDenied { .. }), "{name} {mode:?}: {error}");
        }
        let half = Tls { mode: Required, cert: Some(papers.path("client.pem")), ..Tls::default() };
        let half =
            ConnectOptions { tls: half, ..user("plain", "Secret-1", tcp(ip, port), Required) };
        assert!(matches!(attempt(&half).await, Err(MysqlError::Tls { .. })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_taken_only_if_that_is_allowed() {
    for source in [Source::mysql(&["--tls-version="]), Source::maria(&["--skip-ssl"])] {
        make(&source, "plain", "IDENTIFIED BY 'Secret-1'").await;
        let endpoint = tcp("127.0.0.1", source.port());
        let preferred = user("plain", "Secret-1", endpoint.clone(), TlsMode::Preferred);
        assert_eq!(attempt(&preferred).await.unwrap(), TransportSecurity::Plain);
        for mode in [TlsMode::Required, TlsMode::VerifyCa, TlsMode::VerifyIdentity] {
            let error =
                attempt(&user("plain", "Secret-1", endpoint.clone(), mode)).await.unwrap_err();
            assert!(matches!(error, MysqlError::Tls { .. }), "{error}");
        }
    }
}

/// Tries one user on each way in, twice, and with a wrong password.
async fn let_in(source: &Source, name: &str, password: &str) {
    let ways = [
        (Endpoint::Socket(source.socket().to_owned()), TlsMode::Preferred),
        (tcp("127.0.0.1", source.port()), TlsMode::Disabled),
        (tcp("127.0.0.1", source.port()), TlsMode::Required),
    ];
    for (endpoint, mode) in ways {
        // MySQL forgets the passwords that it has seen, and wants to see this one once more.
        source.run(&["FLUSH PRIVILEGES"]).await;
        for _ in 0..2 {
            attempt(&user(name, password, endpoint.clone(), mode))
                .await
                .unwrap_or_else(|e| panic!("{name} by {endpoint} {mode:?}: {e}"));
        }
        for wrong in ["not-this-one", "", "?"] {
            let error = attempt(&user(name, wrong, endpoint.clone(), mode)).await;
            if wrong == password {
                error.unwrap();
                continue;
            }
            let error = error.unwrap_err();
            assert!(matches!(error, MysqlError::AccessDenied { .. }), "{name} {endpoint}: {error}");
            assert!(!format!("{error:?}").contains("not-this-one"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_lets_each_plugin_in() {
    let source = Source::mysql(&[]);
    let long = "Long and odd: \u{fc}'\"\\ ".repeat(8);
    let quoted = long.replace('\\', "\\\\").replace('\'', "''");
    let sha2 = "IDENTIFIED WITH caching_sha2_password BY";
    make(&source, "modern", &format!("{sha2} 'Secret-1'")).await;
    make(&source, "lengthy", &format!("{sha2} '{quoted}'")).await;
    make(&source, "nothing", &format!("{sha2} ''")).await;
    make(&source, "alien", "IDENTIFIED WITH sha256_password BY 'Secret-1'").await;
    let_in(&source, "modern", "Secret-1").await;
    let_in(&source, "lengthy", &long).await;
    let_in(&source, "nothing", "").await;
    let endpoint = Endpoint::Socket(source.socket().to_owned());
    let alien = attempt(&user("alien", "Secret-1", endpoint, TlsMode::Preferred)).await;
    let told = alien.unwrap_err().to_string();
    assert!(told.contains("`sha256_password`"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_lets_each_plugin_in() {
    let plugins = format!("--plugin-dir={}", tool("mariadb-plugins").display());
    let (papers, load) = (Papers::new(), "--plugin-load-add=auth_ed25519".to_owned());
    let options = [papers.server_options(), vec![plugins, load]].concat();
    let source = Source::maria(&options.iter().map(String::as_str).collect::<Vec<_>>());
    let native = "mysql_native_password USING PASSWORD('Secret-1')";
    make(&source, "native", &format!("IDENTIFIED VIA {native}")).await;
    make(&source, "edwards", "IDENTIFIED VIA ed25519 USING PASSWORD('Secret-1')").await;
    let either = format!("IDENTIFIED VIA ed25519 USING PASSWORD('other') OR {native}");
    make(&source, "either", &either).await;
    make(&source, "nothing", "IDENTIFIED BY ''").await;
    let_in(&source, "native", "Secret-1").await;
    let_in(&source, "edwards", "Secret-1").await;
    let_in(&source, "either", "Secret-1").await;
    let_in(&source, "nothing", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_server_is_no_server() {
    use tokio::io::AsyncWriteExt as _;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = tcp("127.0.0.1", listener.local_addr().unwrap().port());
    let options = user("u", "p", endpoint, TlsMode::Preferred);
    for hello in
        [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\x05\0\0\0\x09abcd", b"\x01\0\0\0\x0a", b""]
    {
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(hello).await.unwrap();
        };
        let (attempt, ()) = tokio::join!(attempt(&options), serve);
        let error = attempt.unwrap_err();
        assert!(matches!(error, MysqlError::Unreachable { .. }), "{error}");
    }
}

/// Everything that is cancelled between is still there afterwards, through TLS too.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_waiting_is_cancelled() {
    let papers = Papers::new();
    let options = papers.server_options();
    for source in Source::both(&options.iter().map(String::as_str).collect::<Vec<_>>()) {
        make(&source, "archiver", "IDENTIFIED BY 'Secret-1'").await;
        source.run(&["CREATE DATABASE d", "CREATE TABLE d.t (v LONGTEXT)"]).await;
        let file = source.logs().await.pop().unwrap();
        let endpoint = tcp("127.0.0.1", source.port());
        let options = user("archiver", "Secret-1", endpoint, TlsMode::Required);
        let heartbeat = Duration::from_secs(1);
        let request = DumpRequest { file: file.clone(), offset: 4, heartbeat, until_end: false };
        let mut dump = Dump::start(&options, &request).await.unwrap();
        let mut capture = crate::capture::Capture::default();
        let insert = format!("INSERT INTO d.t VALUES (REPEAT('{}', 20000))", "v".repeat(50));
        let mut conn = source.conn().await;
        let write = async {
            for _ in 0..10 {
                mysql_async::prelude::Queryable::query_drop(&mut conn, &insert).await.unwrap();
            }
        };
        let read = async {
            let mut cancelled = 0;
            loop {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(Duration::from_micros(300)) => cancelled += 1,
                    next = dump.next() => match next.unwrap() {
                        Captured::Heartbeat { .. } if capture.groups() > 11 => break cancelled,
                        next => capture.take(next),
                    },
                }
            }
        };
        let ((), cancelled) = tokio::join!(write, read);
        assert!(cancelled > 100, "{cancelled}");
        let mut on_disk = fs::read(source.datadir().join(&file)).unwrap();
        on_disk[21] &= !1;
        assert!(capture.files[&file] == on_disk);
    }
}
