//! Many write at once: programs of their own, against real stores.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    home::{Home, Job},
    minio::Minio,
    world::{actions, back_up, exported},
};

const WRITERS: usize = 20;

/// Starts them all, and expects each of their acts in one chain.
fn race(home: &Home) {
    back_up(home, "base");
    let before = exported(home, &[]).len();
    let jobs: Vec<Job> = (0..WRITERS).map(|_| home.start(&["verify", "--quick"])).collect();
    let done: Vec<Value> = jobs.into_iter().map(|job| job.wait().expect(0).json()).collect();
    for result in &done {
        assert_eq!(result["audit"], "recorded", "{result}");
    }
    let verified = home.run(&["audit", "verify"]).expect(0).json();
    assert_eq!(verified["status"], "ok", "{verified}");
    assert_eq!(verified["without_end"], serde_json::json!([]));
    // The records of the export before come, too.
    let chain = exported(home, &[]);
    let acts = &chain[before..];
    for (action, count) in [("verify-begun", WRITERS), ("verify-ended", WRITERS)] {
        let runs: BTreeSet<_> = acts
            .iter()
            .filter(|line| line["action"] == action)
            .map(|line| line["run_id"].to_string())
            .collect();
        assert_eq!(runs.len(), count, "{action}: {:?}", actions(acts));
    }
    // Each of them saw the chain as it was then, and every head that was printed is in it.
    let heads: BTreeSet<String> = chain
        .iter()
        .map(|line| format!("{}:{}", line["number"], line["sha256"].as_str().unwrap()))
        .collect();
    for result in &done {
        assert!(heads.contains(result["audit_head"].as_str().unwrap()), "{result}");
    }
}

#[test]
fn twenty_programs_keep_one_chain_on_the_disk() {
    race(&Home::file());
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_programs_keep_one_chain_in_minio() {
    let minio = Minio::shared();
    let home = Home::s3(minio, &minio.endpoint(), "audit-race").await;
    tokio::task::spawn_blocking(move || race(&home)).await.unwrap();
}
