//! Rotating the primary, adding a recipient, going on after a failure, many at once.

use std::{fmt::Write as _, sync::atomic::AtomicUsize, time::Instant};

use backstay::{
    jobs::{
        JobError,
        keys::rewrap::{self, FailedKind},
    },
    pipeline::{PipelineError, audit::scan},
};
use sha2::{Digest as _, Sha256};

use crate::world::{Failing, World};

#[tokio::test(flavor = "multi_thread")]
async fn each_recipient_opens_what_a_run_seals() {
    let world = World::new().await;
    world.make_deks(4, "kek.pub", &["safe.pub", "other"]).await;
    for kek in ["kek", "safe", "other"] {
        assert_eq!(world.opens(kek).await, 4, "{kek}");
    }
    assert_eq!(world.opens("new").await, 0);
    let status = world.status().await;
    assert_eq!((status.deks, status.deks_with_one_kek, status.status), (4, 0, "ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_keeps_the_break_glass_wrap_and_touches_no_data() {
    let world = World::new().await;
    world.make_deks(6, "kek.pub", &["safe.pub"]).await;
    let done = world.rewrap("kek", "new.pub", &[]).await.unwrap();
    assert_eq!((done.status, done.deks, done.rewrapped, done.already), ("complete", 6, 6, 0));
    assert!(!done.to_opens, "only the public half was there");
    assert!(done.warning.contains("does not cure"));
    for kek in ["kek", "safe", "new"] {
        assert_eq!(world.opens(kek).await, 6, "{kek}");
    }
    let verified = world.verify().await;
    assert_eq!(verified.status, "ok", "{verified:?}");
    assert_eq!(Some(verified.verified_head), done.audit_head, "both acts are in the chain");
    let mut acts = Vec::new();
    scan(&world.repository(), 0, None, |found, _| {
        acts.push(found.record.clone());
        Ok::<_, PipelineError>(())
    })
    .await
    .unwrap();
    let said: Vec<_> = acts.iter().map(|act| act.action.as_str()).collect();
    assert_eq!(said, ["configuration-seen", "rewrap-begun", "rewrap-ended"]);
    let mut list = String::new();
    for dek in world.deks().await {
        let stored = world.get(&World::key_object(dek, 2)).await;
        let _ = writeln!(list, "{}  {dek}/00000002.json", hex::encode(Sha256::digest(&stored)));
    }
    assert_eq!(acts[2].record_sha256.unwrap().0, <[u8; 32]>::from(Sha256::digest(&list)));

    let dropped = world.rewrap("kek", "new", &["kek"]).await.unwrap();
    assert_eq!((dropped.rewrapped, dropped.already, dropped.dropped), (0, 6, 6));
    assert_eq!(
        [world.opens("kek").await, world.opens("safe").await, world.opens("new").await],
        [0, 6, 6]
    );
    for dek in world.deks().await {
        let record = world.newest(dek).await;
        assert_eq!((record.generation, record.wraps.len()), (3, 2));
    }
    let status = world.status().await;
    let old = status.keks.iter().find(|kek| kek.kek == world.name_of("kek")).unwrap();
    assert_eq!((old.deks, old.superseded, old.in_use), (0, 6, false));
    assert_eq!(world.verify().await.status, "ok");

    let objects = world.objects().await;
    let again = world.rewrap("new", "new", &["kek"]).await.unwrap();
    assert_eq!((again.status, again.already, again.run_id), ("complete", 6, None));
    assert_eq!(world.objects().await, objects, "nothing to do writes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrap_is_dropped_only_when_another_has_proven_itself() {
    let world = World::new().await;
    world.make_deks(3, "kek", &[]).await;
    let refused = world.rewrap("kek", "new.pub", &["kek"]).await;
    assert!(matches!(refused, Err(JobError::Preflight { .. })), "{refused:?}");
    let refused = world.rewrap("kek", "new", &["new"]).await;
    assert!(matches!(refused, Err(JobError::Usage { .. })), "{refused:?}");
    // One DEK that the old KEK does not open: no wrap goes, of no DEK.
    world.make_deks(1, "other", &[]).await;
    let partly = world.rewrap("kek", "new", &["kek"]).await.unwrap();
    assert_eq!((partly.status, partly.rewrapped, partly.dropped), ("incomplete", 3, 0));
    assert_eq!(partly.worst(), Some(FailedKind::OtherKek));
    assert!(partly.failed[0].why.contains(&world.name_of("other")), "{:?}", partly.failed);
    assert_eq!((world.opens("kek").await, world.opens("new").await), (3, 3));
    // Its own KEK makes up for it, and then the old one goes.
    let whole = world.rewrap("other", "new", &["kek"]).await.unwrap();
    assert_eq!(
        (whole.status, whole.rewrapped, whole.already, whole.dropped),
        ("complete", 1, 3, 3)
    );
    assert_eq!((world.opens("kek").await, world.opens("new").await), (0, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kms_that_fails_leaves_all_readable_and_the_next_run_goes_on() {
    let world = World::new().await;
    world.make_deks(100, "kek", &[]).await;
    let failing = Failing { inner: world.kek("kek"), left: AtomicUsize::new(40) };
    let done = rewrap::run(world.request(Box::new(failing), "new", &["kek"])).await.unwrap();
    assert_eq!((done.status, done.rewrapped, done.dropped), ("incomplete", 40, 0));
    assert_eq!(done.worst(), Some(FailedKind::Unavailable));
    let left = done.failed.len() as u64 + done.not_tried;
    assert!(left == 60 && done.not_tried > 0, "it does not ask a dead KMS 60 times: {done:?}");
    assert_eq!((world.opens("kek").await, world.opens("new").await), (100, 40));
    let rest = world.rewrap("kek", "new", &[]).await.unwrap();
    assert_eq!((rest.status, rest.rewrapped, rest.already), ("complete", 60, 40));
    assert_eq!((world.opens("kek").await, world.opens("new").await), (100, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_and_runs_that_begin_meanwhile_lose_nothing() {
    let world = World::new().await;
    world.make_deks(60, "kek", &[]).await;
    let (a, b, ()) = tokio::join!(
        world.rewrap("kek", "new", &[]),
        world.rewrap("kek", "other", &[]),
        world.make_deks(40, "kek.pub", &["safe.pub"]),
    );
    for done in [a.unwrap(), b.unwrap()] {
        assert!(done.failed.is_empty() && done.not_tried == 0, "{done:?}");
        assert!(done.deks >= 60, "{done:?}");
    }
    assert_eq!(world.opens("kek").await, 100);
    assert_eq!(world.opens("safe").await, 40);
    // What began behind the last look needs another one.
    for to in ["new", "other"] {
        world.rewrap("kek", to, &[]).await.unwrap();
        assert_eq!(world.opens(to).await, 100, "{to}");
    }
    assert_eq!(world.verify().await.status, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_thousand_deks_take_seconds() {
    const COUNT: usize = 3000;
    let world = World::new().await;
    world.make_deks(COUNT, "kek.pub", &["safe.pub"]).await;
    let begun = Instant::now();
    let done = world.rewrap("kek", "new.pub", &[]).await.unwrap();
    let took = begun.elapsed();
    assert_eq!((done.status, done.rewrapped), ("complete", COUNT as u64));
    let begun = Instant::now();
    let status = world.status().await;
    let looked = begun.elapsed();
    assert_eq!((status.deks, status.deks_with_one_kek), (COUNT as u64, 0));
    let begun = Instant::now();
    assert_eq!(world.rewrap("kek", "new.pub", &[]).await.unwrap().already, COUNT as u64);
    let again = begun.elapsed();
    println!("{COUNT} DEKs: rewrap {took:.1?}, status {looked:.1?}, nothing to do {again:.1?}");
    assert!(took.as_secs() < 60, "{took:?}");
    assert_eq!(world.opens("new").await, COUNT);
}
