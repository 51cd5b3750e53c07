//! What cannot be done is refused before anything is touched, with the reason and the exit code.

use backstay::model::{Flavor, Timestamp};
use mysql_async::prelude::Queryable as _;

use crate::{
    archiver::Archiver,
    home::{Home, strs},
    load,
    node::Node,
    points::{look, restore, sums},
    served::Served,
};

#[tokio::test(flavor = "multi_thread")]
async fn mysql_says_what_cannot_be_reached() {
    refused(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_says_what_cannot_be_reached() {
    refused(Flavor::Mariadb).await;
}

async fn refused(flavor: Flavor) {
    let node = Node::start(flavor, 72, &[]);
    load::seed(&node.socket, 50).await;
    let home = Home::file();
    let datadir = home.path("new");
    let insert = "INSERT INTO `load`.t0 (k, v) VALUES (1, 'x')";
    let before = look(&node).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    node.run(insert).await;
    home.run(&strs(&home.backup(&node.socket, &["--id", "base"]))).expect(0);
    let base = look(&node).await;
    node.run(insert).await;
    let skipped = look(&node).await;
    node.run("DELETE FROM `load`.t1").await;
    let reached = look(&node).await;
    Archiver::finish(&home, node.port, &[]);

    let refuse = |args: &[&str], code: i32, words: &str| {
        let done = restore(&home, &datadir, args).expect(code).says(words);
        assert!(!datadir.exists(), "{args:?} touched the data directory");
        println!("{}", done.err.lines().last().unwrap());
    };
    refuse(&["--to-time", "2026-01-02T03:04:05"], 2, "--to-time");
    refuse(&["--to-gtid", "nonsense"], 2, "--to-gtid");
    refuse(&["--to-time", &before.at.to_string()], 7, "it is younger");
    let future = Timestamp::from_microseconds(reached.at.as_microseconds() + 3_600_000_000);
    refuse(&["--to-time", &future.unwrap().to_string()], 7, "nothing later than");
    let last = |gtids: &str| gtids.rsplit_once(',').map_or(gtids, |(_, last)| last).to_owned();
    let one = |gtids: &str| match flavor {
        Flavor::Mariadb => last(gtids),
        Flavor::Mysql => {
            let (source, numbers) = gtids.rsplit_once(':').unwrap();
            format!("{source}:{}", numbers.rsplit('-').next().unwrap())
        }
    };
    refuse(&["--before-gtid", &one(&base.gtids)], 7, "already");
    refuse(&["--skip-gtid", &one(&base.gtids)], 7, "already");
    let never = match flavor {
        Flavor::Mariadb => "0-72-999999".to_owned(),
        Flavor::Mysql => one(&base.gtids).rsplit_once(':').unwrap().0.to_owned() + ":999999",
    };
    refuse(&["--before-gtid", &never], 7, "cannot be reached");
    refuse(&["--to-gtid", &never], 7, "cannot be reached");
    refuse(&["--skip-gtid", &never], 7, "not archived");
    refuse(&["--no-start"], 2, "needs a server");

    // The one between is left out, and nothing else.
    let left_out = one(&skipped.gtids);
    let done = restore(&home, &datadir, &["--skip-gtid", &left_out]).expect(0).json();
    assert_eq!((&done["status"], &done["replay"]["transactions"]), (&"proven".into(), &1.into()));
    let found = sums(flavor, &datadir).await;
    assert_eq!(found["load.t0"], base.sums["load.t0"]);
    assert_eq!(found["load.t1"], reached.sums["load.t1"]);
    std::fs::remove_dir_all(&datadir).unwrap();

    // There is nothing to replay: the base is that point.
    let done = restore(&home, &datadir, &["--to-gtid", &base.gtids]).expect(0).json();
    assert_eq!(done["status"], "proven", "{done:#}");
    assert_eq!(sums(flavor, &datadir).await, base.sums);
    std::fs::remove_dir_all(&datadir).unwrap();

    // The base alone.
    let done = restore(&home, &datadir, &["--backup", "base"]).expect(0).json();
    assert_eq!((&done["target"], &done["replay"]), (&"backup".into(), &serde_json::Value::Null));
    let server = Served::over(flavor, &datadir);
    assert_eq!(load::checksums(&server.socket).await, base.sums);
    if flavor == Flavor::Mariadb {
        let mut conn = load::connect(&server.socket).await;
        let position: Option<String> = conn.query_first("SELECT @@gtid_slave_pos").await.unwrap();
        assert_eq!(position.as_deref(), Some(base.gtids.as_str()));
        conn.disconnect().await.unwrap();
    }
    drop(server);
    let full = std::fs::read_dir(&datadir).unwrap().count();
    restore(&home, &datadir, &[]).expect(3).says("is not empty");
    assert_eq!(std::fs::read_dir(&datadir).unwrap().count(), full);
}
