//! Numbered transactions with a running sum: every consistent snapshot can be told from every torn one.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mysql_async::{Conn, prelude::Queryable as _};

use crate::load::connect;

/// Makes the ledger.
pub(crate) async fn make(socket: &Path) {
    let mut conn = connect(socket).await;
    for sql in [
        "CREATE DATABASE ledger",
        "CREATE TABLE ledger.seq (n BIGINT PRIMARY KEY, amount BIGINT NOT NULL, total BIGINT NOT NULL) ENGINE=InnoDB",
        "CREATE TABLE ledger.balance (one INT PRIMARY KEY, last BIGINT NOT NULL, total BIGINT NOT NULL) ENGINE=InnoDB",
        "INSERT INTO ledger.balance VALUES (1, 0, 0)",
    ] {
        conn.query_drop(sql).await.unwrap();
    }
    conn.disconnect().await.unwrap();
}

/// Makes a table of `megabytes` that hardly compress.
pub(crate) async fn ballast(socket: &Path, megabytes: u32) {
    let mut conn = connect(socket).await;
    conn.query_drop("SET SESSION max_recursive_iterations = 1000000").await.ok();
    conn.query_drop(
        "CREATE TABLE ledger.ballast (n BIGINT PRIMARY KEY, v VARBINARY(1024)) ENGINE=InnoDB",
    )
    .await
    .unwrap();
    let rows = megabytes * 1024;
    conn.query_drop(format!(
        "INSERT INTO ledger.ballast WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         SELECT i, RANDOM_BYTES(1000) FROM n"
    ))
    .await
    .unwrap();
    conn.disconnect().await.unwrap();
}

/// A writer that survives the server's death.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    pub(crate) fn start(socket: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(write(socket.to_owned(), Arc::clone(&stop)));
        Self { stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

async fn write(socket: PathBuf, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        // A killed server is expected; the next connection goes on where its last commit was.
        let _ = session(&socket, &stop).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn session(socket: &Path, stop: &AtomicBool) -> mysql_async::Result<()> {
    let options = mysql_async::OptsBuilder::default()
        .socket(Some(socket.to_str().unwrap()))
        .user(Some("root"))
        .pass(Some(crate::mariadb::PASSWORD));
    let mut conn = Conn::new(options).await?;
    while !stop.load(Ordering::Relaxed) {
        conn.query_drop("BEGIN").await?;
        conn.query_drop(
            "INSERT INTO ledger.seq SELECT last + 1, last % 97, total + last % 97 FROM ledger.balance FOR UPDATE",
        )
        .await?;
        conn.query_drop("UPDATE ledger.balance SET total = total + last % 97, last = last + 1")
            .await?;
        conn.query_drop("COMMIT").await?;
    }
    conn.disconnect().await
}

/// How many transactions the ledger holds; it fails when they are not all there, and whole.
pub(crate) async fn check(socket: &Path) -> u64 {
    let mut conn = connect(socket).await;
    let row: Option<(u64, u64, u64, u64, u64, u64)> = conn
        .query_first(
            "SELECT COUNT(*), COALESCE(MAX(n), 0), CAST(COALESCE(SUM(amount), 0) AS UNSIGNED), COALESCE(MAX(s.total), 0), \
             (SELECT last FROM ledger.balance), (SELECT total FROM ledger.balance) FROM ledger.seq s",
        )
        .await
        .unwrap();
    let (count, last, sum, running, balance_last, balance) = row.unwrap();
    assert_eq!((count, sum, balance), (last, running, running), "a torn snapshot");
    assert_eq!(balance_last, last, "a torn transaction");
    conn.disconnect().await.unwrap();
    count
}
