//! Which base a restore begins with, and what it says of those that it cannot take.

use std::{fs, path::PathBuf, time::Duration};

use backstay::model::Flavor;

use crate::{
    archiver::Archiver,
    home::{Home, strs},
    load::{self, Load},
    node::Node,
    pair::Pair,
    points::{restore, sums},
    tokens::Tokens,
};

async fn write(pair: &Pair) {
    let tokens = Tokens::start(pair.primary.port, 2, Duration::from_millis(5));
    tokio::time::sleep(Duration::from_millis(700)).await;
    tokens.stop().await;
}

/// The objects of a backup in which its data lies.
fn volumes(home: &Home, id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![home.path("repo").join("c")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains(&format!("/{id}/"))
                && fs::metadata(&path).unwrap().len() > 100_000
            {
                found.push(path);
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_begins_with_what_is_whole() {
    begins_with_what_is_whole(Flavor::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_begins_with_what_is_whole() {
    begins_with_what_is_whole(Flavor::Mariadb).await;
}

async fn begins_with_what_is_whole(flavor: Flavor) {
    let pair = Pair::start(flavor).await;
    let home = Home::file();
    home.run(&strs(&home.backup(&pair.primary.socket, &["--id", "first"]))).expect(0);
    let mut archiver = Archiver::start(&home, pair.address.port, &[]);
    archiver.owns();
    write(&pair).await;
    // A base that a replica gave, some way behind.
    home.run(&strs(&home.backup(&pair.replica.socket, &["--id", "replica"]))).expect(0);
    write(&pair).await;
    home.run(&strs(&home.backup(&pair.primary.socket, &["--id", "newest"]))).expect(0);
    write(&pair).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    archiver.stop();
    let wanted = load::checksums(&pair.primary.socket).await;
    let datadir = home.path("new");
    let mut taken = Vec::new();
    for damage in ["newest", "replica", "first"] {
        let done = restore(&home, &datadir, &[]).expect(0).json();
        assert_eq!(done["status"], "proven", "{done:#}");
        assert_eq!(sums(flavor, &datadir).await, wanted, "{done:#}");
        assert_eq!(
            (&done["backup_id"], &done["plan"]["passed_over"]),
            (&damage.into(), &taken.clone().into())
        );
        fs::remove_dir_all(&datadir).unwrap();
        // In the middle of its data, where only a restore or `verify` looks.
        let volumes = volumes(&home, damage);
        assert!(!volumes.is_empty(), "{damage} has no volume");
        for volume in volumes {
            let mut bytes = fs::read(&volume).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&volume, bytes).unwrap();
        }
        taken.push(serde_json::Value::from(damage));
    }
    // None is left; and one that is asked for by name is not replaced by another.
    restore(&home, &datadir, &[]).expect(6);
    restore(&home, &datadir, &["--backup", "newest"]).expect(6);
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_in_one_repository_stay_apart() {
    let mut home = Home::file();
    let at = home.flags.iter().position(|flag| flag == "c").unwrap();
    let mut wanted = Vec::new();
    for (n, cluster) in ["one", "two"].into_iter().enumerate() {
        cluster.clone_into(&mut home.flags[at]);
        let node = Node::start(Flavor::Mariadb, 85, &[]);
        load::seed(&node.socket, 50 + u32::try_from(n).unwrap() * 50).await;
        home.run(&strs(&home.backup(&node.socket, &["--id", "base"]))).expect(0);
        let writers = Load::start(&node.socket, 1);
        tokio::time::sleep(Duration::from_millis(500)).await;
        writers.stop().await;
        Archiver::finish(&home, node.port, &[]);
        wanted.push((cluster, load::checksums(&node.socket).await));
    }
    assert_ne!(wanted[0].1, wanted[1].1);
    for (cluster, wanted) in wanted {
        cluster.clone_into(&mut home.flags[at]);
        let datadir = home.path(cluster);
        let done = restore(&home, &datadir, &[]).expect(0).json();
        assert_eq!(done["status"], "proven", "{done:#}");
        assert_eq!(sums(Flavor::Mariadb, &datadir).await, wanted);
    }
}
