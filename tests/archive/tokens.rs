//! A load in which each transaction bears a token of its own, which can be found in the archived
//! bytes as well as in the tables. It goes through an address and tries again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mysql_async::{Conn, OptsBuilder, prelude::Queryable as _};

use crate::{mariadb::PASSWORD, node::Node};

/// What clients were told, and when.
pub(crate) type Acknowledged = Arc<Mutex<BTreeMap<String, Instant>>>;

/// A running load.
pub(crate) struct Tokens {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    pub(crate) acknowledged: Acknowledged,
}

/// No two loads of a test process write the same token.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Makes the table, and a user who may write to it while the server is not read-only.
pub(crate) async fn seed(node: &Node) {
    for sql in [
        "CREATE DATABASE IF NOT EXISTS `load`",
        "CREATE TABLE `load`.tokens (token VARCHAR(60) PRIMARY KEY, pad TEXT)",
    ] {
        node.run(sql).await;
    }
    node.run(&format!("CREATE USER app@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")).await;
    node.run("GRANT ALL ON `load`.* TO app@'127.0.0.1'").await;
}

/// The tokens that a server has.
pub(crate) async fn of(node: &Node) -> Vec<String> {
    node.column("SELECT token FROM `load`.tokens").await
}

impl Tokens {
    /// Starts writers that pause for so long after each transaction.
    pub(crate) fn start(port: u16, writers: u64, pause: Duration) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Acknowledged::default());
        let writer = |_| tokio::spawn(write(port, pause, stop.clone(), acknowledged.clone()));
        let tasks = (0..writers).map(writer).collect();
        Self { stop, tasks, acknowledged }
    }

    /// Stops it; how many transactions were acknowledged.
    pub(crate) async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.acknowledged.lock().unwrap().len()
    }
}

/// A connection of the application.
async fn connect(port: u16) -> Option<Conn> {
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .prefer_socket(false)
        .user(Some("app"))
        .pass(Some(PASSWORD));
    tokio::time::timeout(Duration::from_secs(3), Conn::new(options)).await.ok()?.ok()
}

async fn write(port: u16, pause: Duration, stop: Arc<AtomicBool>, acknowledged: Acknowledged) {
    let mut conn = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(open) = &mut conn else {
            conn = connect(port).await;
            if conn.is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            continue;
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let token = format!("<tok-{number}>");
        let sql = format!(
            "INSERT INTO `load`.tokens VALUES ('{token}', REPEAT('x', {}))",
            number * 37 % 500
        );
        let done = tokio::time::timeout(Duration::from_secs(5), open.query_drop(sql)).await;
        if let Ok(Ok(())) = done {
            acknowledged.lock().unwrap().insert(token, Instant::now());
            tokio::time::sleep(pause).await;
        } else {
            // Whatever it was: whether it was committed nobody knows, and another token comes next.
            conn = None;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
