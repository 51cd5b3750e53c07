//! A record of the log as it is stored: its envelope, one line, and for a tail the sealed bytes
//! behind it.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{
    format::{LogEntry, LogRecord, MAX_RECORD_BYTES, Role, layout},
    model::Sha256Digest,
    pipeline::{Found, PipelineError, Repository, repository::key},
    store::StoreErrorKind,
};

/// As many bytes as almost every envelope has.
const ENVELOPE_GUESS: u64 = 8 << 10;
/// A tail and its envelope.
const MAX_TAIL_BYTES: u64 = MAX_RECORD_BYTES + (32 << 20);

/// A record, believed, and the hash of its envelope.
pub type FoundRecord = Found<LogRecord>;

/// Where the envelope ends: behind its line feed.
fn envelope(stored: &[u8]) -> Option<&[u8]> {
    let end = stored.iter().position(|byte| *byte == b'\n')?;
    stored.get(..=end)
}

/// The SHA-256 of an envelope.
pub(super) fn digest(envelope: &[u8]) -> Sha256Digest {
    Sha256Digest(Sha256::digest(envelope).into())
}

/// Believes a record that was found under this number, in an object of `size` bytes.
async fn believe(
    repository: &Repository,
    number: u64,
    object: &str,
    line: &[u8],
    size: u64,
) -> Result<FoundRecord, PipelineError> {
    if line.len() as u64 > MAX_RECORD_BYTES {
        return Err(PipelineError::integrity(object, "its envelope is longer than any may be"));
    }
    let found = repository.believe::<LogRecord>(object, line).await?;
    if found.record.number != number {
        let why = format!("it is record {}", found.record.number);
        return Err(PipelineError::integrity(object, why));
    }
    if repository.run(found.record.run_id).await?.role != Role::Archive {
        return Err(PipelineError::integrity(object, "its run may not write the log"));
    }
    let body = match &found.record.entry {
        LogEntry::Tail(tail) => tail.sealed.bytes,
        _ => 0,
    };
    // A tail counts as durable by its envelope alone: its bytes have to be there, too.
    if (line.len() as u64).checked_add(body) != Some(size) {
        let follows = size - line.len() as u64;
        let why = format!("{follows} bytes follow its envelope, which tells of {body}");
        return Err(PipelineError::integrity(object, why));
    }
    Ok(found)
}

/// Reads a record and what follows its envelope; nothing when there is none.
pub(super) async fn read(
    repository: &Repository,
    number: u64,
) -> Result<Option<(FoundRecord, Bytes)>, PipelineError> {
    let object = layout::log(repository.cluster(), number);
    let stored = match repository.store().get(&key(&object)?, MAX_TAIL_BYTES).await {
        Ok(stored) => stored,
        Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(PipelineError::reading(error)),
    };
    let line =
        envelope(&stored).ok_or_else(|| PipelineError::integrity(&object, "it has no envelope"))?;
    let found = believe(repository, number, &object, line, stored.len() as u64).await?;
    let body = stored.slice(line.len()..);
    Ok(Some((found, body)))
}

/// Reads the envelope of a record whose object has `size` bytes.
pub(super) async fn read_envelope(
    repository: &Repository,
    number: u64,
    size: u64,
) -> Result<FoundRecord, PipelineError> {
    let object = layout::log(repository.cluster(), number);
    let place = key(&object)?;
    let mut guess = ENVELOPE_GUESS;
    loop {
        let end = guess.min(size);
        let bytes = repository.store().get_range(&place, 0..end);
        let bytes = bytes.await.map_err(PipelineError::reading)?;
        if let Some(line) = envelope(&bytes) {
            return believe(repository, number, &object, line, size).await;
        }
        if end == size || guess > MAX_RECORD_BYTES {
            return Err(PipelineError::integrity(object, "it has no envelope"));
        }
        guess *= 16;
    }
}
