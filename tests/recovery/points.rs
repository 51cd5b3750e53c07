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
    node.run("CREATE TABLE `load`.skipped (n INT PRIMARY KEY)").await;
    let mut points = Vec::new();
    let mut left_out = Vec::new();
    for n in 0..if soak() { 30 } else { 4 } {
        tokio::time::sleep(Duration::from_millis(200 + chance.below(1_500))).await;
        left_out.push(one_to_skip(&node, n).await);
        tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
        if chance.below(3) == 0 {
            node.run("FLUSH BINARY LOGS").await;
        }
        // MariaDB stamps a transaction with the second in which its statement began, be it
        // that it waits for our lock since then.
        let calm = flavor == Flavor::Mariadb && n % 4 == 1;
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
        let to = |flag: &str, value: &str| vec![flag.to_owned(), value.to_owned()];
        let mut wanted = point.sums.clone();
        let target = match n % 4 {
            0 => to("--to-gtid", &point.gtids),
            1 => to("--to-time", &point.at.to_string()),
            2 => to("--before-gtid", &following(&point.gtids)),
            _ => {
                let (gtid, sum) = &left_out[n];
                wanted.insert("load.skipped".to_owned(), *sum);
                [to("--to-gtid", &point.gtids), to("--skip-gtid", gtid)].concat()
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
        assert_eq!(sums(flavor, &datadir).await, wanted, "{done:#}");
        std::fs::remove_dir_all(&datadir).unwrap();
    }
    let datadir = home.path("latest");
    let done = restore(&home, &datadir, &[]).expect(0).json();
    assert_eq!((&done["status"], &done["target"]), (&"proven".into(), &"latest".into()));
    assert_eq!(sums(flavor, &datadir).await, last.sums, "{done:#}");
}

/// A transaction that nobody needs: its name, and the sum of its table without it.
async fn one_to_skip(node: &Node, n: u32) -> (String, u64) {
    let without = load::checksums(&node.socket).await["load.skipped"];
    let mut conn = node.conn().await;
    let insert = format!("INSERT INTO `load`.skipped VALUES ({n})");
    let gtid = match node.flavor {
        // Of a source of its own, so that its name is known.
        Flavor::Mysql => {
            let gtid = format!("00000000-0000-4000-8000-000000000001:{}", n + 1);
            for sql in [&format!("SET gtid_next = '{gtid}'"), &insert, "SET gtid_next = AUTOMATIC"]
            {
                conn.query_drop(sql).await.unwrap();
            }
            gtid
        }
        Flavor::Mariadb => {
            conn.query_drop(&insert).await.unwrap();
            conn.query_first("SELECT @@last_gtid").await.unwrap().unwrap()
        }
    };
    conn.disconnect().await.unwrap();
    (gtid, without)
}

/// The transaction behind the last one that a server wrote itself.
fn following(gtids: &str) -> String {
    // What others are named after stands before it.
    let gtids = gtids.rsplit(',').next().unwrap();
    let cut = gtids.rfind(['-', ':']).unwrap();
    let last: u64 = gtids[cut + 1..].parse().unwrap();
    let source = match gtids.rfind(':') {
        Some(colon) => &gtids[..=colon],
        None => &gtids[..=cut],
    };
    format!("{source}{}", last + 1)
}
