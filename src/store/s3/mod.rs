//! S3 and what speaks its language.

mod client;
mod erase;
mod fault;
mod identity;
mod keep;
mod multipart;
mod read;
mod versions;
mod web_identity;

use std::{fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
    types::ChecksumMode,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};

pub(super) use self::client::connect;
use self::{
    fault::fault, identity::Identity, keep::Wishes, multipart::S3Parts, versions::Versioning,
};
use super::{
    BucketLock, Erased, Keep, Kept, Key, ObjectInfo, StoreErrorKind, VersionId, Versions,
    backend::{Backend, Fault, Parts, Stale},
    open::Place,
};
use crate::{
    model::{Access, Connection, Peer, Retention, Timestamp},
    transport::Dialer,
};

#[derive(Clone)]
pub(super) struct S3 {
    client: Client,
    place: Place,
    sign_payloads: bool,
    identity: Arc<Identity>,
    dialer: Dialer,
    wishes: Wishes,
    versioning: Arc<Versioning>,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("place", &self.place).finish_non_exhaustive()
    }
}

/// A payload's CRC-32, as S3 writes it.
fn crc32(body: &Bytes) -> String {
    spell(crc32fast::hash(body))
}

fn spell(crc: u32) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(crc.to_be_bytes())
}

fn time(at: Option<&aws_sdk_s3::primitives::DateTime>) -> Option<Timestamp> {
    Timestamp::from_microseconds(i64::try_from(at?.as_nanos() / 1000).ok()?)
}

impl S3 {
    fn full(&self, key: &Key) -> String {
        self.place.full(key.as_str())
    }

    /// One request. Credentials that are refused as such are fetched anew, and when there are
    /// others the request may do better with them.
    fn call<'a, T, E>(
        &'a self,
        writes: bool,
        sent: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'a,
    ) -> impl Future<Output = Result<T, Fault>> + Send + 'a
    where
        T: Send + 'a,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let attempt = self.attempt(writes, sent);
        async move { attempt.await.map_err(|(fault, _)| fault) }
    }

    /// The same, and what the store has said, for those who know more of it. The SDK's futures are
    /// large, and every caller would hold one.
    fn attempt<'a, T, E>(
        &'a self,
        writes: bool,
        sent: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'a,
    ) -> impl Future<Output = Result<T, (Fault, Option<SdkError<E, HttpResponse>>)>> + Send + 'a
    where
        T: Send + 'a,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let sent = Box::pin(sent);
        async move {
            let credentials = &self.identity.credentials;
            let generation = credentials.ready().await.map_err(|fault| (fault, None))?;
            match sent.await {
                Ok(answer) => {
                    credentials.accepted();
                    Ok(answer)
                }
                Err(error) => {
                    let mut fault = fault(&error, writes);
                    if fault.refused {
                        fault.again = credentials.refused(generation).await;
                        fault = self.identity.named(fault);
                    }
                    Err((fault, Some(error)))
                }
            }
        }
    }

    async fn fetch(
        &self,
        key: &Key,
        version: Option<&VersionId>,
        range: Option<Range<u64>>,
        limit: u64,
    ) -> Result<Bytes, Fault> {
        let request = self.client.get_object().bucket(&self.place.bucket).key(self.full(key));
        let request = request.set_version_id(version.map(|id| id.as_str().to_owned()));
        let request = match &range {
            // A checksum belongs to the whole object, so it is of no use for a range.
            Some(range) => request.range(format!("bytes={}-{}", range.start, range.end - 1)),
            None => request.checksum_mode(ChecksumMode::Enabled),
        };
        let answer = self.call(false, request.send()).await?;
        if version.is_none() {
            self.versioning.seen(answer.version_id())?;
        }
        let length = answer.content_length().and_then(|n| u64::try_from(n).ok());
        if let Some(range) = &range {
            let wanted = range.end - range.start;
            if length != Some(wanted) {
                return Err(Fault::past_the_end(range.start + length.unwrap_or(0), range));
            }
        }
        read::whole(answer.body, length, limit).await
    }
}

#[async_trait]
impl Backend for S3 {
    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), Fault> {
        self.put_new_kept(key, body, &Keep::default()).await
    }

    async fn put_new_kept(&self, key: &Key, body: Bytes, keep: &Keep) -> Result<(), Fault> {
        let headers = self.headers(keep);
        if keep.over && !self.asks_versions().await? {
            let text = "the bucket keeps no versions: what is written over is lost";
            return Err(Fault::new(StoreErrorKind::Unsupported, text));
        }
        let request = self
            .client
            .put_object()
            .bucket(&self.place.bucket)
            .key(self.full(key))
            .set_if_none_match((!keep.over).then(|| "*".to_owned()))
            .checksum_crc32(crc32(&body))
            .set_object_lock_mode(headers.mode)
            .set_object_lock_retain_until_date(headers.until)
            .set_object_lock_legal_hold_status(headers.hold)
            .set_server_side_encryption(headers.encryption)
            .set_ssekms_key_id(headers.encryption_key)
            .set_storage_class(headers.class)
            .body(ByteStream::from(body))
            .customize();
        let request = if self.sign_payloads { request } else { request.disable_payload_signing() };
        self.call(true, request.send()).await.map(drop)
    }

    async fn begin(&self, key: &Key, part_size: usize) -> Result<Arc<dyn Parts>, Fault> {
        self.begin_kept(key, part_size, &Keep::default()).await
    }

    async fn begin_kept(
        &self,
        key: &Key,
        _part_size: usize,
        keep: &Keep,
    ) -> Result<Arc<dyn Parts>, Fault> {
        Ok(Arc::new(S3Parts::begin(self.clone(), self.full(key), self.headers(keep)).await?))
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Fault> {
        self.fetch(key, None, None, limit).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Fault> {
        let limit = range.end - range.start;
        let got = self.fetch(key, None, Some(range.clone()), limit).await;
        match got {
            // S3 says the range begins past the end, and not how long the object is.
            Err(fault) if fault.kind == StoreErrorKind::Corrupt && !fault.again => {
                match self.head(key).await {
                    Ok(info) if info.size < range.end => {
                        Err(Fault::past_the_end(info.size, &range))
                    }
                    _ => Err(fault),
                }
            }
            got => got,
        }
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, Fault> {
        let request = self.client.head_object().bucket(&self.place.bucket).key(self.full(key));
        let answer = self.call(false, request.send()).await?;
        self.versioning.seen(answer.version_id())?;
        let size = answer.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        Ok(ObjectInfo { key: key.clone(), size, modified: time(answer.last_modified()) })
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'static, Result<ObjectInfo, Fault>> {
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.place.bucket)
            .prefix(self.place.full(prefix))
            .set_start_after(after.map(|key| self.full(key)));
        let (place, s3) = (self.place.clone(), self.clone());
        let pages = futures::stream::try_unfold(Some(request), move |request| {
            let s3 = s3.clone();
            async move {
                let Some(request) = request else { return Ok::<_, Fault>(None) };
                let answer = s3.call(false, request.clone().send()).await?;
                let next = answer.next_continuation_token().map(str::to_owned);
                let next = next.map(|token| request.continuation_token(token));
                Ok(Some((answer.contents.unwrap_or_default(), next)))
            }
        });
        pages
            .flat_map(move |page| {
                let found: Vec<_> = match page {
                    Ok(objects) => objects.iter().filter_map(|o| info(&place, o)).map(Ok).collect(),
                    Err(fault) => vec![Err(fault)],
                };
                futures::stream::iter(found)
            })
            .boxed()
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        let full = self.place.full(prefix);
        if self.asks_versions().await? {
            return self.version_folders(&full).await;
        }
        let mut folders = Vec::new();
        let request = self.client.list_objects_v2().bucket(&self.place.bucket).prefix(&full);
        let mut next = Some(request.delimiter("/"));
        while let Some(request) = next {
            let page = self.call(false, request.clone().send()).await?;
            let names = page.common_prefixes().iter().filter_map(|p| {
                let name = p.prefix()?.strip_prefix(&full)?.strip_suffix('/')?;
                Key::new(name).is_ok().then(|| name.to_owned())
            });
            folders.extend(names);
            next = page.next_continuation_token().map(|token| request.continuation_token(token));
        }
        Ok(folders)
    }

    async fn delete(&self, key: &Key) -> Result<(), Fault> {
        let request = self.client.delete_object().bucket(&self.place.bucket).key(self.full(key));
        self.call(false, request.send()).await.map(drop)
    }

    async fn erase(&self, key: &Key) -> Result<Erased, Fault> {
        if self.asks_versions().await? {
            return self.erase_all(key).await;
        }
        self.delete(key).await.map(|()| Erased::default())
    }

    async fn stale(&self, prefix: &str, before: Timestamp) -> Result<Vec<Stale>, Fault> {
        multipart::stale(self, prefix, before).await
    }

    async fn abort_stale(&self, upload: &Stale) -> Result<(), Fault> {
        match multipart::abort(self, &upload.object, &upload.id).await {
            Err(fault) if fault.kind == StoreErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    async fn access(&self) -> Result<Access, Fault> {
        self.identity.access().await
    }

    fn connection(&self) -> Connection {
        self.dialer.seen().connection(Peer::Store)
    }

    async fn keeps_versions(&self) -> Result<bool, Fault> {
        self.asks_versions().await
    }

    async fn versions(&self, key: &Key) -> Result<Versions, Fault> {
        if self.asks_versions().await? {
            return self.versions_of(key).await;
        }
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
        self.all_versions(prefix, after)
    }

    async fn get_version(&self, key: &Key, id: &VersionId, limit: u64) -> Result<Bytes, Fault> {
        self.fetch(key, Some(id), None, limit).await
    }

    async fn get_version_range(
        &self,
        key: &Key,
        id: &VersionId,
        range: Range<u64>,
    ) -> Result<Bytes, Fault> {
        let limit = range.end - range.start;
        self.fetch(key, Some(id), Some(range), limit).await
    }

    async fn bucket_lock(&self) -> Result<Option<BucketLock>, Fault> {
        self.look_at_lock().await
    }

    fn expected(&self, keep: &Keep) -> Kept {
        self.wanted(keep)
    }

    async fn kept(&self, key: &Key, id: Option<&VersionId>) -> Result<Kept, Fault> {
        self.look_at_object(key, id).await
    }

    async fn retain(
        &self,
        key: &Key,
        id: Option<&VersionId>,
        retention: Retention,
    ) -> Result<(), Fault> {
        self.lock_for_longer(key, id, retention).await
    }
}

fn info(place: &Place, object: &aws_sdk_s3::types::Object) -> Option<ObjectInfo> {
    let key = place.key(object.key()?)?;
    let size = object.size().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    Some(ObjectInfo { key, size, modified: time(object.last_modified()) })
}
