//! In a bucket with Object Lock: what the store holds stays and is told, everything else goes, and
//! what was held goes once nothing holds it any more.

use std::{
    fs::File,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use aws_sdk_s3::{
    Client,
    types::{ObjectLockLegalHold, ObjectLockLegalHoldStatus},
};
use serde_json::Value;

use crate::{
    home::{Done, Home, Job},
    locked,
    minio::{Minio, REGION},
    policies::{Session, policy},
};

/// For how long a backup is locked here.
const LOCKED: Duration = Duration::from_secs(45);
const ONE: [&str; 5] = ["prune", "--keep-last", "1", "--grace", "0s"];

/// Backs a genuine stream up under this id, without a server.
pub(crate) fn feed(home: &Home, id: &str, more: &[&str]) -> Done {
    let archive = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/xtrabackup-8.0/archives/full.xbstream.zst");
    let path = home.path("stream");
    if !path.exists() {
        let plain = zstd::stream::decode_all(File::open(archive).unwrap()).unwrap();
        std::fs::write(&path, plain).unwrap();
    }
    let mut command = home.command();
    command.args(["backup", "--source", "stdin", "--engine", "xtrabackup", "--id", id]).args(more);
    Job::start(command.stdin(Stdio::from(File::open(path).unwrap()))).wait()
}

/// Runs a command as somebody.
fn run_as(home: &Home, who: &Session, args: &[&str]) -> Done {
    let mut command = home.command();
    Job::start(command.args(args).envs(who.env())).wait()
}

/// The versions below a folder of the cluster.
async fn below(client: &Client, bucket: &str, folder: &str) -> Vec<locked::Seen> {
    let folder = format!("p/c/{folder}");
    let all = locked::versions(client, bucket).await.into_iter();
    all.filter(|seen| seen.key.starts_with(&folder)).collect()
}

fn told<'a>(done: &'a Value, id: &str) -> &'a Value {
    let backups = done["backups"].as_array().unwrap();
    backups.iter().find(|backup| backup["backup_id"] == id).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lock_holds_stays_until_the_lock_has_passed() {
    let (minio, bucket) = (Minio::shared(), "prune-locked");
    let client = minio.client();
    locked::bucket(&client, bucket, Some(REGION)).await;
    let home = Home::in_bucket(minio, &minio.endpoint(), bucket);
    let pruner = Session::of(minio, &policy("pruner.json", bucket)).await;
    let reader = Session::of(minio, &policy("reader.json", bucket)).await;
    feed(&home, "free", &[]).expect(0);
    let seconds = format!("{}s", LOCKED.as_secs());
    feed(&home, "held", &["--lock", "compliance", "--lock-for", &seconds]).expect(0);
    let locked_since = Instant::now();
    feed(&home, "newest", &[]).expect(0);

    // A plan reads; what is more needs the right to remove.
    let plan = run_as(&home, &reader, &[&ONE[..], &["--plan"]].concat()).expect(0).json();
    assert_eq!(told(&plan, "held")["verdict"], "locked", "{plan:#}");
    assert_eq!(told(&plan, "free")["verdict"], "delete", "{plan:#}");
    let refused = run_as(&home, &reader, &ONE);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert_eq!(home.listed(), ["newest", "held", "free"]);

    let done = run_as(&home, &pruner, &ONE).expect(0).json();
    assert_eq!(told(&done, "held")["verdict"], "locked", "{done:#}");
    assert!(told(&done, "held")["locked_until"].is_string(), "{done:#}");
    assert_eq!(home.listed(), ["newest", "held"]);
    assert!(below(&client, bucket, "backups/free/").await.is_empty());
    assert_eq!(done["objects_locked"], 0, "{done:#}");
    home.run(&["verify"]).expect(0);

    while locked_since.elapsed() < LOCKED + Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let done = run_as(&home, &pruner, &ONE).expect(0).json();
    assert_eq!(home.listed(), ["newest"]);
    assert!(below(&client, bucket, "backups/held/").await.is_empty(), "{done:#}");
    // Its key is locked for longer than what it opens.
    assert_eq!(done["objects_locked"], 1, "{done:#}");
    assert!(done["locked_until"].is_string());
    let again = run_as(&home, &pruner, &ONE).expect(0).json();
    assert_eq!((&again["objects_locked"], &again["objects_removed"]), (&1.into(), &0.into()));
    home.run(&["verify"]).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legal_hold_of_the_store_holds_until_it_is_lifted() {
    let (minio, bucket) = (Minio::shared(), "prune-hold");
    let client = minio.client();
    locked::bucket(&client, bucket, Some(REGION)).await;
    let home = Home::in_bucket(minio, &minio.endpoint(), bucket);
    feed(&home, "legal", &["--lock", "governance", "--lock-for", "1s", "--lock-hold"]).expect(0);
    feed(&home, "newest", &[]).expect(0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let done = home.run(&ONE).expect(0).json();
    let legal = told(&done, "legal");
    assert_eq!((&legal["verdict"], &legal["legal_hold"]), (&"locked".into(), &true.into()));
    assert_eq!(home.listed(), ["newest", "legal"]);
    let off = ObjectLockLegalHold::builder().status(ObjectLockLegalHoldStatus::Off).build();
    for seen in below(&client, bucket, "").await {
        let put = client.put_object_legal_hold().bucket(bucket).key(&seen.key);
        put.version_id(&seen.id).legal_hold(off.clone()).send().await.unwrap();
    }
    home.run(&ONE).expect(0);
    assert_eq!(home.listed(), ["newest"]);
    assert!(below(&client, bucket, "backups/legal/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_hidden_by_a_delete_goes_for_good() {
    let (minio, bucket) = (Minio::shared(), "prune-hidden");
    let client = minio.client();
    minio.bucket(bucket, true).await;
    let home = Home::in_bucket(minio, &minio.endpoint(), bucket);
    feed(&home, "old", &[]).expect(0);
    feed(&home, "newest", &[]).expect(0);
    // Somebody deletes a volume, and writes over another name: both are versions now.
    let old = below(&client, bucket, "backups/old/").await;
    let volume = old.iter().find(|seen| seen.key.contains("/vol-")).unwrap();
    locked::hide(&client, bucket, &volume.key).await;
    let manifest = old.iter().find(|seen| seen.key.ends_with("manifest.json")).unwrap();
    locked::put(&client, bucket, &manifest.key, "junk").await;
    home.run(&ONE).expect(0);
    assert_eq!(home.listed(), ["newest"]);
    let listed = client.list_object_versions().bucket(bucket).prefix("p/c/backups/old/");
    let listed = listed.send().await.unwrap();
    assert_eq!((listed.versions().len(), listed.delete_markers().len()), (0, 0));
    home.run(&["verify"]).expect(0);
}
