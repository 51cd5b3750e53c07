//! Google Cloud Storage and Azure Blob Storage, through `object_store` with its own retries off.
//!
//! Neither can list the uploads that were begun and never completed through this library:
//! Azure drops uncommitted blocks by itself after a week, a bucket of Google's needs a
//! lifecycle rule (`AbortIncompleteMultipartUpload`). So `abort_uploads` finds none there.

mod connect;
mod fault;

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    multipart::{MultipartStore, PartId},
    path::Path,
};

pub(super) use self::connect::{azure, google};
use self::fault::fault;
use super::{
    Key, ObjectInfo, StoreErrorKind,
    backend::{Backend, Fault, Parts, Stale},
    open::Place,
};
use crate::model::Timestamp;

#[derive(Clone)]
pub(super) struct Cloud {
    objects: Arc<dyn ObjectStore>,
    multipart: Arc<dyn MultipartStore>,
    place: Place,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloud").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Cloud {
    fn new<T: ObjectStore + MultipartStore>(store: T, place: Place) -> Self {
        let store = Arc::new(store);
        Self { objects: Arc::clone(&store) as _, multipart: store, place }
    }

    fn path(&self, key: &Key) -> Path {
        Path::from(self.place.full(key.as_str()))
    }

    fn prefix(&self, prefix: &str) -> Option<Path> {
        let full = self.place.full(prefix);
        (!full.is_empty()).then(|| Path::from(full))
    }
}

fn info(place: &Place, meta: &ObjectMeta) -> Option<ObjectInfo> {
    let key = place.key(meta.location.as_ref())?;
    let modified = Timestamp::from_microseconds(meta.last_modified.timestamp_micros());
    Some(ObjectInfo { key, size: meta.size, modified })
}

/// Collects a body without holding it twice; one that ends early was cut off on the way.
async fn whole(answer: GetResult) -> Result<Bytes, Fault> {
    let length = answer.range.end - answer.range.start;
    let mut whole = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
    let mut pieces = answer.into_stream();
    while let Some(piece) = pieces.try_next().await.map_err(|e| fault(&e, false))? {
        whole.extend_from_slice(&piece);
    }
    if whole.len() as u64 == length {
        return Ok(whole.freeze());
    }
    let text = format!("the body ended after {} of {length} bytes", whole.len());
    Err(Fault::new(StoreErrorKind::Unavailable, text))
}

#[async_trait]
impl Backend for Cloud {
    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), Fault> {
        let path = self.path(key);
        let put = self.objects.put_opts(&path, body.into(), PutMode::Create.into());
        put.await.map(drop).map_err(|e| fault(&e, true))
    }

    async fn begin(&self, key: &Key, _part_size: usize) -> Result<Arc<dyn Parts>, Fault> {
        let path = self.path(key);
        let id = self.multipart.create_multipart(&path).await.map_err(|e| fault(&e, false))?;
        let multipart = Arc::clone(&self.multipart);
        Ok(Arc::new(CloudParts { multipart, path, id, sent: Mutex::default() }))
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Fault> {
        let answer = self.objects.get(&self.path(key)).await.map_err(|e| fault(&e, false))?;
        let size = answer.meta.size;
        if size > limit { Err(Fault::too_large(size, limit)) } else { whole(answer).await }
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Fault> {
        let get = GetRange::Bounded(range.clone());
        let options = GetOptions { range: Some(get), ..GetOptions::default() };
        match self.objects.get_opts(&self.path(key), options).await {
            Ok(answer) if answer.meta.size < range.end => {
                Err(Fault::past_the_end(answer.meta.size, &range))
            }
            Ok(answer) => whole(answer).await,
            Err(error) => Err(fault(&error, false)),
        }
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, Fault> {
        let meta = self.objects.head(&self.path(key)).await.map_err(|e| fault(&e, false))?;
        info(&self.place, &meta).ok_or_else(|| {
            Fault::new(StoreErrorKind::Corrupt, "the store answered about another object")
        })
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'static, Result<ObjectInfo, Fault>> {
        let prefix = self.prefix(prefix);
        let found = match after {
            Some(after) => self.objects.list_with_offset(prefix.as_ref(), &self.path(after)),
            None => self.objects.list(prefix.as_ref()),
        };
        let place = self.place.clone();
        found
            .map_err(|error| fault(&error, false))
            .try_filter_map(move |meta| std::future::ready(Ok(info(&place, &meta))))
            .boxed()
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        let full = self.place.full(prefix);
        let below = self.prefix(prefix);
        let found = self.objects.list_with_delimiter(below.as_ref()).await;
        let found = found.map_err(|e| fault(&e, false))?;
        let name = |path: &Path| {
            let name = path.as_ref().strip_prefix(&full)?.to_owned();
            Key::new(name.clone()).is_ok().then_some(name)
        };
        Ok(found.common_prefixes.iter().filter_map(name).collect())
    }

    async fn delete(&self, key: &Key) -> Result<(), Fault> {
        self.objects.delete(&self.path(key)).await.map_err(|e| fault(&e, false))
    }

    async fn stale(&self, _prefix: &str, _before: Timestamp) -> Result<Vec<Stale>, Fault> {
        Ok(Vec::new())
    }

    async fn abort_stale(&self, _upload: &Stale) -> Result<(), Fault> {
        Ok(())
    }
}

struct CloudParts {
    multipart: Arc<dyn MultipartStore>,
    path: Path,
    id: String,
    sent: Mutex<BTreeMap<u32, String>>,
}

#[async_trait]
impl Parts for CloudParts {
    async fn part(&self, number: u32, body: Bytes) -> Result<(), Fault> {
        let index = number as usize;
        let put = self.multipart.put_part(&self.path, &self.id, index, body.into());
        let part = put.await.map_err(|e| fault(&e, false))?;
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.insert(number, part.content_id);
        Ok(())
    }

    async fn complete(&self, _parts: u32, _size: u64) -> Result<(), Fault> {
        let parts = {
            let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.values().map(|id| PartId { content_id: id.clone() }).collect()
        };
        let done = self.multipart.complete_multipart(&self.path, &self.id, parts).await;
        done.map(drop).map_err(|e| fault(&e, true))
    }

    async fn abort(&self) -> Result<(), Fault> {
        let done = self.multipart.abort_multipart(&self.path, &self.id).await;
        done.map_err(|e| fault(&e, false))
    }
}
