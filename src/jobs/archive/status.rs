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

/// How long commits waited until they were durable: by the server's clock at the commit (whole
/// seconds for MariaDB) and this machine's at the end.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    /// Transactions by hundredths of a second, up to ten seconds; the last one counts the rest.
    hundredths: Vec<u64>,
    /// Their sum, in seconds.
    sum: f64,
    /// Commits that are not durable yet, by their hundredth of a second.
    waiting: BTreeMap<i64, u64>,
}

impl Latency {
    const LAST: usize = 1000;

    /// Transactions that took at most this many seconds, up to ten.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    pub fn within(&self, seconds: f64) -> u64 {
        let until = (seconds * 100.0).round().clamp(0.0, 1000.0) as usize;
        self.hundredths.iter().take(until).sum()
    }

    /// All of them.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.hundredths.iter().sum()
    }

    /// Seconds that they took together.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The seconds within which this share of them was durable, to a hundredth; at most 10.01.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts and hundredths fit")]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = self.count() as f64 * share;
        let mut seen = 0;
        let at = self.hundredths.iter().position(|count| {
            seen += count;
            seen > 0 && seen as f64 >= wanted
        })?;
        Some((at + 1) as f64 / 100.0)
    }

    /// The oldest commit that is not durable yet.
    fn oldest(&self) -> Option<Timestamp> {
        let (at, _) = self.waiting.first_key_value()?;
        Timestamp::from_microseconds(at * 10_000)
    }

    fn commit(&mut self, at: Timestamp) {
        *self.waiting.entry(at.as_microseconds() / 10_000).or_default() += 1;
    }

    #[expect(clippy::cast_precision_loss, reason = "hundredths of a second fit")]
    fn durable(&mut self, until: Timestamp, now: Timestamp) {
        let (until, now) = (until.as_microseconds() / 10_000, now.as_microseconds() / 10_000);
        let later = self.waiting.split_off(&(until + 1));
        self.hundredths.resize(Self::LAST + 1, 0);
        for (at, count) in std::mem::replace(&mut self.waiting, later) {
            let took = usize::try_from(now - at).unwrap_or_default();
            self.hundredths[took.min(Self::LAST)] += count;
            self.sum += took as f64 / 100.0 * count as f64;
        }
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
    /// Whether something that the server had at the last look but one is not durable.
    pub is_behind: bool,
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
    /// How long commits waited until they were durable.
    pub latency: Latency,
    /// Errors that were overcome, by kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// When the last record became durable, by this machine's clock.
    pub last_record_at: Option<Timestamp>,
    /// The number of the audit chain's last record, as far as it was seen.
    pub audit_number: u64,
}

impl Snapshot {
    /// How far behind the archive is, in seconds: the age of the oldest commit that was captured
    /// and is not durable; when the server is further ahead than that, of the last that is.
    #[must_use]
    pub fn lag_seconds(&self, now: Timestamp) -> f64 {
        let since = if self.is_behind {
            self.committed_until.max(self.quiet_until)
        } else {
            self.latency.oldest()
        };
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
        now.latency.commit(committed_at);
    }

    pub(super) fn lag(&self, bytes: u64, is_behind: bool) {
        let mut now = self.lock();
        (now.lag_bytes, now.is_behind) = (bytes, is_behind);
    }

    /// What was captured and not shipped is captured again.
    pub(super) fn abandoned(&self) {
        let mut now = self.lock();
        now.lag_transactions = 0;
        now.latency.waiting.clear();
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
        let clock = Timestamp::now();
        now.last_record_at = Some(clock);
        if let Some(until) = log.committed_until {
            now.latency.durable(until, clock);
        }
        if shipped {
            now.lag_transactions = 0;
        }
    }

    pub(super) fn segment(&self, bytes: u64) {
        let mut now = self.lock();
        now.segments += 1;
        now.segment_bytes += bytes;
    }

    pub(super) fn audit(&self, number: u64) {
        let mut now = self.lock();
        now.audit_number = now.audit_number.max(number);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hundredths: i64) -> Timestamp {
        Timestamp::from_microseconds(1_000_000_000_000 + hundredths * 10_000).unwrap()
    }

    #[test]
    fn latencies_are_told_to_a_hundredth_of_a_second() {
        let mut latency = Latency::default();
        (0..100).for_each(|n| latency.commit(at(n)));
        latency.durable(at(98), at(100));
        // The last one is not durable yet.
        assert_eq!((latency.count(), latency.waiting.len()), (99, 1));
        assert_eq!((latency.quantile(0.5), latency.quantile(0.99)), (Some(0.52), Some(1.01)));
        assert_eq!((latency.within(0.02), latency.within(10.0)), (0, 99));
        latency.durable(at(99), at(100_000));
        assert_eq!((latency.quantile(1.0), latency.count()), (Some(10.01), 100));
        assert_eq!(Latency::default().quantile(0.99), None);
    }
}
