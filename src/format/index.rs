//! The index (sealed) and the trailer (untrusted) of a sealed object.

use super::{COMMITMENT_BYTES, Compression, FormatError, HEADER_BYTES};

const WHAT: &str = "sealed object";
const TRAILER_MAGIC: &[u8; 8] = b"YATSKCAB";
/// Length of the trailer, the last bytes of the object.
pub const TRAILER_BYTES: usize = 24;
/// Length of an AES-GCM tag.
pub const TAG_BYTES: usize = 16;
/// No object has more chunks.
pub const MAX_CHUNKS: u32 = 65_536;
const ENTRY_BYTES: usize = 8;

/// One chunk, as the index describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Bytes in the body: a compressed frame and its tag.
    pub stored: u32,
    /// Bytes of plaintext.
    pub plain: u32,
}

/// Where the chunks of the body lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index(pub Vec<ChunkEntry>);

impl Index {
    /// The index before it is sealed: stored and plain length of each chunk, big-endian.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|c| c.stored.to_be_bytes().into_iter().chain(c.plain.to_be_bytes()))
            .collect()
    }

    /// Reads an opened index and holds it against the trailer and the header's chunk size.
    ///
    /// # Errors
    /// When lengths do not add up: an index that lies about one chunk lies about the object.
    pub fn decode(
        bytes: &[u8],
        trailer: &Trailer,
        chunk_size: u32,
        compression: Compression,
    ) -> Result<Self, FormatError> {
        let wrong = |why: &str| Err(FormatError::damaged(WHAT, format!("its index {why}")));
        let (entries, rest) = bytes.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() || entries.len() != trailer.chunks as usize {
            return wrong("has another length than the trailer says");
        }
        let chunks: Vec<_> = entries
            .iter()
            .map(|&[a, b, c, d, e, f, g, h]| ChunkEntry {
                stored: u32::from_be_bytes([a, b, c, d]),
                plain: u32::from_be_bytes([e, f, g, h]),
            })
            .collect();
        let Some((last, others)) = chunks.split_last() else { return wrong("is empty") };
        if others.iter().any(|c| c.plain != chunk_size) || last.plain > chunk_size {
            return wrong("has a chunk of another size than the header says");
        }
        if last.plain == 0 && !others.is_empty() {
            return wrong("ends with an empty chunk");
        }
        let bound = max_stored(chunk_size);
        let last_bound = match compression {
            Compression::Zstd => bound,
            Compression::ZstdPadded => bound.saturating_add(chunk_size),
        };
        let tag = u32::try_from(TAG_BYTES).unwrap_or(u32::MAX);
        let within = |c: &ChunkEntry, bound| c.stored > tag && c.stored <= bound;
        if !others.iter().all(|c| within(c, bound)) || !within(last, last_bound) {
            return wrong("has a chunk whose stored length is out of bounds");
        }
        if chunks.iter().map(|c| u64::from(c.stored)).sum::<u64>() != trailer.body_bytes {
            return wrong("does not add up to the length of the body");
        }
        Ok(Self(chunks))
    }
}

/// The longest stored chunk: Zstandard grows incompressible data by 1/256 at most, and little more.
fn max_stored(chunk_size: u32) -> u32 {
    chunk_size.saturating_add(chunk_size / 128 + 1024)
}

/// The end of a sealed object, which says where the index begins. It is not authenticated:
/// it must fit the object's length exactly, and the sealed index confirms it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Bytes of the body.
    pub body_bytes: u64,
    /// Number of chunks.
    pub chunks: u32,
}

impl Trailer {
    /// Bytes of the sealed index.
    #[must_use]
    pub fn index_bytes(&self) -> u32 {
        self.chunks.saturating_mul(8).saturating_add(16)
    }

    /// The length of the whole object.
    #[must_use]
    pub fn object_bytes(&self) -> u64 {
        // Saturating: before it is checked, the length of the body is whatever the last bytes say.
        ((HEADER_BYTES + COMMITMENT_BYTES + TRAILER_BYTES) as u64 + u64::from(self.index_bytes()))
            .saturating_add(self.body_bytes)
    }

    /// Where the body begins.
    #[must_use]
    pub const fn body_start() -> u64 {
        (HEADER_BYTES + COMMITMENT_BYTES) as u64
    }

    /// Associated data of the sealed index: body length, then chunk count.
    #[must_use]
    pub fn index_aad(&self) -> [u8; 12] {
        let mut aad = [0; 12];
        aad[..8].copy_from_slice(&self.body_bytes.to_be_bytes());
        aad[8..].copy_from_slice(&self.chunks.to_be_bytes());
        aad
    }

    /// The trailer as it is stored.
    #[must_use]
    pub fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut out = [0; TRAILER_BYTES];
        out[..8].copy_from_slice(&self.body_bytes.to_be_bytes());
        out[8..12].copy_from_slice(&self.index_bytes().to_be_bytes());
        out[12..16].copy_from_slice(&self.chunks.to_be_bytes());
        out[16..].copy_from_slice(TRAILER_MAGIC);
        out
    }

    /// Reads the last bytes of an object of `object_bytes` bytes.
    ///
    /// # Errors
    /// When any field does not fit the object's length: there is one way to write a trailer.
    pub fn decode(bytes: &[u8; TRAILER_BYTES], object_bytes: u64) -> Result<Self, FormatError> {
        let number = |range: std::ops::Range<usize>| {
            bytes[range].iter().fold(0u64, |n, b| n << 8 | u64::from(*b))
        };
        let wrong = |why: &str| {
            Err(FormatError::damaged(WHAT, format!("its trailer {why}; it may have been cut")))
        };
        if &bytes[16..] != TRAILER_MAGIC {
            return wrong("is missing");
        }
        let (body_bytes, index_bytes, chunks) = (number(0..8), number(8..12), number(12..16));
        let Ok(chunks) = u32::try_from(chunks) else { return wrong("is out of bounds") };
        if chunks == 0 || chunks > MAX_CHUNKS || body_bytes > object_bytes {
            return wrong("is out of bounds");
        }
        let trailer = Self { body_bytes, chunks };
        if u64::from(trailer.index_bytes()) != index_bytes || trailer.object_bytes() != object_bytes
        {
            return wrong("does not fit the object's length");
        }
        Ok(trailer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Index, Trailer) {
        let chunk = |stored, plain| ChunkEntry { stored, plain };
        let index = Index(vec![chunk(100, 1024), chunk(90, 1024), chunk(30, 7)]);
        (index, Trailer { body_bytes: 220, chunks: 3 })
    }

    #[test]
    fn index_and_trailer_read_what_they_write() {
        let (index, trailer) = sample();
        assert_eq!(Index::decode(&index.encode(), &trailer, 1024, Compression::Zstd), Ok(index));
        assert_eq!(Trailer::decode(&trailer.encode(), trailer.object_bytes()), Ok(trailer));
    }

    #[test]
    fn every_flipped_bit_of_a_trailer_is_refused() {
        let (_, trailer) = sample();
        let good = trailer.encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Trailer::decode(&bad, trailer.object_bytes()).is_err(), "bit {bit}");
        }
        assert!(Trailer::decode(&good, trailer.object_bytes() + 1).is_err());
    }

    #[test]
    fn lengths_at_the_end_of_the_number_line_are_refused() {
        let trailer = Trailer { body_bytes: u64::MAX - 3, chunks: 1 };
        assert!(Trailer::decode(&trailer.encode(), u64::MAX - 1).is_err());
        let entry = Index(vec![ChunkEntry { stored: 4, plain: 7 }]).encode();
        let trailer = Trailer { body_bytes: 4, chunks: 1 };
        assert!(Index::decode(&entry, &trailer, u32::MAX, Compression::Zstd).is_err());
    }

    #[test]
    fn an_index_that_does_not_add_up_is_refused() {
        let (index, trailer) = sample();
        let good = index.encode();
        let mut longer = trailer;
        longer.body_bytes += 1;
        assert!(Index::decode(&good, &longer, 1024, Compression::Zstd).is_err());
        assert!(Index::decode(&good, &trailer, 2048, Compression::Zstd).is_err());
        assert!(Index::decode(&good[..16], &trailer, 1024, Compression::Zstd).is_err());
        let swollen = Index(vec![ChunkEntry { stored: 220, plain: 1025 }]).encode();
        assert!(
            Index::decode(
                &swollen,
                &Trailer { body_bytes: 220, chunks: 1 },
                1024,
                Compression::Zstd
            )
            .is_err()
        );
    }
}
