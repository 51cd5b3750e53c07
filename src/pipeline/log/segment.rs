//! Sealing what is captured: a tail in memory, a segment on its way to the store.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::object::ObjectBuilder;
use crate::{
    crypto,
    format::{ObjectKind, SealedRange, SegmentData, layout},
    model::{BinlogName, SegmentId, ServerName},
    pipeline::{PipelineError, Run, budget::LOG_PART_BYTES, repository::key},
    store::{Keep, Key, StoreError, Upload},
};

/// A tail being filled.
pub struct TailSealer(ObjectBuilder);

impl std::fmt::Debug for TailSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TailSealer").field("plain_bytes", &self.0.plain_bytes()).finish()
    }
}

impl TailSealer {
    /// An empty tail.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn new(run: &Run) -> Result<Self, PipelineError> {
        ObjectBuilder::new(run, ObjectKind::LogTail, run.next_sequence(), true).map(Self)
    }

    /// Takes more bytes.
    ///
    /// # Errors
    /// When they cannot be compressed or sealed.
    pub fn write(&mut self, plain: &[u8]) -> Result<(), PipelineError> {
        self.0.write(plain)
    }

    /// The sealed object.
    ///
    /// # Errors
    /// As [`TailSealer::write`].
    pub fn finish(self) -> Result<(Bytes, SealedRange), PipelineError> {
        self.0.finish()
    }
}

/// A segment being filled: its parts go to the store as they become full, one at a time.
///
/// Dropping it leaves parts behind; call [`SegmentSealer::abort`].
pub struct SegmentSealer {
    run: Arc<Run>,
    builder: ObjectBuilder,
    id: SegmentId,
    key: Key,
    /// How the upload is kept.
    keep: Keep,
    upload: Option<Box<dyn Upload>>,
    parts: u32,
    in_flight: Option<JoinHandle<Result<(), StoreError>>>,
}

impl std::fmt::Debug for SegmentSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentSealer").field("key", &self.key).finish_non_exhaustive()
    }
}

impl SegmentSealer {
    /// An empty segment of a file, from `start` on.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn new(
        run: &Arc<Run>,
        server: &ServerName,
        file: &BinlogName,
        start: u64,
    ) -> Result<Self, PipelineError> {
        let id = SegmentId::from_bytes(crypto::random()?);
        Ok(Self {
            builder: ObjectBuilder::new(run, ObjectKind::LogSegment, run.next_sequence(), false)?,
            id,
            key: key(&layout::segment(run.repository.cluster(), server, file, start, id))?,
            run: Arc::clone(run),
            keep: Keep::default(),
            upload: None,
            parts: 0,
            in_flight: None,
        })
    }

    /// Plaintext bytes so far.
    #[must_use]
    pub fn plain_bytes(&self) -> u64 {
        self.builder.plain_bytes()
    }

    /// Takes more bytes; waits for the store when a whole part is ahead of it.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn write(&mut self, plain: &[u8]) -> Result<(), PipelineError> {
        self.builder.write(plain)?;
        while let Some(part) = self.builder.take(LOG_PART_BYTES) {
            self.send(part).await?;
        }
        Ok(())
    }

    async fn send(&mut self, part: Bytes) -> Result<(), PipelineError> {
        self.landed().await?;
        let upload = if let Some(upload) = &self.upload {
            upload
        } else {
            let store = self.run.repository.store();
            self.keep = self.run.repository.keep_bulk();
            self.upload.insert(store.upload_kept(&self.key, LOG_PART_BYTES, &self.keep).await?)
        };
        self.in_flight = Some(tokio::spawn(upload.part(self.parts, part)));
        self.parts += 1;
        Ok(())
    }

    async fn landed(&mut self) -> Result<(), PipelineError> {
        if let Some(part) = self.in_flight.take() {
            part.await.map_err(|_| PipelineError::Worker)??;
        }
        Ok(())
    }

    /// Completes the object. It is durable when this returns, and counts when a record names it.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn finish(mut self) -> Result<SegmentData, PipelineError> {
        self.landed().await?;
        let (mut rest, sealed) = self.builder.finish()?;
        let Some(upload) = self.upload.take() else {
            // Small enough for one request. The name is random, so nobody else has it.
            let keep = self.run.repository.keep_bulk();
            self.run.repository.store().create_kept(&self.key, rest, &keep).await?;
            first_is_locked(&self.run, &self.key, &keep).await?;
            return Ok(SegmentData::Object { id: self.id, sealed });
        };
        while !rest.is_empty() {
            let part = rest.split_to(rest.len().min(LOG_PART_BYTES));
            upload.part(self.parts, part).await?;
            self.parts += 1;
        }
        upload.complete().await?;
        first_is_locked(&self.run, &self.key, &self.keep).await?;
        Ok(SegmentData::Object { id: self.id, sealed })
    }

    /// Gives back what was uploaded.
    pub async fn abort(mut self) {
        if let Some(part) = self.in_flight.take() {
            part.abort();
            let _ = part.await;
        }
        if let Some(upload) = self.upload.take()
            && let Err(left) = upload.abort().await
        {
            // It is found by `prune`; the store is most likely down.
            tracing::debug!(error = %left, "could not abort the upload of a segment");
        }
    }
}

/// Makes sure that the first segment of a run is locked as it was asked to be.
async fn first_is_locked(run: &Run, key: &Key, keep: &Keep) -> Result<(), PipelineError> {
    if run.has_segments() {
        return Ok(());
    }
    run.repository.must_be_locked(key.as_str(), keep).await
}
