//! How far the log is forgotten: chance makes servers, archivers and bases; what can be reached
//! from what stays is what could be reached before.

use backstay::{
    format::{CHECKPOINT_EVERY, LogEntry, SegmentData, SegmentEntry},
    jobs::prune::plan::{Candidate, Policy, SettledCheckpoint, decide},
    model::{Age, Flavor, GtidState, Timestamp},
    pipeline::log::{Archive, Coverage, Lines},
};
use proptest::prelude::*;

use crate::{archiver::Archiver, bases, world::World};

/// A history long enough to forget some of it.
pub(crate) fn live(
    seed: u64,
    flavor: Flavor,
    phases: usize,
) -> (World, Archiver, Vec<backstay::pipeline::log::Base>) {
    let mut world = World::new(seed, flavor);
    let mut archiver = Archiver::new();
    let mut taken = Vec::new();
    for _ in 0..phases {
        busy(&mut world, &mut archiver, &mut taken);
        idle(&mut world, &mut archiver);
    }
    (world, archiver, taken)
}

/// Whatever can happen, a few dozen times.
pub(crate) fn busy(
    world: &mut World,
    archiver: &mut Archiver,
    taken: &mut Vec<backstay::pipeline::log::Base>,
) {
    for _ in 0..10 + world.random.below(40) {
        match world.random.below(20) {
            0..=6 => world.commit(),
            7 => world.replicate(),
            8 => {
                let which = world.random.below(3);
                world.rotate(which);
            }
            9 if world.random.one_in(4) => world.fail_over(),
            10 if world.random.one_in(4) => world.purge(),
            11 => taken.push(bases::take(world)),
            12 if world.random.one_in(3) => archiver.connect(world),
            13 if archiver.server.is_some() && world.random.one_in(12) => {
                world.reset();
                world.commit();
                archiver.new_history(world);
                while !archiver.is_current(world) {
                    archiver.read(world);
                }
            }
            _ => {
                let moved = archiver.server.as_ref().is_none_or(|s| s.name != world.primary.name);
                if moved {
                    archiver.connect(world);
                }
                archiver.read(world);
            }
        }
    }
}

/// Nothing but signs of life, and hours pass.
pub(crate) fn idle(world: &mut World, archiver: &mut Archiver) {
    if archiver.server.is_none() {
        archiver.connect(world);
    }
    for _ in 0..world.random.below(900) {
        archiver.beat(world);
    }
    for _ in 0..world.random.below(12) {
        world.wait();
    }
}

/// The newest checkpoint before an instant.
fn settled(archiver: &Archiver, before: Timestamp) -> Option<SettledCheckpoint> {
    let checkpoints = archiver.records.iter().rev().filter(|record| record.at <= before);
    checkpoints.clone().find_map(|record| match &record.entry {
        LogEntry::Checkpoint(entry) => {
            Some(SettledCheckpoint { number: record.number, entry: entry.clone() })
        }
        _ => None,
    })
}

fn reach(candidate: &Candidate, coverage: &Coverage<'_>) -> (Timestamp, Timestamp) {
    let earliest = coverage.base_committed.unwrap_or(candidate.finished_at);
    (earliest, coverage.until().map_or(earliest, |until| until.max(earliest)))
}

/// The transactions that a restore replays.
fn replayed(archiver: &Archiver, coverage: &Coverage<'_>) -> Vec<usize> {
    let mut state = coverage.begins.clone();
    let mut taken = Vec::new();
    for piece in &coverage.pieces {
        for (begin, tx) in &archiver.holds[&piece.number] {
            let mut one = GtidState::empty(Flavor::Mysql);
            one.add(&tx.gtid);
            let counts = piece.within.as_ref().is_none_or(|within| one.is_within(within));
            let behind = piece.from == piece.range.start || *begin >= piece.from;
            if behind && counts && !one.is_within(&state) {
                taken.push(tx.id);
            }
            if counts {
                state.merge(&one);
            }
        }
    }
    taken
}

fn check(
    archiver: &Archiver,
    archive: &Archive,
    candidates: &[Candidate],
    window: Option<Age>,
    grace: Age,
    now: Timestamp,
) -> u64 {
    let full = Lines::of(archive).unwrap();
    let settled = settled(archiver, now.minus(grace.duration()));
    let policy = Policy { window, last: Some(1), ..Policy::default() };
    let decided = decide(candidates, archive, &full, settled.as_ref(), &policy, grace, now);
    let horizon = decided.horizon;
    let Some(settled) = settled else {
        assert_eq!(horizon, archive.horizon);
        return 0;
    };
    assert_eq!(horizon.thinned, settled.number);
    let begins = horizon.begins;
    assert!(begins % CHECKPOINT_EVERY == 0 && begins + CHECKPOINT_EVERY <= horizon.thinned);
    let told = archiver.told.iter().filter(|line| !line.contains("heartbeat"));
    let told = told.map(String::as_str).collect::<Vec<_>>().join("\n");
    // Reading begins at the last checkpoint of the thinned part.
    assert!(settled.entry.epoch_record > begins, "{told}");
    let tails = settled.entry.files.iter().flat_map(|file| &file.tails);
    assert!(tails.clone().all(|(first, _)| *first > begins), "{told}");
    // What is left of the segments is whole.
    for record in archiver.records.iter().filter(|record| record.number > begins) {
        if let LogEntry::Segment(SegmentEntry { data: SegmentData::Tails(tails), .. }) =
            &record.entry
        {
            assert!(tails.iter().all(|(first, _)| *first > begins), "{begins}: {told}");
        }
    }
    let left = Lines::behind(archive, begins).unwrap();
    // With a window, every base since its beginning, and some time before; else every base.
    let since = window.map(|age| now.minus(age.duration()).minus(grace.duration()));
    for candidate in candidates {
        if since.is_some_and(|since| candidate.finished_at <= since) {
            continue;
        }
        let (before, after) = (full.walk(&candidate.base), left.walk(&candidate.base));
        let what = format!("{candidate:?}\n{begins} of {}\n{told}", archive.state.head.number);
        // Where nothing can be replayed, why is told by what is left.
        assert!(
            before.end == after.end || (before.pieces.is_empty() && after.pieces.is_empty()),
            "{:?} {:?} {what}",
            before.end,
            after.end
        );
        assert_eq!(before.reached, after.reached, "{what}");
        // (Maybe from another file, in which they are, too.)
        assert_eq!(replayed(archiver, &before), replayed(archiver, &after), "{what}");
        let numbers = after.pieces.iter().flat_map(|piece| [Some(piece.number), piece.head]);
        assert!(numbers.flatten().all(|number| number > begins), "{what}");
    }
    // Every instant of the window that could be reached from any base can be from one that stays.
    let Some(age) = window else { return begins };
    let from = now.minus(age.duration());
    let ways = |lines: &Lines<'_>, is_kept: &dyn Fn(usize) -> bool| -> Vec<_> {
        let kept = candidates.iter().enumerate().filter(|(at, _)| is_kept(*at));
        kept.map(|(_, candidate)| reach(candidate, &lines.walk(&candidate.base))).collect()
    };
    let before = ways(&full, &|_| true);
    let after = ways(&left, &|at| !decided.backups[at].reasons.is_empty());
    let has = |ways: &[(Timestamp, Timestamp)], at: Timestamp| {
        ways.iter().any(|&(earliest, until)| earliest <= at && at <= until)
    };
    let instants = archiver.holds.values().flatten().map(|(_, tx)| tx.at);
    for at in instants.filter(|at| *at >= from && *at <= now) {
        let lost = has(&before, at) && !has(&after, at);
        assert!(!lost, "{at} since {from}: {before:?}\n{after:?}\n{told}");
    }
    begins
}

/// Looks at a history at several times. Returns how much was forgotten at most.
fn forget(seed: u64, flavor: Flavor, phases: usize) -> u64 {
    let (mut world, archiver, taken) = live(seed, flavor, phases);
    let archive = archiver.archive();
    let mut candidates: Vec<Candidate> = taken
        .into_iter()
        .enumerate()
        .map(|(n, base)| bases::candidate(format!("b{n}").parse().unwrap(), base))
        .collect();
    candidates.reverse();
    let now = world.now();
    let mut most = 0;
    for _ in 0..4 {
        let window = [None, Some(3), Some(12), Some(30)][world.random.below(4)];
        let window = window.map(|hours| Age::from_seconds(hours * 3600));
        let grace = Age::from_seconds([0, 3600, 9 * 3600][world.random.below(3)]);
        most = most.max(check(&archiver, &archive, &candidates, window, grace, now));
    }
    most
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("CASES").map_or(150, |n| n.parse().unwrap()),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_forgotten_of_the_log_is_missed_by_nobody(seed: u64, mysql: bool, phases in 4..14usize) {
        forget(seed, if mysql { Flavor::Mysql } else { Flavor::Mariadb }, phases);
    }
}

#[test]
fn and_something_is_forgotten() {
    let forgotten = (1..30).filter(|seed| forget(*seed, Flavor::Mysql, 14) > 0).count();
    assert!(forgotten > 5, "of 29 histories {forgotten} lost their beginning");
}
