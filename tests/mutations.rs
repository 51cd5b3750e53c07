//! Whatever is changed in a repository, `verify` says so and `restore` refuses, both with exit
//! code 6, and nothing wrong is released. `BACKSTAY_SOAK=1` for 2,000 mutations, and
//! `BACKSTAY_SEED` to repeat a run.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "support/synthetic.rs"]
mod synthetic;
#[path = "support/vault.rs"]
mod vault;

use std::collections::BTreeMap;

use backstay::store::Key;
use bytes::Bytes;
use synthetic::Random;
use vault::{Backup, Vault};

/// What a key names: `volume`, `manifest.json`, `runs` and so on.
fn kind(key: &Key) -> &str {
    let parts: Vec<&str> = key.as_str().split('/').collect();
    match parts[..] {
        [_, "backups", _, _, _] => "volume",
        [_, "backups", _, _] => "manifest",
        [_, other, ..] => other,
        _ => panic!("{key}: no object of ours"),
    }
}

/// Whether a restore of this backup needs this object.
fn matters(key: &Key, backup: &Backup, first_run: &BTreeMap<&str, &str>) -> bool {
    let parts: Vec<&str> = key.as_str().split('/').collect();
    parts[0] == backup.cluster
        && match kind(key) {
            "volume" | "manifest" => parts[2] == backup.id.as_str(),
            // The run that made the cluster signs its record, on which everything rests.
            "runs" => {
                let run = parts[2].trim_end_matches(".json");
                run == backup.run || first_run.get(backup.cluster) == Some(&run)
            }
            "keys" => parts[2] == backup.dek,
            "cluster.json" => true,
            "audit" => false,
            other => panic!("{other}: no kind of ours"),
        }
}

fn below(random: &mut Random, limit: usize) -> usize {
    usize::try_from(random.next() % limit as u64).unwrap()
}

/// The objects that are changed, each with what stands there afterwards.
fn mutate(
    objects: &BTreeMap<Key, Bytes>,
    random: &mut Random,
) -> (String, Vec<(Key, Option<Bytes>)>) {
    let keys: Vec<&Key> = objects.keys().collect();
    let key = keys[below(random, keys.len())].clone();
    let good = &objects[&key];
    let mut bytes = good.to_vec();
    let siblings: Vec<&Key> = keys
        .iter()
        .copied()
        .filter(|other| kind(other) == kind(&key) && objects[*other] != good)
        .collect();
    match below(random, 6) {
        0 | 1 => {
            let bit = below(random, bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            (format!("bit {bit} of {key}"), vec![(key, Some(bytes.into()))])
        }
        2 => {
            let length = below(random, bytes.len());
            bytes.truncate(length);
            (format!("{key} cut to {length}"), vec![(key, Some(bytes.into()))])
        }
        3 => {
            let more = 1 + below(random, 64);
            bytes.extend((0..more).map(|_| random.next().to_le_bytes()[0]));
            (format!("{more} bytes behind {key}"), vec![(key, Some(bytes.into()))])
        }
        4 if !siblings.is_empty() => {
            let other = siblings[below(random, siblings.len())].clone();
            let theirs = objects[&other].clone();
            if below(random, 2) == 0 {
                return (format!("{other} put in place of {key}"), vec![(key, Some(theirs))]);
            }
            let what = format!("{key} and {other} swapped");
            (what, vec![(key.clone(), Some(theirs)), (other, Some(good.clone()))])
        }
        _ => (format!("{key} removed"), vec![(key, None)]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutation_is_found_by_verify_and_refused_by_restore() {
    let soak = std::env::var_os("BACKSTAY_SOAK").is_some();
    let seed =
        std::env::var("BACKSTAY_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_120);
    let mut random = Random(seed);
    let mut vault = Vault::empty().await;
    for (cluster, id) in [("north", "one"), ("north", "two"), ("south", "one")] {
        vault.back_up(cluster, id).await;
    }
    let mut first_run = BTreeMap::new();
    for backup in &vault.backups {
        first_run.entry(backup.cluster).or_insert(backup.run.as_str());
        assert!(vault.restores(backup).await, "{}: before any mutation", backup.id);
        assert!(!vault.is_damaged(backup.cluster, None).await);
    }
    let objects = vault.objects().await;
    for number in 0..if soak { 2_000 } else { 200 } {
        let (what, changes) = mutate(&objects, &mut random);
        let what = format!("seed {seed}, mutation {number}: {what}");
        for (key, bytes) in &changes {
            vault.put(key, bytes.as_ref()).await;
        }
        for cluster in ["north", "south"] {
            let touched = changes.iter().any(|(key, _)| key.as_str().starts_with(cluster));
            assert_eq!(vault.is_damaged(cluster, None).await, touched, "verify {cluster}, {what}");
        }
        for backup in &vault.backups {
            let touched = changes.iter().any(|(key, _)| matters(key, backup, &first_run));
            let restores = vault.restores(backup).await;
            assert_eq!(restores, !touched, "restore {}/{}, {what}", backup.cluster, backup.id);
        }
        for (key, _) in &changes {
            vault.put(key, objects.get(key)).await;
        }
    }
    println!("seed {seed}: every mutation was found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_repository_is_caught_by_a_head_that_was_kept() {
    let mut vault = Vault::empty().await;
    vault.back_up("north", "one").await;
    let (before, old) = (vault.objects().await, vault.head);
    vault.back_up("north", "two").await;
    let head = vault.head;
    assert!(!vault.is_damaged("north", Some(head)).await);
    for key in vault.objects().await.keys() {
        vault.put(key, before.get(key)).await;
    }
    // Whole in itself, and yet not what it was.
    assert!(!vault.is_damaged("north", None).await);
    assert!(!vault.is_damaged("north", Some(old)).await);
    assert!(vault.is_damaged("north", Some(head)).await);
}
