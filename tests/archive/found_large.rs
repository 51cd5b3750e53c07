//! `find` in transactions that are larger than what it may hold.

use std::time::Duration;

use backstay::model::Flavor;
use mysql_async::prelude::Queryable as _;
use serde_json::Value;

use crate::{archiver::Archiver, found::matches, home::Home, node::Node, tools::wait_until};

/// The most that a restore may have resident, in KiB, and so may this.
const LIMIT: u64 = 256 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_of_mysql_takes_little_memory() {
    large(Flavor::Mysql, 78, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_compressed_transaction_of_mysql_takes_little_memory() {
    let more = ["--binlog-transaction-compression=ON", "--max-allowed-packet=1G"];
    large(Flavor::Mysql, 79, &more).await;
}

/// Rows of random bytes, 150 MB in one transaction (1 GB in the soak), all deleted in another.
async fn large(flavor: Flavor, id: u32, more: &[&str]) {
    let node = Node::start(flavor, id, more);
    let home = Home::file();
    let mut conn = node.conn().await;
    let thousands = if std::env::var_os("BACKSTAY_SOAK").is_some() { 1_000 } else { 150 };
    for sql in [
        "CREATE DATABASE w",
        "CREATE TABLE w.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, v BLOB)",
        "BEGIN",
        "INSERT INTO w.t (v) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT RANDOM_BYTES(1000) FROM n",
    ] {
        conn.query_drop(sql).await.unwrap();
    }
    for _ in 1..thousands {
        let sql = "INSERT INTO w.t (v) SELECT RANDOM_BYTES(1000) FROM w.t LIMIT 1000";
        conn.query_drop(sql).await.unwrap();
    }
    for sql in ["COMMIT", "DELETE FROM w.t"] {
        conn.query_drop(sql).await.unwrap();
    }
    conn.disconnect().await.unwrap();
    Archiver::finish(&home, node.port, &[]);
    let job = home.start(&["find", "--table", "w.t"]);
    let status = format!("/proc/{}/status", job.pid());
    let mut peak = 0;
    wait_until("it ends", Duration::from_mins(3), || {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let Some(line) = line else { return true };
        peak = line.trim().trim_end_matches(" kB").parse().unwrap();
        false
    });
    let found = job.wait().expect(0).json();
    let rows: Vec<_> = matches(&found).iter().map(|m| &m["changes"][0]["rows"]).collect();
    let all = Value::from(thousands * 1_000);
    assert_eq!(rows, [&all, &all, &Value::Null], "{found:#}");
    println!("{} MB: peak {peak} KiB", 2 * thousands);
    assert!(peak > 0 && peak <= LIMIT, "{peak} KiB resident");
}
