//! Any backend as a [`Store`]: every call through the one retry loop, every doubt settled.

use std::{cmp::Ordering, fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::{
    BucketLock, Erased, Keep, Kept, Key, ObjectInfo, Store, StoreError, StoreErrorKind, Upload,
    Version, Versions,
    backend::{Backend, Fault},
    listing::{Listing, PAGE_BYTES},
    retry::{Call, Effect, Retry},
    transfer::Transfer,
};
use crate::model::{Access, Connection, Protection, Retention, Timestamp};

/// A backend, its URL for messages, and how patient to be with it.
pub(super) struct Repository {
    pub(super) url: String,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) retry: Arc<Retry>,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Repository {
    pub(super) fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.url.trim_end_matches('/'))
    }

    async fn run<T, F, A>(
        &self,
        operation: &'static str,
        name: &str,
        bytes: u64,
        attempt: F,
    ) -> Result<T, StoreError>
    where
        F: Fn() -> A,
        A: Future<Output = Result<T, Fault>>,
    {
        let object = self.place(name);
        let call = Call { operation, object: &object, bytes, effect: Effect::Repeatable };
        self.retry.run(&call, || self.retry.limited(bytes, attempt())).await
    }

    /// One attempt at a create. What the store says is believed when it says "done"; when it
    /// says "taken", or nothing, the object itself is asked: a lost answer to an earlier
    /// attempt of ours looks just like somebody else's object until its bytes are compared.
    async fn create_once(&self, key: &Key, body: &Bytes, keep: &Keep) -> Result<(), Fault> {
        let size = body.len() as u64;
        let put = self.backend.put_new_kept(key, body.clone(), keep);
        let Err(fault) = self.retry.limited(size, put).await else { return Ok(()) };
        let taken = fault.kind == StoreErrorKind::AlreadyExists;
        if !taken && fault.kind != StoreErrorKind::Unclear {
            return Err(fault);
        }
        let other = || Fault::new(StoreErrorKind::AlreadyExists, "another object has that key");
        match self.retry.limited(size, self.backend.get(key, size)).await {
            Ok(stored) if stored == *body => Ok(()),
            Ok(_) => Err(other()),
            // Larger than ours, so not ours.
            Err(read) if read.kind == StoreErrorKind::Corrupt && !read.again => Err(other()),
            Err(read) if read.kind == StoreErrorKind::NotFound && taken => Err(Fault::new(
                StoreErrorKind::Unavailable,
                "the store says that the key is taken, and that it is not there",
            )),
            Err(read) if read.kind == StoreErrorKind::NotFound => Err(fault),
            // Ours or another's? A writer without the right to read cannot know.
            Err(read) => Err(Fault {
                kind: StoreErrorKind::Unclear,
                cause: format!("{}; reading it back: {}", fault.cause, read.cause),
                ..read
            }),
        }
    }

    pub(super) fn prefix_fault(&self, operation: &'static str, prefix: &str) -> Option<StoreError> {
        let good = prefix.is_empty()
            || prefix.strip_suffix('/').is_some_and(|folder| Key::new(folder).is_ok());
        (!good).then(|| {
            StoreError::new(
                StoreErrorKind::Configuration,
                operation,
                self.place(prefix),
                "a prefix is a key and a `/`, or nothing",
            )
        })
    }
}

#[async_trait]
impl Store for Repository {
    fn url(&self) -> &str {
        &self.url
    }

    async fn create_kept(&self, key: &Key, body: Bytes, keep: &Keep) -> Result<(), StoreError> {
        let object = self.place(key.as_str());
        let bytes = body.len() as u64;
        let call = Call { operation: "create", object: &object, bytes, effect: Effect::Once };
        self.retry.run(&call, || self.create_once(key, &body, keep)).await
    }

    async fn upload_kept(
        &self,
        key: &Key,
        part_size: usize,
        keep: &Keep,
    ) -> Result<Box<dyn Upload>, StoreError> {
        let begin = || self.backend.begin_kept(key, part_size, keep);
        let parts = self.run("begin upload of", key.as_str(), 0, begin).await?;
        let object = self.place(key.as_str());
        Ok(Box::new(Transfer::new(self, key.clone(), object, part_size, parts, *keep)))
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, StoreError> {
        self.run("get", key.as_str(), limit.min(1 << 30), || self.backend.get(key, limit)).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        let bytes = range.end.saturating_sub(range.start);
        let get = || async {
            if range.start < range.end {
                return self.backend.get_range(key, range.clone()).await;
            }
            // No store can be asked for no bytes; whether the place exists can be.
            let size = self.backend.head(key).await?.size;
            if range.start == range.end && range.end <= size {
                Ok(Bytes::new())
            } else {
                Err(Fault::past_the_end(size, &range))
            }
        };
        self.run("get", key.as_str(), bytes, get).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        self.run("head", key.as_str(), 0, || self.backend.head(key)).await
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'_, Result<ObjectInfo, StoreError>> {
        Listing::stream(self, prefix, after)
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        if let Some(error) = self.prefix_fault("list", prefix) {
            return Err(error);
        }
        let folders = || self.backend.folders(prefix);
        let mut folders = self.run("list", prefix, 4 * PAGE_BYTES, folders).await?;
        folders.sort_unstable();
        folders.dedup();
        Ok(folders)
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.run("delete", key.as_str(), 0, || async {
            match self.backend.delete(key).await {
                Err(fault) if fault.kind == StoreErrorKind::NotFound => Ok(()),
                done => done,
            }
        })
        .await
    }

    async fn erase(&self, key: &Key) -> Result<Erased, StoreError> {
        self.run("erase", key.as_str(), 0, || async {
            match self.backend.erase(key).await {
                Err(fault) if fault.kind == StoreErrorKind::NotFound => Ok(Erased::default()),
                done => done,
            }
        })
        .await
    }

    async fn abort_uploads(&self, prefix: &str, before: Timestamp) -> Result<usize, StoreError> {
        const OPERATION: &str = "abort uploads below";
        if let Some(error) = self.prefix_fault(OPERATION, prefix) {
            return Err(error);
        }
        let find = || self.backend.stale(prefix, before);
        let stale = self.run(OPERATION, prefix, 4 * PAGE_BYTES, find).await?;
        for upload in &stale {
            self.run(OPERATION, prefix, 0, || self.backend.abort_stale(upload)).await?;
        }
        Ok(stale.len())
    }

    async fn access(&self) -> Result<Access, StoreError> {
        self.run("ask for the identity at", "", 0, || self.backend.access()).await
    }

    fn connection(&self) -> Connection {
        self.backend.connection()
    }

    async fn protection(&self, key: &Key) -> Result<Protection, StoreError> {
        let versions = self.versions(key).await?;
        match versions.versions.first() {
            Some(oldest) => Ok(self.kept(key, oldest).await?.protection),
            None => Ok(Protection::default()),
        }
    }

    async fn keeps_versions(&self) -> Result<bool, StoreError> {
        self.run("ask about versions in", "", 0, || self.backend.keeps_versions()).await
    }

    async fn versions(&self, key: &Key) -> Result<Versions, StoreError> {
        let versions = || self.backend.versions(key);
        self.run("list versions of", key.as_str(), PAGE_BYTES, versions).await
    }

    fn list_versions(
        &self,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'_, Result<Versions, StoreError>> {
        Listing::stream(self, prefix, after)
    }

    async fn get_version(
        &self,
        key: &Key,
        version: &Version,
        limit: u64,
    ) -> Result<Bytes, StoreError> {
        let Some(id) = &version.id else { return self.get(key, limit).await };
        let get = || self.backend.get_version(key, id, limit);
        self.run("get", key.as_str(), limit.min(1 << 30), get).await
    }

    async fn get_version_range(
        &self,
        key: &Key,
        version: &Version,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        let Some(id) = &version.id else { return self.get_range(key, range).await };
        let bytes = range.end.saturating_sub(range.start);
        let get = || async {
            match range.start.cmp(&range.end) {
                _ if range.end > version.size => Err(Fault::past_the_end(version.size, &range)),
                Ordering::Less => self.backend.get_version_range(key, id, range.clone()).await,
                Ordering::Equal => Ok(Bytes::new()),
                Ordering::Greater => Err(Fault::past_the_end(version.size, &range)),
            }
        };
        self.run("get", key.as_str(), bytes, get).await
    }

    async fn bucket_lock(&self) -> Result<Option<BucketLock>, StoreError> {
        self.run("ask about Object Lock in", "", 0, || self.backend.bucket_lock()).await
    }

    fn expected(&self, keep: &Keep) -> Kept {
        self.backend.expected(keep)
    }

    async fn kept(&self, key: &Key, version: &Version) -> Result<Kept, StoreError> {
        let id = version.id.as_ref();
        self.run("ask about the lock of", key.as_str(), 0, || self.backend.kept(key, id)).await
    }

    async fn retain(
        &self,
        key: &Key,
        version: &Version,
        retention: Retention,
    ) -> Result<(), StoreError> {
        let id = version.id.as_ref();
        self.run("lock", key.as_str(), 0, || self.backend.retain(key, id, retention)).await
    }
}
