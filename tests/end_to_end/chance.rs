//! Chance that can be repeated.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// SplitMix64.
pub(crate) struct Chance(u64);

impl Chance {
    /// From `BACKSTAY_SEED`, or from the clock; it prints the seed, which a failed test then shows.
    pub(crate) fn seeded() -> Self {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
        let seed = std::env::var("BACKSTAY_SEED")
            .map_or_else(|_| u64::from(clock), |text| text.parse().unwrap());
        println!("BACKSTAY_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// A time up to `limit`.
    pub(crate) fn within(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(limit.as_micros()).unwrap()))
    }
}

/// Whether the full counts are asked for.
pub(crate) fn soak() -> bool {
    std::env::var_os("BACKSTAY_SOAK").is_some_and(|value| value == "1")
}
