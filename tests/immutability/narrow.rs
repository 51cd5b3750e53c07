//! The whole of Backstay with the narrowest rights, in a bucket whose locks nobody can lift.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::{
    Client,
    types::{ObjectLockRetention, ObjectLockRetentionMode},
};
use serde_json::Value;

use crate::{
    home::{Home, strs},
    load, locked,
    mariadb::MariaDb,
    minio::Minio,
    policies::Session,
    stage::{self, LOCK},
};

/// A server, and what is backed up and archived of it under locks.
pub(crate) struct Locked {
    pub(crate) server: MariaDb,
    pub(crate) home: Home,
    pub(crate) bucket: &'static str,
    pub(crate) writer: Session,
    pub(crate) reader: Session,
}

impl Locked {
    pub(crate) async fn new(bucket: &'static str) -> Self {
        let server = MariaDb::start(&["--binlog-format=ROW"]);
        load::seed(&server.socket, 300).await;
        let home = stage::home(bucket).await;
        let (writer, reader) =
            (stage::role("writer.json", bucket).await, stage::role("reader.json", bucket).await);
        let locked = Self { server, home, bucket, writer, reader };
        locked.backs_up("one");
        stage::insert(&locked.server.socket, "archived").await;
        locked.archives();
        locked.backs_up("two");
        stage::insert(&locked.server.socket, "archived, too").await;
        locked.archives();
        locked
    }

    pub(crate) fn backs_up(&self, id: &str) -> Value {
        let args = stage::backup(&self.home, &self.server.socket, id);
        stage::write_as(&self.home, &self.writer, &strs(&args)).expect(0).json()
    }

    pub(crate) fn archives(&self) {
        let args = stage::archive(&self.home, &self.server.socket, &LOCK);
        stage::write_as(&self.home, &self.writer, &strs(&args)).expect(0);
    }

    /// Restores everything as the reader, and compares it with what the server has now.
    pub(crate) async fn comes_back(&self, name: &str) -> Value {
        let datadir = self.home.path(name);
        let args = ["restore", "--datadir", datadir.to_str().unwrap()];
        let done = stage::run_as(&self.home, &self.reader, &args).expect(0).json();
        assert_eq!(done["status"], "proven", "{done}");
        assert_eq!(stage::restored(&datadir).await, load::checksums(&self.server.socket).await);
        done
    }
}

/// Until when each object is locked at the least, in days from now.
async fn days_locked(client: &Client, bucket: &str) -> Vec<(String, f64)> {
    let mut all = Vec::new();
    for seen in locked::versions(client, bucket).await {
        if seen.key.contains("/probe/") && !seen.key.contains("-p") {
            // It proves that nothing is overwritten, and need not stay.
            continue;
        }
        let head = client.head_object().bucket(bucket).key(&seen.key).version_id(&seen.id);
        let head = head.send().await.unwrap();
        let mode = head.object_lock_mode().map(|mode| mode.as_str().to_owned());
        assert_eq!(mode.as_deref(), Some("COMPLIANCE"), "{}", seen.key);
        let until = head.object_lock_retain_until_date().unwrap().secs();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let left = until - i64::try_from(now).unwrap();
        all.push((seen.key, f64::from(i32::try_from(left).unwrap()) / 86_400.0));
    }
    all
}

/// An increment is worth nothing without what it stands on, so it locks that anew.
#[tokio::test(flavor = "multi_thread")]
async fn an_increment_locks_what_it_stands_on_for_as_long_as_itself() {
    let server = MariaDb::start(&[]);
    load::seed(&server.socket, 50).await;
    let (client, bucket) = (Minio::shared().client(), "chained");
    let home = stage::home(bucket).await;
    let writer = stage::role("writer.json", bucket).await;
    let back_up = |id: &str, more: &[&str]| {
        let mut args = stage::backup(&home, &server.socket, id);
        args.extend(more.iter().map(|&word| word.to_owned()));
        stage::write_as(&home, &writer, &strs(&args)).expect(0).json()
    };
    let of_full = |key: &str| key.contains("/backups/full/");
    let least = |days: Vec<(String, f64)>| {
        let days = days.into_iter().filter(|(key, _)| of_full(key) || key.contains("/keys/"));
        days.map(|(_, left)| left).fold(f64::INFINITY, f64::min)
    };
    back_up("full", &[]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = least(days_locked(&client, bucket).await);
    stage::insert(&server.socket, "between").await;
    let begun = SystemTime::now();
    assert_eq!(back_up("increment", &["--incremental"])["base"], "full");
    let after = least(days_locked(&client, bucket).await);
    let passed = begun.elapsed().unwrap().as_secs_f64() / 86_400.0;
    let second = 1.0 / 86_400.0;
    assert!(before < 30.0 - 4.0 * second, "{before}");
    assert!(after >= 30.0 - passed - second, "{after}");
    let reader = stage::role("reader.json", bucket).await;
    stage::run_as(&home, &reader, &["verify"]).expect(0);
}

/// One who drills restores, says so, and writes nothing else.
async fn drills_with_its_own_policy(all: &Locked) {
    let driller = stage::role("driller.json", all.bucket).await;
    let scratch = all.home.path("drills");
    std::fs::create_dir(&scratch).unwrap();
    let args = [&["drill", "--scratch", scratch.to_str().unwrap()][..], &LOCK].concat();
    let drilled = stage::run_as(&all.home, &driller, &args).expect(0).json();
    assert_eq!(drilled["status"], "proven", "{drilled:#}");
    for name in ["backups/three/manifest.json", "keys/x", "log/1", "cluster.json"] {
        let put = driller.client().put_object().bucket(all.bucket).key(format!("p/c/{name}"));
        assert!(put.send().await.is_err(), "a driller writes {name}");
    }
    let days = days_locked(&Minio::shared().client(), all.bucket).await;
    let record = days.iter().find(|(key, _)| key.contains("/drills/")).unwrap();
    assert!(record.1 > 399.99, "{record:?}");
    // A reader has no right to store the evidence, and is told before anything is restored.
    let refused = stage::run_as(&all.home, &all.reader, &args);
    refused.expect(5).says("AccessDenied");
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_works_with_no_right_to_delete_or_decrypt() {
    let all = Locked::new("narrow").await;
    let (client, bucket) = (Minio::shared().client(), all.bucket);

    // Everything is locked, and for longer what opens or proves the rest.
    let days = days_locked(&client, bucket).await;
    for (key, left) in &days {
        let least = match key.split('/').nth(2).unwrap() {
            "cluster.json" | "runs" | "audit" => 400.0,
            "keys" => 37.0,
            _ => 30.0,
        };
        assert!(*left > least - 0.01, "{key} is locked for {left} days, and not {least}");
    }
    for part in
        ["cluster.json", "runs/", "keys/", "manifest.json", "vol-", "audit/", "log/", "segments/"]
    {
        assert!(days.iter().any(|(key, _)| key.contains(part)), "no {part} in {days:?}");
    }
    // The record of the cluster, and of the run that made it, are locked anew by each run.
    let first = days.iter().find(|(key, _)| key.ends_with("cluster.json")).unwrap().1;
    assert!(first > 399.999);

    // What the writer may not do the store refuses.
    let writer = all.writer.client();
    let versions = locked::versions(&client, bucket).await;
    let named = |part: &str| versions.iter().find(|seen| seen.key.contains(part)).unwrap();
    for part in ["vol-00000", "manifest.json", "cluster.json", "log/", "keys/"] {
        let seen = named(part);
        assert!(
            locked::remove(&writer, bucket, seen, false).await.unwrap().contains("AccessDenied")
        );
        let hidden = writer.delete_object().bucket(bucket).key(&seen.key).send().await;
        assert!(hidden.is_err(), "{part}: the writer deletes");
        let minute = Duration::from_mins(1);
        assert!(locked::relock(&writer, bucket, seen, "COMPLIANCE", minute).await.is_some());
        // Nor may root, whose rights have no end.
        assert!(locked::remove(&client, bucket, seen, true).await.is_some(), "{part}");
        assert!(locked::relock(&client, bucket, seen, "COMPLIANCE", minute).await.is_some());
        assert!(locked::relock(&client, bucket, seen, "GOVERNANCE", minute).await.is_some());
    }
    for (part, readable) in
        [("vol-", false), ("segments/", false), ("manifest", true), ("log/", true)]
    {
        let get = writer.get_object().bucket(bucket).key(&named(part).key).send().await;
        assert_eq!(get.is_ok(), readable, "the writer reads {part}");
    }

    // The reader sees, checks and restores all of it, and writes nothing.
    let run = |args: &[&str]| stage::run_as(&all.home, &all.reader, args);
    assert_eq!(run(&["list"]).expect(0).json().as_array().unwrap().len(), 2);
    run(&["window"]).expect(0);
    let verified = run(&["verify"]).expect(0).json();
    assert_eq!((&verified["status"], &verified["lock"]["status"]), (&"ok".into(), &"ok".into()));
    let promised = verified["lock"]["promised"].as_u64().unwrap();
    assert!(usize::try_from(promised).unwrap() > days.len() / 2, "{promised} of {}", days.len());
    all.comes_back("new").await;
    let args = stage::backup(&all.home, &all.server.socket, "by-the-reader");
    stage::run_as(&all.home, &all.reader, &strs(&args)).expect(5).says("AccessDenied");

    // One who may record what it does does so, and writes nothing else.
    let recording = stage::role("recording-reader.json", bucket).await;
    let args = ["verify", "--quick", "--audit", "required"];
    let verified = stage::run_as(&all.home, &recording, &args).expect(0).json();
    assert_ne!(verified["audit_head"], verified["verified_head"], "{verified}");
    let put = recording.client().put_object().bucket(bucket).key("p/c/backups/three/manifest.json");
    assert!(put.send().await.is_err(), "a reader writes a manifest");
    let refused = stage::run_as(&all.home, &all.reader, &args);
    refused.expect(3).says("audit");

    drills_with_its_own_policy(&all).await;

    let shown = run(&["show", "two"]).expect(0).json();
    assert_eq!(shown["manifest"]["lock"]["mode"], "compliance", "{shown}");
    let doctor = stage::write_as(
        &all.home,
        &all.writer,
        &[&["doctor", "--format", "text"][..], &LOCK].concat(),
    );
    let doctor = doctor.expect(0);
    assert!(doctor.out.contains("locked by compliance for 30.0 days, evidence for 400.0 days"));
    assert!(doctor.out.contains("any point of the last 30.0 days"), "{}", doctor.out);

    // With what the bucket's policy forbids, a short lock is refused, too.
    let bucket_policy: Value =
        serde_json::from_str(&crate::policies::policy("bucket.json", bucket)).unwrap();
    let mut rule = bucket_policy["Statement"][1].clone();
    assert_eq!(rule["Sid"], "NoShorterLock");
    rule.as_object_mut().unwrap().remove("Principal");
    // AWS knows the condition for both ways to set a retention, this server for one.
    rule["Action"] = "s3:PutObjectRetention".into();
    let put = serde_json::json!({"Effect": "Allow", "Action": ["s3:PutObject", "s3:PutObjectRetention"],
        "Resource": format!("arn:aws:s3:::{bucket}/*")});
    let strict = serde_json::json!({"Version": "2012-10-17", "Statement": [put, rule]}).to_string();
    let strict = Session::of(Minio::shared(), &strict).await.client();
    let place = "p/c/probe/lock";
    strict.put_object().bucket(bucket).key(place).send().await.unwrap();
    let lock_for = |days: u64| {
        let until = SystemTime::now() + Duration::from_hours(24 * days) + Duration::from_mins(1);
        let lock = ObjectLockRetention::builder().mode(ObjectLockRetentionMode::Governance);
        let lock = lock.retain_until_date(until.into()).build();
        strict.put_object_retention().bucket(bucket).key(place).retention(lock).send()
    };
    assert!(lock_for(3).await.is_err(), "three days, where thirty are the least");
    lock_for(31).await.unwrap();

    // The pruner removes what no lock holds, lifts none, and puts nothing in the place of data.
    let pruner = stage::role("pruner.json", bucket).await.client();
    let seen = named("vol-00000");
    assert!(locked::remove(&pruner, bucket, seen, true).await.is_some());
    for name in [seen.key.as_str(), "p/c/backups/three/manifest.json", "p/c/keys/x", "p/c/log/1"] {
        assert!(pruner.put_object().bucket(bucket).key(name).send().await.is_err(), "{name}");
    }
    locked::put(&client, bucket, "p/c/backups/left/behind/by-a-killed-run", "junk").await;
    let versions = locked::versions(&client, bucket).await;
    let left = versions.iter().find(|seen| seen.key.contains("by-a-killed-run")).unwrap();
    assert_eq!(locked::remove(&pruner, bucket, left, false).await, None);
}
