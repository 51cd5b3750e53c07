//! Google Cloud Storage and Azure Blob Storage, through `object_store` with its own retries off.
//!
//! Neither can list the uploads that were begun and never completed through this library:
//! Azure drops uncommitted blocks by itself after a week, a bucket of Google's needs a
//! lifecycle rule (`AbortIncompleteMultipartUpload`). So `abort_uploads` finds none there.

mod azure;
mod connect;
mod fault;
mod google;
mod http;
mod tokens;

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
use self::{
    fault::fault,
    tokens::{Identity, Known},
};
use super::{
    Key, ObjectInfo, StoreErrorKind,
    backend::{Backend, Fault, Parts, Stale},
    open::Place,
};
use crate::{
    model::{Access, Connection, Peer, Timestamp},
    transport::Dialer,
};

#[derive(Clone)]
pub(super) struct Cloud {
    objects: Arc<dyn ObjectStore>,
    multipart: Arc<dyn MultipartStore>,
    place: Place,
    identity: Arc<dyn Identity>,
    dialer: Arc<Mutex<Dialer>>,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloud").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Cloud {
    fn new<T: ObjectStore + MultipartStore>(
        store: T,
        place: Place,
        identity: Arc<dyn Identity>,
        dialer: Arc<Mutex<Dialer>>,
    ) -> Self {
        let store = Arc::new(store);
        Self { objects: Arc::clone(&store) as _, multipart: store, place, identity, dialer }
    }

    /// One request. Credentials that are refused as such are fetched anew, and when there are
    /// others the request may do better with them.
    async fn call<T>(
        &self,
        writes: bool,
        sent: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Fault> {
        let generation = self.identity.ready().await?;
        match sent.await {
            Ok(answer) => {
                self.identity.accepted();
                Ok(answer)
            }
            Err(error) => {
                let mut fault = fault(&error, writes);
                if fault.refused {
                    fault.again = self.identity.refused(generation).await;
                }
                Err(fault)
            }
        }
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
        self.call(true, put).await.map(drop)
    }

    async fn begin(&self, key: &Key, _part_size: usize) -> Result<Arc<dyn Parts>, Fault> {
        let path = self.path(key);
        let id = self.call(false, self.multipart.create_multipart(&path)).await?;
        Ok(Arc::new(CloudParts { cloud: self.clone(), path, id, sent: Mutex::default() }))
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Fault> {
        let answer = self.call(false, self.objects.get(&self.path(key))).await?;
        let size = answer.meta.size;
        if size > limit { Err(Fault::too_large(size, limit)) } else { whole(answer).await }
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Fault> {
        let get = GetRange::Bounded(range.clone());
        let options = GetOptions { range: Some(get), ..GetOptions::default() };
        let answer = self.call(false, self.objects.get_opts(&self.path(key), options)).await?;
        if answer.meta.size < range.end {
            return Err(Fault::past_the_end(answer.meta.size, &range));
        }
        whole(answer).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, Fault> {
        let meta = self.call(false, self.objects.head(&self.path(key))).await?;
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
        let (place, identity) = (self.place.clone(), Arc::clone(&self.identity));
        found
            .or_else(move |error| {
                let (identity, mut fault) = (Arc::clone(&identity), fault(&error, false));
                async move {
                    if fault.refused {
                        let generation = identity.ready().await?;
                        fault.again = identity.refused(generation).await;
                    }
                    Err(fault)
                }
            })
            .try_filter_map(move |meta| std::future::ready(Ok(info(&place, &meta))))
            .boxed()
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        let full = self.place.full(prefix);
        let below = self.prefix(prefix);
        let found = self.call(false, self.objects.list_with_delimiter(below.as_ref())).await?;
        let name = |path: &Path| {
            let name = path.as_ref().strip_prefix(&full)?.to_owned();
            Key::new(name.clone()).is_ok().then_some(name)
        };
        Ok(found.common_prefixes.iter().filter_map(name).collect())
    }

    async fn delete(&self, key: &Key) -> Result<(), Fault> {
        self.call(false, self.objects.delete(&self.path(key))).await
    }

    async fn stale(&self, _prefix: &str, _before: Timestamp) -> Result<Vec<Stale>, Fault> {
        Ok(Vec::new())
    }

    async fn abort_stale(&self, _upload: &Stale) -> Result<(), Fault> {
        Ok(())
    }

    async fn access(&self) -> Result<Access, Fault> {
        self.identity.access().await
    }

    fn connection(&self) -> Connection {
        self.dialer.lock().unwrap_or_else(PoisonError::into_inner).seen().connection(Peer::Store)
    }
}

/// Tells a token from another, and does not give it away.
fn fingerprint(token: &str) -> String {
    use sha2::{Digest as _, Sha256};
    hex::encode(&Sha256::digest(token.as_bytes())[..8])
}

struct CloudParts {
    cloud: Cloud,
    path: Path,
    id: String,
    sent: Mutex<BTreeMap<u32, String>>,
}

#[async_trait]
impl Parts for CloudParts {
    async fn part(&self, number: u32, body: Bytes) -> Result<(), Fault> {
        let index = number as usize;
        let put = self.cloud.multipart.put_part(&self.path, &self.id, index, body.into());
        let part = self.cloud.call(false, put).await?;
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.insert(number, part.content_id);
        Ok(())
    }

    async fn complete(&self, _parts: u32, _size: u64) -> Result<(), Fault> {
        let parts = {
            let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.values().map(|id| PartId { content_id: id.clone() }).collect()
        };
        let done = self.cloud.multipart.complete_multipart(&self.path, &self.id, parts);
        self.cloud.call(true, done).await.map(drop)
    }

    async fn abort(&self) -> Result<(), Fault> {
        let done = self.cloud.multipart.abort_multipart(&self.path, &self.id);
        self.cloud.call(false, done).await
    }
}
