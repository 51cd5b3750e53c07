//! What the records of all DEKs say about their KEKs.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{KekStatus, KeyStatus, Only, Usage};
use crate::{
    format::KeyRecord,
    model::{Timestamp, WrappedDek},
};

/// After how many days a KEK that is in use should have been rotated.
pub(in crate::jobs) const ROTATE_AFTER_DAYS: u64 = 365;
const MICROSECONDS_A_DAY: u64 = 86_400_000_000;

/// A DEK: its believed generations, the oldest first, and what it seals.
#[derive(Debug)]
pub(super) struct DekFacts {
    pub(super) generations: Vec<KeyRecord>,
    pub(super) sealed: Usage,
}

impl DekFacts {
    /// Wraps that count.
    fn wraps(&self) -> &[WrappedDek] {
        self.generations.last().map_or(&[], |newest| &newest.wraps)
    }

    fn made_at(&self) -> Option<Timestamp> {
        self.generations.first().map(|first| first.created_at)
    }

    /// When a wrap was made: later generations carry it along.
    fn wrapped_at(&self, wrap: &WrappedDek) -> Option<Timestamp> {
        let first = self.generations.iter().find(|record| record.wraps.contains(wrap));
        first.map(|record| record.created_at)
    }
}

type Name = (String, Option<String>);

fn name(wrap: &WrappedDek) -> Name {
    (wrap.kek.clone(), wrap.kek_version.clone())
}

/// Everything but what is not believed.
pub(super) fn judge(facts: &[DekFacts], now: Timestamp) -> KeyStatus {
    let newest = facts.iter().max_by_key(|dek| dek.made_at()).map_or(&[][..], DekFacts::wraps);
    let mut keks: BTreeMap<Name, KekStatus> = BTreeMap::new();
    let mut single = 0;
    for dek in facts {
        let counting = dek.wraps();
        single += u64::from(counting.len() == 1);
        let mut known: Vec<Name> = counting.iter().map(name).collect();
        for wrap in counting {
            let at = dek.wrapped_at(wrap).unwrap_or(now);
            let kek = entry(&mut keks, wrap, at);
            kek.deks += 1;
            kek.oldest_wrap = kek.oldest_wrap.min(at);
            kek.newest_wrap = kek.newest_wrap.max(at);
            if counting.len() == 1 {
                kek.only.deks += 1;
                kek.only.sealed.add(&dek.sealed);
            }
        }
        for wrap in dek.generations.iter().flat_map(|record| &record.wraps) {
            if !known.contains(&name(wrap)) {
                known.push(name(wrap));
                let at = dek.wrapped_at(wrap).unwrap_or(now);
                let kek = entry(&mut keks, wrap, at);
                kek.superseded += 1;
                kek.oldest_wrap = kek.oldest_wrap.min(at);
                kek.newest_wrap = kek.newest_wrap.max(at);
            }
        }
    }
    let mut keks: Vec<KekStatus> = keks.into_values().collect();
    for kek in &mut keks {
        let age = now.as_microseconds().abs_diff(kek.oldest_wrap.as_microseconds());
        kek.age_days = if now > kek.oldest_wrap { age / MICROSECONDS_A_DAY } else { 0 };
        kek.in_use =
            newest.iter().any(|wrap| wrap.kek == kek.kek && wrap.kek_version == kek.kek_version);
        kek.only.sealed.backups.sort();
    }
    keks.sort_by_key(|kek| (Reverse((kek.newest_wrap, kek.deks)), kek.kek.clone()));
    KeyStatus {
        version: 1,
        status: "ok",
        at: now,
        deks: facts.len() as u64,
        deks_with_one_kek: single,
        warnings: keks.iter().filter_map(warning).collect(),
        keks,
        findings: Vec::new(),
    }
}

fn entry<'a>(
    keks: &'a mut BTreeMap<Name, KekStatus>,
    wrap: &WrappedDek,
    at: Timestamp,
) -> &'a mut KekStatus {
    keks.entry(name(wrap)).or_insert_with(|| KekStatus {
        kek: wrap.kek.clone(),
        kek_version: wrap.kek_version.clone(),
        deks: 0,
        only: Only::default(),
        superseded: 0,
        oldest_wrap: at,
        newest_wrap: at,
        age_days: 0,
        in_use: false,
    })
}

/// A KEK that goes on wrapping for more than a year, and one that was left and is still needed.
fn warning(kek: &KekStatus) -> Option<String> {
    let KekStatus { kek: name, age_days, only, .. } = kek;
    if kek.in_use && *age_days > ROTATE_AFTER_DAYS {
        return Some(format!(
            "{name} has been in use for {age_days} days: make another KEK, and run `backstay keys rewrap`"
        ));
    }
    if !kek.in_use && only.deks > 0 {
        return Some(format!(
            "{name} is no longer in use, and {} DEKs are opened by it alone: run `backstay keys rewrap`",
            only.deks
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClusterUuid, DekId, RunId, Sha256Digest};

    fn wrap(kek: &str, made: u8) -> WrappedDek {
        WrappedDek {
            kek: kek.into(),
            kek_version: None,
            algorithm: "a".into(),
            ciphertext: vec![made],
        }
    }

    fn record(generation: u32, at: &str, wraps: Vec<WrappedDek>) -> KeyRecord {
        KeyRecord {
            version: 1,
            cluster_uuid: ClusterUuid::from_bytes([1; 16]),
            dek_id: DekId::from_bytes([2; 16]),
            generation,
            run_id: RunId::from_bytes([3; 16]),
            created_at: at.parse().unwrap(),
            commitment: Sha256Digest([4; 32]),
            wraps,
        }
    }

    fn dek(backup: &str, generations: Vec<KeyRecord>) -> DekFacts {
        let sealed = Usage { backups: vec![backup.parse().unwrap()], ..Usage::default() };
        DekFacts { generations, sealed }
    }

    fn of<'a>(status: &'a KeyStatus, kek: &str) -> &'a KekStatus {
        status.keks.iter().find(|at| at.kek == kek).unwrap()
    }

    const SPRING: &str = "2025-03-01T00:00:00Z";
    const SUMMER: &str = "2025-07-01T00:00:00Z";

    #[test]
    fn what_one_kek_alone_opens_would_be_lost_with_it() {
        let facts = [
            dek("a", vec![record(1, SPRING, vec![wrap("old", 1)])]),
            dek(
                "b",
                vec![
                    record(1, SPRING, vec![wrap("old", 2), wrap("safe", 3)]),
                    record(2, SUMMER, vec![wrap("safe", 3), wrap("new", 4)]),
                ],
            ),
            dek("c", vec![record(1, SUMMER, vec![wrap("new", 5)])]),
        ];
        let status = judge(&facts, "2025-08-01T00:00:00Z".parse().unwrap());
        assert_eq!((status.deks, status.deks_with_one_kek), (3, 2));
        let old = of(&status, "old");
        assert_eq!((old.deks, old.only.deks, old.superseded, old.in_use), (1, 1, 1, false));
        assert_eq!(old.only.sealed.backups, ["a".parse().unwrap()]);
        let new = of(&status, "new");
        assert_eq!((new.deks, new.only.deks, new.superseded, new.in_use), (2, 1, 0, true));
        let safe = of(&status, "safe");
        // It was carried along into generation 2, and made in spring all the same.
        assert_eq!(
            (safe.oldest_wrap, safe.newest_wrap),
            (SPRING.parse().unwrap(), SPRING.parse().unwrap())
        );
        assert_eq!((safe.only.deks, safe.age_days), (0, 153));
        assert_eq!(status.warnings.len(), 1, "{:?}", status.warnings);
        assert!(status.warnings[0].contains("old is no longer in use"), "{:?}", status.warnings);
    }

    #[test]
    fn a_kek_in_use_for_more_than_a_year_is_warned_of() {
        let facts = [
            dek("a", vec![record(1, SPRING, vec![wrap("k", 1)])]),
            dek("b", vec![record(1, "2026-02-28T00:00:00Z", vec![wrap("k", 2)])]),
        ];
        let at = |now: &str| judge(&facts, now.parse().unwrap()).warnings;
        assert_eq!(at("2026-03-01T12:00:00Z"), [""; 0]);
        let told = at("2026-03-02T00:00:00Z");
        assert!(told[0].contains("k has been in use for 366 days"), "{told:?}");
    }

    #[test]
    fn nothing_is_no_fault() {
        let status = judge(&[], SPRING.parse().unwrap());
        assert!(status.keks.is_empty() && status.warnings.is_empty());
    }
}
