//! What is asked of the store beside keeping bytes: each is honoured, or refused before anything is
//! written.

use aws_sdk_s3::Client;

use crate::{
    home::Home,
    locked,
    minio::{Minio, REGION},
    stage::{self, LOCK},
};

async fn names(client: &Client, bucket: &str) -> Vec<String> {
    locked::versions(client, bucket).await.into_iter().map(|seen| seen.key).collect()
}

/// Nothing but a probe was written.
async fn is_empty(client: &Client, bucket: &str) {
    let all = names(client, bucket).await;
    assert!(all.iter().all(|key| key.contains("/probe/")), "{all:?}");
}

#[test]
fn a_store_without_locks_is_a_wrong_setting() {
    let home = Home::file();
    stage::feed(&home, "one", &LOCK).expect(2).says("--lock is for S3");
    stage::feed(&home, "one", &["--store-sse", "AES256"]).expect(2).says("--store-sse is for S3");
    stage::feed(&home, "one", &["--store-class", "STANDARD_IA"]).expect(2).says("--store-class");
    for (args, word) in [
        (&["--lock", "governance"][..], "--lock-for"),
        (&["--lock-for", "3d"], "--lock"),
        (&["--lock-hold"], "--lock"),
        (&["--lock", "governance", "--lock-for", "0d"], "locks nothing"),
        (&["--lock", "never", "--lock-for", "3d"], "governance"),
        (&["--store-class", "DEEP_ARCHIVE"], "could not read anything at once"),
        (&["--store-class", "GLACIER"], "could not read anything at once"),
        (&["--store-sse", "rot13"], "aws:kms"),
        (&["--lock", "governance", "--lock-for", "30d", "--lock-audit-for", "3d"], "is shorter"),
    ] {
        stage::feed(&home, "one", args).expect(2).says(word);
    }
    for url in ["gs://bucket/p", "az://container/p"] {
        let mut command = home.command();
        let args = [&["list", "--repo", url][..], &LOCK].concat();
        crate::home::Job::start(command.args(args)).wait().expect(2).says("not supported yet");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_cannot_lock_is_refused_before_anything_is_written() {
    let (minio, bucket) = (Minio::shared(), "no-lock");
    let client = minio.client();
    minio.bucket(bucket, true).await;
    let home = Home::in_bucket(minio, &minio.endpoint(), bucket);
    stage::feed(&home, "one", &LOCK).expect(3).says("it has no Object Lock");
    is_empty(&client, bucket).await;
    let doctor = home.run(&[&["doctor"][..], &LOCK].concat()).expect(3).json();
    let lock = doctor.as_array().unwrap().iter().find(|check| check["check"] == "lock").unwrap();
    assert_eq!(lock["status"], "fail", "{lock}");
    // Without --lock it is a bucket like any other.
    stage::feed(&home, "one", &[]).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_buckets_own_retention_is_never_weakened() {
    let bucket = "own-lock";
    let client = Minio::shared().client();
    let home = stage::home(bucket).await;
    locked::retain(&client, bucket, "COMPLIANCE", 90).await;
    let weaker = ["--lock", "governance", "--lock-for", "400d"];
    stage::feed(&home, "one", &weaker).expect(3).says("would weaken");
    is_empty(&client, bucket).await;
    let done = stage::feed(&home, "one", &LOCK).expect(0).json();
    let head = |key: String| {
        let client = &client;
        async move { client.head_object().bucket(bucket).key(key).send().await.unwrap() }
    };
    let volume = names(&client, bucket).await.into_iter().find(|key| key.contains("vol-")).unwrap();
    let volume = head(volume).await;
    let days = (volume.object_lock_retain_until_date().unwrap().secs()
        - volume.last_modified().unwrap().secs())
        / 86_400;
    assert!(days >= 89, "its own 90 days stand: {days}, {done}");
    // What is told is what is so.
    assert_eq!(home.run(&["verify"]).expect(0).json()["lock"]["status"], "ok");
    let doctor = home.run(&["doctor"]).expect(0).json();
    let lock = doctor.as_array().unwrap().iter().find(|check| check["check"] == "lock").unwrap();
    assert!(lock["status"] == "warn" && lock["detail"].to_string().contains("compliance for 90"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_somebody_has_lifted_is_told() {
    let bucket = "lifted";
    let client = Minio::shared().client();
    let home = stage::home(bucket).await;
    let governed = ["--lock", "governance", "--lock-for", "30d", "--lock-hold"];
    let done = stage::feed(&home, "one", &governed).expect(0).json();
    assert_eq!(
        (&done["lock"]["mode"], &done["lock"]["legal_hold"]),
        (&"governance".into(), &true.into())
    );
    assert_eq!(home.run(&["verify"]).expect(0).json()["lock"]["status"], "ok");
    // With the right to, and only with it, a lock by governance is lifted.
    let all = locked::versions(&client, bucket).await;
    let volume = all.iter().find(|seen| seen.key.contains("vol-")).unwrap();
    let off = aws_sdk_s3::types::ObjectLockLegalHold::builder()
        .status(aws_sdk_s3::types::ObjectLockLegalHoldStatus::Off)
        .build();
    let put = client.put_object_legal_hold().bucket(bucket).key(&volume.key);
    put.version_id(&volume.id).legal_hold(off).send().await.unwrap();
    let verified = home.run(&["verify"]).expect(6).json();
    let finding = &verified["lock"]["findings"][0];
    assert!(finding["object"].as_str().unwrap().contains("vol-00000"), "{verified}");
    assert!(finding["why"].as_str().unwrap().contains("no legal hold"), "{verified}");
    assert_eq!(verified["backups"][0]["status"], "ok", "the data is as it was: {verified}");
    // A copy in a bucket without locks says so, and is whole.
    let minio = Minio::shared();
    minio.bucket("copy", false).await;
    for seen in all.iter().filter(|seen| !seen.key.contains("/probe/")) {
        let copy = client.copy_object().bucket("copy").key(&seen.key);
        copy.copy_source(format!("{bucket}/{}", seen.key)).send().await.unwrap();
    }
    let copy = Home::in_bucket(minio, &minio.endpoint(), "copy");
    for key in ["kek", "kek.trust"] {
        std::fs::copy(home.path(key), copy.path(key)).unwrap();
    }
    let verified = copy.run(&["verify"]).expect(0).json();
    assert_eq!(
        (&verified["status"], &verified["lock"]["status"]),
        (&"warn".into(), &"none".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_and_storage_class_of_the_store_are_honoured() {
    let (minio, bucket) = (Minio::shared(), "at-rest");
    let client = minio.client();
    locked::bucket(&client, bucket, Some(REGION)).await;
    let home = Home::in_bucket(minio, &minio.endpoint(), bucket);
    let asked = ["--store-sse", "aws:kms:tests", "--store-class", "REDUCED_REDUNDANCY"];
    stage::feed(&home, "one", &asked).expect(0);
    for seen in locked::versions(&client, bucket).await {
        let head = client.head_object().bucket(bucket).key(&seen.key).version_id(&seen.id);
        let head = head.send().await.unwrap();
        let sse = head.server_side_encryption().map(|sse| sse.as_str().to_owned());
        let class = head.storage_class().map(|class| class.as_str().to_owned());
        let bulk = seen.key.contains("/vol-") || seen.key.ends_with("-parts");
        assert_eq!(sse.as_deref(), Some("aws:kms"), "{}", seen.key);
        assert_eq!(class.as_deref(), bulk.then_some("REDUCED_REDUNDANCY"), "{}", seen.key);
    }
    home.run(&["verify"]).expect(0);
    // A class, or a key, that the store does not have: nothing is written.
    let elsewhere = stage::home("no-class").await;
    for asked in [["--store-class", "STANDARD_IA"], ["--store-sse", "aws:kms:nobody"]] {
        let done = stage::feed(&elsewhere, "one", &asked);
        assert!(done.code == 5 || done.code == 3, "{done:?}");
    }
    is_empty(&client, "no-class").await;
}
