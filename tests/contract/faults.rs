//! A store that fails for a while, loses answers, dies, or says nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use backstay::store::{Store, StoreErrorKind as Kind, StoreOptions};
use bytes::Bytes;

use super::{
    key,
    minio::Minio,
    opened,
    relay::{Fate, Relay},
    s3::options,
    script::{Conscience, Script},
};

/// A store behind a wire with these fates, in a versioned bucket of its own.
async fn behind(bucket: &str, fates: impl IntoIterator<Item = Fate>) -> (Relay, Arc<dyn Store>) {
    let minio = Minio::shared();
    minio.bucket(bucket, true).await;
    let relay = Relay::to(minio.port(), fates).await;
    let options = StoreOptions {
        endpoint: Some(relay.endpoint()),
        stall_timeout: Duration::from_secs(2),
        ..options(minio)
    };
    let store = opened(&format!("s3://{bucket}"), &options).await;
    (relay, store)
}

/// How often something was written under a key, whatever is seen of it now.
async fn versions(bucket: &str, key: &str) -> usize {
    let client = Minio::shared().client();
    let found = client.list_object_versions().bucket(bucket).prefix(key).send().await.unwrap();
    found.versions().len()
}

#[tokio::test]
async fn a_busy_store_is_asked_again() {
    let fates = [Fate::Answer(503, "SlowDown"), Fate::Answer(500, "InternalError")];
    let (relay, store) = behind("busy", fates).await;
    store.create(&key("a"), "body".into()).await.unwrap();
    assert_eq!(relay.left(), 0, "both failures were met");
    assert_eq!(store.get(&key("a"), 10).await.unwrap(), "body");
    assert_eq!(versions("busy", "a").await, 1);
}

#[tokio::test]
async fn a_conflict_with_another_writer_is_asked_again() {
    let (relay, store) =
        behind("conflict", [Fate::Answer(409, "ConditionalRequestConflict")]).await;
    store.create(&key("a"), "body".into()).await.unwrap();
    assert_eq!((relay.left(), versions("conflict", "a").await), (0, 1));
}

#[tokio::test]
async fn a_lost_answer_to_a_create_is_success_exactly_once() {
    let (relay, store) = behind("lost", [Fate::LoseAnswer]).await;
    store.create(&key("a"), "ours".into()).await.unwrap();
    assert_eq!(relay.left(), 0);
    assert_eq!(versions("lost", "a").await, 1);
    assert_eq!(store.get(&key("a"), 10).await.unwrap(), "ours");
}

/// On a store that lies, a second write would overwrite whatever came in between.
#[tokio::test]
async fn after_a_lost_answer_the_object_is_read_before_it_is_written_again() {
    let script = Script::start(Conscience::Ignores).await;
    let relay = Relay::to(script.port(), [Fate::LoseAnswer]).await;
    let endpoint = Some(relay.endpoint());
    let store = opened("s3://bucket", &StoreOptions { endpoint, ..options(Minio::shared()) }).await;
    store.create(&key("a"), "ours".into()).await.unwrap();
    assert_eq!((relay.left(), script.puts()), (0, 1));
}

#[tokio::test]
async fn a_lost_answer_about_anothers_object_is_not_taken_for_success() {
    let (_relay, store) = behind("lost-race", [Fate::LoseAnswer]).await;
    let rival = opened("s3://lost-race", &options(Minio::shared())).await;
    rival.create(&key("a"), "theirs".into()).await.unwrap();
    let error = store.create(&key("a"), "ours".into()).await.unwrap_err();
    assert_eq!(error.kind, Kind::AlreadyExists, "{error}");
    assert_eq!(store.get(&key("a"), 10).await.unwrap(), "theirs");
}

#[tokio::test]
async fn an_outcome_that_nobody_can_tell_is_unclear() {
    let fates = std::iter::once(Fate::LoseAnswer)
        .chain(std::iter::repeat_n(Fate::Answer(503, "SlowDown"), 200));
    let (_relay, store) = behind("unclear", fates).await;
    let error = store.create(&key("a"), "ours".into()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unclear, "{error}");
    assert_eq!(versions("unclear", "a").await, 1, "it had happened");
}

#[tokio::test]
async fn a_read_that_breaks_off_is_read_again() {
    let (relay, store) = behind("cut-read", [Fate::Pass]).await;
    let body = Bytes::from(vec![9; 300_000]);
    store.create(&key("a"), body.clone()).await.unwrap();
    drop((relay, store));
    let minio = Minio::shared();
    let relay = Relay::to(minio.port(), [Fate::CutAnswer(100_000), Fate::CutAnswer(100)]).await;
    let endpoint = Some(relay.endpoint());
    let store = opened("s3://cut-read", &StoreOptions { endpoint, ..options(minio) }).await;
    assert_eq!(store.get_range(&key("a"), 0..300_000).await.unwrap(), body);
    assert_eq!(relay.left(), 0);
    assert!(relay.connections() >= 3);
}

#[tokio::test]
async fn parts_whose_way_breaks_are_sent_again() {
    let part = 5 << 20;
    let body = Bytes::from([vec![3; part], vec![4; part]].concat());
    // The first connection begins the upload; later ones carry its parts.
    let fates = [Fate::Answer(503, "SlowDown"), Fate::CutRequest(2 << 20), Fate::LoseAnswer];
    let (relay, store) = behind("cut-parts", fates).await;
    let upload = store.upload(&key("a"), part).await.unwrap();
    for n in 0..2 {
        let body = body.slice(n * part..(n + 1) * part);
        upload.part(u32::try_from(n).unwrap(), body).await.unwrap();
    }
    upload.complete().await.unwrap();
    assert_eq!(relay.left(), 0);
    assert!(store.get(&key("a"), 2 * part as u64).await.unwrap() == body);
}

#[tokio::test]
async fn a_lost_answer_to_a_completion_is_success() {
    let minio = Minio::shared();
    minio.bucket("lost-completion", true).await;
    let relay = Relay::to(minio.port(), []).await;
    let endpoint = Some(relay.endpoint());
    let store = opened("s3://lost-completion", &StoreOptions { endpoint, ..options(minio) }).await;
    let upload = store.upload(&key("a"), 5 << 20).await.unwrap();
    upload.part(0, "body".into()).await.unwrap();
    relay.cut_all([Fate::LoseAnswer]);
    upload.complete().await.unwrap();
    assert_eq!(relay.left(), 0);
    assert_eq!(versions("lost-completion", "a").await, 1);
}

#[tokio::test]
async fn silence_ends_with_the_time_budget() {
    let minio = Minio::shared();
    let relay = Relay::to(minio.port(), std::iter::repeat_n(Fate::Silence, 100)).await;
    let options = StoreOptions {
        endpoint: Some(relay.endpoint()),
        retry_for: Duration::from_secs(2),
        stall_timeout: Duration::from_millis(700),
        ..options(minio)
    };
    let store = opened("s3://silence/p", &options).await;
    let begun = Instant::now();
    let error = store.get(&key("a"), 10).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("no answer within"), "{error}");
    assert!(error.attempts >= 2, "{error}");
    let error = store.create(&key("a"), "x".into()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unclear, "it may have been written: {error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_dies_in_mid_upload_and_returns_is_waited_for() {
    let mut minio = Minio::start(None);
    minio.bucket("phoenix", false).await;
    let options = StoreOptions { retry_for: Duration::from_mins(1), ..options(&minio) };
    let store = opened("s3://phoenix", &options).await;
    let part = 5 << 20;
    let upload = store.upload(&key("a"), part).await.unwrap();
    upload.part(0, vec![1; part].into()).await.unwrap();
    minio.kill();
    let sending = tokio::spawn(upload.part(1, vec![2; part].into()));
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!sending.is_finished());
    tokio::task::block_in_place(|| minio.up());
    sending.await.unwrap().unwrap();
    upload.complete().await.unwrap();
    let last = store.get_range(&key("a"), part as u64 - 1..part as u64 + 1).await.unwrap();
    assert_eq!(&last[..], [1, 2]);
}
