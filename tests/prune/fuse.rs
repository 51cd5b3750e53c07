//! A store that dies after so many changes: from then on whoever uses it gets no answer, as if he
//! had been killed there.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use async_trait::async_trait;
use backstay::{
    model::Timestamp,
    store::{Keep, Key, ObjectInfo, Store, StoreError, StoreErrorKind, Upload},
};
use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};

#[derive(Debug)]
pub(crate) struct Fuse {
    inner: Arc<dyn Store>,
    left: AtomicI64,
}

impl Fuse {
    /// One that does not burn.
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, left: AtomicI64::new(i64::MAX) }
    }

    /// Lets so many changes happen from now on.
    pub(crate) fn set(&self, changes: i64) {
        self.left.store(changes, Ordering::SeqCst);
    }

    pub(crate) fn is_blown(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.is_blown() {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "use", "fuse", "it is dead"));
        }
        Ok(())
    }

    fn change(&self) -> Result<(), StoreError> {
        self.left.fetch_sub(1, Ordering::SeqCst);
        self.alive()
    }
}

#[async_trait]
impl Store for Fuse {
    fn url(&self) -> &str {
        self.inner.url()
    }

    async fn create_kept(&self, key: &Key, body: Bytes, keep: &Keep) -> Result<(), StoreError> {
        self.change()?;
        self.inner.create_kept(key, body, keep).await
    }

    async fn upload_kept(
        &self,
        key: &Key,
        part_size: usize,
        keep: &Keep,
    ) -> Result<Box<dyn Upload>, StoreError> {
        self.change()?;
        self.inner.upload_kept(key, part_size, keep).await
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, StoreError> {
        self.alive()?;
        self.inner.get(key, limit).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.alive()?;
        self.inner.get_range(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        self.alive()?;
        self.inner.head(key).await
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'_, Result<ObjectInfo, StoreError>> {
        match self.alive() {
            Ok(()) => self.inner.list(prefix, after),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.alive()?;
        self.inner.list_folders(prefix).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.change()?;
        self.inner.delete(key).await
    }

    async fn abort_uploads(&self, prefix: &str, before: Timestamp) -> Result<usize, StoreError> {
        self.change()?;
        self.inner.abort_uploads(prefix, before).await
    }
}
