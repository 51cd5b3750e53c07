//! Which version of a sealed object is the one that a signed record describes.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::StoredObject;
use crate::{
    pipeline::{
        Hasher, PipelineError, Progress, Repository,
        budget::{FETCHES, GROUP_BYTES},
    },
    store::{Store, Version, Versions},
};

/// Objects that are looked for at once.
const PARALLEL: usize = 16;

impl Repository {
    /// Finds the version of each of these objects, where the store keeps versions. An object whose
    /// version is not found is left without: reading it tells what is wrong.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn locate(
        &self,
        objects: Vec<StoredObject>,
    ) -> Result<Vec<StoredObject>, PipelineError> {
        if !self.store().keeps_versions().await? {
            return Ok(objects);
        }
        let located = objects.into_iter().map(|mut object| async move {
            let versions = self.store().versions(&object.key).await?;
            let found = choose(&**self.store(), &object, &versions).await?;
            if let Some(counts) = &found {
                self.met().note(&versions, counts);
            }
            object.version = found;
            Ok::<_, PipelineError>(object)
        });
        stream::iter(located).buffered(PARALLEL).try_collect().await
    }

    /// Compares what is stored with what a signed record says of it, without any key, with so many
    /// fetches at once.
    ///
    /// # Errors
    /// When it is not as it was written, or the store fails.
    pub async fn check_hash(
        &self,
        object: StoredObject,
        at_once: usize,
        progress: &Progress,
    ) -> Result<(), PipelineError> {
        for object in self.locate(vec![object]).await? {
            let store = &**self.store();
            let bad = |why: String| Err(PipelineError::integrity(object.key.as_str(), why));
            let size = match &object.version {
                Some(version) => version.size,
                None => store.head(&object.key).await.map_err(PipelineError::reading)?.size,
            };
            if size != object.bytes {
                return bad(format!("it has {size} bytes, and its record says {}", object.bytes));
            }
            let count = |bytes: &Bytes| progress.add_stored(bytes.len());
            if hash_of(store, &object, &object.version(), at_once, count).await? != object.sha256 {
                return bad("its SHA-256 is not the one that was signed".into());
            }
        }
        Ok(())
    }
}

/// The oldest version that has the size and the hash that were signed. The hash is computed only
/// where there is a choice: who reads the object checks it anyway.
async fn choose(
    store: &dyn Store,
    object: &StoredObject,
    versions: &Versions,
) -> Result<Option<Version>, PipelineError> {
    let mut fitting: Vec<_> =
        versions.versions.iter().filter(|version| version.size == object.bytes).collect();
    let mut seen: Vec<&Version> = Vec::new();
    fitting.retain(|version| {
        let is_new = seen.iter().all(|known| !version.repeats(known));
        seen.push(version);
        is_new
    });
    if let [only] = fitting[..] {
        return Ok(Some(only.clone()));
    }
    for version in fitting {
        match hash(store, object, version).await {
            Ok(true) => return Ok(Some(version.clone())),
            Ok(false) | Err(PipelineError::Integrity { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

async fn hash(
    store: &dyn Store,
    object: &StoredObject,
    version: &Version,
) -> Result<bool, PipelineError> {
    Ok(hash_of(store, object, version, FETCHES, |_| {}).await? == object.sha256)
}

/// The SHA-256 of all bytes of a version.
async fn hash_of(
    store: &dyn Store,
    object: &StoredObject,
    version: &Version,
    at_once: usize,
    mut count: impl FnMut(&Bytes),
) -> Result<crate::model::Sha256Digest, PipelineError> {
    let size = version.size;
    let starts = (0..size.div_ceil(GROUP_BYTES)).map(|n| n * GROUP_BYTES);
    let ranges = starts
        .map(|at| store.get_version_range(&object.key, version, at..size.min(at + GROUP_BYTES)));
    let mut ranges = stream::iter(ranges).buffered(at_once);
    let hash = Hasher::start();
    while let Some(bytes) = ranges.try_next().await.map_err(PipelineError::reading)? {
        count(&bytes);
        hash.update(bytes).await?;
    }
    hash.finish().await
}
