//! The day on which the primary key is gone, and the rotation to the next one.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use backstay::model::Flavor;

use crate::{
    home::{Home, strs},
    load,
    mariadb::{MariaDb, run},
    served::Served,
};

/// Another KEK, for a cluster that has a signer.
fn make(home: &Home, name: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstay"));
    run(command.args(["keys", "new", "--kek-only", "--kek", &uri(home, name)]));
}

fn uri(home: &Home, name: &str) -> String {
    format!("file:{}", home.path(name).display())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_private_half_from_the_safe_restores_when_the_primary_is_destroyed() {
    let server = MariaDb::start(&["--binlog-format=ROW"]);
    load::seed(&server.socket, 300).await;
    let expected = load::checksums(&server.socket).await;
    let mut home = Home::file();
    make(&home, "safe");
    assert!(!home.path("safe.signer").exists() && !home.path("safe.trust").exists());
    let away = home.path("in-the-safe");
    fs::rename(home.path("safe"), &away).unwrap();
    let also = uri(&home, "safe.pub");

    // What was archived before there was a second key is given one.
    let alone = archive(&home, &server.socket, &["--until-current"]);
    home.run(&strs(&alone)).expect(0);
    let status = home.run(&["keys", "status"]).expect(0).json();
    let only = &status["keks"][0]["only"];
    assert_eq!((&only["deks"], &only["epochs"]), (&1.into(), &1.into()), "{status}");
    assert!(only["segments"].as_u64().unwrap() + only["tails"].as_u64().unwrap() > 0, "{status}");
    let done = home.run(&["keys", "rewrap", "--to", &also]).expect(0).json();
    assert_eq!((&done["rewrapped"], &done["to_opens"]), (&1.into(), &false.into()), "{done}");

    let backup = home.backup(&server.socket, &["--also-kek", &also, "--id", "one"]);
    let done = home.run(&strs(&backup)).expect(0).json();
    assert_eq!(done["also_keks"].as_array().unwrap().len(), 1, "{done}");
    let archive = archive(&home, &server.socket, &["--until-current", "--also-kek", &also]);
    home.run(&strs(&archive)).expect(0);
    let status = home.run(&["keys", "status"]).expect(0).json();
    assert_eq!((&status["deks"], &status["deks_with_one_kek"]), (&3.into(), &0.into()), "{status}");
    // The same key twice would be no second way in.
    let twice = home.backup(&server.socket, &["--also-kek", &uri(&home, "kek.pub")]);
    home.run(&strs(&twice)).expect(2).says("was named before");

    fs::remove_file(home.path("kek")).unwrap();
    fs::rename(&away, home.path("safe")).unwrap();
    home.run(&restore("lost")).expect(2).says("kek");
    let flag = home.flags.iter().position(|flag| flag == "--kek").unwrap();
    home.flags[flag + 1] = uri(&home, "safe");
    // Whom to believe does not come out of the safe.
    let trust = home.path("kek.trust").display().to_string();
    let signer = uri(&home, "kek.signer");
    home.flags.extend(["--trust".into(), trust, "--signer".into(), signer]);
    let datadir = home.path("by-the-safe");
    home.run(&restore(datadir.to_str().unwrap())).expect(0);
    assert_eq!(served(&datadir).await, expected);

    // A new primary for all that there is; then neither of the first two is there any more.
    make(&home, "next");
    let next = uri(&home, "next");
    let done = home.run(&["keys", "rewrap", "--to", &next]).expect(0).json();
    assert_eq!((&done["status"], &done["rewrapped"]), (&"complete".into(), &3.into()), "{done}");
    assert!(done["warning"].as_str().unwrap().contains("does not cure"), "{done}");
    fs::remove_file(home.path("safe")).unwrap();
    home.flags[flag + 1] = next;
    let datadir = home.path("by-the-next");
    home.run(&restore(datadir.to_str().unwrap())).expect(0);
    assert_eq!(served(&datadir).await, expected);
    home.run(&["verify"]).expect(0);
    let status = home.run(&["keys", "status"]).expect(0).json();
    assert_eq!(status["keks"].as_array().unwrap().len(), 3, "{status}");
    // And what comes now is sealed for the new one, and still for the safe.
    let backup = home.backup(&server.socket, &["--also-kek", &also, "--id", "two"]);
    home.run(&strs(&backup)).expect(0);
    assert_eq!(home.listed(), ["two", "one"]);
}

async fn served(datadir: &Path) -> BTreeMap<String, u64> {
    let server = Served::over(Flavor::Mariadb, datadir);
    load::checksums(&server.socket).await
}

fn restore(datadir: &str) -> [&str; 3] {
    ["restore", "--datadir", datadir]
}

fn archive(home: &Home, socket: &Path, more: &[&str]) -> Vec<String> {
    let mut args = home.backup(socket, more);
    args[0] = "archive".into();
    args
}
