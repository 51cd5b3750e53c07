//! Chance makes a history, a policy, and the moment at which prune dies. After each death everything
//! that is listed opens, and what a rule keeps can be restored; in the end nothing else is there.

use std::collections::{BTreeMap, BTreeSet};

use backstay::{
    jobs::{hold, prune::plan::Policy},
    model::{Age, BackupId, Flavor, Period, Timestamp},
    pipeline::{
        Standing,
        log::{Base, Lines, read_archive},
    },
};
use proptest::prelude::*;

use crate::{
    archiver::Archiver,
    horizon::{busy, idle},
    stage::{Stage, later},
    world::{Random, World},
};

const GRACE: Age = Age::from_seconds(2 * 3600);
const AT_ONCE: Age = Age::from_seconds(0);

/// A policy, as chance has it.
fn policy(random: &mut Random) -> Policy {
    let mut some = |most: usize| {
        let is_some = random.one_in(3);
        is_some.then(|| u32::try_from(1 + random.below(most)).unwrap())
    };
    let (last, hourly, daily, weekly) = (some(4), some(5), some(3), some(2));
    let (monthly, yearly) = (some(2), some(1));
    let mut age = |hours: usize| {
        let is_some = random.one_in(3);
        is_some.then(|| Age::from_seconds(3600 * (1 + random.next() % hours as u64)))
    };
    let (within, window) = (age(20), age(40));
    let policy = Policy { last, within, hourly, daily, weekly, monthly, yearly, window };
    if policy.is_empty() { Policy { last: Some(2), ..policy } } else { policy }
}

/// What a policy keeps of these backups, told in another way than the program does it: for the
/// window, all since its beginning and the newest before it.
fn kept(
    policy: &Policy,
    backups: &BTreeMap<BackupId, (Timestamp, bool)>,
    bases: &BTreeMap<BackupId, BackupId>,
    now: Timestamp,
) -> BTreeSet<BackupId> {
    let mut newest: Vec<(&BackupId, Timestamp)> =
        backups.iter().map(|(id, (at, _))| (id, *at)).collect();
    newest.sort_by(|a, b| b.1.cmp(&a.1));
    let mut kept: BTreeSet<&BackupId> = BTreeSet::new();
    kept.extend(newest.first().map(|(id, _)| *id));
    kept.extend(newest.iter().take(policy.last.unwrap_or(0) as usize).map(|(id, _)| *id));
    for (period, count) in [
        (Period::Hour, policy.hourly),
        (Period::Day, policy.daily),
        (Period::Week, policy.weekly),
        (Period::Month, policy.monthly),
        (Period::Year, policy.yearly),
    ] {
        let mut of_period: BTreeMap<String, &BackupId> = BTreeMap::new();
        // The newest of each is the last that is put in.
        for (id, at) in newest.iter().rev() {
            of_period.insert(at.period(period), id);
        }
        kept.extend(of_period.values().rev().take(count.unwrap_or(0) as usize));
    }
    for (age, and_one) in [(policy.within, false), (policy.window, true)] {
        let Some(age) = age else { continue };
        let from = now.minus(age.duration());
        kept.extend(newest.iter().filter(|(_, at)| *at >= from).map(|(id, _)| *id));
        let before = newest.iter().find(|(_, at)| *at <= from).filter(|_| and_one);
        kept.extend(before.map(|(id, _)| *id));
    }
    kept.extend(backups.iter().filter(|(_, (_, is_held))| *is_held).map(|(id, _)| id));
    with_bases(kept.into_iter().cloned().collect(), bases)
}

/// These, and all that they stand on.
fn with_bases(
    mut kept: BTreeSet<BackupId>,
    bases: &BTreeMap<BackupId, BackupId>,
) -> BTreeSet<BackupId> {
    let mut left: Vec<_> = kept.iter().cloned().collect();
    while let Some(id) = left.pop() {
        if let Some(below) = bases.get(&id)
            && kept.insert(below.clone())
        {
            left.push(below.clone());
        }
    }
    kept
}

/// What can be restored: from each backup that may be, its transactions and those behind it.
async fn restorable(stage: &Stage, since: Option<Timestamp>) -> BTreeMap<BackupId, String> {
    let repository = stage.repository();
    let archive = read_archive(&repository).await.unwrap();
    let lines = Lines::of(&archive).unwrap();
    let mut ways = BTreeMap::new();
    for (id, (found, standing)) in stage.listed().await {
        let manifest = &found.record;
        let is_old = since.is_some_and(|since| manifest.finished_at <= since);
        if standing.condemned().is_some() || is_old {
            continue;
        }
        let coverage = lines.walk(&Base::from(manifest));
        ways.insert(id, format!("{:?} {}", coverage.end, coverage.reached));
    }
    ways
}

/// Opens everything that a restore of the oldest and of the newest backup replays.
async fn opens(stage: &Stage) {
    let repository = stage.repository();
    let archive = read_archive(&repository).await.unwrap();
    let lines = Lines::of(&archive).unwrap();
    let listed = stage.listed().await;
    let mut listed: Vec<_> = listed.values().map(|(found, _)| &found.record).collect();
    listed.sort_by_key(|manifest| manifest.finished_at);
    for manifest in listed.first().into_iter().chain(listed.last()) {
        let coverage = lines.walk(&Base::from(*manifest));
        let numbers = coverage.pieces.iter().flat_map(|p| [Some(p.number), p.head]).flatten();
        stage.open_log(numbers.collect::<BTreeSet<_>>()).await;
    }
}

/// What nothing needs, but for the keys of runs that may not have ended: these are left alone for a
/// day.
async fn old(stage: &Stage, now: Timestamp) -> Vec<String> {
    let repository = stage.repository();
    let day = now.minus(std::time::Duration::from_hours(24));
    let mut old = Vec::new();
    for name in stage.unneeded().await {
        let mut parts = name.split('/').skip(1);
        if let (Some("keys"), Some(dek)) = (parts.next(), parts.next()) {
            let key = repository.newest_key(dek.parse().unwrap()).await.unwrap().record;
            if repository.run(key.run_id).await.unwrap().started_at > day {
                continue;
            }
        }
        old.push(name);
    }
    old
}

struct History {
    world: World,
    archiver: Archiver,
    stage: Stage,
    flavor: Flavor,
    backups: usize,
    bases: Vec<Base>,
}

impl History {
    async fn new(seed: u64, flavor: Flavor) -> Self {
        let mut world = World::new(seed, flavor);
        world.clock = later().as_microseconds();
        Self {
            world,
            archiver: Archiver::new(),
            stage: Stage::new().await,
            flavor,
            backups: 0,
            bases: Vec::new(),
        }
    }

    /// Servers live on for a while, and so do their archiver and their backups.
    async fn go_on(&mut self) {
        self.bases.clear();
        busy(&mut self.world, &mut self.archiver, &mut self.bases);
        idle(&mut self.world, &mut self.archiver);
        if self.bases.is_empty() {
            self.bases.push(crate::bases::take(&mut self.world));
        }
        self.stage.write_log(&self.archiver).await;
        for base in std::mem::take(&mut self.bases) {
            let id = format!("b{:03}", self.backups);
            self.backups += 1;
            self.stage.stand_on = self.below().await;
            self.stage.backup(&id, base.finished_at, Some((&base, self.flavor))).await;
        }
        let now = self.world.now();
        if self.world.random.one_in(3) {
            // An attempt that comes to nothing, and a segment that nobody will name.
            let id: BackupId = format!("n{:03}", self.backups).parse().unwrap();
            drop(self.stage.attempt(&id, vec![1; 99], now).await);
            if let Some(range) = self.stage.state.segments.first().map(|s| s.range.clone()) {
                let run = self.stage.run(backstay::format::Role::Archive, now).await;
                drop(self.stage.segment(&run, &range).await);
            }
        }
        if self.world.random.one_in(3) {
            self.hold().await;
        }
    }

    /// What the next backup is an increment of, if it is one: as `backup --incremental` chooses.
    async fn below(&mut self) -> Option<BackupId> {
        if self.world.random.one_in(2) {
            return None;
        }
        let listed = self.stage.listed().await.into_iter();
        let good = listed.filter(|(_, (_, standing))| standing.condemned().is_none());
        good.max_by_key(|(_, (found, _))| found.record.finished_at).map(|(id, _)| id)
    }

    async fn hold(&mut self) {
        let listed: Vec<_> = self.stage.listed().await.into_iter().collect();
        let (id, (_, standing)) = &listed[self.world.random.below(listed.len())];
        let request = self.stage.holding(id.as_str());
        if matches!(standing, Standing::Held(_)) {
            hold::unhold(&request).await.unwrap();
        } else {
            hold::hold(&request).await.unwrap();
        }
    }

    /// Everything that must be so at any moment.
    async fn is_sound(&self, policy: &Policy, now: Timestamp, before: &BTreeMap<BackupId, String>) {
        self.stage.all_listed_open().await;
        assert_eq!(self.stage.problems().await, Vec::<String>::new());
        let since = policy.window.map(|age| now.minus(age.duration()));
        let after = restorable(&self.stage, since).await;
        for (id, way) in &after {
            // A tombstone that was taken away makes one more.
            if let Some(before) = before.get(id) {
                assert_eq!(way, before, "{id}");
            }
        }
    }

    async fn standings(&self) -> BTreeMap<BackupId, (Timestamp, bool)> {
        let listed = self.stage.listed().await.into_iter();
        let known = listed.map(|(id, (found, standing))| {
            (id, (found.record.finished_at, matches!(standing, Standing::Held(_))))
        });
        known.collect()
    }

    async fn prune(&mut self, policy: Policy, now: Timestamp) -> usize {
        self.prune_after(policy, GRACE, now).await
    }

    /// Prunes, dying a few times on the way. Returns how often it died.
    async fn prune_after(&mut self, policy: Policy, grace: Age, now: Timestamp) -> usize {
        let since = policy.window.map(|age| now.minus(age.duration()));
        let before = restorable(&self.stage, since).await;
        let must_stay = kept(&policy, &self.standings().await, &self.stage.bases, now);
        let mut deaths = 0;
        loop {
            let changes = self.world.random.below(60);
            let dies = deaths < 3 && self.world.random.one_in(2);
            self.stage.fuse.set(if dies { i64::try_from(changes).unwrap() } else { i64::MAX });
            let done = self.stage.prune(policy, grace, now).await;
            let died = self.stage.fuse.is_blown();
            self.stage.fuse.set(i64::MAX);
            assert!(died || done.is_ok(), "{done:?}");
            self.is_sound(&policy, now, &before).await;
            let listed: BTreeSet<_> = self.stage.listed().await.into_keys().collect();
            let lost: Vec<_> = must_stay.difference(&listed).collect();
            assert!(lost.is_empty(), "{lost:?} by {policy:?}");
            deaths += usize::from(died);
            if done.is_ok() {
                return deaths;
            }
        }
    }
}

async fn live(seed: u64, flavor: Flavor, phases: usize) -> (usize, u64) {
    let mut history = History::new(seed, flavor).await;
    let mut deaths = 0;
    for _ in 0..phases {
        history.go_on().await;
        let policy = policy(&mut history.world.random);
        let now = history.world.now();
        deaths += history.prune(policy, now).await;
    }
    // One policy to the end: tombstones, their time, and then all is done.
    let policy = policy(&mut history.world.random);
    for _ in 0..3 {
        let now = history.world.now();
        deaths += history.prune(policy, now).await;
        for _ in 0..2 {
            history.world.wait();
        }
    }
    // And without a time of grace, so that one instant decides about everything.
    let now = history.world.now();
    let expected = kept(&policy, &history.standings().await, &history.stage.bases, now);
    deaths += history.prune_after(policy, AT_ONCE, now).await;
    let told = history.stage.prune(policy, AT_ONCE, now).await.unwrap();
    let listed: BTreeSet<_> = history.stage.listed().await.into_keys().collect();
    // What reaches further into the window than the newest before it stays, too.
    let more: Vec<_> = listed.difference(&expected).collect();
    let of_window = |id: &&BackupId| {
        let backup = told.backups.iter().find(|backup| backup.backup_id == **id).unwrap();
        backup.reasons.iter().any(|reason| reason.starts_with("window"))
    };
    let of_window: BTreeSet<BackupId> = more.iter().copied().filter(of_window).cloned().collect();
    let and_bases = with_bases(of_window, &history.stage.bases);
    assert!(more.iter().all(|id| and_bases.contains(*id)), "{more:?} by {policy:?}");
    assert!(expected.is_subset(&listed), "{expected:?} {listed:?}");
    assert_eq!(old(&history.stage, now).await, Vec::<String>::new(), "by {policy:?}");
    opens(&history.stage).await;
    (deaths, told.log.begins_next)
}

fn run(seed: u64, mysql: bool, phases: usize) -> (usize, u64) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let flavor = if mysql { Flavor::Mysql } else { Flavor::Mariadb };
    runtime.unwrap().block_on(live(seed, flavor, phases))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("BACKSTAY_SOAK").is_some() { 300 } else { 12 },
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_the_moment_of_death(seed: u64, mysql: bool, phases in 2..8usize) {
        run(seed, mysql, phases);
    }
}

#[test]
fn and_it_dies_and_forgets() {
    let (deaths, begins) = (1..5)
        .map(|seed| run(seed, seed % 2 == 0, 8))
        .fold((0, 0), |(deaths, begins), (d, b)| (deaths + d, begins + b));
    assert!(deaths > 4 && begins > 0, "{deaths} deaths, {begins} records forgotten");
}
