//! A store that dies after so many changes: from then on whoever uses it gets no answer, as if he
//! had been killed there.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex,
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
use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct Fuse {
    inner: Arc<dyn Store>,
    left: AtomicI64,
    gate: Mutex<Option<Gate>>,
}

/// Where whoever has created something waits.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    /// A part of the name.
    part: String,
    /// Somebody has come there.
    pub(crate) reached: Arc<Notify>,
    /// He may go on.
    pub(crate) open: Arc<Notify>,
}

impl Fuse {
    /// One that does not burn.
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, left: AtomicI64::new(i64::MAX), gate: Mutex::default() }
    }

    /// Stops whoever creates the next object with such a name, once that is there.
    pub(crate) fn stop_behind(&self, part: &str) -> Gate {
        let (reached, open) = (Arc::default(), Arc::default());
        let gate = Gate { part: part.into(), reached, open };
        *self.gate.lock().unwrap() = Some(gate.clone());
        gate
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
        let created = self.inner.create_kept(key, body, keep).await;
        let gate = self.gate.lock().unwrap().take_if(|gate| key.as_str().contains(&gate.part));
        if let Some(gate) = gate {
            gate.reached.notify_one();
            gate.open.notified().await;
        }
        created
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
