//! Temporary tables, which live in a server and in no file.

use backstay::model::Flavor;
use mysql_async::prelude::Queryable as _;

use crate::{
    archiver::Archiver,
    home::{Home, strs},
    load,
    node::Node,
    points::{restore, sums},
};

/// Batches of relay logs end with a server, so none ends while a session has a temporary table.
#[tokio::test(flavor = "multi_thread")]
async fn they_live_on_where_a_batch_would_end() {
    let node = Node::start(Flavor::Mariadb, 79, &["--binlog-format=MIXED"]);
    let home = Home::file();
    let (mut holder, mut writer) = (node.conn().await, node.conn().await);
    for sql in [
        "CREATE DATABASE bag",
        "CREATE TABLE bag.plain (a INT PRIMARY KEY)",
        "CREATE TABLE bag.large (b LONGTEXT)",
    ] {
        writer.query_drop(sql).await.unwrap();
    }
    home.run(&strs(&home.backup(&node.socket, &["--id", "base"]))).expect(0);
    holder.query_drop("CREATE TEMPORARY TABLE bag.temp (a INT)").await.unwrap();
    holder.query_drop("INSERT INTO bag.temp VALUES (11), (12)").await.unwrap();
    // 300 MiB of rows, since a UUID must not be made anew: more than a batch has.
    for _ in 0..3 {
        let sql =
            "INSERT INTO bag.large SELECT REPEAT(UUID(), 30000) FROM mysql.help_keyword LIMIT 100";
        writer.query_drop(sql).await.unwrap();
    }
    // A batch would end with this file, and the statement stands in the next one.
    node.run("FLUSH BINARY LOGS").await;
    holder.query_drop("INSERT INTO bag.plain SELECT a FROM bag.temp").await.unwrap();
    holder.query_drop("DROP TEMPORARY TABLE bag.temp").await.unwrap();
    writer.query_drop("INSERT INTO bag.plain VALUES (13)").await.unwrap();
    let wanted = load::checksums(&node.socket).await;
    Archiver::finish(&home, node.port, &[]);
    let datadir = home.path("new");
    let done = restore(&home, &datadir, &[]).expect(0).json();
    assert_eq!(done["status"], "proven", "{done:#}");
    assert!(done["replay"]["bytes"].as_u64().unwrap() > 256 << 20, "{done:#}");
    assert_eq!(sums(Flavor::Mariadb, &datadir).await, wanted);
}

/// A base that was taken while a session had a temporary table, whose statements follow.
#[tokio::test(flavor = "multi_thread")]
async fn a_base_within_a_session_with_temporary_tables_is_told() {
    let node = Node::start(Flavor::Mariadb, 75, &["--binlog-format=STATEMENT"]);
    let home = Home::file();
    let mut conn = node.conn().await;
    for sql in [
        "CREATE DATABASE bag",
        "CREATE TABLE bag.plain (a INT)",
        "CREATE TEMPORARY TABLE bag.temp (a INT)",
        "INSERT INTO bag.temp VALUES (11)",
    ] {
        conn.query_drop(sql).await.unwrap();
    }
    home.run(&strs(&home.backup(&node.socket, &["--id", "base"]))).expect(0);
    conn.query_drop("INSERT INTO bag.plain SELECT * FROM bag.temp").await.unwrap();
    Archiver::finish(&home, node.port, &[]);
    let datadir = home.path("new");
    restore(&home, &datadir, &[]).expect(6).says("temporary table").says("bag.temp");
    // What is there is nobody's data directory, and the next command begins anew.
    assert!(datadir.join(".backstay-restore").exists());
    restore(&home, &datadir, &["--backup", "base"]).expect(0);
}
