//! What the findings mean. Pure: everything was read before.

use std::time::Duration;

use super::{Check, Status};
use crate::{
    crypto::{Dek, kms::KmsError},
    jobs::restore::needed_bytes,
    model::{ByteSize, Timestamp},
    mysql::checks::{Finding, Level},
    pipeline::{Class, LockPolicy, budget::Budget},
    store::{BucketLock, Honesty, StoreError, StoreErrorKind},
};

/// Clocks that are further apart make the times of backups and of transactions disagree.
const SKEW_WARN: f64 = 2.0;
/// Further apart than this, requests to object stores and KMSs are soon refused.
const SKEW_FAIL: f64 = 60.0;

/// A setting or a privilege.
pub(super) fn finding(prefix: &str, found: &Finding) -> Check {
    let status = match found.level {
        Level::Ok => Status::Ok,
        Level::Warn => Status::Warn,
        Level::Fail => Status::Fail,
    };
    Check::new(format!("{prefix} {}", found.name), status, &found.value, &found.remedy)
}

/// How far the server's clock is ahead of ours, in seconds, and how long the question took.
pub(super) fn clock(ahead: f64, asked_for: f64) -> Check {
    // The answer may have been made at any moment of the question.
    let apart = (ahead.abs() - asked_for / 2.0).max(0.0);
    let direction = if ahead < 0.0 { "behind" } else { "ahead" };
    let detail = format!("the server's clock is {:.1} s {direction}", ahead.abs());
    let remedy = "synchronise both clocks (NTP): times of backups and transactions disagree";
    if apart > SKEW_FAIL {
        Check::fail("clock", detail, remedy)
    } else if apart > SKEW_WARN {
        Check::new("clock", Status::Warn, detail, remedy)
    } else {
        Check::ok("clock", detail)
    }
}

/// What the probe of the store has shown: whether it is there, honest, and what we may do.
pub(super) fn probe(url: &str, probed: &Result<Honesty, StoreError>) -> Vec<Check> {
    let (store, honesty, put, get, delete) = match probed {
        Ok(honesty) => (
            Check::ok("store", format!("{url} answers")),
            Check::ok("store create-only", "it refuses to overwrite"),
            Check::ok("store put", "allowed"),
            Check::ok("store get", "allowed"),
            // Both are as they should be: only `prune` needs to delete.
            Check::ok(
                "store delete",
                if honesty.removed {
                    "allowed; backups do not need it"
                } else {
                    "not allowed; backups do not need it"
                },
            ),
        ),
        Err(error) if error.kind == StoreErrorKind::Unsupported => (
            Check::ok("store", format!("{url} answers")),
            Check::fail("store create-only", error.to_string(), "use another store or bucket"),
            Check::ok("store put", "allowed"),
            unknown("store get"),
            unknown("store delete"),
        ),
        Err(error) if error.kind == StoreErrorKind::Denied && error.operation != "get" => (
            Check::ok("store", format!("{url} answers")),
            unknown("store create-only"),
            Check::fail("store put", error.to_string(), "grant this identity to put objects"),
            unknown("store get"),
            unknown("store delete"),
        ),
        // A refused overwrite is read back: this is what a writer without Get runs into.
        Err(error)
            if error.operation == "get"
                || (error.kind == StoreErrorKind::Unclear && error.attempts > 0) =>
        {
            (
                Check::ok("store", format!("{url} answers")),
                unknown("store create-only"),
                Check::ok("store put", "allowed"),
                Check::fail("store get", error.to_string(), "grant this identity to get objects"),
                unknown("store delete"),
            )
        }
        Err(error) => (
            Check::fail("store", error.to_string(), "check --repo, the network and credentials"),
            unknown("store create-only"),
            unknown("store put"),
            unknown("store get"),
            unknown("store delete"),
        ),
    };
    vec![store, honesty, put, get, delete]
}

pub(super) fn unknown(check: &str) -> Check {
    Check::new(check, Status::NotChecked, "not checked: an earlier check failed", "")
}

/// The right to list.
pub(super) fn list(listed: Result<(), StoreError>) -> Check {
    match listed {
        Ok(()) => Check::ok("store list", "allowed"),
        Err(error) => {
            Check::fail("store list", error.to_string(), "grant this identity to list objects")
        }
    }
}

/// What locks what is written, when we are not told to.
pub(super) fn unlocked(bucket: Option<BucketLock>, flag: &'static str) -> Check {
    match bucket {
        None => Check::not_checked("lock", flag),
        Some(BucketLock { default: None }) => Check::new(
            "lock",
            Status::Warn,
            "the bucket has Object Lock, and nothing that is written would be locked",
            "give --lock and --lock-for, or set a default retention on the bucket",
        ),
        Some(BucketLock { default: Some(default) }) => Check::new(
            "lock",
            Status::Warn,
            format!(
                "the bucket's own retention locks everything by {} for {}: what opens a backup ends first",
                default.mode,
                days(default.duration())
            ),
            "give --lock and --lock-for, so that keys and the cluster's record are locked for longer",
        ),
    }
}

/// Whether what is locked for so long lets the past be restored. A point in time needs a base that
/// is older, so a lock that is no longer than bases are apart protects no point at all.
pub(super) fn lock(
    policy: &LockPolicy,
    bucket: Option<BucketLock>,
    bases: &[Timestamp],
    now: Timestamp,
) -> Check {
    let own = bucket.and_then(|bucket| bucket.default).map_or_else(String::new, |default| {
        format!("; the bucket's own is {} for {}", default.mode, days(default.duration()))
    });
    let held = if policy.legal_hold { " and a legal hold" } else { "" };
    let detail = format!(
        "what is restored is locked by {} for {}{held}, evidence for {}{own}",
        policy.mode,
        days(policy.data),
        days(policy.duration(Class::Evidence))
    );
    let recent = policy.data.as_secs_f64();
    let mut newer = now;
    let mut longest = Duration::ZERO;
    for base in bases.iter().take_while(|base| now.seconds_since(**base) < 2.0 * recent) {
        let apart = newer.seconds_since(*base).max(0.0);
        longest = longest.max(Duration::try_from_secs_f64(apart).unwrap_or_default());
        newer = *base;
    }
    if bases.len() < 2 {
        let remedy = "the rule: --lock-for is the window plus the time between two base backups";
        return Check::new("lock", Status::Ok, detail, remedy);
    }
    match policy.data.checked_sub(longest).filter(|left| !left.is_zero()) {
        Some(left) => Check::ok(
            "lock",
            format!(
                "{detail}; base backups were at most {} apart, so any point of the last {} is locked with all that it needs",
                days(longest),
                days(left)
            ),
        ),
        None => Check::new(
            "lock",
            Status::Warn,
            format!(
                "{detail}; base backups were up to {} apart, so there are times when no point is locked with all that it needs",
                days(longest)
            ),
            "give a longer --lock-for: the window that shall be restorable, and the time between two base backups",
        ),
    }
}

/// A duration for people.
fn days(length: Duration) -> String {
    let hours = length.as_secs_f64() / 3600.0;
    if hours < 48.0 { format!("{hours:.1} hours") } else { format!("{:.1} days", hours / 24.0) }
}

/// A DEK that was wrapped, and what came out of the wrap.
pub(super) fn round_trip(kek: &str, dek: &Dek, unwrapped: Result<Dek, KmsError>) -> Check {
    use subtle::ConstantTimeEq;
    match unwrapped {
        Ok(key) if bool::from(key.expose().ct_eq(dek.expose())) => {
            Check::ok("kek", format!("{kek} wraps and unwraps"))
        }
        Ok(_) => Check::fail(
            "kek",
            format!("{kek} unwraps another key than it wrapped"),
            "do not use this KEK: nothing sealed with it could be opened",
        ),
        Err(KmsError::WrapOnly { .. }) => Check::ok(
            "kek",
            format!("{kek} wraps, and cannot unwrap: this identity can back up, not restore"),
        ),
        Err(error) => Check::fail("kek", error.to_string(), "check --kek and its rights"),
    }
}

/// A KEK whose wraps open in any context.
pub(super) fn unbound(kek: &str) -> Check {
    Check::fail(
        "kek",
        format!("{kek} unwraps a key in a context for which it was not wrapped"),
        "do not use this KEK: is its service too old for associated data?",
    )
}

/// Whether the trust file believes the signer.
pub(super) fn signer(id: &str, believed: bool) -> Check {
    if believed {
        return Check::ok("signer", format!("{id} signs, and the trust file believes it"));
    }
    Check::fail(
        "signer",
        format!("the trust file does not believe signer {id}"),
        "give the --trust that was made with this --signer: what this run writes would not be believed",
    )
}

/// Room for a restore.
pub(super) fn disk(folder: &str, free: Result<u64, String>, payload: Option<u64>) -> Check {
    let free = match free {
        Ok(free) => free,
        Err(why) => return Check::fail("disk", why, "check --datadir"),
    };
    let Some(payload) = payload else {
        return Check::new(
            "disk",
            Status::NotChecked,
            format!("{folder} has {} free; what a restore needs is not known", ByteSize(free)),
            "give --repo with a backup in it, or --mysql-…",
        );
    };
    let needed = needed_bytes(payload);
    let detail =
        format!("{folder} has {} free, and a restore needs {}", ByteSize(free), ByteSize(needed));
    if free < needed {
        Check::fail("disk", detail, "give it a larger volume")
    } else {
        Check::ok("disk", detail)
    }
}

/// The memory formula, held against the limit of the control group.
pub(super) fn memory(budget: &Budget, limit: Option<u64>) -> Check {
    let (up, down) = (budget.up_bytes() as u64, budget.down_bytes() as u64);
    let detail = format!(
        "on {} worker threads a backup takes at most {}, a restore {}, the engine's own not counted",
        budget.workers,
        ByteSize(up),
        ByteSize(down)
    );
    match limit.filter(|limit| *limit < up.max(down)) {
        Some(limit) => Check::new(
            "memory",
            Status::Warn,
            format!("{detail}; the limit here is {}", ByteSize(limit)),
            "raise the container's memory limit",
        ),
        None => Check::ok("memory", detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::LockMode,
        store::{DefaultRetention, Key},
    };

    fn status(checks: &[Check], name: &str) -> Status {
        checks.iter().find(|c| c.check == name).map_or(Status::NotChecked, |c| c.status)
    }

    fn error(kind: StoreErrorKind, operation: &'static str) -> StoreError {
        StoreError::new(kind, operation, "s3://b/c", "because")
    }

    #[test]
    fn clocks_may_differ_by_a_little_and_by_the_time_of_the_question() {
        for (ahead, asked_for, expected) in [
            (0.4, 0.1, Status::Ok),
            (-1.9, 0.0, Status::Ok),
            (3.0, 2.2, Status::Ok),
            (-3.0, 0.1, Status::Warn),
            (61.0, 0.1, Status::Fail),
            (-3600.0, 0.1, Status::Fail),
        ] {
            let check = clock(ahead, asked_for);
            assert_eq!(check.status, expected, "{ahead}");
            assert_eq!(check.remedy.is_empty(), expected == Status::Ok);
        }
        assert!(clock(-3.0, 0.0).detail.contains("behind"));
    }

    #[test]
    fn a_store_that_lies_fails_and_one_that_forbids_deletion_does_not() {
        let honest = |removed| Ok(Honesty { object: Key::new("c/probe/x").unwrap(), removed });
        for removed in [true, false] {
            let checks = probe("s3://b", &honest(removed));
            assert!(checks.iter().all(|c| c.status == Status::Ok), "{checks:?}");
        }
        let liar = probe("s3://b", &Err(error(StoreErrorKind::Unsupported, "probe")));
        assert_eq!(status(&liar, "store create-only"), Status::Fail);
        assert_eq!(status(&liar, "store"), Status::Ok);
    }

    #[test]
    fn a_missing_right_is_named() {
        let put = probe("s3://b", &Err(error(StoreErrorKind::Denied, "put")));
        assert_eq!((status(&put, "store put"), status(&put, "store")), (Status::Fail, Status::Ok));
        for denied in [error(StoreErrorKind::Denied, "get"), error(StoreErrorKind::Unclear, "put")]
        {
            let get = probe("s3://b", &Err(denied));
            assert_eq!(status(&get, "store get"), Status::Fail);
        }
        let gone = probe("s3://b", &Err(error(StoreErrorKind::NoBucket, "put")));
        assert_eq!(status(&gone, "store"), Status::Fail);
        assert_eq!(list(Err(error(StoreErrorKind::Denied, "list"))).status, Status::Fail);
    }

    #[test]
    fn a_kek_that_gives_another_key_fails_and_a_writer_is_well() {
        let dek = Dek::from_bytes([1; 32]);
        let status = |unwrapped| round_trip("file:k", &dek, unwrapped).status;
        assert_eq!(status(Ok(Dek::from_bytes([1; 32]))), Status::Ok);
        assert_eq!(status(Ok(Dek::from_bytes([2; 32]))), Status::Fail);
        let wrap_only = KmsError::WrapOnly { kek: "k".into(), why: "public half".into() };
        assert_eq!(status(Err(wrap_only)), Status::Ok);
        assert_eq!(status(Err(KmsError::Refused { kek: "k".into() })), Status::Fail);
    }

    #[test]
    fn room_and_memory_are_held_against_what_is_needed() {
        assert_eq!(disk("/d", Ok(10 << 30), Some(1 << 30)).status, Status::Ok);
        assert_eq!(disk("/d", Ok(1 << 30), Some(1 << 30)).status, Status::Fail);
        assert_eq!(disk("/d", Ok(1 << 30), None).status, Status::NotChecked);
        assert_eq!(disk("/d", Err("no".into()), Some(1)).status, Status::Fail);
        let budget = Budget::for_cores(16);
        assert_eq!(memory(&budget, None).status, Status::Ok);
        assert_eq!(memory(&budget, Some(64 << 20)).status, Status::Warn);
    }

    #[test]
    fn a_lock_has_to_be_longer_than_bases_are_apart() {
        let now: Timestamp = "2026-11-20T00:00:00Z".parse().unwrap();
        let ago = |days: i64| {
            Timestamp::from_microseconds(now.as_microseconds() - days * 86_400_000_000).unwrap()
        };
        let policy = LockPolicy {
            mode: LockMode::Compliance,
            data: Duration::from_hours(10 * 24),
            evidence: None,
            legal_hold: false,
        };
        let judged = |bases: &[Timestamp]| lock(&policy, None, bases, now);
        let weekly = judged(&[ago(1), ago(8), ago(15)]);
        assert_eq!(weekly.status, Status::Ok);
        assert!(weekly.detail.contains("any point of the last 3.0 days"), "{}", weekly.detail);
        assert_eq!(judged(&[ago(1), ago(12)]).status, Status::Warn);
        assert_eq!(judged(&[ago(11), ago(12)]).status, Status::Warn, "none since");
        assert_eq!(judged(&[ago(1), ago(2), ago(400), ago(800)]).status, Status::Ok, "long ago");
        assert!(judged(&[]).remedy.contains("the rule"));
        let default = DefaultRetention { mode: LockMode::Governance, days: 30 };
        let own = unlocked(Some(BucketLock { default: Some(default) }), "--lock");
        assert!(own.status == Status::Warn && own.detail.contains("governance for 30.0 days"));
        assert_eq!(unlocked(Some(BucketLock { default: None }), "--lock").status, Status::Warn);
        assert_eq!(unlocked(None, "--lock").status, Status::NotChecked);
    }
}
