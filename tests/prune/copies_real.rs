//! Copies of a real server's backups and binary logs: what is restored from the copy is what the server
//! was.

use std::{collections::BTreeMap, path::Path};

use backstay::model::Flavor;

use crate::{
    copies::{copy, url},
    home::{Home, strs},
    load,
    node::Node,
    pad::{pad, repository},
    real::decode,
    served::Served,
};

async fn write(node: &Node, text: &str) {
    node.run(&format!("INSERT INTO `load`.t0 (k, v) VALUES (1, '{text}'), (2, '{text}')")).await;
    node.run(&format!("UPDATE `load`.t1 SET v = '{text}' WHERE id < 9")).await;
}

fn archive(home: &Home, node: &Node) {
    let mut args = home.backup(&node.socket, &["--until-current"]);
    args[0] = "archive".into();
    home.run(&strs(&args)).expect(0);
}

/// Restores everything that a repository has. Returns the tables.
async fn restored(home: &Home, repo: &str, name: &str) -> BTreeMap<String, u64> {
    let datadir = home.path(name);
    home.run(&["restore", "--repo", repo, "--datadir", datadir.to_str().unwrap()]).expect(0);
    sums(&datadir).await
}

async fn sums(datadir: &Path) -> BTreeMap<String, u64> {
    let server = Served::over(Flavor::Mariadb, datadir);
    load::checksums(&server.socket).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_restores_like_the_original_and_goes_on_with_it() {
    let node = Node::start(Flavor::Mariadb, 84, &[]);
    load::seed(&node.socket, 300).await;
    let home = Home::file();
    let to = url(&home, "copy");
    archive(&home, &node);
    home.run(&strs(&home.backup(&node.socket, &["--id", "a"]))).expect(0);
    write(&node, "one").await;
    archive(&home, &node);
    // Short: there is no checkpoint, and the copy has every record.
    let done = copy(&home, &to, &[]).expect(0).json();
    assert_eq!(done["log"]["records"], done["log"]["records_copied"], "{done:#}");
    let now = load::checksums(&node.socket).await;
    assert_eq!(restored(&home, &to, "short").await, now);

    // Long: what is superseded stays behind.
    pad(&home, 1100).await;
    write(&node, "two").await;
    node.run("FLUSH BINARY LOGS").await;
    write(&node, "three").await;
    archive(&home, &node);
    home.run(&strs(&home.backup(&node.socket, &["--id", "b"]))).expect(0);
    pad(&home, 2100).await;
    write(&node, "four").await;
    archive(&home, &node);
    let done = copy(&home, &to, &[]).expect(0).json();
    let (records, copied) = (&done["log"]["records"], &done["log"]["records_copied"]);
    assert!(records.as_u64().unwrap() > 2100 && copied.as_u64().unwrap() < 300, "{done:#}");
    let horizon = repository(&home, "copy").await.horizon().await.unwrap().horizon;
    assert_eq!((horizon.begins, horizon.thinned, horizon.pending), (0, 2048, None));
    home.run(&["verify", "--repo", &to]).expect(0);
    let now = load::checksums(&node.socket).await;
    assert_eq!(restored(&home, &to, "long").await, now);
    let datadir = home.path("from-a");
    let datadir = datadir.to_str().unwrap();
    home.run(&["restore", "--repo", &to, "--backup", "b", "--datadir", datadir, "--plan"])
        .expect(0);
    for way in ["--check", "--tip"] {
        let ours = decode(&home, "repo", "backstay_log.py", &[way]);
        let theirs = decode(&home, "copy", "backstay_log.py", &[way]);
        assert_eq!(ours.lines().next(), theirs.lines().next());
    }
    // The same files come out of both.
    let ours = decode(&home, "repo", "backstay_log.py", &["--kek", "kek", "--files", "ours"]);
    let theirs = decode(&home, "copy", "backstay_log.py", &["--kek", "kek", "--files", "theirs"]);
    let digests = |said: &str| -> Vec<String> {
        let lines = said.lines().filter(|line| line.contains(" id-84 "));
        lines.map(ToOwned::to_owned).collect()
    };
    assert_eq!(digests(&ours), digests(&theirs));
    assert!(!digests(&ours).is_empty(), "{ours}");
    home.run(&["report", "--repo", &to, "--since", "1d"]).expect(0);

    // The original is pruned; the copy goes on all the same, and by itself.
    home.run(&["prune", "--keep-last", "1", "--grace", "0s"]).expect(0);
    write(&node, "five").await;
    archive(&home, &node);
    copy(&home, &to, &[]).expect(0);
    home.run(&["verify", "--repo", &to]).expect(0);
    let now = load::checksums(&node.socket).await;
    assert_eq!(restored(&home, &to, "after").await, now);
    home.run(&["prune", "--repo", &to, "--keep-last", "1", "--grace", "0s"]).expect(0);
    home.run(&["verify", "--repo", &to]).expect(0);
    assert_eq!(restored(&home, &to, "pruned").await, now);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_original_that_was_pruned_further_than_it_was_copied_is_begun_anew_when_asked() {
    let node = Node::start(Flavor::Mariadb, 85, &[]);
    load::seed(&node.socket, 100).await;
    let home = Home::file();
    let to = url(&home, "copy");
    archive(&home, &node);
    home.run(&strs(&home.backup(&node.socket, &["--id", "a"]))).expect(0);
    copy(&home, &to, &[]).expect(0);
    pad(&home, 1100).await;
    node.run("FLUSH BINARY LOGS").await;
    write(&node, "one").await;
    archive(&home, &node);
    home.run(&strs(&home.backup(&node.socket, &["--id", "b"]))).expect(0);
    pad(&home, 2100).await;
    write(&node, "two").await;
    archive(&home, &node);
    home.run(&["prune", "--keep-last", "1", "--grace", "0s"]).expect(0);
    copy(&home, &to, &[]).expect(7).says("--restart-log");
    let done = copy(&home, &to, &["--restart-log"]).expect(0).json();
    assert_eq!(done["log"]["begins"], 1024, "{done:#}");
    home.run(&["verify", "--repo", &to]).expect(0);
    let now = load::checksums(&node.socket).await;
    assert_eq!(restored(&home, &to, "anew").await, now);
    // A window alone: what is needed for it, and no older backup.
    let window = url(&home, "window");
    copy(&home, &window, &["--since", "1s"]).expect(0);
    assert_eq!(restored(&home, &window, "of-the-window").await, now);
}
