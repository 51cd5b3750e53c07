//! Counters that a terminal or a log reads while a job runs.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

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
    items: Mutex<Option<Items>>,
    stop: CancellationToken,
}

/// How far a job is that does one thing after another, and not bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Items {
    /// What they are: `keys`, `tables`.
    pub what: &'static str,
    /// Those that are done.
    pub done: u64,
    /// All of them.
    pub of: u64,
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

    /// Says how many things there are to do, and what they are. What was done of others is done.
    pub fn expect_items(&self, what: &'static str, of: u64) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let done = items.filter(|items| items.what == what).map_or(0, |items| items.done);
        *items = Some(Items { what, done, of });
    }

    /// Counts one of them.
    pub fn add_item(&self) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(items) = &mut *items {
            items.done += 1;
        }
    }

    /// How far it is with them; nothing when the job is about something else.
    pub fn items(&self) -> Option<Items> {
        *self.items.lock().unwrap_or_else(PoisonError::into_inner)
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
