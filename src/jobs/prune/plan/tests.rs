//! The rules, one by one. `tests/prune` lets chance make histories and policies.

use std::time::Duration;

use super::*;
use crate::{
    model::{LockMode, Retention, Sha256Digest},
    pipeline::{Mark, log::LogState},
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn candidate(id: &str, finished_at: &str) -> Candidate {
    let finished_at = at(finished_at);
    Candidate {
        id: id.parse().unwrap(),
        finished_at,
        bytes_stored: 1,
        base: Base { gtids: None, exact: false, place: None, started_at: finished_at, finished_at },
        needs: None,
        is_proven: true,
        standing: Standing::Free,
    }
}

/// Six backups, the newest first.
fn six() -> Vec<Candidate> {
    [
        ("f", "2026-11-20T12:30:00Z"),
        ("e", "2026-11-20T12:10:00Z"),
        ("d", "2026-11-20T01:00:00Z"),
        ("c", "2026-11-18T23:00:00Z"),
        ("b", "2026-10-31T23:59:59Z"),
        ("a", "2025-12-31T10:00:00Z"),
    ]
    .map(|(id, finished)| candidate(id, finished))
    .into()
}

fn mark(text: &str) -> Mark {
    Mark { at: at(text), reason: "because".into(), sha256: Sha256Digest([0; 32]) }
}

fn reasons(candidates: &[Candidate], policy: &Policy) -> Vec<(String, String)> {
    let archive = Archive::default();
    let lines = Lines::of(&archive).unwrap();
    let now = at("2026-11-20T13:00:00Z");
    let decided =
        decide(candidates, &archive, &lines, None, policy, Age::from_seconds(0), now).backups;
    let named = candidates.iter().zip(decided);
    named
        .filter(|(_, decision)| !decision.reasons.is_empty())
        .map(|(candidate, decision)| (candidate.id.to_string(), decision.reasons.join("; ")))
        .collect()
}

fn kept(policy: &Policy) -> String {
    reasons(&six(), policy).into_iter().map(|(id, _)| id).collect()
}

#[test]
fn each_rule_keeps_what_it_says() {
    let age = |text: &str| Some(text.parse().unwrap());
    let some = Policy::default();
    assert_eq!(kept(&Policy { last: Some(2), ..some }), "fe");
    assert_eq!(kept(&Policy { within: age("1d"), ..some }), "fed");
    assert_eq!(kept(&Policy { within: age("50m"), ..some }), "fe");
    assert_eq!(kept(&Policy { hourly: Some(3), ..some }), "fdc");
    assert_eq!(kept(&Policy { daily: Some(2), ..some }), "fc");
    assert_eq!(kept(&Policy { weekly: Some(2), ..some }), "fb");
    assert_eq!(kept(&Policy { monthly: Some(3), ..some }), "fba");
    assert_eq!(kept(&Policy { yearly: Some(9), ..some }), "fa");
    assert_eq!(kept(&Policy { daily: Some(2), monthly: Some(2), last: Some(2), ..some }), "fecb");
    // The base before the window, and all that are in it.
    assert_eq!(kept(&Policy { window: age("2h"), ..some }), "fed");
    assert_eq!(kept(&Policy { window: age("1000d"), ..some }), "fedcba");
}

#[test]
fn a_rule_says_why() {
    let policy = Policy { last: Some(1), weekly: Some(1), yearly: Some(2), ..Policy::default() };
    let told = reasons(&six(), &policy);
    assert_eq!(
        told,
        [
            ("f".to_owned(), "last 1; weekly 2026-W47; yearly 2026".to_owned()),
            ("a".to_owned(), "yearly 2025".to_owned())
        ]
    );
}

#[test]
fn a_policy_that_keeps_nothing_is_empty() {
    assert!(Policy::default().is_empty());
    assert!(Policy { last: Some(0), daily: Some(0), ..Policy::default() }.is_empty());
    assert!(!Policy { daily: Some(1), ..Policy::default() }.is_empty());
    assert!(!Policy { window: Some(Age::from_seconds(0)), ..Policy::default() }.is_empty());
}

#[test]
fn the_last_good_backup_stays_whatever_the_policy_says() {
    let mut six = six();
    let nothing = Policy { within: Some(Age::from_seconds(1)), ..Policy::default() };
    let told = reasons(&six, &nothing);
    assert_eq!(told, [("f".to_owned(), "the last good backup".to_owned())]);
    // The newest that is proven stays, too.
    (six[0].is_proven, six[1].is_proven) = (false, false);
    let ids: String = reasons(&six, &nothing).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, "fd");
}

#[test]
fn what_is_held_stays_with_all_that_it_was_built_on() {
    let mut six = six();
    six[2].standing = Standing::Held(mark("2026-11-19T00:00:00Z"));
    six[2].needs = Some("c".parse().unwrap());
    six[3].needs = Some("a".parse().unwrap());
    let told = reasons(&six, &Policy { last: Some(1), ..Policy::default() });
    let expected =
        [("f", "last 1"), ("d", "held: because"), ("c", "needed by d"), ("a", "needed by c")];
    let expected: Vec<_> =
        expected.map(|(id, why)| (id.to_owned(), why.to_owned())).into_iter().collect();
    assert_eq!(told, expected);
}

/// What is done about a candidate that no rule keeps.
fn step(standing: Standing, lock: Protection, grace: &str) -> Step {
    let mut candidate = candidate("x", "2026-11-01T00:00:00Z");
    candidate.standing = standing;
    let locks = HashMap::from([(candidate.id.clone(), lock)]);
    let decisions = [Decision { reasons: Vec::new() }];
    let now = at("2026-11-20T13:00:00Z");
    steps(&[candidate], &decisions, &locks, grace.parse().unwrap(), now)[0]
}

fn locked(until: &str) -> Protection {
    let retention = Some(Retention { mode: LockMode::Compliance, until: at(until) });
    Protection { retention, legal_hold: false }
}

#[test]
fn a_tombstone_comes_first_and_stands_for_the_time_of_grace() {
    let free = Protection::default();
    let stone = |text: &str| Standing::Tombstoned(mark(text));
    assert_eq!(step(Standing::Free, free, "48h"), Step::Tombstone);
    let wait = Step::Wait(at("2026-11-20T14:00:00Z"));
    assert_eq!(step(stone("2026-11-18T14:00:00Z"), free, "48h"), wait);
    assert_eq!(step(stone("2026-11-18T13:00:00Z"), free, "48h"), Step::Sweep);
    assert_eq!(step(stone("2026-11-20T13:00:00Z"), free, "0s"), Step::Sweep);
}

#[test]
fn what_is_locked_waits_and_can_be_restored_as_long_as_that_takes() {
    let stone = || Standing::Tombstoned(mark("2026-11-01T00:00:00Z"));
    let later = locked("2026-11-25T00:00:00Z");
    let until = Step::Locked(Some(at("2026-11-25T00:00:00Z")));
    assert_eq!(step(Standing::Free, later, "48h"), until);
    // It can have its tombstone while the last of its lock runs off.
    assert_eq!(step(Standing::Free, later, "7d"), Step::Tombstone);
    assert_eq!(step(stone(), later, "48h"), until);
    assert_eq!(step(stone(), locked("2026-11-20T13:00:00Z"), "48h"), Step::Sweep);
    let hold = Protection { legal_hold: true, retention: None };
    assert_eq!(step(Standing::Free, hold, "48h"), Step::Locked(None));
    assert_eq!(step(stone(), hold, "48h"), Step::Locked(None));
}

#[test]
fn a_tombstone_is_taken_away_when_a_rule_keeps_the_backup_again() {
    let mut candidate = candidate("x", "2026-11-01T00:00:00Z");
    candidate.standing = Standing::Tombstoned(mark("2026-11-02T00:00:00Z"));
    let decisions = [Decision { reasons: vec!["last 1".into()] }];
    let now = at("2026-11-20T13:00:00Z");
    let none = HashMap::new();
    let done = steps(&[candidate], &decisions, &none, Age::from_seconds(1), now);
    assert_eq!(done, [Step::Revoke]);
}

#[test]
fn nothing_goes_before_what_was_built_on_it() {
    let stone = |id: &str, needs: Option<&str>, since: &str| {
        let mut one = candidate(id, "2026-11-01T00:00:00Z");
        one.standing = Standing::Tombstoned(mark(since));
        one.needs = needs.map(|id| id.parse().unwrap());
        one
    };
    let old = "2026-11-02T00:00:00Z";
    let now = at("2026-11-20T13:00:00Z");
    let decisions = vec![Decision { reasons: Vec::new() }; 3];
    let grace = "48h".parse().unwrap();
    let all = |youngest: &str| {
        let three =
            [stone("c", Some("b"), youngest), stone("b", Some("a"), old), stone("a", None, old)];
        steps(&three, &decisions, &HashMap::new(), grace, now)
    };
    assert_eq!(all(old), [Step::Sweep; 3]);
    let waits = now.plus(Duration::from_hours(47));
    assert_eq!(all("2026-11-20T12:00:00Z"), [Step::Wait(waits), Step::Wait(now), Step::Wait(now)]);
}

#[test]
fn without_a_settled_checkpoint_nothing_of_the_log_goes() {
    let archive = Archive {
        state: LogState::default(),
        horizon: Horizon { begins: 1024, thinned: 4096, pending: None },
        ..Archive::default()
    };
    let lines = Lines::of(&archive).unwrap();
    let policy = Policy { last: Some(1), ..Policy::default() };
    let now = at("2026-11-20T13:00:00Z");
    let decided = decide(&six(), &archive, &lines, None, &policy, Age::from_seconds(0), now);
    assert_eq!(decided.horizon, archive.horizon);
}
