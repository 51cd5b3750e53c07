//! A large object on its way, over any backend.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};

use super::{
    Keep, Key, StoreError, StoreErrorKind, Upload,
    backend::{Backend, Fault, Parts},
    repository::Repository,
    retry::{Call, Effect, Retry},
};

pub(super) struct Transfer {
    backend: Arc<dyn Backend>,
    retry: Arc<Retry>,
    key: Key,
    object: Arc<str>,
    part_size: usize,
    keep: Keep,
    parts: Arc<dyn Parts>,
    sent: Arc<Mutex<BTreeMap<u32, usize>>>,
}

impl Transfer {
    pub(super) fn new(
        repository: &Repository,
        key: Key,
        object: String,
        part_size: usize,
        parts: Arc<dyn Parts>,
        keep: Keep,
    ) -> Self {
        Self {
            backend: Arc::clone(&repository.backend),
            retry: Arc::clone(&repository.retry),
            key,
            object: object.into(),
            part_size,
            keep,
            parts,
            sent: Arc::default(),
        }
    }

    fn call(&self, operation: &'static str, bytes: u64, effect: Effect) -> Call<'_> {
        Call { operation, object: &self.object, bytes, effect }
    }

    /// How many parts and bytes were sent, when they make a whole: numbers without a hole,
    /// and every part but the last of full size.
    fn whole(&self) -> Result<(u32, u64), Fault> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        for (expected, (number, size)) in (0u32..).zip(sent.iter()) {
            let last = expected as usize + 1 == sent.len();
            if *number != expected || (!last && *size != self.part_size) {
                return Err(Fault::new(
                    StoreErrorKind::Other,
                    format!("part {expected} is missing or not of {} bytes", self.part_size),
                ));
            }
            bytes += *size as u64;
        }
        Ok((u32::try_from(sent.len()).unwrap_or(u32::MAX), bytes))
    }

    async fn complete_once(&self, parts: u32, size: u64) -> Result<(), Fault> {
        let done = self.retry.limited(work(size), self.parts.complete(parts, size)).await;
        match done {
            Err(fault)
                if matches!(fault.kind, StoreErrorKind::Unclear | StoreErrorKind::NotFound) =>
            {
                self.settle(size, fault).await
            }
            done => done,
        }
    }

    /// An object of no bytes has no parts, which not every store can put together.
    async fn create_empty(&self) -> Result<(), Fault> {
        let put = self.backend.put_new_kept(&self.key, Bytes::new(), &self.keep);
        match self.retry.limited(0, put).await {
            Err(fault) if fault.kind == StoreErrorKind::Unclear => self.settle(0, fault).await,
            done => done,
        }
    }

    /// Asks the object itself what became of an attempt.
    async fn settle(&self, size: u64, fault: Fault) -> Result<(), Fault> {
        // The key is unique, so an object of this size under it is ours.
        match self.retry.limited(0, self.backend.head(&self.key)).await {
            Ok(info) if info.size == size => Ok(()),
            Ok(info) => Err(Fault::new(
                StoreErrorKind::Corrupt,
                format!("the object has {} bytes where {size} were sent", info.size),
            )),
            Err(_) if fault.kind == StoreErrorKind::NotFound => {
                Err(Fault::new(StoreErrorKind::Other, fault.cause)
                    .hint("somebody or a lifecycle rule aborted the upload; send it again"))
            }
            Err(_) => Err(fault),
        }
    }
}

/// Stores put parts together much faster than we can send them.
fn work(size: u64) -> u64 {
    size / 64
}

#[async_trait]
impl Upload for Transfer {
    fn part(&self, number: u32, body: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        let (parts, retry) = (Arc::clone(&self.parts), Arc::clone(&self.retry));
        let (object, sent) = (Arc::clone(&self.object), Arc::clone(&self.sent));
        let most = self.part_size;
        async move {
            let bytes = body.len() as u64;
            let effect = Effect::Repeatable;
            let call = Call { operation: "upload part of", object: &object, bytes, effect };
            if body.is_empty() {
                // Nothing to send; whether it leaves a hole shows at completion.
                return Ok(());
            }
            if body.len() > most {
                let text = format!("a part of {bytes} bytes where at most {most} were promised");
                return Err(call.error(Fault::new(StoreErrorKind::Other, text), 1));
            }
            let attempt = || retry.limited(bytes, parts.part(number, body.clone()));
            retry.run(&call, attempt).await?;
            let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.insert(number, body.len());
            Ok(())
        }
        .boxed()
    }

    async fn complete(self: Box<Self>) -> Result<(), StoreError> {
        let whole = self.whole().map_err(|f| self.call("complete", 0, Effect::Once).error(f, 1));
        let (parts, size) = whole?;
        let call = self.call("complete", work(size), Effect::Once);
        if parts == 0 {
            self.retry.run(&call, || self.create_empty()).await?;
            return self.abort().await;
        }
        self.retry.run(&call, || self.complete_once(parts, size)).await
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        let call = self.call("abort upload of", 0, Effect::Repeatable);
        let abort = || async {
            match self.retry.limited(0, self.parts.abort()).await {
                Err(fault) if fault.kind == StoreErrorKind::NotFound => Ok(()),
                done => done,
            }
        };
        self.retry.run(&call, abort).await
    }
}
