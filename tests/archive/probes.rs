//! What probes and Prometheus are told by a running archiver.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    capture::archive_args,
    home::{Home, strs},
    load,
    mysql9::Mysql9,
    tools::{free_port, wait_until},
};

fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

fn sample(port: u16, name: &str) -> f64 {
    let (code, text) = get(port, "/metrics").unwrap();
    assert_eq!(code, 200);
    let line = text.lines().find(|line| line.starts_with(&format!("backstay_archive_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_ready_a_standby_is_not_and_both_say_why() {
    let server = Mysql9::start(&[]);
    let home = Home::file();
    load::seed(&server.socket, 300).await;
    let start = || {
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let args = archive_args(&home, &server.socket, &["--listen", &listen]);
        (home.start(&strs(&args)), port)
    };
    let says = |port, code: u16, word: &str| {
        wait_until(word, Duration::from_secs(40), || {
            get(port, "/readyz") == Some((code, format!("{word}\n")))
        });
    };
    let (owner, port) = start();
    says(port, 200, "idle");
    let (standby, other) = start();
    says(other, 503, "standby");
    assert_eq!(get(other, "/healthz"), Some((200, "ok\n".to_owned())));
    let mut conn = load::connect(&server.socket).await;
    mysql_async::prelude::Queryable::query_drop(&mut conn, "CREATE DATABASE seen").await.unwrap();
    wait_until("the transaction is durable", Duration::from_secs(20), || {
        sample(port, "commit_to_durable_seconds_count") >= 1.0
            && sample(port, "lag_transactions") == 0.0
    });
    assert!(sample(port, "last_commit_timestamp_seconds") > 1e9);
    assert!(sample(port, "captured_bytes_total") > 100.0 && sample(port, "gaps_total") == 0.0);
    // The owner lets go, and the other one follows at once.
    owner.signal(Signal::TERM);
    owner.wait().expect(9);
    says(other, 200, "idle");
    assert!((sample(other, "epoch") - 2.0).abs() < 0.5, "the second epoch");
    drop(server);
    says(other, 503, "source-down");
    standby.signal(Signal::TERM);
    standby.wait().expect(9);
    // Nobody else's port is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let args = home.backup(std::path::Path::new("/none"), &["--listen", &listen]);
    let args: Vec<String> =
        std::iter::once("archive".to_owned()).chain(args.into_iter().skip(1)).collect();
    home.run(&strs(&args)).expect(2).says("--listen");
}
