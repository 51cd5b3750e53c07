//! The container's last words: a summary of at most 2 KiB where Kubernetes picks it up.

use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Where Kubernetes looks for them.
const LOG: &str = "/dev/termination-log";
/// Another place, for a container with a `terminationMessagePath`. It is no flag, since a command line
/// that is not understood has last words, too.
const ELSEWHERE: &str = "BACKSTAY_TERMINATION_LOG";
/// Their limit, in bytes.
const LIMIT: usize = 2048;
/// What stands around a list, `{"items":…,"version":1}`, in bytes.
const AROUND_ITEMS: usize = 22;
/// Longer GTID sets are told by their hash.
const LONGEST_SET: usize = 200;
/// What is left when nothing else fits.
const ESSENTIAL: [&str; 7] =
    ["version", "status", "exit_code", "kind", "retry", "error", "backup_id"];

/// Leaves the result there: where it is told to, or where Kubernetes has made the file.
pub(super) fn write(json: Value) {
    let elsewhere = std::env::var_os(ELSEWHERE).filter(|path| !path.is_empty());
    let path = elsewhere.clone().map_or_else(|| PathBuf::from(LOG), PathBuf::from);
    if elsewhere.is_none() && !path.exists() {
        return;
    }
    if let Err(error) = std::fs::write(&path, message(json)) {
        tracing::warn!(path = %path.display(), %error, "cannot write the termination message");
    }
}

/// The message: one object with a version, and a list within one.
fn message(json: Value) -> String {
    match shrunk(json) {
        items @ Value::Array(_) => serde_json::json!({ "version": 1, "items": items }),
        object => object,
    }
    .to_string()
}

fn fits(json: &Value) -> bool {
    let around = if json.is_array() { AROUND_ITEMS } else { 0 };
    json.to_string().len() + around <= LIMIT
}

/// Shortens a document until it fits, the least telling parts first.
fn shrunk(mut json: Value) -> Value {
    if let Some(object) = json.as_object_mut() {
        object.remove("manifest");
    }
    hash_sets(&mut json);
    for limit in [1000, 500, 200, 80] {
        if fits(&json) {
            return json;
        }
        cut(&mut json, limit);
    }
    match &mut json {
        Value::Array(items) => {
            // What is well says less than what is not.
            while items.len() > 1
                && items.iter().map(|i| i.to_string().len() + 1).sum::<usize>()
                    >= LIMIT - AROUND_ITEMS
            {
                let well = items.iter().rposition(|item| item["status"] == "ok");
                items.remove(well.unwrap_or(items.len() - 1));
            }
        }
        Value::Object(object)
            if object.values().map(|v| v.to_string().len() + 32).sum::<usize>() > LIMIT =>
        {
            object.retain(|_, value| !value.is_object() && !value.is_array());
        }
        _ => {}
    }
    if !fits(&json)
        && let Some(object) = json.as_object_mut()
    {
        object.retain(|name, _| ESSENTIAL.contains(&name.as_str()));
    }
    if fits(&json) { json } else { serde_json::json!({ "version": 1 }) }
}

fn hash_sets(json: &mut Value) {
    match json {
        Value::Object(object) => {
            for (name, value) in object {
                match value.as_str() {
                    Some(set) if name == "gtid_set" && set.len() > LONGEST_SET => {
                        *value = format!("sha256:{}", hex::encode(Sha256::digest(set))).into();
                    }
                    _ => hash_sets(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hash_sets),
        _ => {}
    }
}

fn cut(json: &mut Value, limit: usize) {
    match json {
        Value::String(text) if text.chars().count() > limit => {
            *text = text.chars().take(limit).chain("…".chars()).collect();
        }
        Value::Array(items) => items.iter_mut().for_each(|item| cut(item, limit)),
        Value::Object(object) => object.values_mut().for_each(|value| cut(value, limit)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> String {
        (1..6_000)
            .map(|n| [":", &(n * 10).to_string(), "-", &(n * 10 + 5).to_string()].concat())
            .collect()
    }

    #[test]
    fn a_huge_gtid_set_becomes_its_hash() {
        let set = set() + &"9".repeat(40_000);
        assert!(set.len() > 100_000);
        let result = serde_json::json!({
            "version": 1, "status": "proven", "backup_id": "b", "gtid_set": set,
            "proof": {"expected": {"gtid_set": set}, "actual": {"gtid_set": set}, "equal": true},
        });
        let told = shrunk(result);
        assert!(fits(&told), "{}", told.to_string().len());
        assert!(told["gtid_set"].as_str().is_some_and(|s| s.starts_with("sha256:")));
        assert_eq!((&told["proof"]["equal"], &told["backup_id"]), (&true.into(), &"b".into()));
    }

    #[test]
    fn whatever_it_is_it_fits_and_still_says_how_it_ended() {
        for text in ["x".repeat(100_000), "\u{1}".repeat(100_000), "ä\"\n".repeat(50_000)] {
            let mut failure = serde_json::json!({"version": 1, "status": "failed", "exit_code": 6});
            for n in 0..30 {
                failure[format!("field{n}")] = text.clone().into();
            }
            let told = shrunk(failure);
            assert!(fits(&told));
            assert_eq!((&told["status"], &told["exit_code"]), (&"failed".into(), &6.into()));
        }
    }

    #[test]
    fn a_list_stands_within_an_object_and_still_fits() {
        for length in 0..400 {
            let item = serde_json::json!({"check": "x".repeat(length), "status": "fail"});
            let told = message(vec![item; 40].into());
            assert!(told.len() <= LIMIT, "{} at {length}", told.len());
            let told: Value = serde_json::from_str(&told).unwrap_or_default();
            assert_eq!(told["version"], 1, "{told}");
            assert!(told["items"].as_array().is_some_and(|items| !items.is_empty()), "{told}");
        }
    }

    #[test]
    fn of_many_checks_the_failed_ones_are_told() {
        let check = |n: usize| {
            let status = if n == 37 { "fail" } else { "ok" };
            serde_json::json!({"check": n, "status": status, "detail": "x".repeat(300)})
        };
        let told = shrunk((0..40).map(check).collect());
        assert!(fits(&told));
        assert!(told.as_array().is_some_and(|items| items.iter().any(|i| i["status"] == "fail")));
    }
}
