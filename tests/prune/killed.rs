//! The program itself, killed on its way.

use std::{thread, time::Duration};

use rustix::process::Signal;

use crate::{home::Home, locked, locks::feed, minio::Minio};

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_that_is_killed_leaves_whole_backups_and_is_finished_by_the_next() {
    let (minio, bucket) = (Minio::shared(), "prune-killed");
    minio.bucket(bucket, true).await;
    let home = Home::in_bucket(minio, &minio.endpoint(), bucket);
    let ids: Vec<String> = (0..8).map(|n| format!("b{n}")).collect();
    for id in &ids {
        feed(&home, id, &[]).expect(0);
    }
    let args = ["prune", "--keep-last", "1", "--grace", "0s"];
    let mut killed = 0;
    // It takes about a second; each look finds it further on.
    for wait in [60, 120, 180, 240, 300, 400, 500, 700] {
        let job = home.start(&args);
        thread::sleep(Duration::from_millis(wait));
        job.signal(Signal::KILL);
        killed += u32::from(job.wait().code == -9);
        let listed = home.listed();
        assert_eq!(listed.first().map(String::as_str), Some("b7"), "{listed:?}");
        home.run(&["verify", "--quick"]).expect(0);
    }
    assert!(killed > 2, "it was killed {killed} times only");
    home.run(&args).expect(0);
    assert_eq!(home.listed(), ["b7"]);
    let left = locked::versions(&minio.client(), bucket).await;
    let left = left.iter().filter(|seen| {
        let is_other = |part: &str| {
            let rest = seen.key.strip_prefix(part);
            rest.is_some_and(|rest| !rest.starts_with("b7/"))
        };
        is_other("p/c/backups/") || is_other("p/c/marks/backups/")
    });
    assert_eq!(left.map(|seen| &seen.key).collect::<Vec<_>>(), Vec::<&String>::new());
    home.run(&["verify"]).expect(0);
}
