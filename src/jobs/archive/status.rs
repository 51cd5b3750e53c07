//! What people and probes are told while the archiver runs.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    model::{BinlogPosition, ServerName, Timestamp},
    pipeline::log::LogState,
};

/// What the archiver is doing. Each of these is a different thing to worry about, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It has not read the log yet.
    #[default]
    Starting,
    /// Another archiver owns the log; this one takes over when that one is silent.
    Standby,
    /// Everything that the server has is durable.
    Idle,
    /// It follows: what is not durable is younger than twice the tail interval.
    Following,
    /// It is behind.
    Lagging,
    /// It follows, but since it began transactions were found to be missing.
    Gapped,
    /// The server has purged what was not archived yet.
    Purged,
    /// The server cannot be reached, or is not the one to read.
    SourceDown,
    /// The store cannot be reached; the server keeps its logs meanwhile.
    StoreDown,
    /// Another archiver has claimed the log.
    Fenced,
    /// It has ended.
    Stopped,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Starting,
        Self::Standby,
        Self::Idle,
        Self::Following,
        Self::Lagging,
        Self::Gapped,
        Self::Purged,
        Self::SourceDown,
        Self::StoreDown,
        Self::Fenced,
        Self::Stopped,
    ];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Standby => "standby",
            Self::Idle => "idle",
            Self::Following => "following",
            Self::Lagging => "lagging",
            Self::Gapped => "gapped",
            Self::Purged => "purged",
            Self::SourceDown => "source-down",
            Self::StoreDown => "store-down",
            Self::Fenced => "fenced",
            Self::Stopped => "stopped",
        }
    }

    /// Whether it is doing what it is there for.
    #[must_use]
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Idle | Self::Following | Self::Gapped)
    }
}

/// Everything that is told, at one instant.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// What it is doing.
    pub condition: Condition,
    /// Its epoch; 0 while it has none.
    pub epoch: u64,
    /// The server that it reads.
    pub server: Option<ServerName>,
    /// The number of the log's last record.
    pub log_number: u64,
    /// Everything before it is durable.
    pub durable: Option<BinlogPosition>,
    /// The latest durable commit.
    pub committed_until: Option<Timestamp>,
    /// The latest commit that was captured, durable or not.
    pub captured_until: Option<Timestamp>,
    /// Up to when it is known that nothing more was committed.
    pub quiet_until: Option<Timestamp>,
    /// Transactions that were captured and are not durable yet.
    pub lag_transactions: u64,
    /// Bytes between what is durable and the end of the server's log, when last asked.
    pub lag_bytes: u64,
    /// Bytes captured by this process.
    pub captured_bytes: u64,
    /// Transactions captured by this process.
    pub captured_transactions: u64,
    /// Log records written by this process.
    pub records: u64,
    /// Bytes of these records.
    pub record_bytes: u64,
    /// Segments recorded by this process.
    pub segments: u64,
    /// Bytes of these segments.
    pub segment_bytes: u64,
    /// Gaps recorded by this process.
    pub gaps: u64,
    /// Forks recorded by this process.
    pub forks: u64,
    /// Errors that were overcome, by kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// When the last record became durable, by this machine's clock.
    pub last_record_at: Option<Timestamp>,
}

impl Snapshot {
    /// Age of the oldest captured commit that is not durable, or of the oldest that the server
    /// has and we do not, in seconds; 0 when everything is durable.
    #[must_use]
    pub fn lag_seconds(&self, now: Timestamp) -> f64 {
        if self.lag_transactions == 0 && self.lag_bytes == 0 {
            return 0.0;
        }
        let since = self.committed_until.max(self.quiet_until);
        since.map_or(0.0, |since| now.seconds_since(since).max(0.0))
    }
}

/// Written by the archiver, read by whoever asks.
#[derive(Debug, Default)]
pub struct Status(Mutex<Snapshot>);

impl Status {
    /// The present state.
    #[must_use]
    pub fn read(&self) -> Snapshot {
        self.lock().clone()
    }

    pub(super) fn condition(&self, condition: Condition) {
        let mut now = self.lock();
        if now.condition != condition {
            tracing::info!(from = now.condition.name(), to = condition.name(), "condition");
            now.condition = condition;
        }
    }

    pub(super) fn error(&self, kind: &'static str) {
        *self.lock().errors.entry(kind).or_default() += 1;
    }

    pub(super) fn captured(&self, bytes: usize) {
        self.lock().captured_bytes += bytes as u64;
    }

    pub(super) fn group(&self, committed_at: Timestamp) {
        let mut now = self.lock();
        now.captured_until = now.captured_until.max(Some(committed_at));
        now.captured_transactions += 1;
        now.lag_transactions += 1;
    }

    pub(super) fn lag_bytes(&self, bytes: u64) {
        self.lock().lag_bytes = bytes;
    }

    /// What was captured and not shipped is captured again.
    pub(super) fn abandoned(&self) {
        self.lock().lag_transactions = 0;
    }

    /// After a record was written.
    pub(super) fn durable(&self, log: &LogState, (records, bytes): (u64, u64), shipped: bool) {
        let mut now = self.lock();
        now.epoch = log.epoch();
        now.server = log.owner.as_ref().map(|owner| owner.server.name.clone());
        now.log_number = log.head.number;
        now.durable = log.durable();
        now.committed_until = log.committed_until;
        now.quiet_until = log.quiet_until;
        (now.records, now.record_bytes) = (records, bytes);
        now.last_record_at = Some(Timestamp::now());
        if shipped {
            now.lag_transactions = 0;
        }
    }

    pub(super) fn segment(&self, bytes: u64) {
        let mut now = self.lock();
        now.segments += 1;
        now.segment_bytes += bytes;
    }

    pub(super) fn gap(&self) {
        self.lock().gaps += 1;
    }

    pub(super) fn fork(&self) {
        self.lock().forks += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
