//! The contract: every promise of the port, in one function.

use std::sync::Arc;

use backstay::{
    model::Timestamp,
    store::{Key, Store, StoreError, StoreErrorKind as Kind, probe_create_only},
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::join_all};

use super::key;

/// What differs between stores without being a breach of the contract.
pub(crate) struct Traits {
    /// The smallest part that is not the last one.
    pub(crate) part_size: usize,
    /// More objects than a page of a listing holds.
    pub(crate) many: usize,
    /// Whether a folder is forgotten with its last object.
    pub(crate) forgets_folders: bool,
    /// Whether unfinished uploads can be found again.
    pub(crate) finds_uploads: bool,
}

/// Runs the whole contract against a store that holds nothing yet.
pub(crate) async fn keeps_them_all(store: &Arc<dyn Store>, traits: &Traits) {
    an_empty_store_is_no_error(store).await;
    whole_objects(store, traits).await;
    a_key_is_taken_once(store).await;
    one_of_many_writers_wins(store).await;
    ranges(store).await;
    uploads(store, traits).await;
    upload_mistakes(store, traits).await;
    an_aborted_upload_is_never_seen(store, traits).await;
    forgotten_uploads_are_swept(store, traits).await;
    prefixes_do_not_run_into_each_other(store).await;
    long_lists(store, traits).await;
    honest(store).await;
}

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Kind {
    result.unwrap_err().kind
}

async fn names(store: &Arc<dyn Store>, prefix: &str, after: Option<&Key>) -> Vec<String> {
    let found: Vec<_> = store.list(prefix, after).try_collect().await.unwrap();
    found.into_iter().map(|info| info.key.to_string()).collect()
}

/// Bytes that repeat nowhere near a part's size.
fn pattern(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next());
    }
    bytes.truncate(length);
    bytes.into()
}

async fn an_empty_store_is_no_error(store: &Arc<dyn Store>) {
    assert!(names(store, "", None).await.is_empty());
    assert!(names(store, "nowhere/", None).await.is_empty());
    assert!(store.list_folders("").await.unwrap().is_empty());
    let missing = key("nowhere/at-all");
    assert_eq!(kind(store.get(&missing, 10).await), Kind::NotFound);
    assert_eq!(kind(store.get_range(&missing, 0..1).await), Kind::NotFound);
    assert_eq!(kind(store.head(&missing).await), Kind::NotFound);
    store.delete(&missing).await.unwrap();
    assert_eq!(store.abort_uploads("", Timestamp::now()).await.unwrap(), 0);
}

async fn whole_objects(store: &Arc<dyn Store>, traits: &Traits) {
    let before = Timestamp::now();
    for (name, length) in [("whole/empty", 0), ("whole/small", 1), ("whole/larger", 70_001)] {
        let (key, body) = (key(name), pattern(length, 1));
        store.create(&key, body.clone()).await.unwrap();
        assert_eq!(store.get(&key, length as u64).await.unwrap(), body, "{name}");
        let info = store.head(&key).await.unwrap();
        assert_eq!((&info.key, info.size), (&key, length as u64));
        let age = info.modified.unwrap();
        assert!(age.seconds_since(before).abs() < 120.0, "{age}");
        if length > 0 {
            assert_eq!(kind(store.get(&key, length as u64 - 1).await), Kind::Corrupt);
        }
        store.delete(&key).await.unwrap();
        store.delete(&key).await.unwrap();
        assert_eq!(kind(store.get(&key, 10).await), Kind::NotFound);
    }
    assert!(names(store, "whole/", None).await.is_empty());
    assert!(!traits.forgets_folders || store.list_folders("").await.unwrap().is_empty());
}

async fn a_key_is_taken_once(store: &Arc<dyn Store>) {
    let key = key("once/key");
    store.create(&key, Bytes::from_static(b"first")).await.unwrap();
    // Our own bytes are what a retry after a lost answer finds.
    store.create(&key, Bytes::from_static(b"first")).await.unwrap();
    for other in ["other", "", "first and more", "firs"] {
        let error = store.create(&key, Bytes::from_static(other.as_bytes())).await.unwrap_err();
        assert_eq!(error.kind, Kind::AlreadyExists, "{error}");
        assert!(error.to_string().contains("once/key"), "{error}");
    }
    assert_eq!(store.get(&key, 100).await.unwrap(), "first");
}

async fn one_of_many_writers_wins(store: &Arc<dyn Store>) {
    for round in 0..3 {
        let key = key(format!("race/{round}"));
        let bodies: Vec<_> = (0..16).map(|n| Bytes::from(format!("writer {n}"))).collect();
        let writers = bodies.iter().map(|body| {
            let (store, key, body) = (Arc::clone(store), key.clone(), body.clone());
            tokio::spawn(async move { store.create(&key, body).await })
        });
        let outcomes = join_all(writers).await;
        let mut won = Vec::new();
        for (body, outcome) in bodies.iter().zip(outcomes) {
            match outcome.unwrap() {
                Ok(()) => won.push(body),
                Err(error) => assert_eq!(error.kind, Kind::AlreadyExists, "{error}"),
            }
        }
        assert_eq!(won.len(), 1, "{won:?}");
        assert_eq!(store.get(&key, 100).await.unwrap(), won[0]);
    }
}

async fn ranges(store: &Arc<dyn Store>) {
    let (key, body) = (key("ranges/object"), pattern(1_000, 2));
    store.create(&key, body.clone()).await.unwrap();
    let parts = (0..10u64).map(|n| store.get_range(&key, n * 100..(n + 1) * 100));
    let parts = join_all(parts).await;
    for (n, part) in parts.into_iter().enumerate() {
        assert_eq!(part.unwrap(), body.slice(n * 100..(n + 1) * 100));
    }
    assert_eq!(store.get_range(&key, 0..1_000).await.unwrap(), body);
    assert_eq!(store.get_range(&key, 999..1_000).await.unwrap(), body.slice(999..));
    for edge in [0..0, 500..500, 1_000..1_000] {
        assert!(store.get_range(&key, edge).await.unwrap().is_empty());
    }
    for wrong in [0..1_001, 999..1_001, 1_000..1_001, 5_000..5_001, 1_001..1_001] {
        let error = store.get_range(&key, wrong.clone()).await.unwrap_err();
        assert_eq!(error.kind, Kind::Corrupt, "{wrong:?}: {error}");
    }
    #[expect(clippy::reversed_empty_ranges, reason = "a caller's mistake must not panic")]
    let reversed = 7..3;
    assert_eq!(kind(store.get_range(&key, reversed).await), Kind::Corrupt);
}

async fn uploads(store: &Arc<dyn Store>, traits: &Traits) {
    for (name, parts, last) in
        [("uploads/one", 1, 10), ("uploads/many", 4, 77), ("uploads/full", 2, 0)]
    {
        let (key, size) = (key(name), traits.part_size);
        let body = pattern((parts - 1) * size + if last == 0 { size } else { last }, 3);
        let upload = store.upload(&key, size).await.unwrap();
        // Backwards and side by side.
        let sending = (0..parts).rev().map(|n| {
            let part = body.slice(n * size..body.len().min((n + 1) * size));
            tokio::spawn(upload.part(u32::try_from(n).unwrap(), part))
        });
        for sent in join_all(sending).await {
            sent.unwrap().unwrap();
        }
        assert_eq!(kind(store.head(&key).await), Kind::NotFound, "not before it is complete");
        assert!(names(store, "uploads/", None).await.iter().all(|n| n != name));
        upload.complete().await.unwrap();
        assert_eq!(store.head(&key).await.unwrap().size, body.len() as u64);
        assert!(store.get(&key, body.len() as u64).await.unwrap() == body, "{name}");
        let middle = (body.len() as u64 / 2).saturating_sub(3);
        let got = store.get_range(&key, middle..middle + 5).await.unwrap();
        assert_eq!(got, body.slice(middle as usize..middle as usize + 5));
    }
    let empty = key("uploads/empty");
    store.upload(&empty, 10).await.unwrap().complete().await.unwrap();
    assert!(store.get(&empty, 0).await.unwrap().is_empty());
}

async fn upload_mistakes(store: &Arc<dyn Store>, traits: &Traits) {
    let (key, size) = (key("mistakes/object"), traits.part_size);
    let upload = store.upload(&key, size).await.unwrap();
    assert!(upload.part(0, pattern(size + 1, 4)).await.is_err(), "larger than promised");
    upload.part(0, pattern(size, 4)).await.unwrap();
    upload.part(2, pattern(5, 4)).await.unwrap();
    let error = upload.complete().await.unwrap_err();
    assert!(error.to_string().contains("part 1 is missing"), "{error}");
    let upload = store.upload(&key, size).await.unwrap();
    upload.part(0, pattern(size - 1, 4)).await.unwrap();
    upload.part(1, pattern(5, 4)).await.unwrap();
    assert!(upload.complete().await.is_err(), "a short part in the middle");
    assert_eq!(kind(store.head(&key).await), Kind::NotFound);
}

async fn an_aborted_upload_is_never_seen(store: &Arc<dyn Store>, traits: &Traits) {
    let key = key("aborted/deep/object");
    let upload = store.upload(&key, traits.part_size).await.unwrap();
    upload.part(0, pattern(10, 5)).await.unwrap();
    upload.abort().await.unwrap();
    store.upload(&key, traits.part_size).await.unwrap().abort().await.unwrap();
    assert_eq!(kind(store.head(&key).await), Kind::NotFound);
    assert!(names(store, "aborted/", None).await.is_empty());
    assert!(store.list_folders("aborted/").await.unwrap().is_empty());
    assert!(!store.list_folders("").await.unwrap().contains(&"aborted".to_owned()));
}

async fn forgotten_uploads_are_swept(store: &Arc<dyn Store>, traits: &Traits) {
    if !traits.finds_uploads {
        assert_eq!(store.abort_uploads("", Timestamp::now()).await.unwrap(), 0);
        return;
    }
    // What the mistakes above left, and nothing else.
    let later = Timestamp::from_microseconds(Timestamp::now().as_microseconds() + 5_000_000);
    let later = later.unwrap();
    assert_eq!(store.abort_uploads("", later).await.unwrap(), 2);
    let mut uploads = Vec::new();
    for name in ["swept/a/x", "swept/a/y/z", "swept/a-b/x"] {
        let upload = store.upload(&key(name), traits.part_size).await.unwrap();
        upload.part(0, pattern(10, 6)).await.unwrap();
        uploads.push(upload);
    }
    let long_ago = Timestamp::from_microseconds(0).unwrap();
    assert_eq!(store.abort_uploads("swept/", long_ago).await.unwrap(), 0);
    assert_eq!(store.abort_uploads("swept/a/", later).await.unwrap(), 2);
    assert_eq!(store.abort_uploads("", later).await.unwrap(), 1);
    assert_eq!(store.abort_uploads("", later).await.unwrap(), 0);
    for upload in uploads {
        let error = upload.complete().await.unwrap_err();
        assert!(!matches!(error.kind, Kind::Unclear | Kind::Unavailable), "{error}");
    }
    assert!(names(store, "swept/", None).await.is_empty());
}

async fn prefixes_do_not_run_into_each_other(store: &Arc<dyn Store>) {
    let all = ["p/a-b/1", "p/a.b/1", "p/a/1", "p/a/b/1", "p/a/b/2", "p/a0/1", "p/b"];
    for name in all.iter().rev() {
        store.create(&key(*name), Bytes::from_static(b"x")).await.unwrap();
    }
    assert_eq!(names(store, "p/", None).await, all);
    assert_eq!(names(store, "p/a/", None).await, ["p/a/1", "p/a/b/1", "p/a/b/2"]);
    assert_eq!(names(store, "p/a-b/", None).await, ["p/a-b/1"]);
    for (n, name) in all.iter().enumerate() {
        assert_eq!(names(store, "p/", Some(&key(*name))).await, all[n + 1..], "after {name}");
    }
    // A key that is not there is a place between others all the same.
    assert_eq!(names(store, "p/", Some(&key("p/a/b"))).await, all[3..]);
    assert_eq!(names(store, "p/", Some(&key("p/a"))).await, all);
    assert_eq!(store.list_folders("p/").await.unwrap(), ["a", "a-b", "a.b", "a0"]);
    assert_eq!(store.list_folders("p/a/").await.unwrap(), ["b"]);
    assert!(store.list_folders("p/a/b/").await.unwrap().is_empty());
    for wrong in ["p", "p//", "/", "p/../"] {
        let listed: Vec<_> = store.list(wrong, None).collect().await;
        assert_eq!(listed.len(), 1, "{wrong}");
        assert!(listed[0].is_err(), "{wrong}");
        assert!(store.list_folders(wrong).await.is_err(), "{wrong}");
        assert!(store.abort_uploads(wrong, Timestamp::now()).await.is_err(), "{wrong}");
    }
}

async fn long_lists(store: &Arc<dyn Store>, traits: &Traits) {
    let all: Vec<_> = (0..traits.many).map(|n| format!("long/{n:05}")).collect();
    futures::stream::iter(all.clone())
        .map(|name| async move { store.create(&key(name), Bytes::from_static(b"x")).await })
        .buffer_unordered(16)
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    assert_eq!(names(store, "long/", None).await, all);
    let middle = all.len() / 2;
    assert_eq!(names(store, "long/", Some(&key(&all[middle]))).await, all[middle + 1..]);
}

async fn honest(store: &Arc<dyn Store>) {
    let proven = probe_create_only(&**store, "somewhere/", "b7d2").await.unwrap();
    assert!(proven.removed);
    assert_eq!(kind(store.head(&proven.object).await), Kind::NotFound);
}
