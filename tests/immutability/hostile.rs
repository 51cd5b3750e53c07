//! Whoever may write to the bucket writes over everything, deletes everything, and makes names up.
//! The originals are under a lock, and come back.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_s3::Client;
use bytes::Bytes;

use crate::{
    home::strs,
    locked::{self, Seen},
    minio::Minio,
    narrow::Locked,
    stage,
};

async fn contents(client: &Client, bucket: &str, key: &str) -> Bytes {
    let got = client.get_object().bucket(bucket).key(key).send().await.unwrap();
    got.body.collect().await.unwrap().into_bytes()
}

/// The kind of record that a name is for.
fn kind(key: &str) -> &str {
    if key.ends_with("manifest.json") { "manifest" } else { key.split('/').nth(2).unwrap() }
}

/// Writes an older valid record of its kind over each record, junk over everything, and deletes
/// every second name, too.
pub(crate) async fn attack(client: &Client, bucket: &str) -> BTreeSet<String> {
    let names: BTreeSet<String> = locked::versions(client, bucket)
        .await
        .into_iter()
        .map(|seen| seen.key)
        .filter(|key| !key.contains("/probe/"))
        .collect();
    let mut older: BTreeMap<String, Bytes> = BTreeMap::new();
    for (n, key) in names.iter().enumerate() {
        let own = contents(client, bucket, key).await;
        if let Some(valid) = older.get(kind(key)) {
            locked::put(client, bucket, key, valid.clone()).await;
        }
        older.entry(kind(key).to_owned()).or_insert_with(|| own.clone());
        // Of the same size, and almost the same: nothing but the hash tells.
        let mut bent = own.to_vec();
        if let Some(byte) = bent.last_mut() {
            *byte ^= 1;
        }
        locked::put(client, bucket, key, bent).await;
        if n % 3 == 0 {
            locked::put(client, bucket, key, "junk").await;
        }
        if n % 2 == 0 {
            locked::hide(client, bucket, key).await;
        }
    }
    names
}

fn last(versions: &[Seen], folder: &str) -> u64 {
    let numbers = versions.iter().filter_map(|seen| seen.key.split(folder).nth(1)?.parse().ok());
    numbers.max().unwrap()
}

/// Names that nobody of ours has made: the next ones, and some far ahead.
async fn make_up(client: &Client, bucket: &str) -> Vec<String> {
    let versions = locked::versions(client, bucket).await;
    let (log, audit) = (last(&versions, "/log/"), last(&versions, "/audit/"));
    let mut made = Vec::new();
    let valid = |folder: &str| {
        let key = versions.iter().find(|seen| seen.key.contains(folder)).unwrap().key.clone();
        async move {
            let list = client.list_object_versions().bucket(bucket).prefix(&key);
            let page = list.send().await.unwrap();
            let oldest = page.versions().last().unwrap().version_id().unwrap().to_owned();
            let got = client.get_object().bucket(bucket).key(&key).version_id(oldest).send().await;
            got.unwrap().body.collect().await.unwrap().into_bytes()
        }
    };
    for (folder, number) in [("log", log + 1), ("log", log + 3), ("log", 1024), ("log", 2048)] {
        made.push((format!("p/c/{folder}/{number:020}"), Bytes::from_static(b"junk\n")));
    }
    made.push((format!("p/c/audit/{:020}", audit + 1), Bytes::from_static(b"junk")));
    // A record of ours from elsewhere is no better.
    made.push((format!("p/c/audit/{:020}", audit + 2), valid("/audit/").await));
    made.push((format!("p/c/log/{:020}", log + 2), valid("/log/").await));
    made.push(("p/c/backups/made-up/manifest.json".to_owned(), valid("manifest.json").await));
    made.push(("p/c/backups/three/manifest.json".to_owned(), Bytes::from_static(b"{}")));
    for (key, body) in &made {
        locked::put(client, bucket, key, body.clone()).await;
    }
    made.into_iter().map(|(key, _)| key).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_over_and_deleted_comes_back_and_who_did_it_is_told() {
    let all = Locked::new("hostile").await;
    let (client, bucket) = (Minio::shared().client(), all.bucket);
    let attacked = attack(&client, bucket).await;
    assert!(attacked.len() > 15, "{attacked:?}");

    let run = |args: &[&str]| stage::run_as(&all.home, &all.reader, args);
    let restored = all.comes_back("new").await;
    let told: BTreeSet<_> = intruders(&restored).into_iter().map(|(object, _)| object).collect();
    assert!(told.iter().any(|object| object.ends_with("vol-00000")), "{told:?}");
    let ids: Vec<_> = all_ids(&run(&["list"]).expect(0).json());
    assert_eq!(ids, ["two", "one"]);

    let verified = run(&["verify"]).expect(0).json();
    assert_eq!(verified["status"], "warn", "{verified}");
    let told: BTreeSet<_> = intruders(&verified).into_iter().map(|(object, _)| object).collect();
    let expected: BTreeSet<_> =
        attacked.iter().map(|key| key.strip_prefix("p/").unwrap().to_owned()).collect();
    assert_eq!(told, expected, "every name is told, and no other");
    assert!(intruders(&verified).iter().all(|(_, original)| *original));
    let text = run(&["verify", "--quick", "--format", "text"]).expect(0);
    text.says("INTRUDER").says("the original is there").says(": warn.");

    // Names that are nobody's: they stop neither readers nor writers.
    let made_up = make_up(&client, bucket).await;
    all.comes_back("again").await;
    assert_eq!(all_ids(&run(&["list"]).expect(0).json()), ["two", "one"]);
    let verified = run(&["verify", "--quick"]).expect(0).json();
    assert_eq!(verified["status"], "warn", "{verified}");
    let made: BTreeSet<_> = intruders(&verified)
        .into_iter()
        .filter(|(_, original)| !original)
        .map(|(object, _)| object)
        .collect();
    let expected: BTreeSet<_> =
        made_up.iter().map(|key| key.strip_prefix("p/").unwrap().to_owned()).collect();
    assert_eq!(made, expected);

    // A backup that was deleted is complete all the same; the next one, and the log, go on.
    let args = stage::backup(&all.home, &all.server.socket, "one");
    let again = stage::write_as(&all.home, &all.writer, &strs(&args)).expect(0).json();
    assert_eq!(again["status"], "already-complete", "{again}");
    stage::insert(&all.server.socket, "after the attack").await;
    assert_eq!(all.backs_up("three")["status"], "complete");
    stage::insert(&all.server.socket, "and archived").await;
    all.archives();
    let done = all.comes_back("after").await;
    assert_eq!(done["backup_id"], "three", "{done}");
    assert_eq!(all_ids(&run(&["list"]).expect(0).json()), ["three", "two", "one"]);
    let exported = run(&["audit", "export"]).expect(0).out;
    let committed = exported.lines().filter(|line| line.contains("\"backup-committed\"")).count();
    assert_eq!(committed, 3, "each backup is in the chain once: {exported}");
    let verified = run(&["verify", "--quick"]).expect(0).json();
    run(&["verify", "--at-least", verified["verified_head"].as_str().unwrap()]).expect(0);
    let keys = run(&["keys", "status"]).expect(0).json();
    assert_eq!(keys["status"], "ok", "{keys}");
}

fn intruders(done: &serde_json::Value) -> Vec<(String, bool)> {
    let all = done["intruders"].as_array().unwrap_or_else(|| panic!("no intruders: {done}"));
    all.iter()
        .map(|intruder| {
            let object = intruder["object"].as_str().unwrap().to_owned();
            (object, intruder["original"].as_bool().unwrap())
        })
        .collect()
}

fn all_ids(list: &serde_json::Value) -> Vec<String> {
    let backups = list.as_array().unwrap().iter();
    backups
        .map(|backup| {
            assert_eq!(backup["status"], "complete", "{backup}");
            backup["backup_id"].as_str().unwrap().to_owned()
        })
        .collect()
}
