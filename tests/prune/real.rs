//! On a real server: what a rule keeps is restored to every instant, though the log has become short.

use std::{collections::BTreeMap, path::Path, process::Command};

use backstay::model::{Flavor, Timestamp};

use crate::{
    home::{Done, Home, strs},
    load,
    node::Node,
    pad::{pad, repository},
    served::Served,
    tools::tools,
};

/// A moment at which nobody wrote.
struct Point {
    gtids: String,
    sums: BTreeMap<String, u64>,
}

async fn look(node: &Node) -> Point {
    let gtids = node.ask("SELECT @@GLOBAL.gtid_binlog_pos").await;
    Point { gtids, sums: load::checksums(&node.socket).await }
}

async fn write(node: &Node, text: &str) {
    for table in 0..3 {
        let sql = format!("INSERT INTO `load`.t{table} (k, v) VALUES (1, '{text}'), (2, '{text}')");
        node.run(&sql).await;
    }
}

fn archive(home: &Home, node: &Node) {
    let mut args = home.backup(&node.socket, &["--until-current"]);
    args[0] = "archive".into();
    home.run(&strs(&args)).expect(0);
}

fn backup(home: &Home, node: &Node, id: &str) {
    home.run(&strs(&home.backup(&node.socket, &["--id", id]))).expect(0);
}

fn restore(home: &Home, datadir: &Path, more: &[&str]) -> Done {
    let mut args = vec!["restore", "--datadir", datadir.to_str().unwrap()];
    args.extend(more);
    home.run(&args)
}

async fn sums(datadir: &Path) -> BTreeMap<String, u64> {
    let server = Served::over(Flavor::Mariadb, datadir);
    load::checksums(&server.socket).await
}

/// The second decoder, over a repository of this home.
pub(crate) fn decode(home: &Home, repo: &str, script: &str, more: &[&str]) -> String {
    let decoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decoder").join(script);
    let done = Command::new(tools().join("venv/bin/python"))
        .current_dir(home.dir.path())
        .arg("-B")
        .arg(decoder)
        .args(["--repo", repo, "--cluster", "c", "--trust", "kek.trust"])
        .args(more)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn every_instant_of_what_is_kept_comes_back_when_the_log_has_become_short() {
    let node = Node::start(Flavor::Mariadb, 81, &[]);
    load::seed(&node.socket, 500).await;
    let home = Home::file();
    archive(&home, &node);
    backup(&home, &node, "a");
    write(&node, "behind a").await;
    archive(&home, &node);
    // An hour of silence, and a file that begins behind the first checkpoint.
    pad(&home, 1100).await;
    node.run("FLUSH BINARY LOGS").await;
    write(&node, "before b").await;
    archive(&home, &node);
    backup(&home, &node, "b");
    let mut points = Vec::new();
    for text in ["one", "two"] {
        write(&node, text).await;
        points.push(look(&node).await);
    }
    archive(&home, &node);
    pad(&home, 2100).await;
    write(&node, "three").await;
    let last = look(&node).await;
    archive(&home, &node);

    let before = repository(&home, "repo").await.horizon().await.unwrap().horizon;
    assert_eq!((before.begins, before.thinned), (0, 0));
    let args = ["prune", "--keep-last", "1", "--grace", "0s"];
    let plan = home.run(&[&args[..], &["--plan"]].concat()).expect(0).json();
    assert_eq!((&plan["status"], &plan["log"]["begins_next"]), (&"planned".into(), &1024.into()));
    assert_eq!(home.listed(), ["b", "a"], "a plan touches nothing");
    let done = home.run(&args).expect(0).json();
    assert_eq!((&done["status"], &done["objects_locked"]), (&"complete".into(), &0.into()));
    assert_eq!(home.listed(), ["b"]);
    // All but the checkpoints, and what they name.
    let removed = done["log"]["records_removed"].as_u64().unwrap();
    assert!(removed > 1900, "{done:#}");
    let after = repository(&home, "repo").await.horizon().await.unwrap().horizon;
    assert_eq!((after.begins, after.thinned), (1024, 2048));

    home.run(&["verify"]).expect(0);
    let again = home.run(&args).expect(0).json();
    assert_eq!(again["objects_removed"], 0, "{again:#}");
    for (n, point) in points.iter().enumerate() {
        let datadir = home.path(&format!("point-{n}"));
        restore(&home, &datadir, &["--to-gtid", &point.gtids]).expect(0);
        assert_eq!(sums(&datadir).await, point.sums);
    }
    let datadir = home.path("latest");
    restore(&home, &datadir, &[]).expect(0);
    assert_eq!(sums(&datadir).await, last.sums);
    let early = restore(&home, &home.path("early"), &["--to-time", &plan_time(&plan)]);
    early.expect(7);

    for way in ["--check", "--tip"] {
        let said = decode(&home, "repo", "backstay_log.py", &[way]);
        assert!(said.contains("log head"), "{said}");
    }
    let files = decode(&home, "repo", "backstay_log.py", &["--kek", "kek", "--files", "files"]);
    assert!(files.contains("outlines checked:"), "{files}");
    let listed = decode(&home, "repo", "backstay_decode.py", &["--list"]);
    assert!(listed.contains('b') && !listed.lines().any(|line| line.starts_with("a ")), "{listed}");

    // The log goes on, and so does what is restored from it.
    write(&node, "four").await;
    let now = look(&node).await;
    archive(&home, &node);
    let datadir = home.path("later");
    restore(&home, &datadir, &[]).expect(0);
    assert_eq!(sums(&datadir).await, now.sums);
}

/// An instant before all that is kept.
fn plan_time(plan: &serde_json::Value) -> String {
    let oldest = plan["backups"].as_array().unwrap().last().unwrap();
    let at: Timestamp = oldest["finished_at"].as_str().unwrap().parse().unwrap();
    at.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_is_about_to_go_is_not_restored_until_somebody_holds_it() {
    let node = Node::start(Flavor::Mariadb, 82, &[]);
    load::seed(&node.socket, 100).await;
    let home = Home::file();
    backup(&home, &node, "a");
    backup(&home, &node, "b");
    home.run(&["prune", "--keep-last", "1"]).expect(0);
    let datadir = home.path("refused");
    let refused = restore(&home, &datadir, &["--backup", "a"]).expect(7);
    refused.says("backstay hold a");
    assert!(!datadir.exists());
    let shown = home.run(&["show", "a"]).expect(0).json();
    assert_eq!(shown["mark"]["kind"], "tombstoned", "{shown:#}");
    home.run(&["hold", "a", "--reason", "wanted after all"]).expect(0);
    restore(&home, &datadir, &["--backup", "a"]).expect(0);
    home.run(&["prune", "--keep-last", "1", "--grace", "0s"]).expect(0);
    assert_eq!(home.listed(), ["b", "a"]);
    home.run(&["unhold", "a"]).expect(0);
    home.run(&["prune", "--keep-last", "1", "--grace", "0s"]).expect(0);
    assert_eq!(home.listed(), ["b"]);
    home.run(&["hold", "a", "--reason", "too late"]).expect(7);
    let trail = home.run(&["audit", "export"]).expect(0);
    for action in
        ["prune-begun", "prune-tombstone", "hold-set", "hold-lifted", "prune-swept", "prune-ended"]
    {
        assert!(trail.out.contains(action), "no {action} in {}", trail.out);
    }
    home.run(&["verify"]).expect(0);
}
