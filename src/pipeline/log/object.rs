//! A sealed object that grows as bytes come in: a tail, or a segment.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{
    crypto::{self, ChunkSealer, IndexCipher, ObjectKeys},
    format::{ChunkEntry, Compression, Index, ObjectHeader, ObjectKind, SealedRange, Trailer},
    model::Sha256Digest,
    pipeline::{PipelineError, Run, budget::LOG_CHUNK_BYTES},
};

/// How hard to compress: the archiver shares the machine with a database.
const LEVEL: i32 = 1;
/// Bytes of the head of a skippable frame (RFC 8878, section 3.1.2).
const SKIPPABLE_HEAD: usize = 8;
const SKIPPABLE_MAGIC: [u8; 4] = 0x184D_2A50u32.to_le_bytes();

/// Compresses, seals and hashes; the stored bytes are taken out of [`ObjectBuilder::stored`].
pub(super) struct ObjectBuilder {
    /// Stored bytes that nobody has taken yet.
    pub(super) stored: Vec<u8>,
    sequence: u64,
    padded: bool,
    keys: ObjectKeys,
    sealer: ChunkSealer,
    compressor: zstd::bulk::Compressor<'static>,
    /// The chunk being filled. It is sealed when more bytes come, since the last is sealed as such.
    chunk: Vec<u8>,
    index: Index,
    body_bytes: u64,
    plain_bytes: u64,
    hash: Sha256,
    hashed: u64,
    /// How much of `stored` has been hashed.
    fresh: usize,
}

impl ObjectBuilder {
    pub(super) fn new(
        run: &Run,
        kind: ObjectKind,
        sequence: u64,
        padded: bool,
    ) -> Result<Self, PipelineError> {
        let header = ObjectHeader {
            compression: if padded { Compression::ZstdPadded } else { Compression::Zstd },
            chunk_size: u32::try_from(LOG_CHUNK_BYTES).unwrap_or(u32::MAX),
            cluster: run.cluster,
            run: run.id,
            kind,
            sequence,
            dek: run.dek_id,
            salt: crypto::random()?,
        };
        let mut stored = header.encode().to_vec();
        let keys = ObjectKeys::derive(&run.dek, &header.salt, &stored);
        stored.extend_from_slice(keys.commitment());
        let compressor = zstd::bulk::Compressor::new(LEVEL).map_err(|_| PipelineError::Worker)?;
        Ok(Self {
            stored,
            sequence,
            padded,
            sealer: ChunkSealer::new(&keys),
            keys,
            compressor,
            chunk: Vec::new(),
            index: Index(Vec::new()),
            body_bytes: 0,
            plain_bytes: 0,
            hash: Sha256::new(),
            hashed: 0,
            fresh: 0,
        })
    }

    /// Plaintext bytes so far.
    pub(super) fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Takes more plaintext.
    pub(super) fn write(&mut self, mut plain: &[u8]) -> Result<(), PipelineError> {
        self.plain_bytes += plain.len() as u64;
        while !plain.is_empty() {
            if self.chunk.len() == LOG_CHUNK_BYTES {
                self.seal_chunk(false)?;
            }
            let (now, later) = plain.split_at(plain.len().min(LOG_CHUNK_BYTES - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            plain = later;
        }
        Ok(())
    }

    /// Takes what is stored so far, when it is at least `bytes` long: exactly that many.
    pub(super) fn take(&mut self, bytes: usize) -> Option<Bytes> {
        if self.stored.len() < bytes {
            return None;
        }
        self.hash_fresh();
        let rest = self.stored.split_off(bytes);
        self.fresh = rest.len();
        Some(std::mem::replace(&mut self.stored, rest).into())
    }

    /// Seals what is left. What is stored and not yet taken comes with the record.
    pub(super) fn finish(mut self) -> Result<(Bytes, SealedRange), PipelineError> {
        self.seal_chunk(true)?;
        let chunks = u32::try_from(self.index.0.len()).map_err(|_| PipelineError::Worker)?;
        let trailer = Trailer { body_bytes: self.body_bytes, chunks };
        let mut index = self.index.encode();
        IndexCipher::new(&self.keys).seal(&trailer.index_aad(), &mut index)?;
        self.stored.extend_from_slice(&index);
        self.stored.extend_from_slice(&trailer.encode());
        self.hash_fresh();
        let sealed = SealedRange {
            sequence: self.sequence,
            bytes: self.hashed,
            sha256: Sha256Digest(self.hash.finalize().into()),
            chunks,
        };
        Ok((self.stored.into(), sealed))
    }

    fn seal_chunk(&mut self, last: bool) -> Result<(), PipelineError> {
        let counter = u32::try_from(self.index.0.len()).map_err(|_| PipelineError::Worker)?;
        let mut frame = self.compressor.compress(&self.chunk).map_err(|_| PipelineError::Worker)?;
        if last && self.padded {
            self.pad(&mut frame);
        }
        self.sealer.seal(counter, last, &mut frame)?;
        let stored = u32::try_from(frame.len()).map_err(|_| PipelineError::Worker)?;
        let plain = u32::try_from(self.chunk.len()).map_err(|_| PipelineError::Worker)?;
        self.index.0.push(ChunkEntry { stored, plain });
        self.body_bytes += u64::from(stored);
        self.chunk.clear();
        self.stored.extend_from_slice(&frame);
        Ok(())
    }

    /// Appends a skippable frame, such that the whole object gets a Padmé length.
    fn pad(&self, frame: &mut Vec<u8>) {
        let chunks = u32::try_from(self.index.0.len() + 1).unwrap_or(u32::MAX);
        let sealed =
            self.body_bytes + (frame.len() + SKIPPABLE_HEAD + crate::format::TAG_BYTES) as u64;
        let bare = Trailer { body_bytes: sealed, chunks }.object_bytes();
        let padding = padme(bare) - bare;
        frame.extend_from_slice(&SKIPPABLE_MAGIC);
        frame.extend_from_slice(&u32::try_from(padding).unwrap_or_default().to_le_bytes());
        frame.resize(frame.len() + usize::try_from(padding).unwrap_or_default(), 0);
    }

    fn hash_fresh(&mut self) {
        // Everything taken before was hashed when it was taken; what was left over then was, too.
        self.hash.update(&self.stored[self.fresh..]);
        self.hashed += (self.stored.len() - self.fresh) as u64;
        self.fresh = self.stored.len();
    }
}

/// The least Padmé number that is not below `length`: it tells no more than about
/// log log `length` bits, and is at most 12 % longer (Nikitin and others, "Reducing Metadata
/// Leakage from Encrypted Files and Communication with PURBs", PETS 2019, section 4).
fn padme(length: u64) -> u64 {
    if length < 2 {
        return length;
    }
    let exponent = length.ilog2();
    let low = exponent - (exponent.max(1).ilog2() + 1).min(exponent);
    let mask = (1u64 << low) - 1;
    (length + mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padme_is_the_published_function() {
        // Values computed by hand from the paper's definition.
        for (length, padded) in [
            (1, 1),
            (8, 8),
            (9, 10),
            (100, 104),
            (1000, 1024),
            (1024, 1024),
            (1025, 1088),
            (1 << 20, 1 << 20),
        ] {
            assert_eq!(padme(length), padded, "{length}");
        }
        for length in 1..100_000u64 {
            let padded = padme(length);
            assert!(padded >= length && padded * 100 <= length * 112 + 100, "{length}: {padded}");
            assert_eq!(padme(padded), padded);
        }
    }
}
