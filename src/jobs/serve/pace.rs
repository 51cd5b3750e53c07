//! No more than so many bytes a second.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{model::ByteSize, pipeline::Progress};

/// The longest nap, so that a stop is noticed.
const NAP: Duration = Duration::from_millis(100);
/// What may be made up for after the engine was slow.
const BURST: Duration = Duration::from_millis(250);

/// A leaky bucket: each byte takes its share of a second, and little of what was not used is kept.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: Option<u64>,
    /// When everything that was sent should have been.
    due: Instant,
}

impl Pace {
    pub(super) fn new(limit: Option<ByteSize>) -> Self {
        Self { bytes_per_second: limit.map(|ByteSize(bytes)| bytes.max(1)), due: Instant::now() }
    }

    /// Waits until so many bytes may be sent; less when the job is to stop.
    pub(super) fn wait_for(&mut self, bytes: usize, progress: &Progress) {
        let Some(rate) = self.bytes_per_second else { return };
        self.due = self.takes(bytes, rate, Instant::now());
        while !progress.is_stopped() {
            let left = self.due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(NAP));
        }
    }

    /// When these bytes will have been sent, if they are begun now.
    fn takes(&self, bytes: usize, rate: u64, now: Instant) -> Instant {
        let nanoseconds = bytes as u128 * 1_000_000_000 / u128::from(rate);
        let share = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let from = self.due.max(earliest);
        from.checked_add(share).unwrap_or(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_share_of_a_second_and_idleness_is_not_saved_up() {
        let now = Instant::now();
        let mut pace = Pace { bytes_per_second: Some(1000), due: now };
        for n in 1..=10u32 {
            pace.due = pace.takes(100, 1000, now);
            assert_eq!(pace.due, now + Duration::from_millis(100) * n);
        }
        // After an hour of silence a quarter of a second is made up for, and no more.
        let later = now + Duration::from_hours(1);
        assert_eq!(
            pace.takes(1000, 1000, later),
            later.checked_sub(BURST).unwrap() + Duration::from_secs(1)
        );
    }
}
