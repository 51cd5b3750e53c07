//! What the log covers, held against worlds in which everything happens that can happen to a
//! server and its archiver. The test knows what every server had, transaction by transaction;
//! the walk knows the records alone.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod archiver;
mod world;

use archiver::Archiver;
use backstay::{
    model::{Flavor, GtidState},
    pipeline::log::{Base, Coverage, End, Lines, Place},
};
use proptest::prelude::*;
use world::{Server, World};

/// A base, and what is really in it.
struct Taken {
    base: Base,
    has: Vec<usize>,
    resets: usize,
    what: String,
}

fn take(world: &mut World, step: usize) -> Taken {
    let started_at = world.now();
    let which = world.random.below(1 + world.replicas.len());
    let server: &Server = if which == 0 { &world.primary } else { &world.replicas[which - 1] };
    let file = server.files.last().unwrap();
    let place = Place {
        server: server.name.clone(),
        file: file.name().parse().unwrap(),
        offset: file.end(),
    };
    let gtids = GtidState::from(&server.executed.position());
    let has = server.has.iter().map(|tx| tx.id).collect();
    let what = format!("step {step}, server {}, {place:?}, {gtids}", server.name);
    // Not every engine tells its position, nor all transactions.
    let less = server.has.len().saturating_sub(1 + usize::from(file.txs.len() > 2));
    let mut lags = file.previous.clone();
    for tx in server.has[..less].iter().filter(|tx| file.txs.contains(tx)) {
        lags.add(&tx.gtid);
    }
    let lags = GtidState::from(&lags.position());
    let (gtids, place, exact) = match world.random.below(4) {
        0 => (Some(gtids), None, true),
        1 => (Some(lags), Some(place), false),
        2 => (None, Some(place), true),
        _ => (Some(gtids), Some(place), true),
    };
    let base = Base { gtids, exact, place, started_at, finished_at: world.now() };
    Taken { base, has, resets: world.resets, what }
}

/// Replays the pieces over the base, as the coverage says to do it.
fn replay(taken: &Taken, coverage: &Coverage<'_>, archiver: &Archiver, what: &str) -> Vec<usize> {
    let mut has = taken.has.clone();
    let mut state = coverage.begins.clone();
    for piece in &coverage.pieces {
        for (begin, tx) in &archiver.holds[&piece.number] {
            let mut one = GtidState::empty(Flavor::Mysql);
            one.add(&tx.gtid);
            let counts = piece.within.as_ref().is_none_or(|within| one.is_within(within));
            // A transaction of the piece before may end in this one.
            let behind = piece.from == piece.range.start || *begin >= piece.from;
            if behind && counts && !one.is_within(&state) {
                has.push(tx.id);
            }
            if counts {
                state.merge(&one);
            }
        }
    }
    let same = state.is_within(&coverage.reached) && coverage.reached.is_within(&state);
    assert!(same, "{state} is not {}\n{what}", coverage.reached);
    has
}

fn check(world: &World, archiver: &Archiver, lines: &Lines<'_>, taken: &Taken) {
    let coverage = lines.walk(&taken.base);
    let what = format!(
        "{}\n{}\n{:?}\n{:?}\nbase {:?}\npieces {:?}",
        taken.what,
        archiver.told.join("\n"),
        taken.base,
        coverage.end,
        taken.has,
        coverage.pieces.iter().map(|piece| piece.number).collect::<Vec<_>>()
    );
    let got = replay(taken, &coverage, archiver, &what);
    let now: Vec<usize> = world.primary.has.iter().map(|tx| tx.id).collect();
    // Whatever comes out is what some server had, and nothing else.
    let now = (world.resets, now);
    let pasts = world.pasts.iter().chain([&now]).filter(|(resets, _)| *resets == taken.resets);
    let mut pasts: Vec<&Vec<usize>> = pasts.map(|(_, past)| past).collect();
    pasts.retain(|past| past.starts_with(&taken.has));
    let now = &now.1;
    // (Transactions of a server that nobody archived are told of, and may be a replica's own.)
    let is_told = coverage.beyond.is_some() && !coverage.pieces.is_empty();
    if is_told && matches!(taken.base.gtids, Some(GtidState::Mysql(_))) {
        return;
    }
    assert!(pasts.iter().any(|past| past.starts_with(&got)), "never was: {got:?}\n{what}");
    // And it is as far as one can come.
    let reach = |past: &[usize]| {
        let known = past[taken.has.len()..].iter();
        taken.has.len() + known.take_while(|id| archiver.archived.contains(id)).count()
    };
    let here = now.starts_with(&taken.has) && taken.resets == world.resets;
    let ends: Vec<usize> =
        if here { vec![reach(now)] } else { pasts.iter().map(|past| reach(past)).collect() };
    let far = ends.iter().copied().max().unwrap();
    match &coverage.end {
        End::Current => {
            assert!(here || got.len() == taken.has.len(), "{what}");
            if here {
                assert_eq!(got.len(), far, "{what}");
                let rest = &now[far..];
                assert!(!rest.iter().any(|id| archiver.archived.contains(id)), "a gap? {what}");
            }
        }
        End::Gap { .. } => {
            assert!(ends.contains(&got.len()), "{ends:?}: {what}");
        }
        End::NotArchived { .. } => {
            assert_eq!(got.len(), taken.has.len(), "{what}");
            assert!(taken.resets < world.resets || far == taken.has.len(), "{what}");
        }
        End::Fork { .. } | End::History { .. } => {
            assert!(!here, "{what}");
            assert!(ends.contains(&got.len()), "{ends:?}: {what}");
        }
        End::Inexact => {
            assert!(!taken.base.exact || taken.base.gtids.is_none(), "{what}");
            assert_eq!(got.len(), taken.has.len(), "{what}");
        }
        End::Foreign { .. } => {
            assert!(!here, "{what}");
            assert_eq!(got.len(), taken.has.len(), "{what}");
        }
    }
}

fn live(seed: u64, flavor: Flavor, steps: usize, resets: bool) {
    let mut world = World::new(seed, flavor);
    let mut archiver = Archiver::new();
    let mut bases = Vec::new();
    for _ in 0..world.random.below(6) {
        world.commit();
    }
    for step in 0..steps {
        match world.random.below(20) {
            0..=6 => world.commit(),
            7 => world.replicate(),
            8 => {
                let which = world.random.below(3);
                world.rotate(which);
            }
            9 if world.random.one_in(3) => world.fail_over(),
            10 if world.random.one_in(3) => world.purge(),
            11 => bases.push(take(&mut world, step)),
            12 if archiver.server.is_some() => archiver.beat(&mut world),
            13 if world.random.one_in(3) => archiver.connect(&mut world),
            14 if resets && archiver.server.is_some() && world.random.one_in(8) => {
                world.reset();
                for _ in 0..world.random.below(4) {
                    world.commit();
                }
                if world.random.one_in(2) {
                    bases.push(take(&mut world, step));
                }
                archiver.new_history(&mut world);
                while !archiver.is_current(&world) {
                    archiver.read(&mut world);
                }
            }
            _ => {
                let moved =
                    archiver.server.as_ref().is_none_or(|server| server.name != world.primary.name);
                if moved {
                    archiver.connect(&mut world);
                }
                archiver.read(&mut world);
            }
        }
    }
    let moved = archiver.server.as_ref().is_some_and(|server| server.name != world.primary.name);
    if moved {
        archiver.connect(&mut world);
    }
    assert_eq!(archiver.records.len() as u64, archiver.state.head.number);
    let archive = archiver.archive();
    let lines = Lines::of(&archive).unwrap();
    for taken in &bases {
        check(&world, &archiver, &lines, taken);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("CASES").map_or(1000, |n| n.parse().unwrap()), ..ProptestConfig::default() })]

    #[test]
    fn every_base_reaches_what_its_server_had_and_nothing_else(
        seed: u64, mysql: bool, steps in 10..300usize,
    ) {
        live(seed, if mysql { Flavor::Mysql } else { Flavor::Mariadb }, steps, false);
    }

    #[test]
    fn no_base_reaches_into_another_history(
        seed: u64, mysql: bool, steps in 10..300usize,
    ) {
        live(seed, if mysql { Flavor::Mysql } else { Flavor::Mariadb }, steps, true);
    }
}
