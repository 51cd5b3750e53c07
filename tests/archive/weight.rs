//! Large transactions: shipped whole, in little memory.

use std::{path::Path, time::Duration};

use mysql_async::prelude::Queryable as _;
use rustix::process::Signal;

use crate::{
    capture::archive_args,
    home::{Home, strs},
    load,
    mariadb::MariaDb,
    minio::Minio,
    mysql9::Mysql9,
    reassembled,
    tools::wait_until,
};

/// The most that an archiver may have resident, in KiB.
const LIMIT: u64 = 64 << 10;

fn megabytes() -> u64 {
    if std::env::var_os("BACKSTAY_SOAK").is_some() { 1_000 } else { 150 }
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_in_many_events() {
    let server = Mysql9::start(&[]);
    weigh(&server.socket, "binlog", "weight-mysql").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_in_one_compressed_event() {
    let server = Mysql9::start(&["--binlog-transaction-compression=ON", "--max-allowed-packet=1G"]);
    weigh(&server.socket, "binlog", "weight-payload").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_in_many_events() {
    let server = MariaDb::start(&[]);
    weigh(&server.socket, "bin", "weight-mariadb").await;
}

async fn weigh(socket: &Path, base: &str, bucket: &str) {
    let minio = Minio::shared();
    let home = Home::s3(minio, &minio.endpoint(), bucket).await;
    let job = home.start(&strs(&archive_args(&home, socket, &[])));
    let mut conn = load::connect(socket).await;
    conn.query_drop("CREATE DATABASE w").await.unwrap();
    conn.query_drop("CREATE TABLE w.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, v BLOB)")
        .await
        .unwrap();
    conn.query_drop("BEGIN").await.unwrap();
    // Random bytes: what is compressed must stay large.
    conn.query_drop("INSERT INTO w.t (v) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT RANDOM_BYTES(1000) FROM n").await.unwrap();
    for _ in 1..megabytes() {
        conn.query_drop("INSERT INTO w.t (v) SELECT RANDOM_BYTES(1000) FROM w.t LIMIT 1000")
            .await
            .unwrap();
    }
    conn.query_drop("COMMIT").await.unwrap();
    for n in 0..20 {
        conn.query_drop(format!("INSERT INTO w.t (v) VALUES ('{n}')")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The weight is read while the process is there.
    let status = format!("/proc/{}/status", job.pid());
    tokio::time::sleep(Duration::from_secs(2)).await;
    job.signal(Signal::TERM);
    let (mut peak, mut last) = (0, String::new());
    wait_until("the archiver ends", Duration::from_mins(2), || {
        let Ok(text) = std::fs::read_to_string(&status) else { return true };
        last = text
            .lines()
            .filter(|line| line.starts_with("Vm") || line.starts_with("Rss"))
            .collect::<Vec<_>>()
            .join(" ");
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let Some(line) = line else { return true };
        peak = line.trim().trim_end_matches(" kB").parse().unwrap();
        false
    });
    job.wait().expect(9);
    // What came after the signal.
    home.run(&strs(&archive_args(&home, socket, &["--until-current"]))).expect(0);
    let (archive, files) = reassembled::files(&home).await;
    let server = archive.state.owner.as_ref().unwrap().server.name.to_string();
    let folder = socket.parent().unwrap().join("data");
    reassembled::assert_same(&files, &server, &folder, base);
    println!("{last}");
    println!("{} MB: peak {peak} KiB, {} records", megabytes(), archive.state.head.number);
    assert!(peak > 0 && peak <= LIMIT, "{peak} KiB resident");
}
