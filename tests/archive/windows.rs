//! From when until when each backup can be restored: told from the repository, compared with what
//! the servers had.

use backstay::model::{Flavor, GtidState, Timestamp};
use serde_json::Value;

use crate::{
    archiver::Archiver,
    gaps::{purge, write},
    home::{Home, strs},
    node::Node,
    pair::Pair,
    tokens,
};

fn backup(home: &Home, node: &Node, id: &str) {
    home.run(&strs(&home.backup(&node.socket, &["--id", id]))).expect(0);
}

/// What is told of each backup, and all of it.
fn windows(home: &Home) -> (impl Fn(&str) -> Value, Value) {
    let told = home.run(&["window"]).expect(0).json();
    let windows = told["windows"].as_array().unwrap().clone();
    let listed = home.run(&["list"]).expect(0).json();
    for (window, listed) in windows.iter().zip(listed.as_array().unwrap()) {
        assert_eq!(window["backup_id"], listed["backup_id"]);
        assert_eq!(window["latest"], listed["restorable_until"], "{told:#}");
        assert!(instant(&window["earliest"]) <= instant(&window["latest"]), "{told:#}");
        assert!(instant(&window["earliest"]) <= instant(&listed["finished_at"]), "{told:#}");
    }
    let of = move |id: &str| {
        windows.iter().find(|window| window["backup_id"] == id).unwrap_or(&Value::Null).clone()
    };
    (of, told)
}

fn instant(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("{value} is no instant")).parse().unwrap()
}

/// By the clock of this machine, which is the servers' too; binary logs of MariaDB have seconds.
fn second() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microseconds(now.as_microseconds() / 1_000_000 * 1_000_000).unwrap()
}

#[track_caller]
fn same(node: &Node, told: &Value, executed: &str) {
    let read = |text: &str| GtidState::parse(node.flavor, text).unwrap().position();
    assert_eq!(read(told.as_str().unwrap()), read(executed));
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_has_windows() {
    told(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_has_windows() {
    told(Flavor::Mariadb).await;
}

async fn told(flavor: Flavor) {
    let node = Node::start(flavor, 61, &[]);
    tokens::seed(&node).await;
    let home = Home::file();
    let (_, empty) = windows(&home);
    assert_eq!((&empty["archive"], &empty["windows"]), (&Value::Null, &serde_json::json!([])));

    write(&node, "a", 5).await;
    backup(&home, &node, "alone");
    let (of, _) = windows(&home);
    let alone = of("alone");
    assert_eq!(alone["end"]["kind"], "not-archived", "{alone:#}");
    assert_eq!(alone["earliest"], alone["latest"]);
    same(&node, &alone["latest_gtid_set"], &node.executed().await);

    // What is archived afterwards reaches back to the backup, since the server still has it.
    let written = second();
    write(&node, "b", 5).await;
    Archiver::finish(&home, node.port, &[]);
    backup(&home, &node, "first");
    let between = node.executed().await;
    let first_end = second();
    write(&node, "c", 5).await;
    Archiver::finish(&home, node.port, &[]);
    let archived = node.executed().await;
    let (of, all) = windows(&home);
    for id in ["alone", "first"] {
        let window = of(id);
        assert_eq!(window["end"]["kind"], "current", "{all:#}");
        assert!(instant(&window["latest"]) >= first_end, "{all:#}");
        same(&node, &window["latest_gtid_set"], &archived);
        assert_eq!(window["history"], all["archive"]["history"]);
    }
    assert!(instant(&of("first")["earliest"]) >= written, "it holds what was written then");
    same(&node, &of("first")["earliest_gtid_set"], &between);
    assert_eq!(all["archive"]["status"], "released", "{all:#}");
    assert!(all["archive"]["lag_seconds"].as_f64().unwrap() < 60.0, "{all:#}");
    same(&node, &all["archive"]["gtid_set"], &archived);

    // A gap ends them all; a backup behind it begins anew.
    write(&node, "d", 12).await;
    let purged = node.executed().await;
    purge(&node).await;
    write(&node, "e", 5).await;
    Archiver::finish(&home, node.port, &[]);
    backup(&home, &node, "behind");
    write(&node, "f", 5).await;
    Archiver::finish(&home, node.port, &[]);
    let (of, all) = windows(&home);
    let state = |text: &str| GtidState::parse(flavor, text).unwrap();
    let missing = state(&purged).missing_from(&state(&archived)).unwrap();
    for id in ["alone", "first"] {
        let end = &of(id)["end"];
        assert_eq!((&end["kind"], &end["missing"]), (&"gap".into(), &missing.text.clone().into()));
        assert_eq!(end["transactions"], missing.count);
        assert_eq!(end["record"], all["gaps"][0]["record"]);
        same(&node, &of(id)["latest_gtid_set"], &archived);
        assert!(instant(&of(id)["latest"]) <= instant(&all["gaps"][0]["at"]), "{all:#}");
    }
    assert_eq!(all["gaps"][0]["missing"], missing.text);
    assert_eq!(of("behind")["end"]["kind"], "current", "{all:#}");
    same(&node, &of("behind")["latest_gtid_set"], &node.executed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_forks_end_windows() {
    forked(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_forks_end_windows() {
    forked(Flavor::Mariadb).await;
}

/// A backup that has what the next primary never had can only be restored to where that ends;
/// one from before goes on with the next primary, whose own files it has never seen.
async fn forked(flavor: Flavor) {
    let mut pair = Pair::start(flavor).await;
    let home = Home::file();
    backup(&home, &pair.primary, "common");
    write(&pair.primary, "a", 5).await;
    pair.replica.caught_up(&pair.primary).await;
    backup(&home, &pair.replica, "replica");
    pair.replica.stop_receiving().await;
    write(&pair.primary, "lost", 4).await;
    backup(&home, &pair.primary, "forked");
    write(&pair.primary, "lost-too", 3).await;
    Archiver::finish(&home, pair.primary.port, &[]);
    let left = pair.primary.executed().await;
    let (of, all) = windows(&home);
    for id in ["common", "replica", "forked"] {
        assert_eq!(of(id)["end"]["kind"], "current", "{all:#}");
        same(&pair.primary, &of(id)["latest_gtid_set"], &left);
    }
    pair.promote_replica().await;
    let common = pair.primary.executed().await;
    write(&pair.primary, "b", 6).await;
    Archiver::finish(&home, pair.primary.port, &[]);
    let (of, all) = windows(&home);
    let state = |text: &str| GtidState::parse(flavor, text).unwrap();
    let lost = state(&left).missing_from(&state(&common)).unwrap();
    assert_eq!(all["forks"][0]["forked"], lost.text, "{all:#}");
    for id in ["common", "replica"] {
        assert_eq!(of(id)["end"]["kind"], "current", "{all:#}");
        same(&pair.primary, &of(id)["latest_gtid_set"], &pair.primary.executed().await);
    }
    let end = &of("forked")["end"];
    assert_eq!((&end["kind"], &end["record"]), (&"fork".into(), &all["forks"][0]["record"]));
    same(&pair.primary, &of("forked")["latest_gtid_set"], &left);
}
