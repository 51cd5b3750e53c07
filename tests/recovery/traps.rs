//! What is easily lost or doubled in a replay: each of these went wrong on a real server once.

use std::collections::BTreeMap;

use backstay::model::Flavor;
use mysql_async::prelude::Queryable as _;

use crate::{
    archiver::Archiver,
    home::{Home, strs},
    load,
    node::Node,
    points::restore,
    served::Served,
};

/// What else there is in a server, by name.
async fn belongings(socket: &std::path::Path) -> BTreeMap<String, String> {
    let mut conn = load::connect(socket).await;
    let mut found = BTreeMap::new();
    for (what, sql) in [
        (
            "event",
            "SELECT CONCAT(EVENT_SCHEMA, '.', EVENT_NAME), CONCAT_WS(' ', DEFINER, STATUS, EVENT_DEFINITION) FROM information_schema.EVENTS",
        ),
        (
            "trigger",
            "SELECT CONCAT(TRIGGER_SCHEMA, '.', TRIGGER_NAME), CONCAT_WS(' ', DEFINER, ACTION_STATEMENT) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA <> 'sys'",
        ),
        (
            "routine",
            "SELECT CONCAT(ROUTINE_SCHEMA, '.', ROUTINE_NAME), ROUTINE_DEFINITION FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'bag'",
        ),
    ] {
        let rows: Vec<(String, Option<String>)> = conn.query(sql).await.unwrap();
        for (name, text) in rows {
            found.insert(format!("{what} {name}"), text.unwrap_or_default());
        }
    }
    let users: Vec<(String, String)> = conn
        .query("SELECT User, Host FROM mysql.user WHERE User NOT LIKE 'mysql.%' AND User <> 'root'")
        .await
        .unwrap();
    for (user, host) in users {
        let grants: Vec<String> =
            conn.query(format!("SHOW GRANTS FOR '{user}'@'{host}'")).await.unwrap();
        found.insert(format!("user {user}@{host}"), grants.join("\n"));
    }
    conn.disconnect().await.unwrap();
    found
}

const BEFORE: &[&str] = &[
    "CREATE DATABASE bag",
    "CREATE TABLE bag.plain (a INT, b VARCHAR(50))",
    "CREATE TABLE bag.sums (id INT PRIMARY KEY, n INT)",
    "CREATE TABLE bag.ticks (at DATETIME(6))",
    "CREATE TABLE bag.doc (id INT PRIMARY KEY, j JSON, b LONGBLOB)",
    "INSERT INTO bag.sums VALUES (1, 0)",
    "CREATE TRIGGER bag.count_plain AFTER INSERT ON bag.plain FOR EACH ROW UPDATE bag.sums SET n = n + 1",
    "CREATE EVENT bag.tick ON SCHEDULE EVERY 1 SECOND DO INSERT INTO bag.ticks VALUES (NOW(6))",
    "CREATE EVENT bag.kept ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1",
    "CREATE EVENT bag.turned ON SCHEDULE EVERY 1 DAY DO SELECT 1",
    "CREATE EVENT bag.gone ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1",
    "CREATE USER early@localhost IDENTIFIED BY 'Early-Bird-1'",
];

const BEHIND: &[&str] = &[
    // Without a key, twice the same row.
    "INSERT INTO bag.plain VALUES (1, 'x'), (1, 'x'), (2, 'y')",
    "DELETE FROM bag.plain WHERE a = 1 LIMIT 1",
    "UPDATE bag.plain SET b = CONCAT(b, '!')",
    "INSERT INTO bag.doc VALUES (1, '{\"a\": [1, 2]}', REPEAT('z', 2000000))",
    "UPDATE bag.doc SET j = JSON_SET(j, '$.b', 7)",
    "ALTER TABLE bag.plain ADD COLUMN c INT DEFAULT 5, ADD KEY (a)",
    "CREATE TABLE bag.old (a INT) ENGINE = MyISAM",
    "INSERT INTO bag.old VALUES (1), (2)",
    "XA START 'one'",
    "INSERT INTO bag.plain (a, b) VALUES (7, 'xa')",
    "XA END 'one'",
    "XA PREPARE 'one'",
    "XA COMMIT 'one'",
    "CREATE USER late@localhost IDENTIFIED BY 'Late-Bird-1'",
    "GRANT SELECT, INSERT ON bag.* TO late@localhost",
    "GRANT UPDATE ON bag.sums TO early@localhost",
    "CREATE TRIGGER bag.again BEFORE UPDATE ON bag.sums FOR EACH ROW SET @seen = 1",
    "CREATE DEFINER = early@localhost EVENT bag.made ON SCHEDULE EVERY 1 DAY DO SELECT 'DISABLE'",
    "CREATE EVENT bag.asleep ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 2",
    "ALTER EVENT bag.turned DISABLE",
    "ALTER EVENT bag.kept COMMENT 'ENABLE'",
    "DROP EVENT bag.gone",
    "CREATE EVENT bag.gone ON SCHEDULE EVERY 1 DAY DO SELECT 3",
    "CREATE FUNCTION bag.twice(n INT) RETURNS INT DETERMINISTIC RETURN 2 * n",
    "CREATE TABLE bag.copy AS SELECT * FROM bag.plain",
    "TRUNCATE TABLE bag.sums",
    "INSERT INTO bag.sums VALUES (1, bag.twice(4))",
];

#[tokio::test(flavor = "multi_thread")]
async fn mysql_loses_and_doubles_nothing() {
    bag(Flavor::Mysql, "ROW", &["--binlog-transaction-compression=ON"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_loses_and_doubles_no_statement() {
    bag(Flavor::Mysql, "STATEMENT", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_loses_and_doubles_nothing() {
    bag(Flavor::Mariadb, "ROW", &["--log-bin-compress=ON"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_loses_and_doubles_no_statement() {
    bag(Flavor::Mariadb, "MIXED", &[]).await;
}

async fn bag(flavor: Flavor, format: &str, extra: &[&str]) {
    let format = format!("--binlog-format={format}");
    let trusted = "--log-bin-trust-function-creators=ON";
    let extra = [extra, &[format.as_str(), trusted, "--event-scheduler=ON"]].concat();
    let node = Node::start(flavor, 74, &extra);
    let home = Home::file();
    let mut conn = node.conn().await;
    for sql in BEFORE {
        conn.query_drop(*sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    home.run(&strs(&home.backup(&node.socket, &["--id", "base"]))).expect(0);
    // Temporary tables live on through the end of a file.
    conn.query_drop("CREATE TEMPORARY TABLE bag.temp (a INT)").await.unwrap();
    conn.query_drop("INSERT INTO bag.temp VALUES (11), (12)").await.unwrap();
    node.run("FLUSH BINARY LOGS").await;
    for sql in BEHIND {
        // MySQL keeps the engine of a clone's tables to InnoDB, but not that of later ones.
        conn.query_drop(*sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    conn.query_drop("INSERT INTO bag.plain (a, b) SELECT a, 'temp' FROM bag.temp").await.unwrap();
    conn.query_drop("DROP TEMPORARY TABLE bag.temp").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    conn.query_drop("SET GLOBAL event_scheduler = OFF").await.unwrap();
    conn.disconnect().await.unwrap();
    // Prepared, and nobody says what shall become of it.
    let mut conn = node.conn().await;
    for sql in [
        "XA START 'open', 'branch'",
        "INSERT INTO bag.sums VALUES (2, 2)",
        "XA END 'open', 'branch'",
        "XA PREPARE 'open', 'branch'",
    ] {
        conn.query_drop(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    conn.disconnect().await.unwrap();
    let (sums, things) = (load::checksums(&node.socket).await, belongings(&node.socket).await);
    Archiver::finish(&home, node.port, &[]);
    let datadir = home.path("new");
    let done = restore(&home, &datadir, &[]).expect(0).json();
    assert_eq!(done["status"], "proven", "{done:#}");
    let open = done["proof"]["open_xa"].as_array().unwrap();
    assert_eq!(open.len(), 1, "{done:#}");
    let server = Served::over(flavor, &datadir);
    assert_eq!(load::checksums(&server.socket).await, sums, "{done:#}");
    let mut conn = load::connect(&server.socket).await;
    conn.query_drop(format!("XA COMMIT {}", open[0].as_str().unwrap())).await.unwrap();
    let n: Option<u32> = conn.query_first("SELECT n FROM bag.sums WHERE id = 2").await.unwrap();
    assert_eq!(n, Some(2));
    conn.disconnect().await.unwrap();
    assert_eq!(belongings(&server.socket).await, things);
}
