//! Who only reads is recorded when that can be, says so when it cannot, and is not held up by it.

use std::fs;

use serde_json::Value;

use crate::{
    home::{Done, Home},
    world::{actions, back_up, exported},
};

fn acts(home: &Home) -> Vec<Value> {
    let mut lines = exported(home, &[]);
    lines.retain(|line| line["action"] != "audit-exported");
    lines
}

#[test]
fn what_a_reader_does_is_in_the_chain_and_in_the_log() {
    let home = Home::file();
    back_up(&home, "base");
    let done = home.run(&["verify"]).expect(0);
    let verified = done.json();
    assert_eq!(verified["audit"], "recorded");
    home.run(&["find"]).expect(7);
    let datadir = home.path("data").display().to_string();
    home.run(&["restore", "--backup", "nothing", "--datadir", &datadir]).expect(7);
    let lines = acts(&home);
    let wanted = [
        "configuration-seen",
        "backup-begun",
        "backup-committed",
        "configuration-seen",
        "verify-begun",
        "verify-ended",
        "configuration-seen",
        "find-begun",
        "find-failed",
        "configuration-seen",
        "restore-begun",
        "restore-failed",
    ];
    assert_eq!(actions(&lines), wanted);
    let (begun, ended) = (&lines[4], &lines[5]);
    assert_eq!((&begun["role"], &begun["run_id"]), (&"read".into(), &ended["run_id"]));
    assert_eq!(ended["outcome"], "success");
    assert_eq!(ended["details"]["status"], "ok");
    assert_eq!(ended["details"]["audit_head"], verified["verified_head"]);
    assert_eq!(begun["configuration"], lines[3]["record_sha256"]);
    assert!(lines[3]["details"]["settings"]["kek"].as_str().unwrap().starts_with("file:"));
    let failure = &lines[11]["failure"];
    assert_eq!((&failure["exit_code"], &failure["kind"]), (&7.into(), &"target".into()));
    assert!(failure["error"].as_str().unwrap().contains("no complete backup nothing"), "{failure}");

    // The same, for whoever collects the logs of a cluster.
    let logged: Vec<Value> = done
        .err
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["target"] == "audit")
        .collect();
    let told: Vec<_> = logged.iter().map(|line| line["action"].as_str().unwrap()).collect();
    assert_eq!(told, ["configuration-seen", "verify-begun", "verify-ended"]);
    assert_eq!((&logged[2]["recorded"], &logged[2]["number"]), (&true.into(), &ended["number"]));
    assert_eq!(logged[2]["run_id"], ended["run_id"]);
    assert_eq!(logged[2]["head"], verified["audit_head"]);

    // The same settings again are no news; a damaged backup is a failure.
    let volume = find_volume(&home);
    let mut bytes = fs::read(&volume).unwrap();
    bytes[900] ^= 1;
    fs::write(&volume, bytes).unwrap();
    home.run(&["verify"]).expect(6);
    let lines = acts(&home);
    assert_eq!(actions(&lines[12..]), ["verify-begun", "verify-ended"]);
    let ended = &lines[13];
    assert_eq!((&ended["outcome"], &ended["failure"]["exit_code"]), (&"failure".into(), &6.into()));
    assert!(ended["details"]["findings"].as_u64().unwrap() >= 1, "{ended}");
}

fn find_volume(home: &Home) -> std::path::PathBuf {
    let backup = home.path("repo/c/backups/base");
    let attempt = fs::read_dir(backup).unwrap().map(|e| e.unwrap().path()).find(|p| p.is_dir());
    attempt.unwrap().join("vol-00000")
}

/// It did its work, and said that nobody recorded it.
fn unrecorded(done: Done, why: &str) {
    let done = done.expect(0);
    let result = done.json();
    assert_eq!(result["audit"], "not-recorded", "{result}");
    assert!(result["audit_why"].as_str().unwrap().contains(why), "{result}");
    assert!(result["audit_head"].as_str().unwrap().starts_with("3:"), "{result}");
    assert!(done.err.contains(r#""recorded":false"#), "{}", done.err);
}

#[test]
fn without_a_signer_the_work_is_done_and_it_is_said_unless_it_must_be_recorded() {
    let home = Home::file();
    back_up(&home, "base");
    let chain = || fs::read_dir(home.path("repo/c/audit")).unwrap().count();
    let runs = || fs::read_dir(home.path("repo/c/runs")).unwrap().count();
    let before = (chain(), runs());
    fs::rename(home.path("kek.signer"), home.path("away")).unwrap();
    unrecorded(home.run(&["verify", "--quick"]), "--signer");
    home.run(&["verify", "--quick", "--audit", "required"]).expect(3).says("cannot be recorded");
    // A signer that is named and not there, and one that nobody believes.
    let missing = format!("file:{}", home.path("nothing").display());
    unrecorded(home.run(&["verify", "--quick", "--signer", &missing]), "nothing");
    let stranger = format!("file:{}", home.path("stranger").display());
    home.run(&["keys", "new", "--kek", &stranger]).expect(0);
    let stranger = format!("{stranger}.signer");
    unrecorded(home.run(&["verify", "--quick", "--signer", &stranger]), "does not believe");
    let mut required = home.command();
    required.args(["find", "--signer", &stranger]).env("BACKSTAY_AUDIT", "required");
    crate::home::Job::start(&mut required).wait().expect(3).says("does not believe");
    let datadir = home.path("data").display().to_string();
    let restore = ["restore", "--audit", "required", "--backup", "base", "--datadir", &datadir];
    home.run(&restore).expect(3);
    assert!(!home.path("data").exists(), "nothing has begun");
    assert_eq!((chain(), runs()), before);
}

#[test]
fn a_signer_of_readers_vouches_for_readers_alone() {
    let home = Home::file();
    back_up(&home, "base");
    let reader = format!("file:{}", home.path("reader").display());
    home.run(&["keys", "new", "--kek", &reader]).expect(0);
    let signer = format!("{reader}.signer");
    let limited = home.path("reader-trust").display().to_string();
    let make = ["keys", "trust", "--signer", &signer, "--trust", &limited, "--role", "read"];
    home.run(&make).expect(0);
    // Both signers in one file, as docs/audit.md says.
    let entry = |path: &str| -> Value {
        let file: Value = serde_json::from_slice(&fs::read(home.path(path)).unwrap()).unwrap();
        file["signers"][0].clone()
    };
    let both = serde_json::json!({
        "backstay_trust": 1, "signers": [entry("kek.trust"), entry("reader-trust")]
    });
    assert_eq!(both["signers"][1]["roles"], serde_json::json!(["read"]));
    fs::write(home.path("both"), both.to_string()).unwrap();
    let both = home.path("both").display().to_string();
    let done = home.run(&["verify", "--signer", &signer, "--trust", &both, "--audit", "required"]);
    assert_eq!(done.expect(0).json()["audit"], "recorded");
    // It may call itself a backup, and nobody believes it.
    let backup = ["backup", "--source", "stdin", "--engine", "xtrabackup", "--signer", &signer];
    home.run(&[&backup[..], &["--trust", &both]].concat()).expect(3).says("does not believe");
}
