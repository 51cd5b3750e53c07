//! What is told of the clusters.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    jobs::window::{Estimate, LastDrill},
    model::{BackupId, ClusterName, EngineKind, ProofKind, Timestamp},
};

/// The newest complete backup.
#[derive(Debug, Clone)]
pub struct BackupSeen {
    /// Its id.
    pub id: BackupId,
    /// What made it.
    pub engine: EngineKind,
    /// How its stream's end was proven.
    pub proof: ProofKind,
    /// When its job began.
    pub started_at: Timestamp,
    /// When it was stored.
    pub finished_at: Timestamp,
    /// Bytes of the stream.
    pub bytes_read: u64,
    /// Bytes in the repository.
    pub bytes_stored: u64,
}

/// Every instant between the two can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSeen {
    /// The earliest.
    pub earliest: Timestamp,
    /// The latest.
    pub latest: Timestamp,
}

/// The archived binary logs.
#[derive(Debug, Clone)]
pub struct ArchiveSeen {
    /// Everything that was committed until then is archived, by the server's clock.
    pub archived_until: Option<Timestamp>,
    /// When the last record was written, by the archiver's clock.
    pub last_record_at: Option<Timestamp>,
    /// Whether the last archiver has ended as it was told.
    pub released: bool,
    /// The epoch.
    pub epoch: u64,
    /// Gaps in all.
    pub gaps: u64,
    /// Transactions that were lost in them, at most.
    pub gap_transactions: u64,
    /// Forks in all.
    pub forks: u64,
    /// Whether the records follow from one another.
    pub in_order: bool,
}

/// A KEK.
#[derive(Debug, Clone)]
pub struct KekSeen {
    /// Its name in key records.
    pub kek: String,
    /// Its version, where its service tells.
    pub version: Option<String>,
    /// DEKs that it opens.
    pub deks: u64,
    /// When it wrapped for the first time.
    pub oldest_wrap: Timestamp,
    /// When it wrapped last.
    pub newest_wrap: Timestamp,
    /// Whether it wraps the newest DEK.
    pub in_use: bool,
}

/// A cluster, as its records say.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Backups that are believed.
    pub complete: u64,
    /// Backups whose manifest is not.
    pub damaged: u64,
    /// The newest of the former.
    pub newest: Option<BackupSeen>,
    /// What can be restored.
    pub window: Option<WindowSeen>,
    /// What is archived.
    pub archive: Option<ArchiveSeen>,
    /// How long recovering to the latest point would take.
    pub recovery: Option<Estimate>,
    /// The newest drill.
    pub last_drill: Option<LastDrill>,
    /// Records of the audit chain.
    pub audit_records: u64,
    /// Whether the next one is there and does not follow.
    pub audit_broken: bool,
    /// When each kind of act was recorded last.
    pub acts: BTreeMap<String, Timestamp>,
    /// DEKs.
    pub deks: u64,
    /// DEKs that one KEK alone opens.
    pub deks_with_one_kek: u64,
    /// The KEKs.
    pub keks: Vec<KekSeen>,
}

/// How often looking at a cluster failed, and why.
pub type Faults = BTreeMap<&'static str, u64>;

/// What is told of a cluster: the last that was seen stays when it cannot be looked at.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Whether the last look succeeded.
    pub up: bool,
    /// When one last did.
    pub looked_at: Option<Timestamp>,
    /// Why they failed.
    pub faults: Faults,
    /// What was seen then.
    pub seen: Option<Seen>,
}

#[derive(Debug, Default)]
struct Inner {
    clusters: BTreeMap<ClusterName, Told>,
    not_listed: u64,
    rounds: u64,
    last_round: Duration,
}

/// Shared between the job and whoever tells of it.
#[derive(Debug, Default)]
pub struct State(Mutex<Inner>);

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every cluster.
    #[must_use]
    pub fn clusters(&self) -> BTreeMap<ClusterName, Told> {
        self.inner().clusters.clone()
    }

    /// Rounds so far, how long the last one took, and how often the clusters could not be listed.
    #[must_use]
    pub fn rounds(&self) -> (u64, Duration, u64) {
        let inner = self.inner();
        (inner.rounds, inner.last_round, inner.not_listed)
    }

    pub(super) fn keep(&self, names: &[ClusterName]) {
        self.inner().clusters.retain(|name, _| names.contains(name));
    }

    pub(super) fn looked(&self, name: &ClusterName, seen: Seen) {
        let mut inner = self.inner();
        let told = inner.clusters.entry(name.clone()).or_default();
        (told.up, told.looked_at, told.seen) = (true, Some(Timestamp::now()), Some(seen));
    }

    pub(super) fn failed(&self, name: &ClusterName, kind: &'static str) {
        let mut inner = self.inner();
        let told = inner.clusters.entry(name.clone()).or_default();
        told.up = false;
        *told.faults.entry(kind).or_default() += 1;
    }

    pub(super) fn not_listed(&self) {
        self.inner().not_listed += 1;
    }

    pub(super) fn round(&self, took: Duration) {
        let mut inner = self.inner();
        inner.rounds += 1;
        inner.last_round = took;
    }
}
