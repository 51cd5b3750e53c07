//! Removing what was decided to be removed, and nothing that a lock still holds.

use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

use super::{PipelineError, Repository};
use crate::{
    model::{Protection, Timestamp},
    store::{Key, StoreErrorKind, Versions},
};

/// Objects that are removed at once.
const PARALLEL: usize = 16;

/// What became of objects that were to be removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Objects that are gone.
    pub objects: u64,
    /// Their bytes, as far as they were listed.
    pub bytes: u64,
    /// Objects that a lock still holds.
    pub locked: u64,
    /// The latest end of these locks, where they have one.
    pub locked_until: Option<Timestamp>,
}

impl Removed {
    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.locked += other.locked;
        self.locked_until = self.locked_until.max(other.locked_until);
    }
}

/// Something that is stored, with all its versions.
#[derive(Debug, Clone)]
pub struct StoredName {
    /// Its name.
    pub key: Key,
    /// Bytes of all its versions.
    pub size: u64,
    /// When the newest of them was written; nothing when the store does not say, or there is none.
    pub modified: Option<Timestamp>,
}

impl From<Versions> for StoredName {
    fn from(found: Versions) -> Self {
        let known = found.versions.iter().all(|version| version.modified.is_some());
        let newest = found.versions.iter().filter_map(|version| version.modified).max();
        Self {
            size: found.versions.iter().map(|version| version.size).sum(),
            modified: newest.filter(|_| known),
            key: found.key,
        }
    }
}

/// Whether a protection still holds an object at this time.
#[must_use]
pub fn is_locked(protection: &Protection, now: Timestamp) -> bool {
    protection.legal_hold || protection.retention.is_some_and(|held| held.until > now)
}

impl Repository {
    /// What protects an object; nothing does when it is not there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn protection(&self, key: &Key) -> Result<Protection, PipelineError> {
        match self.store().protection(key).await {
            Ok(protection) => Ok(protection),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(Protection::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Everything below a prefix behind a key, hidden or not, in the order of names.
    pub fn stored(
        &self,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'_, Result<StoredName, PipelineError>> {
        let listed = self.store().list_versions(prefix, after);
        listed.map_ok(StoredName::from).map_err(PipelineError::from).boxed()
    }

    /// Removes these objects for good; what a lock holds stays, and is counted.
    ///
    /// # Errors
    /// When the store fails. What was removed before stays removed.
    pub async fn remove(&self, objects: Vec<(Key, u64)>) -> Result<Removed, PipelineError> {
        let each = objects.into_iter().map(|(key, bytes)| async move {
            let left = self.store().erase(&key).await?.left;
            Ok::<_, PipelineError>(match left {
                None => Removed { objects: 1, bytes, ..Removed::default() },
                Some(protection) => Removed {
                    locked: 1,
                    locked_until: protection.retention.map(|held| held.until),
                    ..Removed::default()
                },
            })
        });
        let removed = stream::iter(each).buffer_unordered(PARALLEL);
        removed
            .try_fold(Removed::default(), |mut sum, one| async move {
                sum.add(one);
                Ok(sum)
            })
            .await
    }
}
