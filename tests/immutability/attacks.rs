//! A repository on a disk that somebody else can write to, where nothing is kept of what is written
//! over: every change is refused, by name.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    home::{Done, Home, Job, strs},
    load,
    mariadb::{MariaDb, run},
    stage,
};

/// Two backups and an archive of one cluster, a backup of another one by the same signer.
struct Scene {
    home: Home,
    server: MariaDb,
    /// The heads that the last runs have printed.
    audit: String,
    log: String,
}

impl Scene {
    async fn new() -> Self {
        let server = MariaDb::start(&["--binlog-format=ROW"]);
        load::seed(&server.socket, 50).await;
        let home = Home::file();
        let backup = |id: &str| home.run(&strs(&home.backup(&server.socket, &["--id", id])));
        backup("one").expect(0);
        let log = loop {
            stage::insert(&server.socket, "a row").await;
            let args = stage::archive(&home, &server.socket, &[]);
            let done = home.run(&strs(&args)).expect(0).json();
            if files(&home.path("repo/c/segments")).len() > 1 {
                break done["log_head"].as_str().unwrap().to_owned();
            }
        };
        run(Command::new("cp").arg("-a").arg(home.path("repo")).arg(home.path("before")));
        let two = backup("two").expect(0).json();
        let audit = two["audit_head"].as_str().unwrap().to_owned();
        let scene = Self { home, server, audit, log };
        let args = scene.home.backup(&scene.server.socket, &["--id", "one"]);
        scene.of("d", &strs(&args)).expect(0);
        scene.home.run(&["verify"]).expect(0);
        run(Command::new("cp").arg("-a").arg(scene.repo()).arg(scene.home.path("whole")));
        scene
    }

    fn repo(&self) -> PathBuf {
        self.home.path("repo")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.repo().join(name)
    }

    /// As it was before the last attack.
    fn restore(&self) {
        fs::remove_dir_all(self.repo()).unwrap();
        run(Command::new("cp").arg("-a").arg(self.home.path("whole")).arg(self.repo()));
    }

    /// A command for another cluster of the same signer.
    fn of(&self, cluster: &str, args: &[&str]) -> Done {
        let mut flags = self.home.flags.clone();
        let at = flags.iter().position(|flag| flag == "--cluster").unwrap();
        cluster.clone_into(&mut flags[at + 1]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstay"));
        Job::start(command.args(flags).args(args)).wait()
    }

    /// The only file in the cluster whose name has all these parts.
    fn one(&self, parts: &[&str]) -> PathBuf {
        let all = files(&self.path(parts[0]));
        let has = |path: &&PathBuf| {
            let name = path.display().to_string();
            parts[1..].iter().all(|part| name.contains(part))
        };
        all.iter().find(has).unwrap_or_else(|| panic!("no {parts:?} in {all:?}")).clone()
    }

    /// `verify` refuses it, and names the object.
    #[track_caller]
    fn refused(&self, object: &str, why: &str) {
        let done = self.home.run(&["verify"]).expect(6);
        let found = problems(&done.json());
        let about = |o: &str, w: &str| o.contains(object) || w.contains(object);
        let named = found.iter().any(|(o, w)| about(o, w) && w.contains(why));
        assert!(named, "nobody names {object}: {why}: {found:?}\n{}", done.err);
    }

    /// So does whoever wants to restore from it.
    #[track_caller]
    fn not_restored(&self, id: &str, object: &str) {
        let datadir = self.home.path("never").display().to_string();
        let restore = ["restore", "--backup", id, "--no-start", "--datadir", &datadir];
        self.home.run(&restore).expect(6).says(object);
    }
}

fn problems(verified: &serde_json::Value) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let of = |place: &serde_json::Value| -> Vec<(String, String)> {
        let all = place["findings"].as_array().cloned().unwrap_or_default();
        all.iter().map(|p| (text(&p["object"]), text(&p["why"]))).collect()
    };
    let mut all = of(verified);
    all.extend(of(&verified["log"]));
    all.extend(verified["backups"].as_array().into_iter().flatten().flat_map(of));
    all
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The run that a signed record names.
fn run_of(path: &Path) -> String {
    let envelope: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    document["run_id"].as_str().unwrap().to_owned()
}

/// A signed record with one byte of its payload changed, and encoded again as it should be.
fn edited(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    let mut envelope: serde_json::Value = serde_json::from_str(&text).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let payload = String::from_utf8(payload).unwrap();
    let changed = payload.replacen(from, to, 1);
    assert!(changed != payload, "{from} is not in {payload}");
    let old = envelope["payload"].as_str().unwrap().to_owned();
    envelope["payload"] = STANDARD.encode(changed).into();
    // The order of the fields is fixed, so the text is changed and not written anew.
    fs::write(path, text.replace(&old, envelope["payload"].as_str().unwrap())).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "it is a list of attacks on one scene")]
async fn every_change_is_refused_by_name() {
    let scene = Scene::new().await;
    let copy = |from: &str, to: &str| {
        fs::copy(scene.path(from), scene.path(to)).unwrap();
    };

    // A manifest in the place of another one.
    copy("c/backups/one/manifest.json", "c/backups/two/manifest.json");
    scene.refused("c/backups/two/manifest.json", "it is the manifest of backup one");
    scene.not_restored("two", "c/backups/two/manifest.json");
    scene.restore();

    // An older one of the same backup: all is put back to before it was taken, it is taken again, and
    // then the first one comes over it, with all that it takes to believe it.
    fs::remove_dir_all(scene.repo()).unwrap();
    run(Command::new("cp").arg("-a").arg(scene.home.path("before")).arg(scene.repo()));
    let again = scene.home.backup(&scene.server.socket, &["--id", "two"]);
    scene.home.run(&strs(&again)).expect(0);
    for part in ["runs", "keys", "backups/two"] {
        let (from, to) =
            (scene.home.path("whole").join("c").join(part), scene.path("c").join(part));
        run(Command::new("cp").arg("-a").arg(from.join(".")).arg(to));
    }
    scene.refused("c/backups/two/manifest.json", "not the manifest that the audit chain says");
    scene.not_restored("two", "c/backups/two/manifest.json");
    scene.restore();

    // A segment in the place of another one of the same file, of the same run or not.
    let segments = files(&scene.path("c/segments"));
    assert!(segments.len() > 1 && segments[0].parent() == segments[1].parent(), "{segments:?}");
    fs::copy(&segments[0], &segments[1]).unwrap();
    let name = segments[1].strip_prefix(scene.repo()).unwrap().display().to_string();
    scene.refused(&name, "");
    let quick = scene.home.run(&["verify", "--quick"]).expect(6);
    assert!(problems(&quick.json()).iter().any(|(object, _)| *object == name), "{}", quick.out);
    scene.restore();

    // An object of one cluster under the name of another one of the same signer.
    let manifest = "d/backups/one/manifest.json";
    copy(manifest, "c/backups/one/manifest.json");
    scene.refused("c/backups/one/manifest.json", "");
    for run in files(&scene.path("d/runs")) {
        // And all that it takes to believe it.
        fs::copy(&run, scene.path("c/runs").join(run.file_name().unwrap())).unwrap();
    }
    scene.refused("c/backups/one/manifest.json", "it belongs to another cluster");
    scene.not_restored("one", "c/backups/one/manifest.json");
    scene.restore();
    let (ours, theirs) =
        (scene.one(&["c/backups/one", "vol-"]), scene.one(&["d/backups/one", "vol-"]));
    fs::copy(theirs, &ours).unwrap();
    scene.refused("vol-00000", "");
    scene.not_restored("one", "vol-00000");
    scene.restore();

    // The record of a key: of another DEK, and of another cluster.
    let keys = files(&scene.path("c/keys"));
    fs::copy(&keys[0], &keys[1]).unwrap();
    let name = keys[1].strip_prefix(scene.repo()).unwrap().display().to_string();
    scene.refused(&name, "it is the record of another DEK");
    fs::copy(scene.one(&["d/keys", ".json"]), &keys[1]).unwrap();
    scene.refused(&name, "");
    scene.restore();

    // The end of the audit chain is cut off, with the backup of which it speaks.
    let known = files(&scene.home.path("before/c/audit")).len();
    for cut in &files(&scene.path("c/audit"))[known..] {
        fs::remove_file(cut).unwrap();
    }
    scene.refused("c/backups/two/manifest.json", "no audit record speaks of it");
    fs::remove_dir_all(scene.path("c/backups/two")).unwrap();
    let silent = scene.home.run(&["verify"]).expect(0).json();
    assert_eq!(silent["freshness_proven"], false, "nobody can tell, and this is said: {silent}");
    let text = scene.home.run(&["verify", "--quick", "--format", "text"]).expect(0);
    text.says("freshness   not proven");
    for command in [&["verify"][..], &["list"], &["window"]] {
        let args = [command, &["--at-least", &scene.audit]].concat();
        scene.home.run(&args).expect(6).says("rolled back or replaced");
    }
    scene.restore();
    // And that of the log.
    let last = files(&scene.path("c/log")).pop().unwrap();
    fs::remove_file(&last).unwrap();
    scene.home.run(&["verify", "--quick", "--at-least", &scene.log]).expect(6);
    scene.restore();
    let fresh = scene.home.run(&["verify", "--at-least", &scene.log]).expect(0).json();
    assert_eq!(fresh["freshness_proven"], true);

    // A copy that was edited, one byte, and encoded as it should be.
    let manifest = scene.path("c/backups/two/manifest.json");
    edited(&manifest, "\"proof\":\"exit\"", "\"proof\":\"framing\"");
    scene.refused("c/backups/two/manifest.json", "signature");
    scene.restore();
    let log = files(&scene.path("c/log"))[0].clone();
    edited(&log, "\"epoch\":1", "\"epoch\":2");
    scene.refused("c/log/00000000000000000001", "signature");
    scene.restore();
    let run_record = scene.path(&format!("c/runs/{}.json", run_of(&manifest)));
    edited(&run_record, "\"role\":\"", "\"role\":\"x");
    scene.refused("c/runs/", "no trusted signer");
    scene.restore();

    // Whoever has a KEK and a signer of their own, and may write: they make a backup in this very
    // cluster, and put it in the place of ours.
    let intruder = Home::file();
    for key in ["kek.pub", "kek"] {
        fs::copy(scene.home.path(key), intruder.path(key)).unwrap();
    }
    let both = trust_of_both(&scene.home, &intruder);
    let repo = intruder.flags.iter().position(|flag| flag == "--repo").unwrap();
    let mut flags = intruder.flags.clone();
    flags[repo + 1] = format!("file://{}", scene.repo().display());
    flags.extend(["--trust".to_owned(), both.display().to_string()]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstay"));
    let args = scene.home.backup(&scene.server.socket, &["--id", "evil"]);
    Job::start(command.args(flags).args(args)).wait().expect(0);
    scene.refused("c/backups/evil/manifest.json", "no trusted signer");
    fs::copy(scene.one(&["c/backups/evil", "vol-"]), scene.one(&["c/backups/two", "vol-"]))
        .unwrap();
    // Of another size, or with another run in its header.
    scene.refused("/vol-00000", "");
    scene.not_restored("two", "vol-00000");
    copy("c/backups/evil/manifest.json", "c/backups/two/manifest.json");
    scene.refused("c/backups/two/manifest.json", "no trusted signer");
    scene.not_restored("two", "no trusted signer");
}

/// What the intruder believes: themselves, and us.
fn trust_of_both(ours: &Home, theirs: &Home) -> PathBuf {
    let read = |home: &Home| -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(home.path("kek.trust")).unwrap()).unwrap()
    };
    let (mut both, theirs_trust) = (read(ours), read(theirs));
    let more = theirs_trust["signers"].as_array().unwrap().clone();
    both["signers"].as_array_mut().unwrap().extend(more);
    let path = theirs.path("both");
    fs::write(&path, both.to_string()).unwrap();
    path
}

#[test]
fn a_whole_cluster_in_the_place_of_another_is_refused_by_its_pin() {
    let home = Home::file();
    let done = stage::feed(&home, "one", &[]).expect(0).json();
    let uuid = done["cluster_uuid"].as_str().unwrap().to_owned();
    let pinned = home.run(&["keys", "trust", "--pin"]).expect(0).json();
    assert_eq!(pinned["cluster_uuid"], uuid.as_str(), "{pinned}");
    let trust = fs::read_to_string(home.path("kek.trust")).unwrap();
    assert!(trust.contains("\"clusters\"") && trust.contains(&uuid), "{trust}");
    // Once more is as good, and what was taken is still believed.
    home.run(&["keys", "trust", "--pin"]).expect(0);
    home.run(&["verify"]).expect(0);

    // Another cluster of the same signer takes its folder.
    let mut other = home.flags.clone();
    let at = other.iter().position(|flag| flag == "--cluster").unwrap();
    "d".clone_into(&mut other[at + 1]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstay"));
    command.args(&other).args([
        "backup",
        "--source",
        "stdin",
        "--engine",
        "xtrabackup",
        "--id",
        "one",
    ]);
    command.stdin(fs::File::open(home.path("stream")).unwrap());
    Job::start(&mut command).wait().expect(0);
    let (c, d) = (home.path("repo/c"), home.path("repo/d"));
    fs::rename(&c, home.path("away")).unwrap();
    fs::rename(&d, &c).unwrap();
    for command in [
        &["list"][..],
        &["verify"],
        &["window"],
        &["show"],
        &["keys", "status"],
        &["keys", "trust", "--pin"],
        &["restore", "--no-start", "--datadir", "/nowhere/at/all"],
    ] {
        home.run(command).expect(6).says("c/cluster.json").says("the trust file pins");
    }
    stage::feed(&home, "two", &[]).expect(6).says("the trust file pins");
    // Nor is a new one founded where the pinned one was.
    fs::remove_dir_all(&c).unwrap();
    stage::feed(&home, "two", &[]).expect(6).says("it is missing");
    // Nothing but the folder of a probe that was removed again is there.
    fs::remove_dir_all(&c).unwrap();
    fs::rename(home.path("away"), &c).unwrap();
    home.run(&["verify"]).expect(0);
}
