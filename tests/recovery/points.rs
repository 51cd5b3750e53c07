//! Recovery to points that were looked at while they were the present.

use std::{collections::BTreeMap, path::Path, time::Duration};

use backstay::model::{Flavor, Timestamp};
use mysql_async::prelude::Queryable as _;

use crate::{
    archiver::Archiver,
    chance::{Chance, soak},
    home::{Done, Home, strs},
    load::{self, Load},
    node::Node,
    served::Served,
};

/// A moment at which nothing could be written.
pub(crate) struct Point {
    pub(crate) gtids: String,
    /// All that was committed was committed by then, and everything else later.
    pub(crate) at: Timestamp,
    pub(crate) sums: BTreeMap<String, u64>,
}

pub(crate) async fn look(node: &Node) -> Point {
    let mut conn = node.conn().await;
    conn.query_drop("FLUSH TABLES WITH READ LOCK").await.unwrap();
    let gtids = match node.flavor {
        Flavor::Mysql => node.executed().await,
        Flavor::Mariadb => node.ask("SELECT @@GLOBAL.gtid_binlog_pos").await,
    };
    let at = Timestamp::now();
    if node.flavor == Flavor::Mariadb {
        // Its stamps are seconds: the next commit has to fall into another one.
        let second = at.as_microseconds() / 1_000_000 + 1;
        while Timestamp::now().as_microseconds() / 1_000_000 < second {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let sums = load::checksums(&node.socket).await;
    conn.query_drop("UNLOCK TABLES").await.unwrap();
    conn.disconnect().await.unwrap();
    Point { gtids, at, sums }
}

pub(crate) fn restore(home: &Home, datadir: &Path, more: &[&str]) -> Done {
    let mut args = vec!["restore", "--datadir", datadir.to_str().unwrap()];
    args.extend(more);
    home.run(&args)
}

pub(crate) async fn sums(flavor: Flavor, datadir: &Path) -> BTreeMap<String, u64> {
    let server = Served::over(flavor, datadir);
    load::checksums(&server.socket).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_comes_back_as_it_was() {
    points(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_comes_back_as_it_was() {
    points(Flavor::Mariadb).await;
}

async fn points(flavor: Flavor) {
    let mut chance = Chance::seeded();
    let node = Node::start(flavor, 71, &[]);
    load::seed(&node.socket, 2_000).await;
    let home = Home::file();
    let mut archiver = Archiver::start(&home, node.port, &[]);
    archiver.owns();
    let mut writers = Load::start(&node.socket, 2);
    tokio::time::sleep(Duration::from_millis(500)).await;
    home.run(&strs(&home.backup(&node.socket, &["--id", "base"]))).expect(0);
    let mut points = Vec::new();
    for n in 0..if soak() { 30 } else { 3 } {
        tokio::time::sleep(Duration::from_millis(200 + chance.below(1_500))).await;
        if chance.below(3) == 0 {
            node.run("FLUSH BINARY LOGS").await;
        }
        // MariaDB stamps a transaction with the second in which its statement began, be it
        // that it waits for our lock since then.
        let calm = flavor == Flavor::Mariadb && n % 3 == 1;
        if !calm {
            points.push(look(&node).await);
            continue;
        }
        writers.stop().await;
        points.push(look(&node).await);
        writers = Load::start(&node.socket, 2);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    writers.stop().await;
    let last = look(&node).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    archiver.stop();
    for (n, point) in points.iter().enumerate() {
        let target = match n % 3 {
            0 => ["--to-gtid".to_owned(), point.gtids.clone()],
            1 => ["--to-time".to_owned(), point.at.to_string()],
            _ => {
                let next = following(&point.gtids);
                ["--before-gtid".to_owned(), next]
            }
        };
        println!("{target:?}");
        let target: Vec<&str> = target.iter().map(String::as_str).collect();
        let datadir = home.path(&format!("new-{n}"));
        let plan = restore(&home, &datadir, &[&target[..], &["--plan"]].concat()).expect(0).json();
        assert_eq!(plan["status"], "planned", "{plan:#}");
        assert!(!datadir.exists(), "a plan touches nothing");
        let done = restore(&home, &datadir, &target).expect(0).json();
        assert_eq!(done["status"], "proven", "{done:#}");
        assert!(done["replay"]["transactions"].as_u64().unwrap() > 0, "{done:#}");
        assert_eq!(sums(flavor, &datadir).await, point.sums, "{done:#}");
        std::fs::remove_dir_all(&datadir).unwrap();
    }
    let datadir = home.path("latest");
    let done = restore(&home, &datadir, &[]).expect(0).json();
    assert_eq!((&done["status"], &done["target"]), (&"proven".into(), &"latest".into()));
    assert_eq!(sums(flavor, &datadir).await, last.sums, "{done:#}");
}

/// The transaction behind the last one of a server that is alone.
fn following(gtids: &str) -> String {
    let cut = gtids.rfind(['-', ':']).unwrap();
    let last: u64 = gtids[cut + 1..].parse().unwrap();
    let source = match gtids.rfind(':') {
        Some(colon) => &gtids[..=colon],
        None => &gtids[..=cut],
    };
    format!("{source}{}", last + 1)
}
