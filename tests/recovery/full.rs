//! Disks that are full, or fill up meanwhile, and servers that are too old.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use backstay::model::Flavor;

use crate::{
    archiver::Archiver,
    home::{Home, strs},
    load::{self, Load},
    node::Node,
    points::{look, restore, sums},
    small_disk::Small,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_or_becomes_full_loses_nothing() {
    let node = Node::start(Flavor::Mariadb, 83, &[]);
    load::seed(&node.socket, 100).await;
    let home = Home::file();
    home.run(&strs(&home.backup(&node.socket, &["--id", "base"]))).expect(0);
    let writers = Load::start(&node.socket, 2);
    tokio::time::sleep(Duration::from_secs(2)).await;
    writers.stop().await;
    let last = look(&node).await;
    Archiver::finish(&home, node.port, &[]);

    let small = Small::mount(&home.path("small"));
    restore(&home, &home.path("small"), &[]).expect(3).says("free");
    assert_eq!(fs::read_dir(home.path("small")).unwrap().count(), 0);
    drop(small);

    // As large as is asked for, until somebody else fills it.
    let place = home.path("disk");
    let _disk = Small::mount_of(&place, "800m");
    let datadir = place.join("new");
    let job = home.start(&["restore", "--datadir", datadir.to_str().unwrap()]);
    let begun = Instant::now();
    while !datadir.join(".backstay-restore").exists() {
        assert!(begun.elapsed() < Duration::from_mins(1), "the restore does not begin");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut filler = File::create(place.join("filler")).unwrap();
    let bytes = vec![7; 1 << 20];
    while filler.write_all(&bytes).is_ok() {}
    let done = job.wait();
    println!("{}: {}", done.code, done.err.lines().last().unwrap_or_default());
    assert!([1, 3, 4].contains(&done.code), "{}: {}", done.code, done.err);
    assert!(datadir.join(".backstay-restore").exists(), "what is there is nobody's data directory");
    drop(filler);
    fs::remove_file(place.join("filler")).unwrap();
    let done = restore(&home, &datadir, &[]).expect(0).json();
    assert_eq!(done["status"], "proven", "{done:#}");
    assert_eq!(sums(Flavor::Mariadb, &datadir).await, last.sums);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_older_than_the_data_is_refused() {
    let node = Node::start(Flavor::Mysql, 84, &[]);
    load::seed(&node.socket, 20).await;
    let home = Home::file();
    home.run(&strs(&home.backup(&node.socket, &["--id", "base"]))).expect(0);
    node.run("INSERT INTO `load`.t0 (k, v) VALUES (1, 'x')").await;
    Archiver::finish(&home, node.port, &[]);
    let old = home.path("mysqld");
    fs::write(
        &old,
        "#!/bin/sh\necho \"$0  Ver 8.0.36 for Linux on x86_64 (Source distribution)\"\n",
    )
    .unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    let datadir = home.path("new");
    restore(&home, &datadir, &["--server", old.to_str().unwrap()]).expect(3).says("8.0.36");
    assert!(!datadir.exists());
}
