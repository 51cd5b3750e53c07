//! A store that does not come back: the job tries for as long as it promises, and then says so.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    chance::soak,
    children::below,
    home::{Done, Home, strs},
    ledger,
    mariadb::MariaDb,
    minio::Minio,
    proxy::Proxy,
    tools::{free_port, wait_until},
};

/// Longer than any of this takes.
const FOREVER: Duration = Duration::from_hours(1);
/// What a call is tried for is five minutes; giving back what was uploaded is a second call.
const PATIENCE: Duration = Duration::from_mins(14);

fn gave_up(done: Done, begun: Instant) {
    let done = done.expect(5);
    let (json, took) = (done.json(), begun.elapsed());
    assert_eq!((&json["kind"], &json["retry"]), (&"store".into(), &true.into()), "{done:?}");
    let error = json["error"].as_str().unwrap();
    assert!(error.contains("attempts"), "{error}");
    assert!(took > Duration::from_mins(2), "it gave up after {took:?}: {error}");
    println!("exit 5 after {took:?}: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stays_down_ends_with_exit_5() {
    if !soak() {
        return; // it takes the whole time budget of a call, and that is minutes
    }
    let server = MariaDb::start(&[]);
    ledger::make(&server.socket).await;
    ledger::ballast(&server.socket, 48).await;
    let minio = Minio::start(None);
    let scenes = [("cut", true), ("held", false)]
        .map(|(name, cut)| (Proxy::before(minio.port()), name, cut));
    let mut jobs = Vec::new();
    for (proxy, name, cut) in &scenes {
        let home = Home::s3(&minio, &proxy.endpoint(), name).await;
        if *cut {
            proxy.cut_after(20 << 20, FOREVER);
        } else {
            proxy.hold_after(20 << 20, FOREVER);
        }
        let args = home.backup(&server.socket, &["--id", "down"]);
        let mut job = home.start(&strs(&args));
        job.child("mariadb-backup").expect("the engine was never seen");
        let children = below(job.pid());
        jobs.push((home, job, args, children, proxy));
    }
    let nowhere = Home::s3(&minio, &format!("http://127.0.0.1:{}", free_port()), "nowhere").await;
    let (begun, reading) = (Instant::now(), nowhere.start(&["list"]));
    let reading = thread::spawn(move || gave_up(reading.wait_for(PATIENCE), begun));
    let mut ended = Vec::new();
    for (home, job, args, children, proxy) in jobs {
        gave_up(job.wait_for(PATIENCE), begun);
        ended.push((home, args, children, proxy));
    }
    reading.join().unwrap();
    for (home, args, children, proxy) in ended {
        wait_until("the children end", Duration::from_secs(10), || {
            !children.iter().any(crate::children::Seen::is_alive)
        });
        assert!(proxy.heal(), "the store was never away");
        assert_eq!(home.listed(), Vec::<String>::new());
        assert_eq!(home.left_behind(&server.socket), Vec::<std::path::PathBuf>::new());
        home.run(&strs(&args)).expect(0);
        home.run(&["verify"]).expect(0);
    }
}
