//! What is done to a chain is seen, and nobody who may only create objects can stop it.

use backstay::pipeline::{
    ChainHead,
    audit::{Act, append, head},
};
use bytes::Bytes;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_an_altered_and_a_moved_record_are_found() {
    let world = World::new().await;
    let kept = world.act(6).await;
    let last = world.act(6).await;
    assert_eq!(last.number, 12);
    let whole = world.verify(Some(kept)).await;
    assert_eq!((whole.status, whole.records, whole.freshness_proven), ("ok", 12, true));
    assert_eq!(whole.verified_head, last.to_string());
    assert!(!world.verify(None).await.freshness_proven);

    let (five, six) = (world.get(5).await, world.get(6).await);
    world.put(5, None).await;
    assert_eq!(world.findings().await, ["5: it is missing"]);
    let mut altered = five.to_vec();
    altered[120] ^= 1;
    world.put(5, Some(altered.into())).await;
    let found = world.findings().await;
    assert!(found.len() == 2 && found[0].starts_with("5: "), "{found:?}");
    assert_eq!(found[1], "6: it does not follow the record before it");
    world.put(5, Some(six.clone())).await;
    world.put(6, Some(five.clone())).await;
    let found = world.findings().await;
    assert!(found[0] == "5: it is record 6" && found[1] == "6: it is record 5", "{found:?}");
    world.put(5, Some(five)).await;
    world.put(6, Some(six)).await;
    assert_eq!(world.verify(None).await.status, "ok");

    // What is cut off at the end is missed by nobody but who has kept a head.
    for number in [11, 12] {
        world.put(number, None).await;
    }
    assert_eq!(world.verify(Some(kept)).await.status, "ok");
    assert_eq!(world.verify(None).await.status, "ok");
    let cut = world.verify(Some(last)).await;
    assert_eq!((cut.status, cut.freshness_proven), ("damaged", false));
    assert!(cut.findings[0].why.contains("rolled back"), "{:?}", cut.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_spoils_the_looks_of_a_chain_and_stops_nobody() {
    let world = World::new().await;
    world.act(5).await;
    for number in [6, 7] {
        world.put(number, Some(Bytes::from_static(b"junk"))).await;
    }
    // Where a search for the end would look, and at the end of all numbers.
    for number in [8, 64, 1 << 20, 1 << 40, u64::MAX] {
        world.put(number, Some(Bytes::from_static(b"more junk"))).await;
    }
    let head = world.act(3).await;
    assert_eq!(head.number, 11, "behind what lies unbroken after the last record");
    let found = world.findings().await;
    let blamed: Vec<_> = found.iter().map(|f| f.split(": ").next().unwrap()).collect();
    let max = u64::MAX.to_string();
    let far = ["12", "64", "65", "1048576", "1048577", "1099511627776", "1099511627777", &max];
    assert_eq!(blamed, [&["6", "7", "8"][..], &far].concat(), "{found:?}");
    assert!(found[3].contains("51 more up to number 63"), "{found:?}");
    assert_eq!(world.records().await.len(), 8, "every act is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_lost_records_is_not_filled_up() {
    let world = World::new().await;
    world.act(9).await;
    for number in [1, 4, 8] {
        world.put(number, None).await;
    }
    assert_eq!(world.act(1).await.number, 10);
    assert_eq!(world.findings().await, ["1", "4", "8"].map(|n| format!("{n}: it is missing")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_long_chain_is_found_without_reading_it() {
    const COUNT: u64 = 5_000;
    let world = World::new().await;
    world.act(COUNT).await;
    world.store.counted();
    let reader = world.repository();
    assert_eq!(head(&reader).await.unwrap().number, COUNT);
    let (requests, listed) = world.store.counted();
    assert!(requests < 220 && listed < 2_100, "{requests} requests, {listed} names listed");
    // And then each act takes a handful of requests.
    let author = world.author().await;
    append(&author, &Act::new("drill-ended", "first").succeeded()).await.unwrap();
    world.store.counted();
    for n in 0..10 {
        append(&author, &Act::new("drill-ended", &n.to_string()).succeeded()).await.unwrap();
    }
    let (requests, listed) = world.store.counted();
    assert!(requests <= 40 && listed <= 10, "{requests} requests, {listed} names listed");
    assert_eq!(world.verify(None).await.records, COUNT + 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_that_was_killed_is_told_of() {
    let world = World::new().await;
    let (killed, ended) = (world.author().await, world.author().await);
    append(&killed, &Act::new("restore-begun", "latest")).await.unwrap();
    append(&ended, &Act::new("restore-begun", "latest")).await.unwrap();
    append(&ended, &Act::new("restore-ended", "latest").succeeded()).await.unwrap();
    let verified = world.verify(None).await;
    assert_eq!(verified.status, "ok", "that is no damage");
    let open: Vec<_> = verified.without_end.iter().map(|a| (a.number, a.run_id)).collect();
    assert_eq!(open, [(1, killed.id)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_chain_is_whole() {
    let world = World::new().await;
    let verified = world.verify(Some(ChainHead::EMPTY)).await;
    assert_eq!((verified.status, verified.records), ("ok", 0));
    assert_eq!(verified.verified_head, ChainHead::EMPTY.to_string());
}
