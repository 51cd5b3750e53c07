//! The Zstandard level: fixed, or chosen from samples of the stream as it flows.

use std::{
    str::FromStr,
    sync::{
        Mutex,
        atomic::{AtomicI32, AtomicU64, Ordering},
    },
};

use zstd::zstd_safe::{CParameter, ParamSwitch};

/// A compression level as a person gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The level that costs least for what it saves, sampled all along.
    Auto,
    /// Always this one.
    Fixed(i32),
}

/// A text that is no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a compression level: write `auto` or a number from -7 to 12")]
pub struct LevelError(String);

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        match text.parse() {
            _ if text == "auto" => Ok(Self::Auto),
            // Above 12 a context outgrows the memory formula.
            Ok(level) if (-7..=12).contains(&level) && level != 0 => Ok(Self::Fixed(level)),
            _ => Err(LevelError(text.to_owned())),
        }
    }
}

/// What `auto` chooses among; each is worth its time on some data.
const CANDIDATES: [i32; 5] = [-4, 1, 2, 3, 5];
/// Every so many chunks one is compressed at every candidate; the first ones always.
const SAMPLE_EVERY: u64 = 256;
/// Seconds that storing a byte costs one core: sealing and hashing it (1.6 ns, measured), and
/// sending, keeping and fetching it (priced at 400 MB/s).
const STORED_BYTE_SECONDS: f64 = 4.1e-9;
/// Weight of a new sample against what was known.
const WEIGHT: f64 = 0.5;
/// A candidate that costs so many times what the best one does is left out of samples: on rows
/// of random digits the slow levels would take a fifth of all time, only to lose again.
const HOPELESS: f64 = 1.5;
/// But every so many samples all candidates are tried, since data change.
const ALL_EVERY: u64 = 8;

/// Chooses the level of each chunk. Shared by all workers.
#[derive(Debug)]
pub(super) struct Chooser {
    level: Level,
    current: AtomicI32,
    chunks: AtomicU64,
    known: Mutex<Known>,
}

/// What the samples have told.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    samples: u64,
    /// Seconds for each byte of plaintext, by candidate.
    costs: [Option<f64>; CANDIDATES.len()],
}

impl Known {
    /// The least cost, and whose it is.
    fn best(&self) -> Option<(f64, i32)> {
        let costs = CANDIDATES.iter().zip(self.costs);
        let costs = costs.filter_map(|(level, cost)| Some((cost?, *level)));
        costs.min_by(|a, b| a.0.total_cmp(&b.0))
    }
}

/// A compressor for the levels of this module. Zstandard's own levels below 0 do two things: they
/// search less, and they leave literals as they are. Rows of a database are mostly literals, so the
/// second made everything twice as long, where the first alone saves a fifth of the time for a
/// twentieth of the bytes. Here they only search less.
///
/// # Errors
/// When there is no memory for it.
pub fn compressor() -> std::io::Result<zstd::bulk::Compressor<'static>> {
    let mut compressor = zstd::bulk::Compressor::new(1)?;
    compressor.set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))?;
    Ok(compressor)
}

impl Chooser {
    pub(super) fn new(level: Level) -> Self {
        let current = match level {
            Level::Auto => 1,
            Level::Fixed(level) => level,
        };
        Self { level, current: current.into(), chunks: 0.into(), known: Mutex::default() }
    }

    /// The level for the next chunk, and whether to sample with it.
    pub(super) fn next(&self) -> (i32, bool) {
        let chunk = self.chunks.fetch_add(1, Ordering::Relaxed);
        let sample = self.level == Level::Auto && (chunk == 1 || chunk % SAMPLE_EVERY == 7);
        (self.current.load(Ordering::Relaxed), sample)
    }

    /// Compresses one chunk at every candidate worth trying by `compress` (bytes stored and CPU
    /// seconds taken) and moves to the cheapest.
    pub(super) fn sample<E>(
        &self,
        plain_bytes: usize,
        mut compress: impl FnMut(i32) -> Result<(usize, f64), E>,
    ) -> Result<(), E> {
        let before = match self.known.lock() {
            Ok(mut known) => {
                let before = *known;
                known.samples += 1;
                before
            }
            Err(_) => return Ok(()),
        };
        let most = match before.best() {
            Some((best, _)) if !before.samples.is_multiple_of(ALL_EVERY) => best * HOPELESS,
            _ => f64::INFINITY,
        };
        let mut seen = [None; CANDIDATES.len()];
        // The slowest first: whoever is first pays for pages that nobody has touched yet, and to
        // the quickest that would be a handicap.
        for ((level, known), seen) in CANDIDATES.iter().zip(before.costs).zip(&mut seen).rev() {
            if known.is_none_or(|cost| cost <= most) {
                let (stored, seconds) = compress(*level)?;
                *seen = Some(cost_of(plain_bytes, stored, seconds));
            }
        }
        let Ok(mut known) = self.known.lock() else { return Ok(()) };
        for (known, new) in known.costs.iter_mut().zip(seen) {
            if let Some(new) = new {
                *known = Some(known.map_or(new, |old| old + WEIGHT * (new - old)));
            }
        }
        if let Some((_, level)) = known.best()
            && self.current.swap(level, Ordering::Relaxed) != level
        {
            tracing::debug!(zstd_level = level, "the level has changed");
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a chunk's length is exact in a double")]
fn cost_of(plain: usize, stored: usize, seconds: f64) -> f64 {
    (seconds + stored as f64 * STORED_BYTE_SECONDS) / plain.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read() {
        assert_eq!("auto".parse(), Ok(Level::Auto));
        assert_eq!("-3".parse(), Ok(Level::Fixed(-3)));
        for bad in ["", "0", "13", "-8", "fast"] {
            assert!(bad.parse::<Level>().is_err(), "{bad}");
        }
    }

    #[test]
    fn auto_follows_the_data() {
        let chooser = Chooser::new(Level::Auto);
        let plain = 2_000_000;
        // Data that does not compress: the quickest level is the cheapest.
        let seconds = |level: i32| f64::from(level + 5) * 0.001;
        chooser.sample(plain, |level| Ok::<_, ()>((plain, seconds(level)))).unwrap();
        assert_eq!(chooser.next().0, -4);
        // Data on which each level saves much more than it takes.
        for _ in 0..4 * ALL_EVERY {
            let stored = |level: i32| usize::try_from(8 - level).unwrap() * 200_000;
            chooser.sample(plain, |level| Ok::<_, ()>((stored(level), 0.001))).unwrap();
        }
        assert_eq!(chooser.next().0, 5);
    }

    #[test]
    fn what_cannot_win_is_seldom_tried() {
        let chooser = Chooser::new(Level::Auto);
        let mut tried = [0; 11];
        for _ in 0..2 * ALL_EVERY {
            let compress = |level: i32| {
                tried[usize::try_from(level + 4).unwrap()] += 1;
                Ok::<_, ()>((1_000_000, if level > 1 { 1.0 } else { 0.001 }))
            };
            chooser.sample(2_000_000, compress).unwrap();
        }
        assert_eq!(tried[..6], [16, 0, 0, 0, 0, 16]);
        assert_eq!(tried[6..], [2, 2, 0, 2, 0]);
    }

    #[test]
    fn levels_below_zero_still_compress_digits() {
        let mut state = 1u32;
        let digits: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'0' + u8::try_from((state >> 16) % 10).unwrap()
        })
        .take(200_000)
        .collect();
        let mut compressor = compressor().unwrap();
        compressor.set_compression_level(-4).unwrap();
        let stored = compressor.compress(&digits).unwrap().len();
        assert!(stored < digits.len() / 2, "{stored}");
    }

    #[test]
    fn a_fixed_level_stays() {
        let chooser = Chooser::new(Level::Fixed(9));
        for _ in 0..1000 {
            assert_eq!(chooser.next(), (9, false));
        }
    }
}
