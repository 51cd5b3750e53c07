//! Names and stamps of transactions are the clients' to choose: nothing may rest on their order.

use backstay::model::{Flavor, Timestamp};
use mysql_async::prelude::Queryable as _;

use crate::{
    archiver::Archiver,
    home::{Home, strs},
    load,
    node::Node,
    points::{look, restore, sums},
};

const OTHER: &str = "11111111-2222-3333-4444-555555555555";

/// What other servers have written, of several sources and with numbers that leap.
async fn write_as_others(node: &Node, value: u32) {
    let mut conn = node.conn().await;
    let insert = format!("INSERT INTO `load`.t0 (k, v) VALUES ({value}, 'other')");
    let named: Vec<String> = match node.flavor {
        Flavor::Mysql => {
            [format!("{OTHER}:{}", value * 5), format!("{OTHER}:night:{value}")].to_vec()
        }
        Flavor::Mariadb => {
            [format!("7-99-{}", value * 5), format!("0-98-{}", value * 10_000)].to_vec()
        }
    };
    for name in named {
        let (before, after) = match node.flavor {
            Flavor::Mysql => (format!("SET gtid_next = '{name}'"), "SET gtid_next = AUTOMATIC"),
            Flavor::Mariadb => {
                let parts: Vec<&str> = name.split('-').collect();
                let set = format!(
                    "SET SESSION gtid_domain_id = {}, server_id = {}, gtid_seq_no = {}",
                    parts[0], parts[1], parts[2]
                );
                (set, "SET SESSION gtid_domain_id = DEFAULT, server_id = DEFAULT")
            }
        };
        for sql in [before.as_str(), &insert, after] {
            conn.query_drop(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
    }
    conn.query_drop(&insert).await.unwrap();
    conn.disconnect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_takes_transactions_of_several_sources() {
    several_sources(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_takes_transactions_of_several_domains() {
    several_sources(Flavor::Mariadb).await;
}

async fn several_sources(flavor: Flavor) {
    let node = Node::start(flavor, 80, &[]);
    load::seed(&node.socket, 20).await;
    let home = Home::file();
    write_as_others(&node, 1).await;
    home.run(&strs(&home.backup(&node.socket, &["--id", "base"]))).expect(0);
    let mut archiver = Archiver::start(&home, node.port, &[]);
    archiver.owns();
    write_as_others(&node, 2).await;
    let point = look(&node).await;
    write_as_others(&node, 3).await;
    node.run("FLUSH BINARY LOGS").await;
    let last = look(&node).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    archiver.stop();
    let datadir = home.path("new");
    let done = restore(&home, &datadir, &["--to-gtid", &point.gtids]).expect(0).json();
    assert_eq!((&done["status"], &done["replay"]["transactions"]), (&"proven".into(), &3.into()));
    assert_eq!(sums(flavor, &datadir).await, point.sums, "{done:#}");
    std::fs::remove_dir_all(&datadir).unwrap();
    let done = restore(&home, &datadir, &[]).expect(0).json();
    assert_eq!((&done["status"], &done["replay"]["transactions"]), (&"proven".into(), &6.into()));
    assert_eq!(sums(flavor, &datadir).await, last.sums, "{done:#}");
    std::fs::remove_dir_all(&datadir).unwrap();
    // One of another source is left out.
    let skip = match flavor {
        Flavor::Mysql => format!("{OTHER}:night:3"),
        Flavor::Mariadb => "7-99-15".to_owned(),
    };
    let done = restore(&home, &datadir, &["--skip-gtid", &skip]).expect(0).json();
    assert_eq!((&done["status"], &done["replay"]["transactions"]), (&"proven".into(), &5.into()));
}

/// MariaDB stamps a transaction with what its session takes for the present.
#[tokio::test(flavor = "multi_thread")]
async fn stamps_that_go_back_are_told() {
    let node = Node::start(Flavor::Mariadb, 81, &[]);
    load::seed(&node.socket, 20).await;
    let home = Home::file();
    home.run(&strs(&home.backup(&node.socket, &["--id", "base"]))).expect(0);
    node.run("INSERT INTO `load`.t0 (k, v) VALUES (1, 'now')").await;
    let point = look(&node).await;
    let mut conn = node.conn().await;
    for sql in [
        "SET timestamp = UNIX_TIMESTAMP() + 3600",
        "INSERT INTO `load`.t0 (k, v) VALUES (2, 'in an hour')",
        "SET timestamp = DEFAULT",
        "INSERT INTO `load`.t0 (k, v) VALUES (3, 'now again')",
    ] {
        conn.query_drop(sql).await.unwrap();
    }
    conn.disconnect().await.unwrap();
    Archiver::finish(&home, node.port, &[]);
    let later = Timestamp::from_microseconds(point.at.as_microseconds() + 600_000_000).unwrap();
    let target = ["--to-time", &later.to_string()];
    let datadir = home.path("new");
    let plan = restore(&home, &datadir, &[&target[..], &["--plan"]].concat()).expect(0).json();
    assert_eq!(plan["stamps_go_back"], true, "{plan:#}");
    let done = restore(&home, &datadir, &target).expect(0).json();
    assert_eq!(done["status"], "proven", "{done:#}");
    assert_eq!(sums(Flavor::Mariadb, &datadir).await, point.sums);
}
