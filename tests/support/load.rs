//! Writes to a server from several tasks, until told to stop.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use mysql_async::{Conn, OptsBuilder, prelude::Queryable};

use crate::mariadb::PASSWORD;

/// A connection as root.
pub(crate) async fn connect(socket: &Path) -> Conn {
    let options = OptsBuilder::default()
        .socket(Some(socket.to_str().unwrap()))
        .user(Some("root"))
        .pass(Some(PASSWORD));
    Conn::new(options).await.unwrap()
}

/// Makes the schema `load`, with some rows.
pub(crate) async fn seed(socket: &Path, rows: u32) {
    let mut conn = connect(socket).await;
    conn.query_drop("CREATE DATABASE IF NOT EXISTS `load`").await.unwrap();
    for table in 0..4 {
        conn.query_drop(format!(
            "CREATE TABLE `load`.t{table} (id BIGINT AUTO_INCREMENT PRIMARY KEY, k INT NOT NULL, v VARCHAR(300), KEY (k))"
        ))
        .await
        .unwrap();
        conn.query_drop("SET SESSION cte_max_recursion_depth = 1000000").await.ok();
        conn.query_drop("SET SESSION max_recursive_iterations = 1000000").await.ok();
        conn.query_drop(format!(
            "INSERT INTO `load`.t{table} (k, v) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
             SELECT i % 997, REPEAT(CHAR(97 + i % 26), 250) FROM n"
        ))
        .await
        .unwrap();
    }
    conn.disconnect().await.unwrap();
}

/// A running load.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<u64>>,
}

impl Load {
    /// Starts `tasks` writers over the tables of [`seed`]: inserts, updates, deletes, now and then DDL.
    pub(crate) fn start(socket: &Path, tasks: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = |number| tokio::spawn(write(socket.to_owned(), number, Arc::clone(&stop)));
        Self { tasks: (0..tasks).map(task).collect(), stop: Arc::clone(&stop) }
    }

    /// Stops it; how many transactions were committed.
    pub(crate) async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut committed = 0;
        for task in self.tasks {
            committed += task.await.unwrap();
        }
        committed
    }
}

async fn write(socket: std::path::PathBuf, number: u32, stop: Arc<AtomicBool>) -> u64 {
    let mut conn = connect(&socket).await;
    let mut committed = 0;
    while !stop.load(Ordering::Relaxed) {
        let n = committed;
        let table = format!("`load`.t{}", n % 4);
        let statement = match n % 8 {
            7 if n % 200 == 199 => {
                format!("CREATE OR REPLACE VIEW `load`.v{number} AS SELECT {n} AS n")
            }
            0..=3 => format!("INSERT INTO {table} (k, v) VALUES ({n}, REPEAT('x', {}))", n % 300),
            4..=6 => {
                format!("UPDATE {table} SET v = CONCAT('u', {n}) WHERE id = {}", 1 + n * 7 % 1000)
            }
            _ => format!("DELETE FROM {table} WHERE k = {} LIMIT 1", n % 997),
        };
        match conn.query_drop(statement).await {
            Ok(()) => committed += 1,
            // A deadlock between the writers is nobody's fault.
            Err(mysql_async::Error::Server(e)) if matches!(e.code, 1205 | 1213) => {}
            Err(e) => panic!("load: {e}"),
        }
    }
    conn.disconnect().await.unwrap();
    committed
}

/// `CHECKSUM TABLE` of every user table, by name.
pub(crate) async fn checksums(socket: &Path) -> BTreeMap<String, u64> {
    let mut conn = connect(socket).await;
    let tables: Vec<String> = conn
        .query(
            "SELECT CONCAT('`', TABLE_SCHEMA, '`.`', TABLE_NAME, '`') FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' \
             AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema')",
        )
        .await
        .unwrap();
    let mut sums = BTreeMap::new();
    for table in tables {
        let row: Option<(String, Option<u64>)> =
            conn.query_first(format!("CHECKSUM TABLE {table}")).await.unwrap();
        sums.insert(table.replace('`', ""), row.unwrap().1.unwrap());
    }
    conn.disconnect().await.unwrap();
    sums
}
