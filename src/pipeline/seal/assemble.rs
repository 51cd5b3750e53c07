//! Builds the bytes of each volume in order, cuts them into parts and hashes them once.

use std::sync::mpsc as std_mpsc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::stages::SealedChunk;
use crate::{
    crypto::IndexCipher,
    format::{ChunkEntry, Index, Trailer, VolumeRecord},
    model::Sha256Digest,
    pipeline::{PipelineError, Progress, budget::PART_BYTES},
};

/// What the uploader is told.
pub(super) enum Piece {
    /// A part of the current volume.
    Part {
        /// The volume.
        volume: u32,
        /// Counts from 0 in each volume.
        number: u32,
        /// Its bytes.
        bytes: Bytes,
    },
    /// The current volume has no more parts.
    End(VolumeRecord),
}

/// A part's buffer; goes back to its pool when the upload lets go of it.
struct PartBuffer {
    bytes: Vec<u8>,
    home: std_mpsc::Sender<Vec<u8>>,
}

impl AsRef<[u8]> for PartBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PartBuffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        // Nobody is home once the stages have ended.
        let _ = self.home.send(bytes);
    }
}

/// The volume being built.
struct Open {
    sequence: u32,
    parts: u32,
    bytes: u64,
    plain_bytes: u64,
    hash: Sha256,
    index: Index,
    body_bytes: u64,
}

pub(super) struct Assembler<'a> {
    pieces: &'a mpsc::Sender<Piece>,
    progress: &'a Progress,
    free: std_mpsc::Receiver<Vec<u8>>,
    home: std_mpsc::Sender<Vec<u8>>,
    buffer: Vec<u8>,
    open: Option<Open>,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(
        pieces: &'a mpsc::Sender<Piece>,
        parts: usize,
        progress: &'a Progress,
    ) -> Self {
        let (home, free) = std_mpsc::channel();
        for _ in 1..parts {
            let _ = home.send(Vec::new());
        }
        Self { pieces, progress, free, home, buffer: Vec::new(), open: None }
    }

    /// Takes the next chunk in order.
    pub(super) fn chunk(
        &mut self,
        chunk: &SealedChunk,
        sealed: &[u8],
    ) -> Result<(), PipelineError> {
        let volume = &chunk.volume;
        let mut open = if let Some(open) = self.open.take() {
            open
        } else {
            let mut open = Open {
                sequence: volume.sequence,
                parts: 0,
                bytes: 0,
                plain_bytes: 0,
                hash: Sha256::new(),
                index: Index(Vec::new()),
                body_bytes: 0,
            };
            self.write(&mut open, &volume.header)?;
            self.write(&mut open, volume.keys.commitment())?;
            open
        };
        debug_assert_eq!(open.index.0.len(), chunk.counter as usize);
        let stored = u32::try_from(sealed.len()).map_err(|_| PipelineError::Worker)?;
        open.index.0.push(ChunkEntry { stored, plain: chunk.plain_bytes });
        open.body_bytes += u64::from(stored);
        open.plain_bytes += u64::from(chunk.plain_bytes);
        self.write(&mut open, sealed)?;
        if chunk.last {
            self.finish(open, chunk)
        } else {
            self.open = Some(open);
            Ok(())
        }
    }

    fn finish(&mut self, mut open: Open, chunk: &SealedChunk) -> Result<(), PipelineError> {
        let chunks = u32::try_from(open.index.0.len()).map_err(|_| PipelineError::Worker)?;
        let trailer = Trailer { body_bytes: open.body_bytes, chunks };
        let mut index = open.index.encode();
        IndexCipher::new(&chunk.volume.keys).seal(&trailer.index_aad(), &mut index)?;
        self.write(&mut open, &index)?;
        self.write(&mut open, &trailer.encode())?;
        self.send_part(&mut open)?;
        let record = VolumeRecord {
            sequence: open.sequence,
            bytes: open.bytes,
            sha256: Sha256Digest(open.hash.finalize().into()),
            chunks,
            plain_bytes: open.plain_bytes,
        };
        self.send(Piece::End(record))
    }

    fn write(&mut self, open: &mut Open, mut bytes: &[u8]) -> Result<(), PipelineError> {
        while !bytes.is_empty() {
            if self.buffer.capacity() == 0 {
                self.buffer.reserve_exact(PART_BYTES);
            }
            let (now, later) = bytes.split_at(bytes.len().min(PART_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == PART_BYTES {
                self.send_part(open)?;
            }
        }
        Ok(())
    }

    fn send_part(&mut self, open: &mut Open) -> Result<(), PipelineError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        open.hash.update(&self.buffer);
        open.bytes += self.buffer.len() as u64;
        let number = open.parts;
        open.parts += 1;
        let full = std::mem::take(&mut self.buffer);
        self.progress.add_stored(full.len());
        let bytes = Bytes::from_owner(PartBuffer { bytes: full, home: self.home.clone() });
        self.send(Piece::Part { volume: open.sequence, number, bytes })?;
        // Waits here when every part is on its way: the store sets the pace.
        self.buffer = self.free.recv().map_err(|_| PipelineError::Worker)?;
        Ok(())
    }

    fn send(&self, piece: Piece) -> Result<(), PipelineError> {
        // The uploader has failed, and its error is the one that counts.
        self.pieces.blocking_send(piece).map_err(|_| PipelineError::Worker)
    }
}
