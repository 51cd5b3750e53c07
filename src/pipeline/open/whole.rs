//! A small object that is in memory whole.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    Accept, Objects, StoredObject,
    chunk::{Place, open_chunk},
    volume,
};
use crate::pipeline::PipelineError;

/// Opens an object that was read whole. Its hash is checked first, so nothing of it is handed on
/// unless all of it is as it was written.
///
/// # Errors
/// When it is not, or the acceptor fails.
pub fn open_whole(
    bytes: &Bytes,
    request: &Objects,
    record: &StoredObject,
    acceptor: &mut impl Accept,
) -> Result<(), PipelineError> {
    let object = record.key.as_str();
    if Sha256::digest(bytes).as_slice() != record.sha256.0 {
        return Err(PipelineError::integrity(object, "its SHA-256 is not the one that was signed"));
    }
    let volume = volume::begin_whole(bytes, request, record)?;
    let mut decompressor = zstd::bulk::Decompressor::new().map_err(|_| PipelineError::Worker)?;
    let (mut frame, mut plain) = (Vec::new(), Vec::new());
    for group in volume.groups() {
        let mut at = usize::try_from(group.range.start).unwrap_or(usize::MAX);
        let count = group.chunks.len();
        for ((counter, entry), nth) in (group.first..).zip(group.chunks).zip(1..) {
            let stored = &bytes[at..at + entry.stored as usize];
            at += entry.stored as usize;
            let place = Place { counter, last: group.ends && nth == count, entry };
            open_chunk(&volume, place, stored, &mut decompressor, &mut frame, &mut plain).map_err(
                |why| PipelineError::integrity(object, format!("chunk {counter}: {why}")),
            )?;
            acceptor.accept(&plain)?;
        }
    }
    Ok(())
}
