//! What nothing refers to goes, and what may yet be referred to does not.

use backstay::{
    format::{Role, layout},
    jobs::prune::plan::Policy,
    model::{Age, BackupId},
    pipeline::{
        Standing,
        audit::{Act, append},
        marked_run,
    },
    store::Store as _,
};
use bytes::Bytes;

use crate::stage::{CLUSTER, Stage, hours, key, later};

const GRACE: Age = Age::from_seconds(7200);

fn one() -> Policy {
    Policy { last: Some(1), ..Policy::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_came_to_nothing_goes_with_its_key() {
    let mut stage = Stage::new().await;
    let now = later();
    stage.backup("good", now.minus(hours(1)), None).await;
    let id: BackupId = "never".parse().unwrap();
    let (run, _) = stage.attempt(&id, vec![7; 5000], now.minus(hours(48))).await;
    let of_run = |names: &[String]| {
        let dek = run.dek_id.to_string();
        names.iter().filter(|n| n.contains("/never/") || n.contains(&dek)).count()
    };
    assert_eq!(of_run(&stage.objects().await), 2);
    stage.prune(one(), GRACE, now).await.unwrap();
    assert_eq!(of_run(&stage.objects().await), 2, "a tombstone first");
    let told = stage.prune(one(), GRACE, now.plus(hours(2))).await.unwrap();
    assert_eq!(told.leftovers.runs, 1);
    assert_eq!(of_run(&stage.objects().await), 0);
    assert_eq!(stage.unneeded().await, Vec::<String>::new());
    stage.all_listed_open().await;
    // Nobody has to believe anything by it.
    let record = layout::run(run.repository.cluster(), run.id);
    assert!(!stage.objects().await.contains(&record));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_committed_after_all_stays() {
    let mut stage = Stage::new().await;
    let now = later();
    stage.backup("good", now.minus(hours(3)), None).await;
    let id: BackupId = "slow".parse().unwrap();
    let content = vec![9; 5000];
    let (run, manifest) = stage.attempt(&id, content.clone(), now.minus(hours(48))).await;
    stage.prune(one(), GRACE, now).await.unwrap();
    let subject = marked_run(run.id);
    let marks = stage.repository().marks_of(&subject).await.unwrap();
    assert!(matches!(marks.standing(&subject), Standing::Tombstoned(_)));
    // (The job itself would see the tombstone, and not commit.)
    stage.commit(&run, &manifest).await;
    stage.contents.insert(id, content);
    let two = Policy { last: Some(2), ..Policy::default() };
    stage.prune(two, GRACE, now.plus(hours(9))).await.unwrap();
    assert_eq!(stage.listed().await.len(), 2);
    stage.all_listed_open().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_young_stays() {
    let mut stage = Stage::new().await;
    // Everything is stored now, and the time is now: nothing is a day old.
    let now = backstay::model::Timestamp::now();
    stage.backup("good", now, None).await;
    let id: BackupId = "running".parse().unwrap();
    drop(stage.attempt(&id, vec![7; 5000], now).await);
    let run = stage.run(Role::Archive, now).await;
    let probe = key(&format!("{CLUSTER}/probe/left"));
    stage.fuse.create(&probe, Bytes::from("x")).await.unwrap();
    let before = stage.objects().await;
    let told = stage.prune(one(), Age::from_seconds(0), now).await.unwrap();
    assert_eq!((told.leftovers.runs, told.leftovers.probes, told.objects_removed), (0, 0, 0));
    assert_eq!(stage.objects().await, before);
    drop(run);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tests_of_the_store_left_goes() {
    let mut stage = Stage::new().await;
    stage.backup("good", later(), None).await;
    let probe = key(&format!("{CLUSTER}/probe/left"));
    stage.fuse.create(&probe, Bytes::from("x")).await.unwrap();
    let upload = stage.fuse.upload(&key(&format!("{CLUSTER}/backups/x/y/vol-00000")), 64).await;
    let upload = upload.unwrap();
    upload.part(0, Bytes::from("half a volume")).await.unwrap();
    drop(upload);
    let told = stage.prune(one(), GRACE, later()).await.unwrap();
    assert_eq!((told.leftovers.probes, told.leftovers.uploads_aborted), (1, 1));
    assert_eq!(stage.unneeded().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_left_alone_and_counts_for_nothing() {
    let mut stage = Stage::new().await;
    let now = later();
    stage.backup("old", now.minus(hours(9)), None).await;
    stage.backup("bad", now.minus(hours(1)), None).await;
    let manifest = key(&format!("{CLUSTER}/backups/bad/manifest.json"));
    stage.fuse.delete(&manifest).await.unwrap();
    stage.fuse.create(&manifest, Bytes::from("{}")).await.unwrap();
    let told = stage.prune(one(), Age::from_seconds(0), now).await.unwrap();
    assert_eq!(told.left_alone.len(), 1);
    assert!(told.left_alone[0].why.starts_with("damaged: "), "{told:?}");
    let kept: Vec<_> = told.backups.iter().map(|b| (b.backup_id.as_str(), b.verdict)).collect();
    assert_eq!(kept, [("old", "keep")]);
    let names = stage.objects().await;
    assert!(names.iter().any(|name| name.contains("/backups/bad/") && name.ends_with("vol-00000")));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_remove_backups_cannot_say_that_they_were() {
    let mut stage = Stage::new().await;
    stage.backup("one", later(), None).await;
    stage.backup("two", later(), None).await;
    let run = stage.run(Role::Backup, later()).await;
    let sha256 = backstay::model::Sha256Digest([1; 32]);
    let act = Act::new("prune-swept", "one").record(sha256);
    append(&run, &act).await.unwrap();
    let manifest = key(&format!("{CLUSTER}/backups/one/manifest.json"));
    stage.fuse.delete(&manifest).await.unwrap();
    let problems = stage.problems().await.join("\n");
    assert!(problems.contains("one/manifest.json: the audit chain says"), "{problems}");
}
