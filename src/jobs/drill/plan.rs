//! Which point a drill recovers: pure.

use std::time::Duration;

use crate::{
    jobs::{JobError, restore::Target, window::Window},
    model::{BackupId, Timestamp},
};

/// What a drill is to recover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Point {
    /// This one.
    Chosen {
        /// Where to end.
        target: Target,
        /// The backup to begin with; the newest that serves when none is named.
        backup: Option<BackupId>,
    },
    /// Any one that can be recovered, each instant as likely as every other.
    Random {
        /// What it is drawn with; the same seed and the same windows give the same point.
        seed: u64,
        /// Only what happened so long ago at most.
        last: Option<Duration>,
    },
}

/// A point that was drawn.
#[derive(Debug, PartialEq)]
pub(super) struct Drawn {
    pub(super) target: Target,
    pub(super) backup: Option<BackupId>,
    /// How many seconds of history it was drawn from.
    pub(super) from_seconds: f64,
}

/// Draws a point from what can be recovered.
pub(super) fn draw(
    windows: &[Window],
    seed: u64,
    last: Option<Duration>,
    now: Timestamp,
) -> Result<Drawn, JobError> {
    let begin = last.map_or(i64::MIN, |last| {
        let last = i64::try_from(last.as_micros()).unwrap_or(i64::MAX);
        now.as_microseconds().saturating_sub(last)
    });
    let mut reachable: Vec<(i64, i64, &BackupId)> = windows
        .iter()
        // What is to be removed is not restored any more.
        .filter(|window| window.mark.as_ref().is_none_or(|mark| mark.kind != "tombstoned"))
        .filter_map(|window| {
            let (from, to) = (window.earliest?.as_microseconds(), window.latest?.as_microseconds());
            (to >= begin).then_some((from.max(begin), to, &window.backup_id))
        })
        .collect();
    reachable.sort_unstable();
    if reachable.is_empty() {
        let within = if last.is_some() { " in the time that --last gives" } else { "" };
        return Err(JobError::target(
            format!("there is no point that can be recovered{within}"),
            "`backstay window` shows what can be; take a backup first",
        ));
    }
    let spans = merged(&reachable);
    let total = spans.iter().fold(0u64, |sum, (from, to)| sum.saturating_add(to.abs_diff(*from)));
    if total == 0 {
        // Without binary logs each backup is one point.
        let at = usize::try_from(below(seed, reachable.len() as u64)).unwrap_or_default();
        let backup = Some(reachable[at].2.clone());
        return Ok(Drawn { target: Target::Backup, backup, from_seconds: 0.0 });
    }
    let mut left = below(seed, total.saturating_add(1));
    for (from, to) in &spans {
        let length = to.abs_diff(*from);
        if let Some(at) = from.checked_add_unsigned(left).filter(|_| left <= length)
            && let Some(at) = Timestamp::from_microseconds(at)
        {
            return Ok(Drawn {
                target: Target::Time(at),
                backup: None,
                from_seconds: seconds(total),
            });
        }
        left -= length.min(left);
    }
    Err(JobError::target("no point was drawn", "report this, with the output of `backstay window`"))
}

#[expect(clippy::cast_precision_loss, reason = "for people, to the second")]
fn seconds(microseconds: u64) -> f64 {
    (microseconds as f64 / 1e6).round()
}

/// Overlapping spans as one, in order.
fn merged(sorted: &[(i64, i64, &BackupId)]) -> Vec<(i64, i64)> {
    let mut spans: Vec<(i64, i64)> = Vec::new();
    for &(from, to, _) in sorted {
        match spans.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => spans.push((from, to)),
        }
    }
    spans
}

/// A number below `limit`: one step of SplitMix64 (Steele, Lea, Flood 2014), scaled.
fn below(seed: u64, limit: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    u64::try_from((u128::from(z) * u128::from(limit)) >> 64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::window::WindowEnd;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_microseconds(second * 1_000_000).unwrap()
    }

    fn window(id: &str, span: Option<(i64, i64)>) -> Window {
        Window {
            backup_id: id.parse().unwrap(),
            status: if span.is_some() { "complete" } else { "damaged" },
            history: None,
            mark: None,
            earliest: span.map(|(from, _)| at(from)),
            latest: span.map(|(_, to)| at(to)),
            earliest_gtid_set: None,
            latest_gtid_set: None,
            end: WindowEnd {
                kind: "current",
                why: String::new(),
                record: None,
                missing: None,
                transactions: None,
            },
        }
    }

    fn instant(drawn: &Drawn) -> i64 {
        match drawn.target {
            Target::Time(at) => at.as_microseconds() / 1_000_000,
            _ => panic!("{drawn:?}"),
        }
    }

    #[test]
    fn every_reachable_instant_is_as_likely_as_every_other_and_no_other_is_drawn() {
        // Two windows that overlap, a gap of 100 s, a third; a damaged one counts for nothing.
        let windows = [
            window("c", Some((300, 400))),
            window("x", None),
            window("b", Some((50, 200))),
            window("a", Some((0, 100))),
        ];
        let (mut early, mut late) = (0, 0);
        for seed in 0..6_000 {
            let drawn = draw(&windows, seed, None, at(1_000)).unwrap();
            assert!((drawn.from_seconds - 300.0).abs() < 0.1);
            match instant(&drawn) {
                0..=200 => early += 1,
                300..=400 => late += 1,
                other => panic!("{other} cannot be recovered"),
            }
        }
        assert!((3_800..4_200).contains(&early) && late == 6_000 - early, "{early}");
    }

    #[test]
    fn a_seed_repeats_its_point() {
        let windows = [window("a", Some((0, 1_000_000)))];
        let draw = |seed| draw(&windows, seed, None, at(2_000_000)).unwrap();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn only_the_last_hours_are_drawn_from_when_asked_for() {
        let windows = [window("a", Some((0, 10_000)))];
        for seed in 0..500 {
            let drawn = draw(&windows, seed, Some(Duration::from_secs(100)), at(10_050)).unwrap();
            assert!((9_950..=10_000).contains(&instant(&drawn)), "{drawn:?}");
        }
        let gone = draw(&windows, 1, Some(Duration::from_secs(10)), at(10_050));
        assert!(gone.unwrap_err().to_string().contains("--last"));
    }

    #[test]
    fn without_binary_logs_a_backup_is_drawn() {
        let windows = [window("b", Some((20, 20))), window("a", Some((10, 10)))];
        let ids: std::collections::BTreeSet<_> = (0..50)
            .map(|seed| {
                let drawn = draw(&windows, seed, None, at(30)).unwrap();
                assert_eq!(drawn.target, Target::Backup);
                drawn.backup.unwrap().to_string()
            })
            .collect();
        assert_eq!(ids.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(draw(&[], 1, None, at(30)).is_err());
        assert!(draw(&[window("x", None)], 1, None, at(30)).is_err());
    }
}
