//! What a server has purged before it was archived is told of by name and number, and archiving
//! goes on behind it; what is archived may be purged, and nothing else.

use std::time::Duration;

use backstay::{
    model::{Flavor, GtidState},
    mysql::{
        Endpoint,
        replication::{Captured, Dump, DumpRequest},
    },
};
use rustix::process::Signal;

use crate::{
    archiver::Archiver,
    chance::soak,
    home::Home,
    mariadb::root,
    node::Node,
    pair::Pair,
    tokens,
    walk::{Walked, walk},
};

/// Writes so many transactions; their tokens.
pub(crate) async fn write(node: &Node, name: &str, count: usize) -> Vec<String> {
    use mysql_async::prelude::Queryable as _;
    let mut conn = node.conn().await;
    let mut written = Vec::new();
    for number in 0..count {
        let token = format!("<tok-{name}-{number}>");
        let sql = format!("INSERT INTO `load`.tokens VALUES ('{token}', REPEAT('z', 300))");
        conn.query_drop(sql).await.unwrap();
        written.push(token);
    }
    conn.disconnect().await.unwrap();
    written
}

/// Ends the dumps of archivers that are gone or asleep.
async fn give_up(node: &Node) {
    let dumps = "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'";
    for dump in node.column(dumps).await {
        let _ = node.try_run(&format!("KILL {dump}")).await;
    }
    while !node.column(dumps).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Removes all but the newest binary log.
pub(crate) async fn purge(node: &Node) {
    give_up(node).await;
    node.run("FLUSH BINARY LOGS").await;
    let newest = node.logs().await.pop().unwrap();
    // MariaDB keeps a file until its checkpoint is in the next one.
    for _ in 0..50 {
        node.run(&format!("PURGE BINARY LOGS TO '{newest}'")).await;
        if node.logs().await.len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(node.logs().await, [newest]);
}

fn state(flavor: Flavor, text: &str) -> GtidState {
    GtidState::parse(flavor, text).unwrap()
}

/// That there is one gap, from what was executed before to what was executed after.
#[track_caller]
fn assert_gap(walked: &Walked, flavor: Flavor, before: &str, after: &str) {
    let [gap] = walked.gaps.as_slice() else { panic!("{}", walked.notes()) };
    let missing = state(flavor, after).missing_from(&state(flavor, before)).unwrap();
    assert_eq!((&gap.missing, gap.transactions), (&missing.text, missing.count));
    println!("{} ({})", gap.missing, gap.transactions);
}

#[track_caller]
fn assert_holds(walked: &Walked, held: &[&Vec<String>], lost: &[String]) {
    for token in held.iter().flat_map(|tokens| tokens.iter()) {
        assert!(walked.tokens.contains_key(token), "{token} is not archived\n{}", walked.notes());
    }
    assert!(!lost.iter().any(|token| walked.tokens.contains_key(token)));
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_tells_what_it_purged() {
    purged(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_tells_what_it_purged() {
    purged(Flavor::Mariadb).await;
}

async fn purged(flavor: Flavor) {
    let node = Node::start(flavor, 51, &[]);
    tokens::seed(&node).await;
    let home = Home::file();
    let first = write(&node, "a", 40).await;
    Archiver::finish(&home, node.port, &[]);
    let before = node.executed().await;
    let lost = write(&node, "b", 25).await;
    let after = node.executed().await;
    purge(&node).await;
    let second = write(&node, "c", 30).await;
    let done =
        Archiver::finish(&home, node.port, &[]).says("a gap: these transactions were purged");
    assert_eq!(done.json()["gaps"], 1);
    let done = Archiver::finish(&home, node.port, &[]);
    assert_eq!(done.json()["gaps"], 0, "it is told of once");
    let walked = walk(&home, None).await;
    assert_gap(&walked, flavor, &before, &after);
    assert_holds(&walked, &[&first, &second], &lost);

    // The same while the archiver lives, but sleeps so long that the server gives it up.
    let mut archiver = Archiver::start(&home, node.port, &[]);
    archiver.owns();
    let third = write(&node, "d", 10).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    archiver.signal(Signal::STOP);
    // What the server has sent already is not lost.
    give_up(&node).await;
    let before = node.executed().await;
    let lost_too = write(&node, "e", 15).await;
    let after = node.executed().await;
    purge(&node).await;
    let fourth = write(&node, "f", 20).await;
    archiver.signal(Signal::CONT);
    archiver.waits_for("a gap: these", 1, Duration::from_secs(20));
    tokio::time::sleep(Duration::from_secs(1)).await;
    archiver.stop();
    let mut again = walk(&home, None).await;
    assert_eq!(again.gaps.remove(0), walked.gaps[0]);
    assert_gap(&again, flavor, &before, &after);
    let lost: Vec<_> = lost.into_iter().chain(lost_too).collect();
    assert_holds(&again, &[&first, &second, &third, &fourth], &lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_replica_of_mysql_has_what_no_file_holds() {
    copied(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_replica_of_mariadb_has_what_no_file_holds() {
    copied(Flavor::Mariadb).await;
}

/// The new primary was made from a copy of the old one's data, after the archiver had stopped.
async fn copied(flavor: Flavor) {
    let mut pair = Pair::start(flavor).await;
    let home = Home::file();
    let first = write(&pair.primary, "a", 20).await;
    Archiver::finish(&home, pair.address.port, &[]);
    let before = pair.primary.executed().await;
    let lost = write(&pair.primary, "b", 30).await;
    let after = pair.primary.executed().await;
    pair.replica.rebuild_from(&pair.primary, true, false).await;
    pair.switch_over(true).await;
    // Before it has written anything.
    Archiver::finish(&home, pair.address.port, &[]);
    let second = write(&pair.primary, "c", 10).await;
    Archiver::finish(&home, pair.address.port, &[]);
    let walked = walk(&home, None).await;
    assert_gap(&walked, flavor, &before, &after);
    assert_holds(&walked, &[&first, &second], &lost);
    assert_eq!(walked.forks, []);
}

/// A dump that is loaded into a running server gives it transactions that no file has.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_a_client_gave_to_mysql_are_a_gap() {
    let node = Node::start(Flavor::Mysql, 52, &[]);
    tokens::seed(&node).await;
    let home = Home::file();
    let mut archiver = Archiver::start(&home, node.port, &[]);
    archiver.owns();
    let first = write(&node, "a", 20).await;
    let foreign = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa:1-7";
    node.run(&format!("SET GLOBAL gtid_purged = '+{foreign}'")).await;
    node.run("FLUSH BINARY LOGS").await;
    let second = write(&node, "b", 20).await;
    node.run("FLUSH BINARY LOGS").await;
    let third = write(&node, "c", 20).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    archiver.stop();
    Archiver::finish(&home, node.port, &[]);
    let walked = walk(&home, None).await;
    assert_gap(&walked, Flavor::Mysql, "", foreign);
    assert_holds(&walked, &[&first, &second, &third], &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_is_purged_of_what_is_archived_and_old() {
    guarded(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_is_purged_of_what_is_archived_and_old() {
    guarded(Flavor::Mariadb).await;
}

async fn guarded(flavor: Flavor) {
    // So much that a replica that does not read fills what lies between.
    let node = Node::start(flavor, 53, &["--max-allowed-packet=64M", "--binlog-format=ROW"]);
    tokens::seed(&node).await;
    let home = Home::file();
    node.run("CREATE TABLE `load`.big (b LONGBLOB)").await;
    for _ in 0..6 {
        node.run("INSERT INTO `load`.big VALUES (REPEAT('big', 2000000))").await;
    }
    for name in ["a", "b", "c"] {
        write(&node, name, 10).await;
        node.run("FLUSH BINARY LOGS").await;
    }
    // Old enough; and what comes now stays young until the end, on a loaded machine, too.
    tokio::time::sleep(Duration::from_secs(16)).await;
    write(&node, "d", 10).await;
    node.run("FLUSH BINARY LOGS").await;
    let files = node.logs().await;
    // Nothing is purged that is not durable, however old.
    let mut slow = slow_replica(&node, &files[0]).await;
    Archiver::finish(&home, node.port, &[]);
    assert_eq!(node.logs().await, files);
    let mut archiver = Archiver::start(&home, node.port, &["--purge-archived", "15s"]);
    archiver.owns();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(node.logs().await, files, "a replica reads the oldest file\n{}", archiver.said());
    println!("{}", archiver.said());
    archiver.stop();
    drop(slow.take());
    let written = write(&node, "e", 10).await;
    let mut archiver = Archiver::start(&home, node.port, &["--purge-archived", "15s"]);
    archiver.waits_for("purged binary logs that are archived", 1, Duration::from_secs(20));
    // The one that ended a moment ago is young.
    assert_eq!(node.logs().await, files[files.len() - 2..], "{}", archiver.said());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(archiver.times("connecting again"), 0, "{}", archiver.said());
    archiver.stop();
    let walked = walk(&home, None).await;
    assert_holds(&walked, &[&written], &[]);
    assert_eq!(walked.gaps, []);
}

/// A replica that asks for a file, and then reads nothing.
async fn slow_replica(node: &Node, file: &str) -> Option<Dump> {
    let endpoint = Endpoint::Socket(node.socket.clone());
    let request = DumpRequest {
        file: file.to_owned(),
        offset: 4,
        heartbeat: Duration::from_mins(1),
        until_end: false,
    };
    let mut dump = Dump::start(&root(endpoint), &request).await.unwrap();
    while !matches!(dump.next().await.unwrap(), Captured::End(_)) {}
    tokio::time::sleep(Duration::from_millis(500)).await;
    Some(dump)
}

/// An owner that was fenced while it slept purges nothing when it wakes.
#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_archiver_purges_nothing() {
    if !soak() {
        // The guard looks once a minute.
        return;
    }
    let node = Node::start(Flavor::Mariadb, 54, &[]);
    tokens::seed(&node).await;
    let home = Home::file();
    let mut first = Archiver::start(&home, node.port, &["--purge-archived", "1s"]);
    first.owns();
    tokio::time::sleep(Duration::from_secs(2)).await;
    first.signal(Signal::STOP);
    let mut second = Archiver::start(&home, node.port, &["--takeover"]);
    second.owns();
    for name in ["a", "b", "c"] {
        write(&node, name, 10).await;
        node.run("FLUSH BINARY LOGS").await;
    }
    tokio::time::sleep(Duration::from_secs(65)).await;
    let files = node.logs().await;
    first.signal(Signal::CONT);
    first.ends().expect(8);
    assert_eq!(node.logs().await, files);
    second.stop();
}
