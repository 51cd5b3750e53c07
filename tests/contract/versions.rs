//! Stores that keep versions, and lock them: what was written over or deleted is still there, and is
//! told in order; what a lock promises is read back.

use std::{sync::Arc, time::Duration};

use backstay::{
    model::{LockMode, Protection, Retention, Timestamp},
    store::{
        Keep, Key, ServerEncryption, StorageClass, Store, StoreErrorKind as Kind, StoreOptions,
        Version, probe_create_only, probe_keeping,
    },
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    hasty, key, locked,
    minio::{Minio, REGION},
    opened,
    rgw::Rgw,
    s3::options,
};

fn locked_for(mode: LockMode, seconds: i64) -> Keep {
    let until = Timestamp::now().as_microseconds() / 1_000_000 + seconds;
    let until = Timestamp::from_microseconds(until * 1_000_000).unwrap();
    let protection = Protection { retention: Some(Retention { mode, until }), legal_hold: false };
    Keep { protection, ..Keep::default() }
}

async fn bodies(store: &Arc<dyn Store>, key: &Key) -> Vec<Bytes> {
    let versions = store.versions(key).await.unwrap().versions;
    let read = versions.iter().map(|version| store.get_version(key, version, 1 << 20));
    stream::iter(read).buffered(8).try_collect().await.unwrap()
}

async fn listed(
    store: &Arc<dyn Store>,
    prefix: &str,
    after: Option<&Key>,
) -> Vec<(String, usize, u64)> {
    let found: Vec<_> = store.list_versions(prefix, after).try_collect().await.unwrap();
    // Some stores (Ceph) mark the deletion of a name that never was, too.
    let found = found.into_iter().filter(|found| !found.versions.is_empty());
    found.map(|found| (found.key.to_string(), found.versions.len(), found.markers)).collect()
}

/// What holds for every store with versions; `client` writes behind its back.
async fn what_was_hidden_is_told(
    store: &Arc<dyn Store>,
    client: &aws_sdk_s3::Client,
    bucket: &str,
) {
    assert!(store.keeps_versions().await.unwrap());
    let (a, b, c) = (key("h/a"), key("h/a-b"), key("h/deep/c"));
    for (n, key) in [&a, &b, &c].into_iter().enumerate() {
        store.create(key, format!("original {n}").into()).await.unwrap();
    }
    for n in 0..3 {
        locked::put(client, bucket, "p/h/a", format!("junk {n}")).await;
    }
    locked::hide(client, bucket, "p/h/a").await;
    locked::put(client, bucket, "p/h/a", "above the marker").await;
    locked::hide(client, bucket, "p/h/deep/c").await;
    locked::hide(client, bucket, "p/h/never").await;

    let expected = ["original 0", "junk 0", "junk 1", "junk 2", "above the marker"];
    assert_eq!(bodies(store, &a).await, expected);
    let versions = store.versions(&a).await.unwrap();
    assert_eq!(versions.markers, 1);
    let oldest = &versions.versions[0];
    assert_eq!(oldest.size, 10);
    assert_eq!(store.get_version_range(&a, oldest, 0..8).await.unwrap(), "original");
    assert!(store.get_version_range(&a, oldest, 4..4).await.unwrap().is_empty());
    let error = store.get_version_range(&a, oldest, 5..11).await.unwrap_err();
    assert_eq!(error.kind, Kind::Corrupt, "{error}");
    // What a plain look says.
    assert_eq!(store.get(&a, 100).await.unwrap(), "above the marker");
    assert_eq!(store.get(&c, 100).await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(bodies(store, &c).await, ["original 2"]);

    let all = [("h/a".to_owned(), 5, 1), ("h/a-b".to_owned(), 1, 0), ("h/deep/c".to_owned(), 1, 1)];
    assert_eq!(listed(store, "h/", None).await, all);
    assert_eq!(listed(store, "h/", Some(&a)).await, all[1..]);
    assert_eq!(listed(store, "h/", Some(&key("h/b"))).await, all[2..]);
    assert_eq!(store.list_folders("h/").await.unwrap(), ["deep"], "though all in it was deleted");
    let none = store.versions(&key("h/nothing")).await.unwrap();
    assert_eq!((none.versions, none.markers), (Vec::<Version>::new(), 0));
    // Its own bytes again are the same version to everyone.
    assert!(!versions.versions[1].repeats(oldest) && oldest.repeats(oldest));
}

/// More versions of one name than a page holds: the original is on the last one.
async fn a_flood_does_not_wash_the_original_away(
    store: &Arc<dyn Store>,
    client: &aws_sdk_s3::Client,
    bucket: &str,
    flood: usize,
) {
    let (before, flooded, behind) = (key("f/a"), key("f/b"), key("f/c"));
    for key in [&before, &flooded, &behind] {
        store.create(key, "original".into()).await.unwrap();
    }
    let puts = (0..flood).map(|n| locked::put(client, bucket, "p/f/b", format!("flood {n}")));
    stream::iter(puts).buffer_unordered(32).collect::<()>().await;
    let versions = store.versions(&flooded).await.unwrap().versions;
    assert_eq!(versions.len(), flood + 1);
    let oldest = store.get_version(&flooded, &versions[0], 100).await.unwrap();
    assert_eq!(oldest, "original");
    let all =
        [("f/a".to_owned(), 1, 0), ("f/b".to_owned(), flood + 1, 0), ("f/c".to_owned(), 1, 0)];
    assert_eq!(listed(store, "f/", None).await, all);
}

/// A name that was deleted can be created again, and both are there.
async fn a_hidden_name_can_be_taken_twice(
    store: &Arc<dyn Store>,
    client: &aws_sdk_s3::Client,
    bucket: &str,
) {
    let key = key("t/name");
    store.create(&key, "first".into()).await.unwrap();
    let taken = store.create(&key, "second".into()).await.unwrap_err();
    assert_eq!(taken.kind, Kind::AlreadyExists);
    locked::hide(client, bucket, "p/t/name").await;
    store.create(&key, "second".into()).await.unwrap();
    let over = Keep { over: true, ..Keep::default() };
    store.create_kept(&key, "third".into(), &over).await.unwrap();
    assert_eq!(bodies(store, &key).await, ["first", "second", "third"]);
}

async fn locks_hold(
    store: &Arc<dyn Store>,
    client: &aws_sdk_s3::Client,
    bucket: &str,
    mode: LockMode,
) {
    let (name, keep) = (format!("l/{mode}"), locked_for(mode, 3600));
    let key = key(&name);
    store.create_kept(&key, "locked".into(), &keep).await.unwrap();
    locked::put(client, bucket, &format!("p/{name}"), "over it").await;
    // Of the original, whatever lies above.
    assert_eq!(store.protection(&key).await.unwrap(), keep.protection);
    let versions = store.versions(&key).await.unwrap().versions;
    let longer = locked_for(mode, 7200).protection.retention.unwrap();
    store.retain(&key, &versions[0], longer).await.unwrap();
    assert_eq!(store.protection(&key).await.unwrap().retention, Some(longer));
    assert_eq!(store.kept(&key, &versions[1]).await.unwrap().protection, Protection::default());

    let all = locked::versions(client, bucket).await;
    let original = all.iter().rfind(|seen| seen.key == format!("p/{name}")).unwrap();
    let word = mode.to_string().to_uppercase();
    assert!(locked::remove(client, bucket, original, false).await.is_some(), "{mode}: removed");
    let shorter = Duration::from_mins(1);
    let shortened = locked::relock(client, bucket, original, &word, shorter).await;
    assert!(shortened.is_some(), "{mode}: shortened");
    let bypassed = locked::remove(client, bucket, original, true).await;
    assert_eq!(bypassed.is_some(), mode == LockMode::Compliance, "{mode}: {bypassed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_tells_what_was_hidden_and_locks_what_it_is_asked_to() {
    let (minio, bucket) = (Minio::shared(), "versions");
    let client = minio.client();
    locked::bucket(&client, bucket, Some(REGION)).await;
    let store = opened(&format!("s3://{bucket}/p"), &options(minio)).await;
    what_was_hidden_is_told(&store, &client, bucket).await;
    a_flood_does_not_wash_the_original_away(&store, &client, bucket, 1_050).await;
    a_hidden_name_can_be_taken_twice(&store, &client, bucket).await;
    for mode in [LockMode::Governance, LockMode::Compliance] {
        locks_hold(&store, &client, bucket, mode).await;
    }
    assert_eq!(store.bucket_lock().await.unwrap().unwrap().default, None);
    let held =
        Keep { protection: Protection { legal_hold: true, retention: None }, ..Keep::default() };
    let keep = locked_for(LockMode::Compliance, 60);
    for (n, keep) in [keep, held].iter().enumerate() {
        probe_keeping(&*store, "c/", &format!("{n}"), keep).await.unwrap();
        let upload = store.upload_kept(&key(format!("u/{n}")), 5 << 20, keep).await.unwrap();
        upload.part(0, "in parts".into()).await.unwrap();
        upload.complete().await.unwrap();
        let found = store.protection(&key(format!("u/{n}"))).await.unwrap();
        assert_eq!(found, keep.protection);
    }
    locked::retain(&client, bucket, "COMPLIANCE", 3).await;
    let default = store.bucket_lock().await.unwrap().unwrap().default.unwrap();
    assert_eq!((default.mode, default.days), (LockMode::Compliance, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_versions_has_one_of_each() {
    let minio = Minio::shared();
    minio.bucket("unversioned", false).await;
    let store = opened("s3://unversioned/p", &options(minio)).await;
    assert!(!store.keeps_versions().await.unwrap());
    store.create(&key("v/a"), "a".into()).await.unwrap();
    assert_eq!(bodies(&store, &key("v/a")).await, ["a"]);
    assert_eq!(listed(&store, "v/", None).await, [("v/a".to_owned(), 1, 0)]);
    store.delete(&key("v/a")).await.unwrap();
    assert!(store.versions(&key("v/a")).await.unwrap().versions.is_empty());
    assert_eq!(store.bucket_lock().await.unwrap(), None);
    let over = Keep { over: true, ..Keep::default() };
    let refused = store.create_kept(&key("v/a"), "x".into(), &over).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Unsupported, "{refused}");
    // A lock that cannot be is refused, by the store, and not left out.
    let keep = locked_for(LockMode::Governance, 60);
    assert!(store.create_kept(&key("v/b"), "x".into(), &keep).await.is_err());
    for url in ["memory:", "file:///tmp/backstay-no-lock"] {
        let store = opened(url, &hasty()).await;
        for keep in [keep, over] {
            let refused = store.create_kept(&key("a"), "x".into(), &keep).await.unwrap_err();
            assert_eq!(refused.kind, Kind::Unsupported, "{url}: {refused}");
        }
        assert_eq!(store.bucket_lock().await.unwrap(), None);
    }
}

/// Ceph's lock is strict, and it leaves it out of what is uploaded in parts.
#[tokio::test(flavor = "multi_thread")]
async fn ceph_tells_what_was_hidden_and_is_caught_at_leaving_locks_out() {
    let rgw = tokio::task::block_in_place(Rgw::start);
    let (client, bucket) = (rgw.client(), "lock");
    locked::bucket(&client, bucket, None).await;
    let options = StoreOptions {
        endpoint: Some(rgw.endpoint()),
        credentials_file: Some(rgw.credentials_file()),
        ..hasty()
    };
    let store = opened(&format!("s3://{bucket}/p"), &options).await;
    what_was_hidden_is_told(&store, &client, bucket).await;
    a_flood_does_not_wash_the_original_away(&store, &client, bucket, 1_050).await;
    for mode in [LockMode::Governance, LockMode::Compliance] {
        locks_hold(&store, &client, bucket, mode).await;
    }
    let error = probe_create_only(&*store, "", "1").await.unwrap_err();
    assert_eq!(error.kind, Kind::Unsupported, "{error}");
    let keep = locked_for(LockMode::Compliance, 60);
    let error = probe_keeping(&*store, "", "1", &keep).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unsupported, "{error}");
    for word in ["probe/1-parts", "it is not locked", "in parts"] {
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_and_class_are_asked_for_and_read_back() {
    let minio = Minio::shared();
    minio.bucket("sse", false).await;
    let with = |sse: Option<&str>, class: Option<&str>| {
        let encryption = sse.map(|text| text.parse::<ServerEncryption>().unwrap());
        let storage_class = class.map(|text| text.parse::<StorageClass>().unwrap());
        let options = StoreOptions { encryption, storage_class, ..options(minio) };
        async move { opened("s3://sse/p", &options).await }
    };
    let bulk = Keep { bulk: true, ..Keep::default() };
    for (n, (sse, class)) in [
        (Some("AES256"), None),
        (Some("aws:kms"), None),
        (Some("aws:kms:tests"), Some("REDUCED_REDUNDANCY")),
    ]
    .into_iter()
    .enumerate()
    {
        let store = with(sse, class).await;
        probe_keeping(&*store, "", &format!("sse-{n}"), &bulk).await.unwrap();
        let object = key(format!("probe/sse-{n}-parts"));
        let version = store.versions(&object).await.unwrap().versions.remove(0);
        let kept = store.kept(&object, &version).await.unwrap();
        assert_eq!(kept.encryption.as_deref(), Some(if n == 0 { "AES256" } else { "aws:kms" }));
        assert_eq!(kept.storage_class.as_deref(), class);
        // Records are never in another class.
        let object = key(format!("probe/sse-{n}-put"));
        let version = store.versions(&object).await.unwrap().versions.remove(0);
        assert_eq!(store.kept(&object, &version).await.unwrap().storage_class, None);
    }
    // What the server does not have it refuses, and a store that said yes would be caught.
    let store = with(Some("aws:kms:nobody"), None).await;
    assert!(probe_keeping(&*store, "", "no-key", &bulk).await.is_err());
    let store = with(None, Some("STANDARD_IA")).await;
    let error = probe_keeping(&*store, "", "no-class", &bulk).await.unwrap_err();
    assert!(error.to_string().contains("storage class"), "{error}");
}
