//! What each kind of store has to do: one attempt of each operation, and an honest account
//! of how it failed. Retrying, time limits and settling doubts are done once, above.

use std::{fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};

use super::{BucketLock, Erased, Keep, Kept, Key, ObjectInfo, StoreErrorKind, VersionId, Versions};
use crate::model::{Access, AccessKind, Connection, Peer, Retention, Timestamp, TransportSecurity};
pub(super) use crate::transport::{causes, chain};

/// Why one attempt failed.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// `Unclear` when a write may have been done, `Unavailable` when it certainly was not.
    pub(super) kind: StoreErrorKind,
    pub(super) cause: String,
    pub(super) hint: Option<String>,
    /// Whether the same call may do better later.
    pub(super) again: bool,
    /// Whether it was our credentials that the store did not take.
    pub(super) refused: bool,
}

impl Fault {
    pub(super) fn new(kind: StoreErrorKind, cause: impl Into<String>) -> Self {
        let again = matches!(kind, StoreErrorKind::Unavailable | StoreErrorKind::Unclear);
        Self { kind, cause: cause.into(), hint: None, again, refused: false }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// For damage on the way, which another attempt may escape.
    pub(super) fn again(mut self) -> Self {
        self.again = true;
        self
    }

    pub(super) fn past_the_end(size: u64, range: &Range<u64>) -> Self {
        Self::new(
            StoreErrorKind::Corrupt,
            format!(
                "bytes {}..{} are wanted of an object that has only {size}",
                range.start, range.end
            ),
        )
    }

    pub(super) fn too_large(size: u64, limit: u64) -> Self {
        Self::new(
            StoreErrorKind::Corrupt,
            format!("the object has {size} bytes where at most {limit} are expected"),
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

/// An upload that was begun and never completed.
#[derive(Debug, Clone)]
pub(super) struct Stale {
    /// The key as the backend knows it.
    pub(super) object: String,
    /// What tells this upload from others of that key.
    pub(super) id: String,
}

/// A kind of store. Prefixes are empty or end in `/`, ranges are not empty.
#[async_trait]
pub(super) trait Backend: Send + Sync + fmt::Debug {
    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), Fault>;
    async fn begin(&self, key: &Key, part_size: usize) -> Result<Arc<dyn Parts>, Fault>;
    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Fault>;
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Fault>;
    async fn head(&self, key: &Key) -> Result<ObjectInfo, Fault>;
    fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'static, Result<ObjectInfo, Fault>>;
    async fn folders(&self, prefix: &str) -> Result<Vec<String>, Fault>;
    async fn delete(&self, key: &Key) -> Result<(), Fault>;
    async fn erase(&self, key: &Key) -> Result<Erased, Fault> {
        self.delete(key).await.map(|()| Erased::default())
    }
    async fn stale(&self, prefix: &str, before: Timestamp) -> Result<Vec<Stale>, Fault>;
    async fn abort_stale(&self, upload: &Stale) -> Result<(), Fault>;

    /// As whom the store knows us, with credentials fetched anew. Nobody asks on this machine.
    async fn access(&self) -> Result<Access, Fault> {
        Ok(Access::of(AccessKind::Local))
    }

    /// How the last connection was protected. Nothing leaves this machine, unless it says otherwise.
    fn connection(&self) -> Connection {
        Connection::new(Peer::Store, TransportSecurity::Local)
    }
    // What only some kinds of store can do.

    async fn put_new_kept(&self, key: &Key, body: Bytes, keep: &Keep) -> Result<(), Fault> {
        only_bytes(keep)?;
        self.put_new(key, body).await
    }

    async fn begin_kept(
        &self,
        key: &Key,
        part_size: usize,
        keep: &Keep,
    ) -> Result<Arc<dyn Parts>, Fault> {
        only_bytes(keep)?;
        self.begin(key, part_size).await
    }

    async fn keeps_versions(&self) -> Result<bool, Fault> {
        Ok(false)
    }

    async fn versions(&self, key: &Key) -> Result<Versions, Fault> {
        match self.head(key).await {
            Ok(info) => Ok(info.into()),
            Err(fault) if fault.kind == StoreErrorKind::NotFound => Ok(Versions::none(key.clone())),
            Err(fault) => Err(fault),
        }
    }

    fn list_versions(
        &self,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'static, Result<Versions, Fault>> {
        self.list(prefix, after).map_ok(Versions::from).boxed()
    }

    async fn get_version(&self, key: &Key, _: &VersionId, limit: u64) -> Result<Bytes, Fault> {
        self.get(key, limit).await
    }

    async fn get_version_range(
        &self,
        key: &Key,
        _: &VersionId,
        range: Range<u64>,
    ) -> Result<Bytes, Fault> {
        self.get_range(key, range).await
    }

    async fn bucket_lock(&self) -> Result<Option<BucketLock>, Fault> {
        Ok(None)
    }

    fn expected(&self, keep: &Keep) -> Kept {
        Kept { protection: keep.protection, ..Kept::default() }
    }

    async fn kept(&self, _: &Key, _: Option<&VersionId>) -> Result<Kept, Fault> {
        Ok(Kept::default())
    }

    async fn retain(&self, _: &Key, _: Option<&VersionId>, _: Retention) -> Result<(), Fault> {
        Err(no_lock())
    }
}

fn no_lock() -> Fault {
    Fault::new(StoreErrorKind::Unsupported, "this kind of store has no Object Lock")
        .hint("leave out --lock, or use a bucket of S3 with Object Lock")
}

/// Refuses what a store that keeps nothing but bytes cannot do.
fn only_bytes(keep: &Keep) -> Result<(), Fault> {
    if keep.over {
        let text = "this kind of store keeps no versions: what is written over is lost";
        return Err(Fault::new(StoreErrorKind::Unsupported, text));
    }
    if keep.protection == crate::model::Protection::default() { Ok(()) } else { Err(no_lock()) }
}

/// One upload in a backend. Every call may be made again after it failed.
#[async_trait]
pub(super) trait Parts: Send + Sync {
    async fn part(&self, number: u32, body: Bytes) -> Result<(), Fault>;
    /// Makes the object of `parts` parts and `size` bytes appear. `NotFound` means that the
    /// store does not know the upload: it was aborted, or an earlier attempt completed it.
    async fn complete(&self, parts: u32, size: u64) -> Result<(), Fault>;
    async fn abort(&self) -> Result<(), Fault>;
}
