//! `find` across lines of life: forks, and what lies behind a gap.

use backstay::model::Flavor;
use serde_json::Value;

use crate::{
    archiver::Archiver,
    found::{did, find, matches},
    gaps::{purge, write},
    home::{Home, strs},
    node::Node,
    pair::Pair,
    tokens,
    walk::names,
};

#[tokio::test(flavor = "multi_thread")]
async fn mysql_forks_are_marked() {
    forks_are_marked(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_forks_are_marked() {
    forks_are_marked(Flavor::Mariadb).await;
}

/// What the next primary never had is found, and is not taken for a part of today's line; what both
/// had is told of once.
async fn forks_are_marked(flavor: Flavor) {
    let mut pair = Pair::start(flavor).await;
    let home = Home::file();
    home.run(&["find", "--table", "load.tokens"]).expect(7).says("backstay archive");
    home.run(&strs(&home.backup(&pair.primary.socket, &["--id", "common"]))).expect(0);
    let common = did(&pair.primary, &["INSERT INTO `load`.tokens VALUES ('common', '')"]).await;
    pair.replica.caught_up(&pair.primary).await;
    pair.replica.stop_receiving().await;
    let lost = did(&pair.primary, &["INSERT INTO `load`.tokens VALUES ('lost', '')"]).await;
    Archiver::finish(&home, pair.primary.port, &[]);
    pair.promote_replica().await;
    let kept = did(&pair.primary, &["DELETE FROM `load`.tokens WHERE token = 'common'"]).await;
    Archiver::finish(&home, pair.primary.port, &[]);
    let found = find(&home, &["--table", "load.tokens"]);
    let line = |gtid: &str| {
        let all: Vec<_> = matches(&found).iter().filter(|m| m["gtid"] == gtid).collect();
        assert_eq!(all.len(), 1, "{gtid}: {found:#}");
        (all[0]["line"].as_str().unwrap().to_owned(), all[0]["restorable_from"].clone())
    };
    assert_eq!(line(&common), ("current".to_owned(), "common".into()), "{found:#}");
    assert_eq!(line(&kept), ("current".to_owned(), "common".into()), "{found:#}");
    assert_eq!(line(&lost), ("forked".to_owned(), "common".into()), "{found:#}");
    let window = home.run(&["window"]).expect(0).json();
    let of_lost = matches(&found).iter().find(|m| m["gtid"] == *lost).unwrap();
    let command = of_lost["restore"].as_str().unwrap();
    assert_eq!(of_lost["fork"], window["forks"][0]["record"], "{found:#}");
    assert!(command.contains(&format!("--fork {}", of_lost["fork"])), "{command}");
    assert!(names(window["forks"][0]["forked"].as_str().unwrap(), &lost), "{window:#}");
    assert_eq!(matches(&found)[0]["gtid"], *kept, "newest first");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_behind_a_gap_is_marked() {
    for flavor in [Flavor::Mysql, Flavor::Mariadb] {
        let node = Node::start(flavor, 80, &[]);
        tokens::seed(&node).await;
        let home = Home::file();
        home.run(&strs(&home.backup(&node.socket, &["--id", "before"]))).expect(0);
        write(&node, "a", 1).await;
        Archiver::finish(&home, node.port, &[]);
        write(&node, "b", 1).await;
        purge(&node).await;
        write(&node, "c", 1).await;
        Archiver::finish(&home, node.port, &[]);
        let kind = ["--table", "load.tokens", "--kind", "insert"];
        let found = find(&home, &kind);
        let backups: Vec<_> = matches(&found).iter().map(|m| &m["restorable_from"]).collect();
        assert_eq!(backups, [&Value::Null, &Value::from("before")], "{found:#}");
    }
}
