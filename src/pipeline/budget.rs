//! The memory formula. Every buffer that grows with a setting is counted here.
//!
//! Up: `slots × (chunk + sealed chunk) + workers × compressor + parts × part + base`.
//! Down: `groups × group + slots × chunk + workers × (sealed chunk + decompressor) + base`.
//! Across: `(fetches + 3 + uploads) × part + base`.

/// Plaintext bytes of a chunk.
pub const CHUNK_BYTES: usize = 2 << 20;
/// Bytes of every part of a volume but the last.
pub const PART_BYTES: usize = 16 << 20;
/// Chunks of a full volume: at most 62.6 GiB stored, under the 64 GiB of the format.
pub const CHUNKS_PER_VOLUME: u32 = 32_000;
/// Plaintext bytes of a chunk of a tail or segment: the archiver holds one of each.
pub const LOG_CHUNK_BYTES: usize = 1 << 20;
/// The largest event that the archiver holds until its checksum is known; a larger one streams.
pub const LOG_EVENT_BYTES: usize = 1 << 20;
/// Plaintext bytes at which a tail is cut.
pub const TAIL_BYTES: usize = 2 << 20;
/// Plaintext bytes at which a segment is cut.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Bytes of every part of a segment but the last: as little as S3 allows.
pub const LOG_PART_BYTES: usize = 5 << 20;
/// Stored bytes fetched by one request, at least one chunk.
pub const GROUP_BYTES: u64 = 8 << 20;
/// Part uploads in flight.
pub const UPLOADS: usize = 4;
/// Fetches in flight.
pub const FETCHES: usize = 6;
/// Worker threads at most; more cores than this are left to the engine and the store's TLS.
pub const MAX_WORKERS: usize = 12;
/// Bytes of what a copy reads and sends at once.
pub const COPY_PART_BYTES: usize = 16 << 20;
/// Parts of a copy that are being fetched.
pub const COPY_FETCHES: usize = 3;
/// Parts of a copy that are being sent.
pub const COPY_UPLOADS: usize = 4;
/// What the program, its libraries, TLS sessions and stacks take.
pub const BASE_BYTES: usize = 40 << 20;
/// A Zstandard context at the highest level that `auto` chooses, for 2 MiB of input (measured).
pub const COMPRESSOR_BYTES: usize = 4 << 20;
/// The most that a backup or restore may take.
pub const LIMIT_BYTES: usize = 256 << 20;

/// How many of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Threads that compress and seal, or open and decompress.
    pub workers: usize,
    /// Chunks on their way.
    pub slots: usize,
    /// Part buffers: one being filled, one waiting, the others in flight.
    pub parts: usize,
    /// Fetched groups alive: in flight, being handed out, and two being hashed.
    pub groups: usize,
}

impl Budget {
    /// For this many cores.
    #[must_use]
    pub fn for_cores(cores: usize) -> Self {
        let workers = cores.clamp(1, MAX_WORKERS);
        Self { workers, slots: workers + 3, parts: UPLOADS + 2, groups: FETCHES + 3 }
    }

    /// For the cores that this process may use.
    #[must_use]
    pub fn here() -> Self {
        Self::for_cores(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }

    /// The most that a backup takes.
    #[must_use]
    pub fn up_bytes(&self) -> usize {
        self.slots * (CHUNK_BYTES + sealed_chunk())
            + self.workers * COMPRESSOR_BYTES
            + self.parts * PART_BYTES
            + BASE_BYTES
    }

    /// The most that a copy takes: parts that are fetched, hashed (three) and sent.
    #[must_use]
    pub fn copy_bytes() -> usize {
        (COPY_FETCHES + 3 + COPY_UPLOADS) * COPY_PART_BYTES + BASE_BYTES
    }

    /// The most that a restore takes.
    #[must_use]
    pub fn down_bytes(&self) -> usize {
        let group = usize::try_from(GROUP_BYTES).unwrap_or(usize::MAX) + sealed_chunk();
        self.groups * group
            + self.slots * CHUNK_BYTES
            + self.workers * (sealed_chunk() + CHUNK_BYTES)
            + BASE_BYTES
    }
}

/// The longest sealed chunk (Zstandard's worst case, a tag).
fn sealed_chunk() -> usize {
    CHUNK_BYTES + CHUNK_BYTES / 128 + 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_keeps_the_limit_on_any_machine() {
        assert!(Budget::copy_bytes() <= LIMIT_BYTES, "{} to copy", Budget::copy_bytes());
        for cores in 1..=256 {
            let budget = Budget::for_cores(cores);
            assert!(budget.up_bytes() <= LIMIT_BYTES, "{cores} cores: {} up", budget.up_bytes());
            assert!(
                budget.down_bytes() <= LIMIT_BYTES,
                "{cores} cores: {} down",
                budget.down_bytes()
            );
        }
    }
}
