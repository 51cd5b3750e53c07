//! `keys rewrap`, killed at random moments: everything stays readable, and the next run goes on.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::world::{CLUSTER, World};

const DEKS: usize = 150;

fn rewrap(world: &World, more: &[&str]) -> Child {
    let at = |name: &str| format!("file:{}", world.path(name).display());
    Command::new(env!("CARGO_BIN_EXE_backstay"))
        .args(["keys", "rewrap", "--cluster", CLUSTER, "--format", "json"])
        .args(["--repo", &format!("file://{}", world.path("repo").display())])
        .args(["--kek", &at("kek"), "--to", &at("new")])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn done(child: Child) -> serde_json::Value {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_moment_everything_stays_readable() {
    let world = World::on_disk().await;
    world.make_deks(DEKS, "kek.pub", &["safe.pub"]).await;
    let drop = ["--drop", &world.name_of("kek")];
    let (mut killed, mut between, mut wait) = (0, 0, Duration::from_millis(3));
    let begun = Instant::now();
    // Ever later, until one is done; so moments of both phases are met.
    loop {
        let mut child = rewrap(&world, &drop);
        std::thread::sleep(wait);
        if child.try_wait().unwrap().is_some() {
            let last = done(child);
            assert_eq!(last["status"], "complete", "{last}");
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
        let (old, safe, new) =
            (world.opens("kek").await, world.opens("safe").await, world.opens("new").await);
        assert_eq!(safe, DEKS, "nothing touches the break-glass wraps");
        assert!(old == DEKS || new == DEKS, "one KEK opens all: old {old}, new {new}");
        between += usize::from((1..DEKS).contains(&new) || (1..DEKS).contains(&old));
        wait += Duration::from_millis(4 + u64::from(begun.elapsed().subsec_micros()) % 9);
        assert!(killed < 2000);
    }
    println!("{killed} killed, {between} of them in the middle, {:.1?}", begun.elapsed());
    assert!(between > 0, "no kill met the work: {killed} killed");
    assert_eq!(
        [world.opens("kek").await, world.opens("safe").await, world.opens("new").await],
        [0, DEKS, DEKS]
    );
    let verified = world.verify().await;
    assert_eq!(verified.status, "ok", "{verified:?}");
    let again = done(rewrap(&world, &drop));
    assert_eq!(again["already"], DEKS);
    assert!(again["run_id"].is_null(), "{again}");
}
