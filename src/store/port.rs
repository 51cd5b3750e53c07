//! The port: what Backstay needs of an object store, and no more.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream::BoxStream};

use super::{BucketLock, Erased, Keep, Kept, Key, StoreError, StoreErrorKind, Version, Versions};
use crate::model::{
    Access, AccessKind, Connection, Peer, Protection, Retention, Timestamp, TransportSecurity,
};

/// What a listing tells of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key below the repository.
    pub key: Key,
    /// Its size in bytes.
    pub size: u64,
    /// When the store says that it was written.
    pub modified: Option<Timestamp>,
}

/// An object store, seen from the root of one repository.
///
/// `tests/contract` holds the promises that every implementation keeps. All calls may be
/// made from many tasks at once; retries happen inside.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// The repository's URL, for messages; it holds no credential.
    fn url(&self) -> &str;

    /// Writes a whole object, unless one is there: exactly one of many writers wins.
    ///
    /// # Errors
    /// `AlreadyExists` when the key is taken; `Unclear` when it may have been written.
    async fn create(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        self.create_kept(key, body, &Keep::default()).await
    }

    /// The same, kept in a certain way. In a store that keeps versions a name that was deleted
    /// can be created again: whoever must be the only one looks at [`Store::versions`] afterwards.
    ///
    /// # Errors
    /// As [`Store::create`]; `Unsupported` when the store has no such way.
    async fn create_kept(&self, key: &Key, body: Bytes, keep: &Keep) -> Result<(), StoreError>;

    /// Begins a large object in parts of `part_size` bytes, the last one smaller. The
    /// object appears when it is completed and not before. The key must be unique.
    async fn upload(&self, key: &Key, part_size: usize) -> Result<Box<dyn Upload>, StoreError> {
        self.upload_kept(key, part_size, &Keep::default()).await
    }

    /// The same, kept in a certain way.
    async fn upload_kept(
        &self,
        key: &Key,
        part_size: usize,
        keep: &Keep,
    ) -> Result<Box<dyn Upload>, StoreError>;

    /// Reads a whole object that is expected to be small; more than `limit` bytes are an error.
    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, StoreError>;

    /// Reads a range of bytes. A range that is not wholly inside the object is `Corrupt`.
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// What a listing would tell of this object.
    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError>;

    /// All objects whose key begins with `prefix` (a key and a `/`, or nothing for all), in
    /// ascending order of their keys, over as many pages as it takes. `after` skips all keys
    /// up to and including it. An object written meanwhile may or may not be among them.
    fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'_, Result<ObjectInfo, StoreError>>;

    /// The names directly below `prefix` that are themselves prefixes: `a` for `prefix/a/…`.
    /// Some stores (MinIO in versioned buckets) go on naming those whose objects were deleted.
    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Removes an object; one that is not there is no error. In a store that keeps versions it is
    /// hidden by that, and nothing more.
    async fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// Removes an object for good: all its versions, and what hides them. What a lock holds stays,
    /// and is no error.
    async fn erase(&self, key: &Key) -> Result<Erased, StoreError> {
        self.delete(key).await.map(|()| Erased::default())
    }

    /// Aborts uploads below `prefix` that were begun before `before` and never completed.
    /// Returns how many.
    async fn abort_uploads(&self, prefix: &str, before: Timestamp) -> Result<usize, StoreError>;

    /// As whom the store knows us, with credentials fetched anew where they come from somewhere.
    async fn access(&self) -> Result<Access, StoreError> {
        Ok(Access::of(AccessKind::Unknown))
    }

    /// How the last connection was protected; `Unknown` before there was one.
    fn connection(&self) -> Connection {
        Connection::new(Peer::Store, TransportSecurity::Unknown)
    }

    /// What keeps an object from being removed, as the store says; of the oldest version, where
    /// there are several.
    async fn protection(&self, key: &Key) -> Result<Protection, StoreError> {
        let _ = key;
        Ok(Protection::default())
    }

    /// Whether the store keeps what was written over or deleted, as a bucket with versions does.
    /// Such a store is asked for versions: what a plain read gives may be an intruder's.
    async fn keeps_versions(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Everything that is there under this name, hidden by a deletion or not. In a store that
    /// keeps no versions that is one at most.
    async fn versions(&self, key: &Key) -> Result<Versions, StoreError> {
        match self.head(key).await {
            Ok(info) => Ok(info.into()),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(Versions::none(key.clone())),
            Err(error) => Err(error),
        }
    }

    /// As [`Store::list`], with every name that has versions or was deleted.
    fn list_versions(
        &self,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'_, Result<Versions, StoreError>> {
        self.list(prefix, after).map_ok(Versions::from).boxed()
    }

    /// As [`Store::get`], of this version.
    async fn get_version(
        &self,
        key: &Key,
        version: &Version,
        limit: u64,
    ) -> Result<Bytes, StoreError> {
        let _ = version;
        self.get(key, limit).await
    }

    /// As [`Store::get_range`], of this version.
    async fn get_version_range(
        &self,
        key: &Key,
        version: &Version,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        let _ = version;
        self.get_range(key, range).await
    }

    /// Object Lock, as the bucket has it; nothing where there is none.
    async fn bucket_lock(&self) -> Result<Option<BucketLock>, StoreError> {
        Ok(None)
    }

    /// What the store has to say later of an object that is kept in this way.
    fn expected(&self, keep: &Keep) -> Kept {
        Kept { protection: keep.protection, ..Kept::default() }
    }

    /// How this version is kept, as the store says.
    async fn kept(&self, key: &Key, version: &Version) -> Result<Kept, StoreError> {
        let _ = (key, version);
        Ok(Kept::default())
    }

    /// Locks this version for longer. No lock is ever shortened by this.
    async fn retain(
        &self,
        key: &Key,
        version: &Version,
        retention: Retention,
    ) -> Result<(), StoreError> {
        let _ = (version, retention);
        let cause = "this kind of store has no Object Lock";
        Err(StoreError::new(StoreErrorKind::Unsupported, "lock", key.as_str(), cause))
    }
}

/// A large object on its way.
///
/// Dropping an upload without `complete` leaves parts behind; call `abort`.
#[async_trait]
pub trait Upload: Send + Sync {
    /// Sends part `number` (from 0, each once). The futures of several parts may run at once.
    fn part(&self, number: u32, body: Bytes) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Makes the object appear. Every part must have been sent.
    async fn complete(self: Box<Self>) -> Result<(), StoreError>;

    /// Gives back what was sent.
    async fn abort(self: Box<Self>) -> Result<(), StoreError>;
}
