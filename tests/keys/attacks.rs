//! Records that somebody put there: refused, named by `verify`, and no obstacle.

use backstay::{format::KeyRecord, model::Sha256Digest, pipeline::Repository};
use bytes::Bytes;

use crate::world::World;

/// What `verify` and `status` say is wrong with an object.
#[track_caller]
fn named(findings: &[backstay::jobs::verify::Problem], object: &str, why: &str) {
    let found = findings.iter().any(|p| p.object == object && p.why.contains(why));
    assert!(found, "nobody names {object}, {why}: {findings:?}");
}

async fn is_named(world: &World, object: &str, why: &str) {
    let verified = world.verify().await;
    assert_eq!(verified.status, "damaged");
    named(&verified.findings, object, why);
    let status = world.status().await;
    assert_eq!(status.status, "damaged");
    named(&status.findings, object, why);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_by_an_untrusted_signer_is_passed_over() {
    let world = World::new().await;
    world.make_deks(2, "kek", &[]).await;
    let dek = world.deks().await[0];
    // Whoever may write to the bucket takes the wraps out, and would so lock everyone out.
    let stranger = world.author("stranger").await;
    let newest = world.repository().newest_key(dek).await.unwrap();
    newest.supersede(&stranger, Vec::new()).await.unwrap().unwrap();
    let object = World::key_object(dek, 2);
    is_named(&world, object.as_str(), "no trusted signer").await;
    assert_eq!(world.opens("kek").await, 2, "the generation before it counts");
    // Rewrapping goes past it.
    let done = world.rewrap("kek", "new", &[]).await.unwrap();
    assert_eq!((done.status, done.rewrapped), ("complete", 2));
    assert_eq!(world.newest(dek).await.generation, 3);
    assert_eq!((world.opens("kek").await, world.opens("new").await), (2, 2));
    is_named(&world, object.as_str(), "no trusted signer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_under_the_last_name_there_is_leaves_room() {
    let world = World::new().await;
    world.make_deks(1, "kek", &[]).await;
    let dek = world.deks().await[0];
    let last = World::key_object(dek, 99_999_999);
    world.put(&last, Bytes::from_static(b"junk")).await;
    let done = world.rewrap("kek", "new", &[]).await.unwrap();
    assert_eq!((done.status, world.newest(dek).await.generation), ("complete", 2));
    assert_eq!(world.opens("new").await, 1);
    is_named(&world, last.as_str(), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_record_is_refused() {
    let world = World::new().await;
    world.make_deks(3, "kek", &[]).await;
    let deks = world.deks().await;
    let (first, second) = (World::key_object(deks[0], 1), World::key_object(deks[1], 1));
    let whole = world.get(&first).await;
    let refused = |repository: std::sync::Arc<Repository>| {
        let (kek, dek) = (world.kek("kek"), deks[0]);
        async move { repository.dek(dek, &*kek).await.unwrap_err().to_string() }
    };

    world.put(&first, world.get(&second).await).await;
    is_named(&world, first.as_str(), "another DEK").await;
    assert!(refused(world.repository()).await.contains("another DEK"));

    // Signed by a run that nobody vouches for.
    let stranger = world.author("stranger").await;
    let mut record: KeyRecord = world.newest(deks[2]).await;
    record.dek_id = deks[0];
    record.run_id = stranger.id;
    world.put(&first, stranger.sign(&record).unwrap()).await;
    is_named(&world, first.as_str(), "").await;
    assert!(refused(world.repository()).await.contains("no trusted signer"));

    // A rewrapping run has a right to sign, and none to say which key a DEK is.
    let author = world.author("kek").await;
    record.run_id = author.id;
    world.put(&first, author.sign(&record).unwrap()).await;
    is_named(&world, first.as_str(), "not written by the DEK's own run").await;
    let done = world.rewrap("kek", "new", &["kek"]).await.unwrap();
    assert_eq!((done.status, done.rewrapped, done.dropped), ("incomplete", 2, 0));
    assert_eq!(done.worst(), Some(backstay::jobs::keys::rewrap::FailedKind::Integrity));
    assert_eq!(done.failed[0].dek_id, deks[0]);

    world.put(&first, whole).await;
    assert_eq!(world.verify().await.status, "ok");
    assert_eq!(world.opens("kek").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_commits_to_another_key_is_passed_over() {
    let world = World::new().await;
    world.make_deks(1, "kek", &[]).await;
    let dek = world.deks().await[0];
    let author = world.author("kek").await;
    let mut record = world.newest(dek).await;
    record.run_id = author.id;
    record.generation = 2;
    record.commitment = Sha256Digest([7; 32]);
    let object = World::key_object(dek, 2);
    world.put(&object, author.sign(&record).unwrap()).await;
    is_named(&world, object.as_str(), "commits to another key").await;
    assert_eq!(world.opens("kek").await, 1);
}
