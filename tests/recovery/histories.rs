//! What has been restored goes on: it is archived, backed up and replicated like any other server.

use backstay::model::Flavor;

use crate::{
    archiver::Archiver,
    home::{Home, strs},
    load::{self, Load},
    node::{Node, copy},
    points::{restore, sums},
};

#[tokio::test(flavor = "multi_thread")]
async fn mysql_goes_on_after_a_restore() {
    goes_on(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_goes_on_after_a_restore() {
    goes_on(Flavor::Mariadb).await;
}

async fn write(node: &Node) {
    let writers = Load::start(&node.socket, 2);
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    writers.stop().await;
}

async fn goes_on(flavor: Flavor) {
    let mut node = Node::start(flavor, 76, &[]);
    load::seed(&node.socket, 200).await;
    let home = Home::file();
    home.run(&strs(&home.backup(&node.socket, &["--id", "old"]))).expect(0);
    write(&node).await;
    let wanted = load::checksums(&node.socket).await;
    let gtids = match flavor {
        Flavor::Mysql => node.executed().await,
        Flavor::Mariadb => node.ask("SELECT @@GLOBAL.gtid_binlog_pos").await,
    };
    node.run("DROP TABLE `load`.t3").await;
    write_some(&node).await;
    let left = load::checksums(&node.socket).await;
    Archiver::finish(&home, node.port, &[]);

    // To before the drop; then the server goes on with that, at the same address.
    let datadir = home.path("new");
    restore(&home, &datadir, &["--to-gtid", &gtids]).expect(0);
    node.down();
    std::fs::remove_dir_all(node.data()).unwrap();
    copy(&datadir, &node.data());
    node.up(&[]);
    assert_eq!(load::checksums(&node.socket).await, wanted);
    // Before anybody has written.
    home.run(&strs(&home.backup(&node.socket, &["--id", "at-once"]))).expect(0);
    let datadir = home.path("at-once");
    let done = restore(&home, &datadir, &["--backup", "at-once"]).expect(0).json();
    assert_eq!(done["status"], "proven", "{done:#}");
    write(&node).await;
    Archiver::finish(&home, node.port, &["--new-history"]);
    home.run(&strs(&home.backup(&node.socket, &["--id", "new"]))).expect(0);
    write(&node).await;
    Archiver::finish(&home, node.port, &[]);
    let now = load::checksums(&node.socket).await;
    let told = home.run(&["window"]).expect(0).json();
    let histories = told["histories"].as_array().unwrap();
    let windows = told["windows"].as_array().unwrap();
    let window = |id: &str| windows.iter().find(|window| window["backup_id"] == id).unwrap();
    assert_eq!(window("new")["end"]["kind"], "current", "{told:#}");
    assert_eq!(histories.len(), 2, "{told:#}");
    assert_eq!(histories[1]["parent"], histories[0]["history"], "{told:#}");
    assert_eq!(histories[1]["branch_gtid_set"], gtids.as_str(), "{told:#}");
    assert_eq!(window("old")["end"]["kind"], "history", "{told:#}");
    assert_eq!(window("new")["history"], histories[1]["history"], "{told:#}");
    assert!(told["forks"].as_array().unwrap().is_empty(), "{told:#}");
    let datadir = home.path("again");
    restore(&home, &datadir, &[]).expect(0);
    assert_eq!(sums(flavor, &datadir).await, now);

    // What the restored server left behind can still be had.
    let older = histories[0]["history"].as_str().unwrap();
    let datadir = home.path("older");
    let done = restore(&home, &datadir, &["--history", older]).expect(0).json();
    assert_eq!(done["status"], "proven", "{done:#}");
    assert_eq!(sums(flavor, &datadir).await, left, "{done:#}");
    let datadir = home.path("never");
    restore(&home, &datadir, &["--backup", "new", "--history", older])
        .expect(7)
        .says("does not lie on history");
    let unknown = "0123456789abcdef0123456789abcdef";
    restore(&home, &datadir, &["--history", unknown]).expect(7).says("is not in the log");
    assert!(!datadir.exists());

    // A replica that is built from it follows it.
    let mut replica = Node::start(flavor, 77, &[]);
    replica.rebuild_from(&node, true, false).await;
    write(&node).await;
    replica.caught_up(&node).await;
    assert_eq!(load::checksums(&replica.socket).await, load::checksums(&node.socket).await);
}

/// Something behind the drop that the restored server never has.
async fn write_some(node: &Node) {
    for n in 0..20 {
        node.run(&format!("INSERT INTO `load`.t0 (k, v) VALUES ({n}, 'lost')")).await;
    }
}
