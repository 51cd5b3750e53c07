//! Event groups are where the server itself shows them.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use backstay::{
    model::{Gtid, Timestamp},
    mysql::replication::{Group, Meaning},
};
use mysql_async::{Conn, Row, prelude::Queryable as _};

use crate::{
    capture::{Capture, request},
    source::Source,
};

/// Every kind of group that clients can make. What stands after `?` is refused by some servers.
const WORK: &[&str] = &[
    "CREATE DATABASE d",
    "USE d",
    "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT) ENGINE=InnoDB",
    "CREATE TABLE m (id INT AUTO_INCREMENT PRIMARY KEY, v TEXT) ENGINE=MyISAM",
    "INSERT INTO t (v) VALUES ('one'), ('COMMIT')",
    "INSERT INTO t (v) VALUES ('%%')",
    "CREATE VIEW seen AS SELECT '%%' AS c",
    "INSERT INTO m (v) VALUES ('no transaction')",
    "UPDATE t SET v = 'not there' WHERE id = 999",
    "BEGIN",
    "INSERT INTO t (v) VALUES ('a')",
    "SAVEPOINT s",
    "INSERT INTO t (v) VALUES ('b')",
    "ROLLBACK TO SAVEPOINT s",
    "INSERT INTO t (v) VALUES ('c')",
    "COMMIT",
    "BEGIN",
    "INSERT INTO t (v) VALUES ('a')",
    "?INSERT INTO m (v) VALUES ('stays')",
    "SAVEPOINT s",
    "?INSERT INTO m (v) VALUES ('stays')",
    "ROLLBACK TO SAVEPOINT s",
    "ROLLBACK",
    "?CREATE TABLE copied SELECT * FROM t",
    "?CREATE TABLE copied_m ENGINE=MyISAM SELECT * FROM t",
    "CREATE TEMPORARY TABLE temp (a INT)",
    "INSERT INTO temp VALUES (1)",
    "INSERT INTO t (v) SELECT a FROM temp",
    "BEGIN",
    "?INSERT INTO temp VALUES (2)",
    "INSERT INTO t (v) SELECT a FROM temp",
    "?DROP TEMPORARY TABLE temp",
    "COMMIT",
    "SET @u = 7",
    "INSERT INTO t (v) VALUES (@u), (RAND()), (LAST_INSERT_ID())",
    "ALTER TABLE t ADD COLUMN w INT",
    "XA START 'x'",
    "INSERT INTO t (v) VALUES ('xa')",
    "XA END 'x'",
    "XA PREPARE 'x'",
    "XA COMMIT 'x'",
    "XA START 'y','branch',7",
    "INSERT INTO t (v) VALUES ('xa')",
    "XA END 'y','branch',7",
    "XA PREPARE 'y','branch',7",
    "XA ROLLBACK 'y','branch',7",
    "XA START 'z'",
    "INSERT INTO t (v) VALUES ('xa')",
    "XA END 'z'",
    "XA COMMIT 'z' ONE PHASE",
    "CREATE PROCEDURE p() BEGIN INSERT INTO t (v) VALUES ('p'); INSERT INTO m (v) VALUES ('p'); END",
    "CALL p()",
    "CREATE TRIGGER tr AFTER INSERT ON t FOR EACH ROW SET @n = 1",
    "INSERT INTO t (v) VALUES ('t')",
    "CREATE USER u@localhost IDENTIFIED BY 'Secret-1234567'",
    "GRANT SELECT ON d.* TO u@localhost",
    "ANALYZE TABLE t",
    "TRUNCATE TABLE m",
    "FLUSH TABLES",
    "INSERT INTO t (v) VALUES (REPEAT('blob', 1000000))",
    "?SET binlog_transaction_compression = ON",
    "INSERT INTO t (v) VALUES (REPEAT('blob', 1000000))",
    "BEGIN",
    "DELETE FROM t WHERE id < 3",
    "UPDATE t SET w = 5",
    "COMMIT",
    "?SET binlog_transaction_compression = OFF",
    "?SET binlog_rows_query_log_events = ON",
    "UPDATE t SET w = 6",
    "FLUSH BINARY LOGS",
    "?SET gtid_next = 'AUTOMATIC:audit_1'",
    "INSERT INTO t (v) VALUES ('tagged')",
    "CREATE TABLE tagged (a INT)",
    "?SET gtid_next = 'AUTOMATIC'",
    "?SET gtid_domain_id = 3",
    "INSERT INTO t (v) VALUES ('another domain')",
    "?SET gtid_domain_id = 0",
    "?SET gtid_seq_no = 5000",
    "INSERT INTO t (v) VALUES ('a number of mine')",
    "DROP TABLE t, m",
    "FLUSH BINARY LOGS",
    "DROP DATABASE d",
];

/// What the server shows: a group lasts from its name to the next name, or to what is of the file.
async fn shown(conn: &mut Conn, file: &str) -> Vec<(String, u64, u64)> {
    let rows: Vec<Row> = conn.query(format!("SHOW BINLOG EVENTS IN '{file}'")).await.unwrap();
    let mut groups: Vec<(String, u64, u64)> = Vec::new();
    let mut open = false;
    for row in rows {
        let text = |column: &str| row.get::<String, _>(column).unwrap();
        let (begin, end): (u64, u64) = (row.get("Pos").unwrap(), row.get("End_log_pos").unwrap());
        let info = text("Info");
        match text("Event_type").as_str() {
            "Gtid" | "Gtid_tagged_log_event" | "Anonymous_Gtid" => {
                let name = info
                    .split_once("GTID_NEXT=")
                    .and_then(|(_, rest)| rest.split('\'').nth(1))
                    .or_else(|| {
                        info.split_once("GTID ").and_then(|(_, rest)| rest.split(' ').next())
                    })
                    .unwrap_or_else(|| panic!("{info}"));
                groups.push((name.to_owned(), begin, end));
                open = true;
            }
            "Rotate" | "Stop" | "Format_desc" | "Previous_gtids" | "Gtid_list"
            | "Binlog_checkpoint" | "Start_encryption" => open = false,
            other => {
                assert!(open, "{other} outside of any group");
                groups.last_mut().unwrap().2 = end;
            }
        }
    }
    groups
}

fn found(capture: &Capture, file: &str) -> Vec<(String, u64, u64)> {
    let groups = capture.events.iter().filter(|(name, ..)| name == file);
    groups
        .filter_map(|(.., end)| end.group.as_ref())
        .map(|Group { gtid, begin, end, .. }| {
            let name = gtid.as_ref().map_or_else(|| "ANONYMOUS".to_owned(), Gtid::to_string);
            (name, *begin, *end)
        })
        .collect()
}

async fn groups_are_as_shown(source: &Source, expected: &[u8]) {
    let mut conn = source.conn().await;
    let began = Timestamp::now();
    for format in ["ROW", "MIXED", "STATEMENT"] {
        conn.query_drop(format!("SET binlog_format = {format}")).await.unwrap();
        for statement in WORK {
            let sql = statement.trim_start_matches('?').replace("%%", &"x".repeat(100_000));
            let done = conn.query_drop(sql).await;
            assert!(done.is_ok() || statement.starts_with('?'), "{format}: {statement}: {done:?}");
        }
        conn.query_drop("DROP USER u@localhost").await.unwrap();
        conn.query_drop("DROP TEMPORARY TABLE IF EXISTS temp").await.ok();
    }
    conn.query_drop("FLUSH BINARY LOGS").await.unwrap();
    let logs = source.logs().await;
    let capture = Capture::until_end(&source.options(), &request(&logs[0], 4)).await.unwrap();
    for (name, bytes) in source.closed().await {
        assert!(capture.files[&name] == bytes, "{name} is not as it is on disk");
    }
    let mut count = 0;
    for file in &logs {
        let (ours, theirs) = (found(&capture, file), shown(&mut conn, file).await);
        if ours != theirs {
            let mut told = String::new();
            for (mine, yours) in ours.iter().zip(&theirs).filter(|(a, b)| a != b).take(3) {
                writeln!(told, "{mine:?} for {yours:?}").unwrap();
            }
            panic!("{file}: {} groups for {}\n{told}", ours.len(), theirs.len());
        }
        count += ours.len();
    }
    assert!(count > 100, "{count} groups");
    let kinds: BTreeSet<u8> = capture.events.iter().map(|(_, kind, _)| *kind).collect();
    assert!(expected.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    let now = Timestamp::now();
    let mut open = false;
    for (file, kind, event) in &capture.events {
        match (&event.group, &event.meaning) {
            (Some(group), _) => {
                assert!(!event.in_group && group.begin < group.end && group.end == event.end);
                let age = now.seconds_since(group.committed_at);
                assert!((-1.0..=now.seconds_since(began) + 1.0).contains(&age), "{group:?}");
                open = false;
            }
            (None, Meaning::Gtid(_) | Meaning::Anonymous) => open = true,
            _ => {}
        }
        assert_eq!(event.in_group, open, "{file}: type {kind} up to {}", event.end);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_mysql_are_where_it_shows_them() {
    // Query, Intvar, Rand, User_var, Xid, XA_prepare, Rows_query, Transaction_payload, Gtid and tagged.
    let kinds = [2, 5, 13, 14, 16, 38, 29, 40, 33, 42];
    groups_are_as_shown(&Source::mysql(&[]), &kinds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_a_mysql_without_gtids_are_where_it_shows_them() {
    let off = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    groups_are_as_shown(&Source::mysql(&off), &[2, 16, 34, 38, 40]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_mariadb_are_where_it_shows_them() {
    // Annotations and checkpoints, and what is compressed.
    let kinds = [2, 5, 13, 14, 16, 38, 160, 161, 162, 163, 165, 166];
    groups_are_as_shown(&Source::maria(&["--log-bin-compress=ON"]), &kinds).await;
    let plain = Source::maria(&["--binlog-annotate-row-events=OFF"]);
    groups_are_as_shown(&plain, &[2, 16, 38, 162, 163]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_choose_the_stamp_and_mysql_tells_the_commit_all_the_same() {
    for source in Source::both(&[]) {
        source.run(&["CREATE DATABASE d", "CREATE TABLE d.t (a INT)", "FLUSH BINARY LOGS"]).await;
        source.run(&["SET timestamp = 1000000000", "INSERT INTO d.t VALUES (1)"]).await;
        let logs = source.logs().await;
        let last = request(logs.last().unwrap(), 4);
        let capture = Capture::until_end(&source.options(), &last).await.unwrap();
        let (.., event) =
            capture.events.iter().rev().find(|(.., event)| event.group.is_some()).unwrap();
        assert_eq!(event.timestamp, 1_000_000_000);
        let group = event.group.as_ref().unwrap();
        let age = Timestamp::now().seconds_since(group.committed_at);
        if source.is_mysql() {
            assert!((0.0..60.0).contains(&age), "{age}");
            assert_ne!(group.committed_at.as_microseconds() % 1_000_000, 0);
            assert_eq!(group.original_committed_at, Some(group.committed_at));
        } else {
            assert_eq!(group.committed_at.as_microseconds(), 1_000_000_000_000_000);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_tells_when_a_transaction_was_committed_where_it_comes_from() {
    // What the applier does with such a transaction, a client may do as well.
    let replica = Source::mysql(&[]);
    replica
        .run(&[
            "CREATE DATABASE d",
            "SET original_commit_timestamp = 1700000000123456",
            "SET gtid_next = '9a3225ed-e51b-11f1-86df-02fc00000001:77'",
            "CREATE TABLE d.t (a INT)",
        ])
        .await;
    let logs = replica.logs().await;
    let last = request(logs.last().unwrap(), 4);
    let capture = Capture::until_end(&replica.options(), &last).await.unwrap();
    let (.., event) = capture.events.last().unwrap();
    let group = event.group.as_ref().unwrap();
    assert_eq!(group.original_committed_at.unwrap().as_microseconds(), 1_700_000_000_123_456);
    assert!(
        Timestamp::now().seconds_since(group.committed_at) < Duration::from_mins(1).as_secs_f64()
    );
    assert_eq!(group.gtid.as_ref().unwrap().to_string(), "9a3225ed-e51b-11f1-86df-02fc00000001:77");
}
