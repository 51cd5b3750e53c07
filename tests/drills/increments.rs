//! Chains of increments, taken under load: what comes back is what the server was, each damaged link
//! is named, and what cannot be an increment is a full backup that says why.

use std::{fs, path::Path, time::Duration};

use backstay::model::Flavor;

use crate::{
    failing::{Flipped, files},
    home::{Home, strs},
    load::{self, Load},
    node::Node,
    served::Served,
};

fn increment(home: &Home, node: &Node, id: &str, more: &[&str]) -> serde_json::Value {
    let more = [&["--id", id, "--incremental"], more].concat();
    home.run(&strs(&home.backup(&node.socket, &more))).expect(0).json()
}

fn volume(home: &Home, id: &str) -> std::path::PathBuf {
    let word = format!("/{id}/");
    files(&home.path("repo"), &word).into_iter().find(|path| path.ends_with("vol-00000")).unwrap()
}

async fn sums(datadir: &Path) -> std::collections::BTreeMap<String, u64> {
    let server = Served::over(Flavor::Mariadb, datadir);
    load::checksums(&server.socket).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_full_and_six_increments_under_load_come_back() {
    let node = Node::start(Flavor::Mariadb, 96, &[]);
    load::seed(&node.socket, 2_000).await;
    let home = Home::file();
    let writers = Load::start(&node.socket, 2);
    for n in 0..7 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        if n == 3 {
            // A table that comes, and one that goes, between two links.
            node.run("CREATE TABLE `load`.late (id INT PRIMARY KEY, v INT) SELECT 1 AS id, 2 AS v")
                .await;
            node.run("CREATE TABLE `load`.brief (id INT PRIMARY KEY)").await;
        }
        if n == 5 {
            node.run("DROP TABLE `load`.brief").await;
            node.run("ALTER TABLE `load`.t3 ADD COLUMN more INT DEFAULT 7, ADD KEY (more)").await;
        }
        if n == 6 {
            // The last link is taken when nothing is written, so that there is something to compare with.
            break;
        }
        let done = increment(&home, &node, &format!("link-{n}"), &[]);
        match n {
            0 => assert!(done["full_because"].as_str().unwrap().contains("no good backup")),
            _ => assert_eq!(done["base"], format!("link-{}", n - 1), "{done:#}"),
        }
    }
    writers.stop().await;
    let expected = load::checksums(&node.socket).await;
    assert_eq!(increment(&home, &node, "link-6", &[])["base"], "link-5");
    let sizes: Vec<u64> = listed(&home).iter().map(|b| b["bytes_read"].as_u64().unwrap()).collect();
    assert!(sizes[..6].iter().all(|size| *size < sizes[6]), "increments are smaller: {sizes:?}");

    home.run(&["verify"]).expect(0);
    let datadir = home.path("new");
    let args = ["restore", "--backup", "link-6", "--datadir", datadir.to_str().unwrap()];
    let done = home.run(&args).expect(0).json();
    assert_eq!(done["status"], "proven", "{done:#}");
    assert_eq!(done["plan"]["stands_on"].as_array().unwrap().len(), 6, "{done:#}");
    assert_eq!(sums(&datadir).await, expected);
    fs::remove_dir_all(&datadir).unwrap();

    // The eighth is a full one by itself.
    let done = increment(&home, &node, "link-7", &[]);
    assert_eq!(done["base"], serde_json::Value::Null, "{done:#}");
    assert!(done["full_because"].as_str().unwrap().contains("7 backups already"), "{done:#}");
    assert_eq!(increment(&home, &node, "link-8", &["--base", "link-4"])["base"], "link-4");
    each_damaged_link_is_named(&home);
}

fn listed(home: &Home) -> Vec<serde_json::Value> {
    home.run(&["list"]).expect(0).json().as_array().unwrap().clone()
}

/// Which backups `verify` finds damaged.
fn damaged(home: &Home, args: &[&str]) -> Vec<String> {
    let found = home.run(&[&["verify"], args].concat()).expect(6).json();
    let backups = found["backups"].as_array().unwrap().iter();
    backups
        .filter(|backup| backup["status"] == "damaged")
        .map(|backup| {
            let why = backup["findings"].to_string();
            assert!(why.contains("vol-00000") || why.contains("stands on backup link-2"), "{why}");
            backup["backup_id"].as_str().unwrap().to_owned()
        })
        .collect()
}

fn each_damaged_link_is_named(home: &Home) {
    let flipped = Flipped::in_the_middle_of(&volume(home, "link-2"));
    let all = ["link-8", "link-6", "link-5", "link-4", "link-3", "link-2"];
    assert_eq!(damaged(home, &[]), all);
    assert_eq!(damaged(home, &["link-3"]), ["link-3", "link-2"]);
    home.run(&["verify", "link-1"]).expect(0);
    home.run(&["verify", "link-7"]).expect(0);
    let datadir = home.path("new");
    let args = ["restore", "--backup", "link-6", "--datadir", datadir.to_str().unwrap()];
    home.run(&args).expect(6).says("link-2");
    let _ = fs::remove_dir_all(&datadir);
    drop(flipped);
    // A manifest that is gone takes the belief in all that stands on it.
    let manifest = files(&home.path("repo"), "/link-3/manifest.json").remove(0);
    let aside = home.path("manifest");
    fs::rename(&manifest, &aside).unwrap();
    let list = home.run(&["list"]).expect(0).json();
    let broken: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .filter(|backup| backup["status"] == "damaged")
        .map(|backup| {
            assert!(backup["problem"].as_str().unwrap().contains("link-3"), "{backup}");
            backup["backup_id"].as_str().unwrap()
        })
        .collect();
    assert_eq!(broken, ["link-8", "link-6", "link-5", "link-4"]);
    home.run(&["verify"]).expect(6).says("link-3");
    home.run(&args).expect(6).says("link-3");
    assert!(!datadir.exists());
    fs::rename(&aside, &manifest).unwrap();
    home.run(&["verify"]).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_life_or_another_server_gets_a_full_one() {
    let mut node = Node::start(Flavor::Mariadb, 97, &[]);
    load::seed(&node.socket, 50).await;
    let home = Home::file();
    increment(&home, &node, "first", &[]);
    assert_eq!(increment(&home, &node, "second", &[])["base"], "first");
    node.down();
    tokio::time::sleep(Duration::from_secs(3)).await;
    node.up(&[]);
    let done = increment(&home, &node, "third", &[]);
    assert!(done["full_because"].as_str().unwrap().contains("was started at"), "{done:#}");
    let named = home.backup(&node.socket, &["--incremental", "--base", "second"]);
    home.run(&strs(&named)).expect(3).says("was started at");
    let other = Node::start(Flavor::Mariadb, 98, &[]);
    let done = increment(&home, &other, "fourth", &[]);
    assert!(done["full_because"].as_str().unwrap().contains("another server"), "{done:#}");
    let done = increment(&home, &node, "fifth", &["--base", "third", "--chain-length", "2"]);
    assert_eq!(done["base"], "third");
    let done = increment(&home, &node, "sixth", &["--chain-length", "2"]);
    assert!(done["full_because"].as_str().unwrap().contains("2 backups already"), "{done:#}");
    home.run(&["backup", "--incremental", "--source", "stdin", "--engine", "xtrabackup"]).expect(2);
}
