//! Increments: what one stands on stays as long as it does.

use backstay::{
    jobs::prune::{Pruned, plan::Policy},
    model::{Age, BackupId},
};

use crate::stage::{Stage, hours, later};

const GRACE: Age = Age::from_seconds(7200);

fn last(count: u32) -> Policy {
    Policy {
        last: Some(count),
        within: None,
        hourly: None,
        daily: None,
        weekly: None,
        monthly: None,
        yearly: None,
        window: None,
    }
}

/// A full backup `a`, the increment `b` on it, and `c` on that, a day apart.
async fn chain() -> Stage {
    let mut stage = Stage::new().await;
    for (n, (id, below)) in [("a", None), ("b", Some("a")), ("c", Some("b"))].iter().enumerate() {
        stage.stand_on = below.map(|below| below.parse().unwrap());
        stage.backup(id, later().minus(hours(24 * (4 - n as u64))), None).await;
    }
    stage
}

async fn ids(stage: &Stage) -> String {
    stage.listed().await.into_keys().map(|id| id.to_string()).collect()
}

fn reasons(pruned: &Pruned, id: &str) -> Vec<String> {
    let told = pruned.backups.iter().find(|backup| backup.backup_id.as_str() == id).unwrap();
    told.reasons.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kept_increment_stands_on_stays_and_says_why() {
    let stage = chain().await;
    let now = later();
    let done = stage.prune(last(1), GRACE, now).await.unwrap();
    assert_eq!(reasons(&done, "b"), ["needed by c"]);
    assert_eq!(reasons(&done, "a"), ["needed by b"]);
    stage.prune(last(1), GRACE, now.plus(hours(3))).await.unwrap();
    assert_eq!(ids(&stage).await, "abc");
    assert_eq!(stage.problems().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_goes_from_its_end_and_whole_links_are_left_wherever_it_dies() {
    for changes in 0..40 {
        let mut stage = chain().await;
        let now = later();
        stage.backup("d", now.minus(hours(1)), None).await;
        stage.prune(last(1), GRACE, now).await.unwrap();
        stage.fuse.set(changes);
        let died = stage.prune(last(1), GRACE, now.plus(hours(3))).await.is_err();
        stage.fuse.set(i64::MAX);
        // `listed` believes all of them, and so the chain below each.
        let left = ids(&stage).await;
        assert!(["abcd", "abd", "ad", "d"].contains(&left.as_str()), "{changes}: {left}");
        stage.all_listed_open().await;
        stage.prune(last(1), GRACE, now.plus(hours(4))).await.unwrap();
        assert_eq!(ids(&stage).await, "d", "{changes}");
        assert_eq!(stage.unneeded().await, Vec::<String>::new());
        assert_eq!(stage.problems().await, Vec::<String>::new());
        assert!(died || changes > 3, "{changes}");
    }
}

/// The second look: between a sweep's mark and the removal an increment was made on the backup.
#[tokio::test(flavor = "multi_thread")]
async fn an_increment_that_comes_in_between_saves_what_it_stands_on() {
    let mut stage = Stage::new().await;
    let now = later();
    stage.backup("a", now.minus(hours(48)), None).await;
    stage.backup("d", now.minus(hours(1)), None).await;
    stage.prune(last(1), GRACE, now).await.unwrap();
    let a: BackupId = "a".parse().unwrap();
    let below = stage.base_of(&a).await;
    let gate = stage.fuse.stop_behind("marks/backups/a/");
    let content = b"what has changed".to_vec();
    let id: BackupId = "b".parse().unwrap();
    let (pruned, ()) = tokio::join!(stage.prune(last(1), GRACE, now.plus(hours(3))), async {
        gate.reached.notified().await;
        let (run, mut manifest) = stage.attempt(&id, content.clone(), now).await;
        manifest.base = Some(below);
        stage.commit(&run, &manifest).await;
        gate.open.notify_one();
    });
    pruned.unwrap();
    stage.contents.insert(id, content);
    assert_eq!(ids(&stage).await, "abd");
    stage.all_listed_open().await;
    assert_eq!(stage.problems().await, Vec::<String>::new());
    assert!(stage.listed().await[&a].1.condemned().is_none());
}
