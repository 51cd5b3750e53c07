//! Counters that a terminal or a log reads while a job runs.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

/// Shared between a job's threads and whoever shows how far it is.
#[derive(Debug, Default)]
pub struct Progress {
    plain: AtomicU64,
    stored: AtomicU64,
    expected: AtomicU64,
    replayed: AtomicU64,
    replayed_bytes: AtomicU64,
    to_replay: AtomicU64,
    keys: AtomicU64,
    of_keys: AtomicU64,
    stop: CancellationToken,
}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaying {
    /// Transactions applied.
    pub transactions: u64,
    /// Transactions to apply, at most.
    pub of: u64,
    /// Bytes of binary log applied.
    pub bytes: u64,
}

impl Progress {
    /// Says how many plaintext bytes are expected; an estimate.
    pub fn expect(&self, bytes: u64) {
        self.expected.store(bytes, Ordering::Relaxed);
    }

    /// Counts plaintext bytes.
    pub fn add_plain(&self, bytes: usize) {
        self.plain.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts stored bytes.
    pub fn add_stored(&self, bytes: usize) {
        self.stored.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Plaintext bytes done, stored bytes done, plaintext bytes expected (0: unknown).
    pub fn read(&self) -> (u64, u64, u64) {
        (
            self.plain.load(Ordering::Relaxed),
            self.stored.load(Ordering::Relaxed),
            self.expected.load(Ordering::Relaxed),
        )
    }

    /// Says how many transactions are to be replayed at most, in how many bytes of binary log.
    pub fn expect_replay(&self, transactions: u64, bytes: u64) {
        self.expect(bytes);
        self.to_replay.store(transactions, Ordering::Relaxed);
    }

    /// Says how many transactions, and bytes, have been replayed.
    pub fn replayed(&self, transactions: u64, bytes: u64) {
        self.replayed.store(transactions, Ordering::Relaxed);
        self.replayed_bytes.store(bytes, Ordering::Relaxed);
    }

    /// How far a replay is; nothing when none is at work.
    pub fn replaying(&self) -> Option<Replaying> {
        let of = self.to_replay.load(Ordering::Relaxed);
        (of > 0).then(|| Replaying {
            transactions: self.replayed.load(Ordering::Relaxed),
            of,
            bytes: self.replayed_bytes.load(Ordering::Relaxed),
        })
    }

    /// Says how many keys there are to look at.
    pub fn expect_keys(&self, keys: u64) {
        self.of_keys.store(keys, Ordering::Relaxed);
    }

    /// Counts a key.
    pub fn add_key(&self) {
        self.keys.fetch_add(1, Ordering::Relaxed);
    }

    /// Keys done, and keys expected; nothing when the job is about something else.
    pub fn keys(&self) -> Option<(u64, u64)> {
        let of = self.of_keys.load(Ordering::Relaxed);
        (of > 0).then(|| (self.keys.load(Ordering::Relaxed), of))
    }

    /// Asks every stage to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Whether it was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until it is asked to stop.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }
}
