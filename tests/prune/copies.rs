//! Copies of backups, from outside: what arrives, what is refused, and what the other side decides for
//! itself.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    home::{Done, Home},
    locks::feed,
    minio::{Minio, REGION},
};

/// The URL of another repository of this home.
pub(crate) fn url(home: &Home, name: &str) -> String {
    format!("file://{}", home.path(name).display())
}

/// Copies without any key: it lies elsewhere meanwhile.
pub(crate) fn copy(home: &Home, to: &str, more: &[&str]) -> Done {
    let (kek, away) = (home.path("kek"), home.path("kek.away"));
    fs::rename(&kek, &away).unwrap();
    let done = home.run(&[&["copy", "--to", to], more].concat());
    fs::rename(&away, &kek).unwrap();
    done
}

/// The ids that another repository lists.
fn listed(home: &Home, repo: &str) -> Vec<String> {
    let list = home.run(&["list", "--repo", repo]).expect(0).json();
    let list = list.as_array().unwrap().iter();
    list.map(|backup| {
        assert_eq!(backup["status"], "complete", "{backup}");
        backup["backup_id"].as_str().unwrap().to_owned()
    })
    .collect()
}

fn status(told: &Value, id: &str) -> String {
    let backups = told["backups"].as_array().unwrap().iter();
    let found = backups.clone().find(|backup| backup["backup_id"] == id).unwrap();
    found["status"].as_str().unwrap().to_owned()
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The volume of a backup.
fn volume(home: &Home, repo: &str, id: &str) -> PathBuf {
    let folder = home.path(&format!("{repo}/c/backups/{id}"));
    files(&folder).into_iter().find(|path| path.ends_with("vol-00000")).unwrap()
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_is_there_is_not_copied_again_and_a_plan_touches_nothing() {
    let home = Home::file();
    feed(&home, "one", &[]).expect(0);
    let to = url(&home, "copy");
    let plan = copy(&home, &to, &["--plan"]).expect(0).json();
    assert_eq!((&plan["status"], status(&plan, "one").as_str()), (&"planned".into(), "copy"));
    assert!(!home.path("copy/c").exists(), "a plan touches nothing");
    let first = copy(&home, &to, &[]).expect(0).json();
    assert_eq!((&first["status"], status(&first, "one").as_str()), (&"complete".into(), "copied"));
    // Byte for byte, but for the other side's own records.
    for path in files(&home.path("repo/c/backups")).iter().chain(&files(&home.path("repo/c/keys")))
    {
        let name = path.strip_prefix(home.path("repo")).unwrap();
        assert_eq!(fs::read(path).unwrap(), fs::read(home.path("copy").join(name)).unwrap());
    }
    let before = files(&home.path("copy"));
    let second = copy(&home, &to, &[]).expect(0).json();
    assert_eq!((&second["objects_copied"], &second["run_id"]), (&0.into(), &Value::Null));
    assert_eq!(status(&second, "one"), "already");
    assert_eq!(files(&home.path("copy")), before);
    feed(&home, "two", &[]).expect(0);
    let third = copy(&home, &to, &[]).expect(0).json();
    assert_eq!(
        (status(&third, "one").as_str(), status(&third, "two").as_str()),
        ("already", "copied")
    );
    home.run(&["verify", "--repo", &to]).expect(0);
    home.run(&["audit", "verify", "--repo", &to]).expect(0);
    let trail = home.run(&["audit", "export", "--repo", &to]).expect(0).out;
    for action in ["copy-begun", "copy-backup", "copy-ended"] {
        assert!(trail.contains(action), "no {action} in {trail}");
    }
    assert!(!trail.contains("backup-begun"), "{trail}");
    assert!(home.path("copy/c/origin/audit/00000000000000000001").exists());
    let extracted = home.path("extracted");
    home.run(
        &["restore", "--no-start", "--backup", "two", "--repo", &to, "--plan"]
            .iter()
            .copied()
            .chain(["--datadir", extracted.to_str().unwrap()])
            .collect::<Vec<_>>(),
    )
    .expect(0);
}

#[test]
fn what_is_damaged_or_another_is_told_and_nothing_is_written_over() {
    let home = Home::file();
    for id in ["good", "bad"] {
        feed(&home, id, &[]).expect(0);
    }
    let to = url(&home, "copy");
    let broken = volume(&home, "repo", "bad");
    flip(&broken);
    let done = copy(&home, &to, &[]).expect(6).json();
    assert_eq!(
        (status(&done, "good").as_str(), status(&done, "bad").as_str()),
        ("copied", "damaged")
    );
    assert_eq!(
        (&done["status"], listed(&home, &to)),
        (&"incomplete".into(), vec!["good".to_owned()])
    );
    flip(&broken);
    copy(&home, &to, &[]).expect(0);
    assert_eq!(listed(&home, &to), ["bad", "good"]);

    // Another backup of the same name: of the same cluster, and rightly signed.
    let other = url(&home, "other");
    copy(&home, &other, &["--backup", "good"]).expect(0);
    home.run(&["prune", "--keep-last", "1", "--grace", "0s"]).expect(0);
    feed(&home, "good", &[]).expect(0);
    let manifest = home.path("other/c/backups/good/manifest.json");
    let before = fs::read(&manifest).unwrap();
    let done = copy(&home, &other, &[]).expect(8).json();
    assert_eq!(
        (status(&done, "good").as_str(), status(&done, "bad").as_str()),
        ("differs", "copied")
    );
    assert_eq!(fs::read(manifest).unwrap(), before);

    // Another cluster.
    let stranger = Home::file();
    feed(&stranger, "good", &[]).expect(0);
    let elsewhere = url(&stranger, "repo");
    let refused = copy(&home, &elsewhere, &[]);
    assert!([6, 8].contains(&refused.code), "{refused:?}");
}

#[test]
fn the_other_side_prunes_and_rewraps_by_itself() {
    let home = Home::file();
    for id in ["one", "two"] {
        feed(&home, id, &[]).expect(0);
    }
    let to = url(&home, "copy");
    copy(&home, &to, &[]).expect(0);
    let dr = format!("file:{}", home.path("dr").display());
    home.run(&["keys", "new", "--kek", &dr, "--kek-only"]).expect(0);
    let status_of = |repo: &str| home.run(&["keys", "status", "--repo", repo]).expect(0).json();
    let old = status_of(&to)["keks"][0]["kek"].as_str().unwrap().to_owned();
    home.run(&["keys", "rewrap", "--repo", &to, "--to", &dr, "--drop", &old]).expect(0);
    home.run(&["prune", "--repo", &to, "--keep-last", "1", "--grace", "0s"]).expect(0);
    assert_eq!(listed(&home, &to), ["two"]);
    feed(&home, "three", &[]).expect(0);
    let done = copy(&home, &to, &[]).expect(0).json();
    let said = ["one", "two", "three"].map(|id| status(&done, id));
    assert_eq!(said, ["pruned", "already", "copied"]);
    assert_eq!(listed(&home, &to), ["three", "two"]);
    // What was there opens with the new one alone, what came since with the old.
    let verify = |kek: &str, id: &str| {
        let args = ["verify", id, "--repo", &to, "--kek", kek];
        let trust = home.path("kek.trust").display().to_string();
        home.run(&[&args[..], &["--trust", &trust]].concat())
    };
    verify(&dr, "two").expect(0);
    let own = format!("file:{}", home.path("kek").display());
    assert_ne!(verify(&own, "two").code, 0);
    verify(&own, "three").expect(0);
    // By name it comes back.
    let named = copy(&home, &to, &["--backup", "one"]).expect(0).json();
    assert_eq!(status(&named, "one"), "copied");
    assert_eq!(listed(&home, &to).len(), 3);
    home.run(&["verify", "--quick", "--repo", &to]).expect(0);
    // A backup that will go is not copied.
    home.run(&["prune", "--keep-last", "1"]).expect(0);
    let fresh = url(&home, "fresh");
    let done = copy(&home, &fresh, &[]).expect(0).json();
    assert_eq!(
        ["one", "two", "three"].map(|id| status(&done, id)),
        ["tombstoned", "tombstoned", "copied"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_killed_is_finished_by_the_next() {
    let home = Home::file();
    for n in 0..6 {
        feed(&home, &format!("b{n}"), &[]).expect(0);
    }
    let minio = Minio::shared();
    minio.bucket("copies", false).await;
    let credentials = minio.credentials_file().display().to_string();
    let endpoint = minio.endpoint();
    let args = [
        "copy",
        "--to",
        "s3://copies/p",
        "--to-endpoint",
        &endpoint,
        "--to-region",
        REGION,
        "--to-credentials",
        &credentials,
    ];
    let there = |more: &[&'static str]| -> Done {
        let repo =
            ["--repo", "s3://copies/p", "--store-endpoint", &endpoint, "--store-region", REGION];
        let all = [more, &repo, &["--store-credentials", &credentials]].concat();
        home.run(&all)
    };
    let mut killed = 0;
    for wait in [100, 200, 300, 400, 500, 700, 900] {
        let job = home.start(&args);
        thread::sleep(Duration::from_millis(wait));
        job.signal(Signal::KILL);
        killed += u32::from(job.wait().code == -9);
        let list = there(&["list"]).expect(0).json();
        let whole = list.as_array().unwrap().iter().all(|backup| backup["status"] == "complete");
        assert!(whole, "{list:#}");
    }
    assert!(killed > 2, "it was killed {killed} times only");
    let done = home.run(&args).expect(0).json();
    assert_eq!(done["status"], "complete", "{done:#}");
    assert_eq!(there(&["list"]).expect(0).json().as_array().unwrap().len(), 6);
    there(&["verify"]).expect(0);
}
