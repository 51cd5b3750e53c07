//! A record of the log as it is stored: its envelope, one line, and for a tail the sealed bytes
//! behind it.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{
    format::{LogEntry, LogRecord, MAX_RECORD_BYTES, Role, layout},
    model::Sha256Digest,
    pipeline::{Found, PipelineError, Repository, candidates::Candidates, repository::key},
    store::{Version, Versions},
};

/// As many bytes as almost every envelope has.
const ENVELOPE_GUESS: u64 = 8 << 10;
/// A tail and its envelope.
const MAX_TAIL_BYTES: u64 = MAX_RECORD_BYTES + (32 << 20);

const NO_ENVELOPE: &str = "it has no envelope";

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
    let candidates = Candidates::of(repository, &object).await?;
    read_among(repository, number, &object, candidates).await
}

/// The same of what a listing has told of.
pub(super) async fn read_listed(
    repository: &Repository,
    number: u64,
    listed: Versions,
) -> Result<Option<(FoundRecord, Bytes)>, PipelineError> {
    let object = layout::log(repository.cluster(), number);
    read_among(repository, number, &object, Candidates::listed(repository, listed)).await
}

/// A record as it is stored, with what follows its envelope; nothing when there is none.
pub(super) async fn read_whole(
    repository: &Repository,
    number: u64,
) -> Result<Option<(FoundRecord, Bytes)>, PipelineError> {
    let object = layout::log(repository.cluster(), number);
    let mut candidates = Candidates::of(repository, &object).await?;
    while let Some(stored) = candidates.read(MAX_TAIL_BYTES).await? {
        let judged = match envelope(&stored) {
            Some(line) => believe(repository, number, &object, line, stored.len() as u64).await,
            None => Err(PipelineError::integrity(&object, NO_ENVELOPE)),
        };
        if let Some(found) = candidates.judge(judged)? {
            return Ok(Some((found, stored)));
        }
    }
    candidates.none()
}

async fn read_among(
    repository: &Repository,
    number: u64,
    object: &str,
    mut candidates: Candidates<'_>,
) -> Result<Option<(FoundRecord, Bytes)>, PipelineError> {
    while let Some(stored) = candidates.read(MAX_TAIL_BYTES).await? {
        let judged = match envelope(&stored) {
            Some(line) => believe(repository, number, object, line, stored.len() as u64)
                .await
                .map(|found| (found, stored.slice(line.len()..))),
            None => Err(PipelineError::integrity(object, NO_ENVELOPE)),
        };
        if let Some(found) = candidates.judge(judged)? {
            return Ok(Some(found));
        }
    }
    candidates.none()
}

/// Reads the envelope of a record that a listing has told of.
pub(super) async fn read_envelope(
    repository: &Repository,
    number: u64,
    listed: Versions,
) -> Result<FoundRecord, PipelineError> {
    let object = layout::log(repository.cluster(), number);
    let mut candidates = Candidates::listed(repository, listed);
    while let Some(version) = candidates.next() {
        let judged = read_version(repository, number, &object, &version).await;
        if let Some(found) = candidates.judge(judged)? {
            return Ok(found);
        }
    }
    candidates.none()?.ok_or_else(|| PipelineError::integrity(object, "it is missing"))
}

/// The same; nothing when the name is an intruder's own.
pub(super) async fn read_own(
    repository: &Repository,
    number: u64,
    listed: Versions,
) -> Result<Option<FoundRecord>, PipelineError> {
    match read_envelope(repository, number, listed.clone()).await {
        Ok(found) => Ok(Some(found)),
        Err(error @ PipelineError::Integrity { .. }) => {
            if is_strange(repository, number, &listed).await? { Ok(None) } else { Err(error) }
        }
        Err(error) => Err(error),
    }
}

/// The envelope of one version of a record.
async fn read_version(
    repository: &Repository,
    number: u64,
    object: &str,
    version: &Version,
) -> Result<FoundRecord, PipelineError> {
    let line = read_line(repository, object, version).await?;
    believe(repository, number, object, &line, version.size).await
}

/// The envelope of one version, not believed yet.
async fn read_line(
    repository: &Repository,
    object: &str,
    version: &Version,
) -> Result<Bytes, PipelineError> {
    let place = key(object)?;
    let mut guess = ENVELOPE_GUESS;
    loop {
        let end = guess.min(version.size);
        let bytes = repository.store().get_version_range(&place, version, 0..end);
        let bytes = bytes.await.map_err(PipelineError::reading)?;
        if let Some(line) = envelope(&bytes) {
            return Ok(bytes.slice(..line.len()));
        }
        if end == version.size || guess > MAX_RECORD_BYTES {
            return Err(PipelineError::integrity(object, NO_ENVELOPE));
        }
        guess *= 16;
    }
}

/// Whether no archiver of ours has stored anything under a number. See [`Repository::is_strange`].
pub(super) async fn is_strange(
    repository: &Repository,
    number: u64,
    versions: &Versions,
) -> Result<bool, PipelineError> {
    if !repository.store().keeps_versions().await? {
        return Ok(false);
    }
    let belongs = |document: &serde_json::Value| document["number"] == number;
    for version in &versions.versions {
        match read_line(repository, versions.key.as_str(), version).await {
            Ok(line) if repository.is_ours::<LogRecord>(&line, belongs).await? => return Ok(false),
            Ok(_) | Err(PipelineError::Integrity { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    repository.met().strange(versions);
    Ok(true)
}
