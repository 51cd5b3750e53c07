//! `find` on what real servers wrote: each drop, truncate and delete by its name, rows counted to the
//! last one, in every way in which the servers write them.

use std::time::{Duration, Instant};

use backstay::{
    format::{LogEntry, SegmentData, SegmentEntry, layout},
    model::{Flavor, GtidState, Timestamp},
    pipeline::log::record,
};
use mysql_async::prelude::Queryable as _;
use serde_json::Value;

use crate::{
    archiver::Archiver,
    home::{Done, Home, strs},
    node::Node,
    walk::repository,
};

/// The columns of each flavor, with values of every length and without.
fn columns(flavor: Flavor) -> Vec<(&'static str, &'static str)> {
    let mut columns = vec![
        ("TINYINT", "i % 100"),
        ("SMALLINT", "i"),
        ("MEDIUMINT UNSIGNED", "i * 7"),
        ("BIGINT", "i * 1000000007"),
        ("FLOAT", "i / 3"),
        ("DOUBLE", "i / 7"),
        ("DECIMAL(20,7)", "i / 11"),
        ("DECIMAL(9,9)", "0.123456789"),
        ("DATE", "'2026-11-21'"),
        ("TIME(3)", "'12:13:14.156'"),
        ("DATETIME(6)", "'2026-11-21 12:13:14.151617'"),
        ("TIMESTAMP(2) NULL", "'2026-11-21 12:13:14.15'"),
        ("DATETIME", "'2026-11-21 12:13:14'"),
        ("YEAR", "2026"),
        ("CHAR(10)", "LEFT('abcdefghij', i % 11)"),
        ("CHAR(250)", "REPEAT('é', i % 250)"),
        ("VARCHAR(20)", "REPEAT('a', i % 21)"),
        ("VARCHAR(4000)", "REPEAT('b', i % 700)"),
        ("TEXT", "REPEAT('c', i % 300)"),
        ("LONGBLOB", "REPEAT('d', i % 100)"),
        ("BINARY(16)", "LEFT(UNHEX(SHA2(i, 256)), 16)"),
        ("ENUM('x','y')", "IF(i % 2, 'x', 'y')"),
        ("SET('a','b','c')", "'a,c'"),
        ("BIT(11)", "i % 2048"),
        ("POINT", "POINT(i, i)"),
        ("JSON", "JSON_OBJECT('a', i, 'b', REPEAT('j', 60))"),
    ];
    columns.extend_from_slice(match flavor {
        Flavor::Mysql => &[("VECTOR(3)", "STRING_TO_VECTOR('[1,2,3]')")],
        Flavor::Mariadb => &[
            ("UUID", "UUID()"),
            ("INET6", "'2001:db8::1'"),
            ("VARCHAR(300) COMPRESSED", "REPEAT('e', i % 300)"),
            ("BLOB COMPRESSED", "REPEAT('f', i % 200)"),
        ],
    });
    columns
}

/// So many rows, each value `NULL` now and then.
fn insert(flavor: Flavor, table: &str, rows: u32) -> String {
    let columns = columns(flavor);
    let named: Vec<_> = (0..columns.len()).map(|n| format!("c{n}")).collect();
    let values: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(n, (_, value))| format!("IF(i % {} = 0, NULL, {value})", n + 3))
        .collect();
    format!(
        "INSERT INTO {table} ({}) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) SELECT {} FROM n",
        named.join(", "),
        values.join(", ")
    )
}

fn create(flavor: Flavor, table: &str) -> String {
    let columns: Vec<_> =
        columns(flavor).iter().enumerate().map(|(n, (of, _))| format!("c{n} {of}")).collect();
    format!("CREATE TABLE {table} (id INT AUTO_INCREMENT PRIMARY KEY, {})", columns.join(", "))
}

/// Runs statements in one session; the name of the one transaction that they are.
pub(crate) async fn did(node: &Node, statements: &[&str]) -> String {
    let state = |text: &str| GtidState::parse(node.flavor, text).unwrap();
    let before = state(&node.executed().await);
    let mut conn = node.conn().await;
    for sql in statements {
        conn.query_drop(*sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    conn.disconnect().await.unwrap();
    let new = state(&node.executed().await).missing_from(&before).unwrap();
    assert_eq!(new.count, 1, "{statements:?}: {}", new.text);
    new.text
}

pub(crate) fn find(home: &Home, args: &[&str]) -> Value {
    home.run(&[&["find"], args].concat()).expect(0).json()
}

pub(crate) fn matches(found: &Value) -> &Vec<Value> {
    assert_eq!((&found["version"], &found["status"]), (&1.into(), &"complete".into()), "{found:#}");
    found["matches"].as_array().unwrap()
}

/// Name, kind, tables and rows of each change, newest first.
fn told(found: &Value) -> Vec<String> {
    let change = |change: &Value| {
        let tables: Vec<_> = change["tables"].as_array().unwrap().iter().collect();
        let tables: Vec<_> = tables.iter().map(|name| name.as_str().unwrap()).collect();
        let least = if change["at_least"] == true { "+" } else { "" };
        let text = if change["by_text"] == true { " by text" } else { "" };
        let rows = change["rows"].as_u64().map_or_else(String::new, |rows| format!(" {rows}"));
        format!("{} {}{rows}{least}{text}", change["kind"].as_str().unwrap(), tables.join(","))
    };
    let found = matches(found).iter().map(|found| {
        let changes: Vec<_> = found["changes"].as_array().unwrap().iter().map(change).collect();
        assert!(found["restore"].as_str().unwrap().contains(found["gtid"].as_str().unwrap()));
        format!("{} {}", found["gtid"].as_str().unwrap(), changes.join("; "))
    });
    found.collect()
}

/// Waits until everything is durable that the server has.
async fn durable(home: &Home, node: &Node) {
    let began = Instant::now();
    let read = |text: &str| GtidState::parse(node.flavor, text).unwrap().position();
    let all = read(&node.executed().await);
    loop {
        let window = home.run(&["window"]).expect(0).json();
        if window["archive"]["gtid_set"].as_str().is_some_and(|set| read(set) == all) {
            return;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{window:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_is_found() {
    rows_are_found(Flavor::Mysql, 71, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_with_compressed_transactions_is_found() {
    rows_are_found(Flavor::Mysql, 72, &["--binlog-transaction-compression=ON"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_is_found() {
    rows_are_found(Flavor::Mariadb, 73, &["--binlog-format=ROW"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_with_compressed_events_is_found() {
    let more = ["--binlog-format=ROW", "--log-bin-compress=ON", "--log-bin-compress-min-len=10"];
    rows_are_found(Flavor::Mariadb, 74, &more).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_without_checksums_is_found() {
    rows_are_found(Flavor::Mariadb, 75, &["--binlog-format=ROW", "--binlog-checksum=NONE"]).await;
}

/// What happened, by name.
struct Happened {
    /// To `shop.orders`, the newest first.
    expected: Vec<String>,
    created: String,
    mixed: String,
    deleted: String,
    renamed: String,
    dropped: String,
    gone: String,
}

/// From the creation of three tables to their end.
async fn happens(node: &Node) -> Happened {
    let flavor = node.flavor;
    let mut expected = Vec::new();
    for table in ["orders", "lines", "other"] {
        let name = format!("shop.{table}");
        node.run(&create(flavor, &name)).await;
    }
    let created = did(node, &["CREATE TABLE shop.parts (id INT)"]).await;
    changed(node, &mut expected).await;
    // Of several tables and kinds; a minimal image.
    let mixed = [
        "SET SESSION binlog_row_image = MINIMAL",
        "BEGIN",
        "INSERT INTO shop.lines (c0) VALUES (1), (2), (3)",
        "DELETE FROM shop.orders WHERE id IN (1, 2)",
        "UPDATE shop.lines SET c1 = 9 WHERE c0 >= 2",
        "INSERT INTO shop.orders (c0) VALUES (1)",
        "COMMIT",
    ];
    let mixed = did(node, &mixed).await;
    expected.push(format!("{mixed} delete shop.orders 2; insert shop.orders 1"));
    // MariaDB's stamps have seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    node.run("FLUSH BINARY LOGS").await;
    let count: u64 =
        node.ask("SELECT COUNT(*) FROM shop.orders WHERE id % 7 > 0").await.parse().unwrap();
    let deleted = did(node, &["DELETE FROM shop.orders WHERE id % 7 > 0"]).await;
    expected.push(format!("{deleted} delete shop.orders {count}"));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    node.run("FLUSH BINARY LOGS").await;
    let truncated = did(node, &["TRUNCATE TABLE shop.orders"]).await;
    expected.push(format!("{truncated} truncate shop.orders"));
    let renamed =
        did(node, &["RENAME TABLE shop.orders TO shop.old, shop.parts TO shop.orders"]).await;
    expected.push(format!("{renamed} ddl shop.orders,shop.old,shop.parts"));
    let dropped = did(node, &["USE shop", "DROP TABLE orders, `lines`"]).await;
    expected.push(format!("{dropped} drop shop.orders,shop.lines"));
    let gone = did(node, &["DROP DATABASE shop"]).await;
    expected.push(format!("{gone} drop shop.*"));
    expected.reverse();
    Happened { expected, created, mixed, deleted, renamed, dropped, gone }
}

/// Rows come, are updated, wholly and partly, and one goes.
async fn changed(node: &Node, expected: &mut Vec<String>) {
    let flavor = node.flavor;
    let rows = 7_000;
    let recursion = match flavor {
        Flavor::Mysql => "SET SESSION cte_max_recursion_depth = 100000",
        Flavor::Mariadb => "SET SESSION max_recursive_iterations = 100000",
    };
    let gtid = did(node, &[recursion, &insert(flavor, "shop.orders", rows)]).await;
    expected.push(format!("{gtid} insert shop.orders {rows}"));
    let update =
        "UPDATE shop.orders SET c0 = 1 - COALESCE(c0, 7), c18 = REPEAT('u', 50) WHERE id % 3 = 0";
    let count = node.ask("SELECT COUNT(*) FROM shop.orders WHERE id % 3 = 0").await;
    let gtid = did(node, &[update]).await;
    expected.push(format!("{gtid} update shop.orders {count}"));
    if flavor == Flavor::Mysql {
        let partly = [
            "SET SESSION binlog_row_value_options = PARTIAL_JSON",
            "UPDATE shop.orders SET c25 = JSON_SET(c25, '$.a', 0) WHERE id <= 100 AND c25 IS NOT NULL",
        ];
        let count =
            node.ask("SELECT COUNT(*) FROM shop.orders WHERE id <= 100 AND c25 IS NOT NULL").await;
        let gtid = did(node, &partly).await;
        expected.push(format!("{gtid} update shop.orders {count}"));
        let tagged = ["SET gtid_next = 'AUTOMATIC:audit'", "DELETE FROM shop.orders WHERE id = 5"];
        let gtid = did(node, &tagged).await;
        assert!(gtid.contains(":audit:"), "{gtid}");
        expected.push(format!("{gtid} delete shop.orders 1"));
    }
}

async fn rows_are_found(flavor: Flavor, id: u32, more: &[&str]) {
    let node = Node::start(flavor, id, more);
    let home = Home::file();
    node.run("CREATE DATABASE shop").await;
    home.run(&strs(&home.backup(&node.socket, &["--id", "first"]))).expect(0);
    let mut archiver = Archiver::start(&home, node.port, &[]);
    archiver.owns();
    let Happened { expected, created, mixed, deleted, renamed, dropped, gone } =
        happens(&node).await;
    durable(&home, &node).await;
    // Its last bytes are in tails, between which transactions are cut.
    archiver.kill();

    let orders = ["--table", "shop.orders", "--limit", "100"];
    let found = find(&home, &orders);
    let mut all = told(&found);
    let creation = all.pop().unwrap();
    assert!(creation.ends_with("ddl shop.orders"), "{creation}");
    assert_eq!(all, expected, "{found:#}");
    assert_eq!(found["more"], false);
    let backups: Vec<_> = matches(&found).iter().map(|m| &m["restorable_from"]).collect();
    assert!(backups.iter().all(|backup| *backup == "first"), "{found:#}");
    assert!(matches(&found).iter().all(|m| m["line"] == "current"), "{found:#}");
    // The same from segments.
    Archiver::finish(&home, node.port, &["--takeover"]);
    let (mut again, mut records) = (find(&home, &orders), Vec::new());
    for (one, other) in again["matches"].as_array_mut().unwrap().iter_mut().zip(matches(&found)) {
        assert!(one["record"].as_u64() >= other["record"].as_u64());
        records.push(std::mem::replace(&mut one["record"], other["record"].clone()));
    }
    assert_eq!(again["matches"], found["matches"]);
    for (one, number) in again["matches"].as_array_mut().unwrap().iter_mut().zip(records) {
        one["record"] = number;
    }

    // Each kind, and nothing else.
    let of = |kind: &str| told(&find(&home, &[&orders[..], &["--kind", kind]].concat()));
    let kinds = |kind: &str| -> Vec<String> {
        let of_kind = |line: &&String| {
            let (_, change) = line.split_once(' ').unwrap();
            change.split("; ").any(|change| change.starts_with(kind))
        };
        expected.iter().filter(of_kind).cloned().collect()
    };
    assert_eq!(of("drop"), kinds("drop"));
    assert_eq!(of("truncate"), kinds("truncate"));
    let alone = |line: &String| line.replace("; insert shop.orders 1", "");
    assert_eq!(of("delete"), kinds("delete").iter().map(alone).collect::<Vec<_>>());
    assert_eq!(of("update"), kinds("update"));
    assert_eq!(of("insert").len(), 2);
    assert_eq!(of("ddl").len(), 5, "{:?}", of("ddl"));
    // Other tables, whole schemas, and all definitions.
    let parts = told(&find(&home, &["--table", "SHOP.Parts"]));
    let renaming = format!("{renamed} ddl shop.orders,shop.old,shop.parts");
    assert_eq!(
        parts,
        [format!("{gone} drop shop.*"), renaming, format!("{created} ddl shop.parts")]
    );
    let lines = told(&find(&home, &["--table", "shop.lines", "--kind", "update"]));
    assert_eq!(lines, [format!("{mixed} update shop.lines 2")]);
    assert_eq!(told(&find(&home, &["--table", "shop.*", "--kind", "drop"])).len(), 2);
    let any = find(&home, &["--limit", "3"]);
    assert_eq!((any["kind"].as_str(), &any["more"]), (Some("ddl"), &true.into()), "{any:#}");
    let newest = [&dropped, &renamed].map(String::as_str);
    assert_eq!(matches(&any)[1]["gtid"], newest[0]);
    assert_eq!(matches(&any)[2]["gtid"], newest[1]);
    assert_eq!(told(&find(&home, &["--table", "shop.nothing", "--kind", "delete"])), [""; 0]);

    between(&home, &found, &deleted);
    damaged(&home, &again, &deleted).await;
}

/// The limits of time are themselves included, and what lies beyond is not even opened.
fn between(home: &Home, found: &Value, gtid: &str) {
    let one = matches(found).iter().find(|m| m["gtid"] == gtid).unwrap();
    let at = one["committed_at"].as_str().unwrap();
    let instant: Timestamp = at.parse().unwrap();
    let shifted =
        |us: i64| Timestamp::from_microseconds(instant.as_microseconds() + us).unwrap().to_string();
    let deletes = ["--table", "shop.orders", "--kind", "delete"];
    let with = |more: &[&str]| find(home, &[&deletes[..], more].concat());
    let exact = with(&["--since", at, "--until", at]);
    assert_eq!(told(&exact).len(), 1, "{exact:#}");
    assert_eq!(matches(&exact)[0]["gtid"], gtid);
    let searched = &exact["searched"];
    assert!(searched["opened"].as_u64() < searched["ranges"].as_u64(), "{exact:#}");
    let (after, before) = (shifted(1), shifted(-1));
    let later = with(&["--since", &after]);
    assert!(matches(&later).is_empty(), "{later:#}");
    let earlier = with(&["--until", &before]);
    assert!(!matches(&earlier).is_empty() && matches(&earlier).iter().all(|m| m["gtid"] != gtid));
    home.run(&["find", "--since", &after, "--until", &before]).expect(2);
    home.run(&["find", "--since", at.trim_end_matches('Z')]).expect(2).says("offset");
}

/// A range that is not as it was written is told of, and what lies elsewhere is found.
async fn damaged(home: &Home, found: &Value, gtid: &str) {
    let one = matches(found).iter().find(|m| m["gtid"] == gtid).unwrap();
    let file = one["binlog_file"].as_str().unwrap();
    let number = one["record"].as_u64().unwrap();
    let cluster = "c".parse().unwrap();
    let held = record(&repository(home, None).await, number).await.unwrap().record;
    let name = match held.entry {
        LogEntry::Segment(SegmentEntry { range, data: SegmentData::Object { id, .. } }) => {
            layout::segment(&cluster, &range.server, &range.file, range.start, id)
        }
        LogEntry::Segment(SegmentEntry { data: SegmentData::Tails(tails), .. }) => {
            layout::log(&cluster, tails[0].0)
        }
        other => panic!("{other:?}"),
    };
    let segment = home.path("repo").join(name);
    let good = std::fs::read(&segment).unwrap();
    let mut bad = good.clone();
    let within = bad.len() - 200;
    bad[within] ^= 4;
    std::fs::write(&segment, bad).unwrap();
    let orders = ["find", "--table", "shop.orders", "--limit", "100"];
    let done = home.run(&orders).expect(6);
    let told = done.json();
    assert_eq!(told["status"], "incomplete", "{told:#}");
    assert_eq!(told["unreadable"][0]["binlog_file"], file, "{told:#}");
    let rest = matches(found).iter().filter(|m| m["binlog_file"] != file);
    let rest: Vec<_> = rest.map(|m| m["gtid"].clone()).collect();
    let left = told["matches"].as_array().unwrap().iter();
    assert_eq!(left.map(|m| m["gtid"].clone()).collect::<Vec<_>>(), rest, "{told:#}");
    std::fs::write(&segment, good).unwrap();
    home.run(&orders).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_mysql_are_found() {
    statements_are_found(Flavor::Mysql, 76, &["--binlog-format=STATEMENT"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_mariadb_are_found() {
    let more =
        ["--binlog-format=STATEMENT", "--log-bin-compress=ON", "--log-bin-compress-min-len=10"];
    statements_are_found(Flavor::Mariadb, 77, &more).await;
}

async fn statements_are_found(flavor: Flavor, id: u32, more: &[&str]) {
    let node = Node::start(flavor, id, more);
    let mut home = Home::file();
    node.run("CREATE DATABASE shop").await;
    node.run("CREATE TABLE shop.orders (id INT PRIMARY KEY, v VARCHAR(100))").await;
    let mut expected = Vec::new();
    for (statement, change) in [
        ("INSERT INTO orders VALUES (1, 'UPDATE shop.lines'), (2, 'b')", "insert shop.orders"),
        ("REPLACE INTO orders VALUES (1, 'c')", "insert shop.orders"),
        ("UPDATE shop.orders SET v = 'DELETE' WHERE id = 1", "update shop.orders"),
        ("DELETE o FROM orders AS o WHERE o.id = 2", "delete shop.o,shop.orders"),
        ("DELETE FROM `orders`", "delete shop.orders"),
    ] {
        let gtid = did(&node, &["USE shop", statement]).await;
        expected.push(format!("{gtid} {change} by text"));
    }
    let secret = "CREATE USER someone@'%' IDENTIFIED BY 'a very secret word'";
    let user = did(&node, &[secret]).await;
    let gtid = did(&node, &["DROP DATABASE shop"]).await;
    expected.push(format!("{gtid} drop shop.*"));
    Archiver::finish(&home, node.port, &[]);
    let found = find(&home, &["--table", "shop.orders"]);
    let mut all = told(&found);
    all.pop().unwrap();
    expected.reverse();
    assert_eq!(all, expected, "{found:#}");
    // Nobody has taken a backup.
    assert!(matches(&found).iter().all(|m| m["restorable_from"].is_null()), "{found:#}");
    assert_eq!(matches(&found)[1]["changes"][0]["statement"], "DELETE FROM `orders`");
    let users = find(&home, &["--kind", "ddl"]);
    let user = matches(&users).iter().find(|m| m["gtid"] == *user).unwrap();
    let statement = user["changes"][0]["statement"].as_str().unwrap();
    assert!(statement.starts_with("CREATE USER") && statement.ends_with('…'), "{statement}");
    assert!(!users.to_string().contains("secret"), "{users:#}");

    let format = home.flags.iter().position(|flag| flag == "json").unwrap();
    "text".clone_into(&mut home.flags[format]);
    let Done { out, .. } = home.run(&["find", "--table", "shop.orders"]).expect(0);
    println!("{out}");
    for words in [
        "  DROP      shop.*\n            DROP DATABASE shop\n",
        "  DELETE    shop.orders  by its text",
        "NO BACKUP REACHES IT",
        &format!("backstay restore --before-gtid {gtid} --datadir /path/to/new --repo file:///"),
    ] {
        assert!(out.contains(words), "no `{words}` in\n{out}");
    }
    assert!(out.find(&gtid).unwrap() < out.find("DELETE FROM").unwrap(), "newest first\n{out}");
}
