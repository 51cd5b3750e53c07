//! Holds, and what a tombstone means to everybody else.

use backstay::{
    jobs::{hold, list, prune::plan::Policy},
    model::Age,
    pipeline::Standing,
};

use crate::stage::{Stage, hours, later};

const GRACE: Age = Age::from_seconds(7200);
const ONE: Policy = Policy {
    last: Some(1),
    within: None,
    hourly: None,
    daily: None,
    weekly: None,
    monthly: None,
    yearly: None,
    window: None,
};

/// Three backups, a day apart, the newest of them `c`.
async fn three() -> Stage {
    let mut stage = Stage::new().await;
    for (n, id) in ["a", "b", "c"].into_iter().enumerate() {
        let at = later().minus(hours(24 * (3 - n as u64)));
        stage.backup(id, at, None).await;
    }
    stage
}

async fn ids(stage: &Stage) -> String {
    stage.listed().await.into_keys().map(|id| id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_a_tombstone_goes_after_the_time_of_grace_and_not_before() {
    let stage = three().await;
    let now = later();
    let first = stage.prune(ONE, GRACE, now).await.unwrap();
    assert_eq!(ids(&stage).await, "abc");
    let steps: Vec<_> = first.backups.iter().map(|b| (b.verdict, b.step)).collect();
    assert_eq!(steps, [("keep", "none"), ("delete", "wait"), ("delete", "wait")]);
    let second = stage.prune(ONE, GRACE, now.plus(hours(1))).await.unwrap();
    assert_eq!((second.objects_removed, second.run_id), (0, None));
    assert_eq!(stage.problems().await, Vec::<String>::new());
    stage.prune(ONE, GRACE, now.plus(hours(2))).await.unwrap();
    assert_eq!(ids(&stage).await, "c");
    assert_eq!(stage.unneeded().await, Vec::<String>::new());
    assert_eq!(stage.problems().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_keeps_a_backup_and_takes_its_tombstone_away() {
    let stage = three().await;
    let now = later();
    assert_eq!(hold::hold(&stage.holding("a")).await.unwrap().status, "held");
    assert_eq!(hold::hold(&stage.holding("a")).await.unwrap().status, "unchanged");
    stage.prune(ONE, GRACE, now).await.unwrap();
    let held = hold::hold(&stage.holding("b")).await.unwrap();
    assert!(held.had_tombstone && held.held);
    stage.prune(ONE, GRACE, now.plus(hours(2))).await.unwrap();
    assert_eq!(ids(&stage).await, "abc");
    let told = list::run(&stage.repository()).await.unwrap();
    let marks: Vec<_> = told.iter().map(|b| b.mark.as_ref().map(|m| m.kind)).collect();
    assert_eq!(marks, [None, Some("held"), Some("held")]);

    assert_eq!(hold::unhold(&stage.holding("b")).await.unwrap().status, "unheld");
    assert_eq!(hold::unhold(&stage.holding("b")).await.unwrap().status, "unchanged");
    stage.prune(ONE, GRACE, now.plus(hours(3))).await.unwrap();
    stage.prune(ONE, GRACE, now.plus(hours(5))).await.unwrap();
    assert_eq!(ids(&stage).await, "ac");
    let gone = hold::hold(&stage.holding("b")).await.unwrap_err();
    assert!(gone.to_string().contains("no complete backup b"), "{gone}");
    assert_eq!(stage.problems().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_softer_policy_takes_tombstones_away() {
    let stage = three().await;
    let now = later();
    stage.prune(ONE, GRACE, now).await.unwrap();
    let two = Policy { last: Some(2), ..ONE };
    let told = stage.prune(two, GRACE, now.plus(hours(9))).await.unwrap();
    let steps: Vec<_> = told.backups.iter().map(|b| b.step).collect();
    assert_eq!(steps, ["none", "none", "sweep"]);
    let listed = stage.listed().await;
    assert!(listed.values().all(|(_, standing)| *standing == Standing::Free));
    assert_eq!(ids(&stage).await, "bc");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_time_of_grace_it_goes_at_once() {
    let stage = three().await;
    stage.prune(ONE, Age::from_seconds(0), later()).await.unwrap();
    assert_eq!(ids(&stage).await, "c");
    assert_eq!(stage.unneeded().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_name_can_be_used_again() {
    let mut stage = three().await;
    stage.prune(ONE, Age::from_seconds(0), later()).await.unwrap();
    stage.backup("b", later().plus(hours(1)), None).await;
    assert_eq!(ids(&stage).await, "bc");
    assert_eq!(stage.problems().await, Vec::<String>::new());
    stage.all_listed_open().await;
    // The marks of the earlier one say nothing of it.
    stage.prune(ONE, Age::from_seconds(0), later().plus(hours(2))).await.unwrap();
    assert_eq!(ids(&stage).await, "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_policy_and_a_cluster_that_is_none_are_refused() {
    let stage = three().await;
    let error = stage.prune(Policy::default(), GRACE, later()).await.unwrap_err();
    assert!(error.to_string().contains("nothing is to be kept"), "{error}");
    let nobody = Stage::new().await;
    let error = nobody.prune(ONE, GRACE, later()).await.unwrap_err();
    assert!(error.to_string().contains("is no cluster"), "{error}");
}
