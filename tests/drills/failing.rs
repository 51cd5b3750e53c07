//! What must make a drill fail, and with which exit code.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use backstay::model::Flavor;

use crate::{scene::Scene, small_disk::Small};

pub(crate) fn files(folder: &Path, word: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains(word) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Flips a bit in the middle, and puts it back when dropped.
pub(crate) struct Flipped(PathBuf, Vec<u8>);

impl Flipped {
    pub(crate) fn in_the_middle_of(path: &Path) -> Self {
        let good = fs::read(path).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        fs::write(path, bad).unwrap();
        Self(path.to_owned(), good)
    }
}

impl Drop for Flipped {
    fn drop(&mut self) {
        fs::write(&self.0, &self.1).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_not_as_it_should_be_is_told_by_the_exit_code() {
    let scene = Scene::make(Flavor::Mariadb, 92, Duration::from_secs(1)).await;
    let repo = scene.home.path("repo");
    a_planted_assertion(&scene);
    a_corrupt_chunk(&scene, &repo);
    a_missing_segment(&scene, &repo);
    what_cannot_begin(&scene);
    too_slow(&scene);
    // All of that is evidence, in one chain; the last drill ended well.
    scene.drill(&[]).expect(0);
    scene.home.run(&["verify"]).expect(0);
}

fn a_planted_assertion(scene: &Scene) {
    let assertions = scene.assertions(
        "-- this holds\nSELECT 1 AS yes;\n\n-- nobody has that many rows\n\
         SELECT COUNT(*) > 1000000000 AS enough, COUNT(*) AS _rows FROM `load`.t0;\n\
         -- there is no such table\nSELECT COUNT(*) FROM `load`.nowhere;",
    );
    let done = scene.drill(&["--assertions", &assertions]).expect(6).json();
    assert_eq!(done["failures"], serde_json::json!(["assertions"]), "{done:#}");
    let results = done["assertions"]["results"].as_array().unwrap();
    let statuses: Vec<_> =
        results.iter().map(|result| result["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["holds", "false", "error"], "{done:#}");
    assert_eq!(results[1]["name"], "nobody has that many rows");
    assert_eq!((&results[1]["line"], &results[1]["why"]), (&5.into(), &"`enough` is 0".into()));
    assert!(results[2]["why"].as_str().unwrap().contains("nowhere"), "{done:#}");
    // The evidence says which, by their place in the file, and no name of a table.
    let record = scene.home.path("repo").join(done["evidence"]["object"].as_str().unwrap());
    let payload = payload(&record);
    assert_eq!(payload["assertions"]["outcomes"], serde_json::json!(["holds", "false", "error"]));
    assert_eq!((&payload["status"], &payload["drill_id"]), (&"failed".into(), &done["drill_id"]));
    let text = payload.to_string();
    assert!(!text.contains("nowhere") && !text.contains("nobody"), "{text}");
}

fn payload(record: &Path) -> serde_json::Value {
    use base64::Engine as _;
    let envelope: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(record).unwrap()).unwrap();
    let payload = envelope["payload"].as_str().unwrap();
    let payload = base64::engine::general_purpose::STANDARD.decode(payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

fn a_corrupt_chunk(scene: &Scene, repo: &Path) {
    let volume = files(repo, "/base/").into_iter().find(|path| path.ends_with("vol-00000"));
    let volume = volume.unwrap();
    let flipped = Flipped::in_the_middle_of(&volume);
    let done = scene.drill(&[]).expect(6).json();
    assert_eq!(done["failures"], serde_json::json!(["restore"]), "{done:#}");
    assert!(done["error"].as_str().unwrap().contains("vol-00000"), "{done:#}");
    drop(flipped);
    // With an older one the same point can be had, and it fails all the same.
    scene.back_up("younger");
    scene.archive();
    let volume = files(repo, "/younger/").into_iter().find(|path| path.ends_with("vol-00000"));
    let _flipped = Flipped::in_the_middle_of(&volume.unwrap());
    let done = scene.drill(&[]).expect(6).json();
    assert_eq!(done["failures"], serde_json::json!(["damaged-backup"]), "{done:#}");
    assert_eq!(done["recovery"]["backup_id"], "base");
    assert_eq!(done["recovery"]["plan"]["passed_over"], serde_json::json!(["younger"]));
    assert_eq!(done["recovery"]["proof"]["equal"], true, "{done:#}");
}

fn a_missing_segment(scene: &Scene, repo: &Path) {
    let segment = files(repo, "/segments/").into_iter().next().expect("a segment");
    let aside = scene.home.path("segment");
    fs::rename(&segment, &aside).unwrap();
    let done = scene.drill(&["--backup", "base", "--random"]);
    assert_eq!(done.code, 2, "a backup alone is no point to be drawn");
    let before = scene.home.run(&["window"]).expect(0).json();
    let latest = before["windows"][0]["latest"].as_str().unwrap();
    let done = scene.drill(&["--backup", "base", "--to-time", latest]).expect(6).json();
    assert_eq!(done["failures"], serde_json::json!(["restore"]), "{done:#}");
    assert!(done["error"].as_str().unwrap().contains("it is missing"), "{done:#}");
    fs::rename(&aside, &segment).unwrap();
}

fn what_cannot_begin(scene: &Scene) {
    scene.drill(&["--to-time", "2001-01-01T00:00:00Z"]).expect(7).says("cannot be reached");
    scene.drill(&["--backup", "nobody"]).expect(7);
    scene.drill(&["--max-disk", "10MiB"]).expect(3).says("are allowed");
    scene.drill(&["--random", "--last", "0s"]).expect(7).says("--last");
    let assertions = scene.assertions("SELECT 1;\nDROP TABLE `load`.t0;");
    scene.drill(&["--assertions", &assertions]).expect(2).says("line 2");
    scene.drill(&["--assertions", "/nowhere.sql"]).expect(2).says("/nowhere.sql");
    let small = Small::mount(&scene.home.path("small"));
    let place = scene.home.path("small");
    let done = scene.home.run(&["drill", "--scratch", place.to_str().unwrap()]);
    done.expect(3).says("free");
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    drop(small);
}

fn too_slow(scene: &Scene) {
    let done = scene.drill(&["--recovery-target", "1ms"]).expect(7).json();
    assert_eq!(done["failures"], serde_json::json!(["too-slow"]), "{done:#}");
    assert_eq!(done["recovery"]["proof"]["equal"], true);
    let done = scene.drill(&["--recovery-target", "1h"]).expect(0).json();
    assert_eq!(done["recovery_target_seconds"], 3600.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_table_is_told_of() {
    // A backup whose pages are right and whose index is not: made on a server without checks.
    let scene = Scene::make(Flavor::Mariadb, 93, Duration::from_millis(300)).await;
    let table = scene.node.data().join("load/m.MYD");
    scene
        .node
        .run("CREATE TABLE `load`.m (id INT PRIMARY KEY, v VARCHAR(90)) ENGINE = MyISAM")
        .await;
    scene.node.run("INSERT INTO `load`.m SELECT id, REPEAT('m', 80) FROM `load`.t0").await;
    scene.node.run("CREATE TABLE `load`.memory (id INT) ENGINE = MEMORY").await;
    scene.node.run("FLUSH TABLES").await;
    let good = fs::read(&table).unwrap();
    let mut bad = good.clone();
    bad[200..1_200].fill(0xff);
    fs::write(&table, bad).unwrap();
    scene.back_up("damaged");
    scene.archive();
    let done = scene.drill(&[]).expect(6).json();
    assert_eq!(done["failures"], serde_json::json!(["tables"]), "{done:#}");
    assert_eq!(done["tables"]["damaged"][0]["table"], "load.m", "{done:#}");
    assert_eq!(done["tables"]["unchecked"][0]["table"], "load.memory", "{done:#}");
    assert_eq!(done["tables"]["whole"], 4, "{done:#}");
    // Who does not look does not see.
    let done = scene.drill(&["--check-tables", "none"]).expect(0).json();
    assert_eq!(done["tables"], serde_json::Value::Null);
}
