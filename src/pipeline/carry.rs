//! Copying from one repository to another, byte for byte, without a key: what arrives is what a
//! signed record says, or nothing arrives.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use super::{
    Hasher, PipelineError, Progress, Repository,
    budget::{COPY_FETCHES, COPY_PART_BYTES, COPY_UPLOADS},
};
use crate::{
    model::Sha256Digest,
    store::{Keep, Key, StoreErrorKind, Upload, Version},
};

/// A sealed object, as a signed record describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Its name, which is the same in both.
    pub key: Key,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of it.
    pub sha256: Sha256Digest,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// It was copied.
    Copied,
    /// The same bytes were there.
    Already,
}

/// Copies a sealed object, unless it is there. What is there is read, and compared with what its
/// record says.
///
/// # Errors
/// When it is not what its record says, on either side; when a store fails, or a signal comes.
pub async fn carry(
    from: &Repository,
    to: &Repository,
    object: &Sealed,
    progress: &Arc<Progress>,
) -> Result<Carried, PipelineError> {
    let there = to.store().versions(&object.key).await?;
    if let Some(version) = there.versions.first() {
        if version.size != object.bytes
            || hash(to, object, version, progress).await? != object.sha256
        {
            return Err(differs(to, &object.key));
        }
        return Ok(Carried::Already);
    }
    let found = from.store().versions(&object.key).await?;
    if found.versions.is_empty() {
        return Err(PipelineError::integrity(object.key.as_str(), "it is missing"));
    }
    // The oldest that is what was written; whatever else there is came later.
    for version in found.versions.iter().filter(|version| version.size == object.bytes) {
        let keep = to.keep_bulk();
        let whole = if object.bytes <= COPY_PART_BYTES as u64 {
            small(from, to, object, version, &keep).await?
        } else {
            large(from, to, object, version, &keep, progress).await?
        };
        if whole {
            progress.add_stored(usize::try_from(object.bytes).unwrap_or(usize::MAX));
            to.must_be_locked(object.key.as_str(), &keep).await?;
            return Ok(Carried::Copied);
        }
    }
    Err(PipelineError::integrity(
        object.key.as_str(),
        "its size or SHA-256 is not the one that was signed",
    ))
}

/// Stores a record as it is; true when it was not there yet.
///
/// # Errors
/// When something else is there, or the store fails.
pub async fn carry_record(
    to: &Repository,
    key: &Key,
    bytes: Bytes,
    keep: &Keep,
) -> Result<bool, PipelineError> {
    let there = to.store().versions(key).await?;
    let Some(version) = there.versions.first() else {
        return match to.store().create_kept(key, bytes, keep).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => Err(differs(to, key)),
            Err(error) => Err(error.into()),
        };
    };
    match to.store().get_version(key, version, bytes.len() as u64).await {
        Ok(there) if there == bytes => Ok(false),
        Ok(_) => Err(differs(to, key)),
        Err(error) if error.kind == StoreErrorKind::Corrupt => Err(differs(to, key)),
        Err(error) => Err(error.into()),
    }
}

fn differs(to: &Repository, key: &Key) -> PipelineError {
    PipelineError::Taken {
        id: key.to_string(),
        why: format!("{} has another object there", to.url()),
    }
}

/// Ranges of an object, as many as fit into a part each.
fn parts(bytes: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    let size = COPY_PART_BYTES as u64;
    (0..bytes.div_ceil(size)).map(move |n| n * size..bytes.min((n + 1) * size))
}

async fn hash(
    repository: &Repository,
    object: &Sealed,
    version: &Version,
    progress: &Progress,
) -> Result<Sha256Digest, PipelineError> {
    let store = repository.store();
    let read =
        parts(object.bytes).map(|range| store.get_version_range(&object.key, version, range));
    let mut read = stream::iter(read).buffered(COPY_FETCHES);
    let hash = Hasher::start();
    while let Some(bytes) = read.try_next().await? {
        if progress.is_stopped() {
            return Err(PipelineError::Stopped);
        }
        hash.update(bytes).await?;
    }
    hash.finish().await
}

/// In one request. False when the bytes are not what was signed.
async fn small(
    from: &Repository,
    to: &Repository,
    object: &Sealed,
    version: &Version,
    keep: &Keep,
) -> Result<bool, PipelineError> {
    let bytes = from.store().get_version(&object.key, version, object.bytes).await;
    let bytes = bytes.map_err(PipelineError::reading)?;
    if Sha256Digest(Sha256::digest(&bytes).into()) != object.sha256 {
        return Ok(false);
    }
    match to.store().create_kept(&object.key, bytes, keep).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => Err(differs(to, &object.key)),
        Err(error) => Err(error.into()),
    }
}

/// In parts. It is completed only when its hash is the one that was signed.
async fn large(
    from: &Repository,
    to: &Repository,
    object: &Sealed,
    version: &Version,
    keep: &Keep,
    progress: &Progress,
) -> Result<bool, PipelineError> {
    let upload = to.store().upload_kept(&object.key, COPY_PART_BYTES, keep).await?;
    match send(from, object, version, &*upload, progress).await {
        Ok(sha256) if sha256 == object.sha256 => {
            upload.complete().await?;
            Ok(true)
        }
        Ok(_) => {
            upload.abort().await?;
            Ok(false)
        }
        Err(error) => {
            if let Err(left) = upload.abort().await {
                tracing::debug!(error = %left, "could not abort an upload; `prune` will");
            }
            Err(error)
        }
    }
}

async fn send(
    from: &Repository,
    object: &Sealed,
    version: &Version,
    upload: &dyn Upload,
    progress: &Progress,
) -> Result<Sha256Digest, PipelineError> {
    let store = from.store();
    let read =
        parts(object.bytes).map(|range| store.get_version_range(&object.key, version, range));
    let read = stream::iter(read).buffered(COPY_FETCHES).map_err(PipelineError::reading);
    let hash = Hasher::start();
    let numbered = read.zip(stream::iter(0u32..)).map(|(bytes, number)| Ok((bytes?, number)));
    let hashed = numbered.and_then(|(bytes, number): (Bytes, u32)| {
        let hash = &hash;
        async move {
            if progress.is_stopped() {
                return Err(PipelineError::Stopped);
            }
            hash.update(bytes.clone()).await?;
            Ok((bytes, number))
        }
    });
    let sent = hashed.map_ok(|(bytes, number)| async move {
        upload.part(number, bytes).await.map_err(PipelineError::from)
    });
    sent.try_buffer_unordered(COPY_UPLOADS).try_for_each(|()| async { Ok(()) }).await?;
    hash.finish().await
}
