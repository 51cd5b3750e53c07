//! The way up: read → inspect → compress and seal on all cores → order → hash → upload.
//!
//! Reading, sealing and ordering are plain threads; one bounded channel crosses into the
//! asynchronous upload. A chunk holds one slot from reading until it is ordered, so memory
//! is bounded and the oldest chunk never waits for a younger one.

mod assemble;
mod stages;
mod upload;

use std::{io::Read, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{Level, PipelineError, Progress, budget::Budget};
use crate::{
    crypto::Dek,
    format::VolumeRecord,
    model::{ClusterUuid, DekId, RunId},
    store::{Keep, Key, Store},
};

/// How long the stages may take to notice that the upload has failed.
const GRACE: Duration = Duration::from_secs(2);

/// Watches the stream go by: the validator of its framing.
pub trait Inspect: Send + 'static {
    /// Looks at the next bytes, in order.
    ///
    /// # Errors
    /// When they cannot belong to a whole stream.
    fn inspect(&mut self, bytes: &[u8]) -> Result<(), PipelineError>;
}

/// What to seal with, and where to.
pub struct SealRequest {
    /// The cluster, for the header.
    pub cluster: ClusterUuid,
    /// The run, for the header.
    pub run: RunId,
    /// The DEK's id, for the header.
    pub dek_id: DekId,
    /// The DEK.
    pub dek: Dek,
    /// The key of a volume.
    pub volume_key: Box<dyn Fn(u32) -> Result<Key, PipelineError> + Send + Sync>,
    /// How a volume is to be kept that is begun now.
    pub keep: Box<dyn Fn() -> Keep + Send + Sync>,
    /// How hard to compress.
    pub level: Level,
    /// How much memory.
    pub budget: Budget,
    /// Where to count, and where to be told to stop.
    pub progress: Arc<Progress>,
    /// Chunks a volume; [`super::budget::CHUNKS_PER_VOLUME`] but in tests.
    pub chunks_per_volume: u32,
}

impl std::fmt::Debug for SealRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealRequest")
            .field("run", &self.run)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

/// What was stored.
#[derive(Debug)]
pub struct Sealed<I> {
    /// The volumes in order.
    pub volumes: Vec<VolumeRecord>,
    /// Bytes of the stream.
    pub bytes_read: u64,
    /// The inspector, which has seen all of it.
    pub inspector: I,
}

/// Seals a stream into volumes. Nothing is listed by this: the commit comes later.
///
/// # Errors
/// The first failure of any stage. The unfinished upload has then been aborted.
pub async fn seal_stream<R: Read + Send + 'static, I: Inspect>(
    store: Arc<dyn Store>,
    source: R,
    inspector: I,
    request: SealRequest,
) -> Result<Sealed<I>, PipelineError> {
    let request = Arc::new(request);
    let (pieces, received) = mpsc::channel(2);
    let stages = {
        let request = Arc::clone(&request);
        tokio::task::spawn_blocking(move || stages::run(source, inspector, &request, &pieces))
    };
    match upload::run(store, &request, received).await {
        Ok(volumes) => {
            let (inspector, bytes_read) = stages.await.map_err(|_| PipelineError::Worker)??;
            Ok(Sealed { volumes, bytes_read, inspector })
        }
        // The stages ended in the middle of a volume: theirs is the error to tell.
        Err(PipelineError::Worker) => {
            stages.await.map_err(|_| PipelineError::Worker)??;
            Err(PipelineError::Worker)
        }
        Err(error) => {
            // Nobody listens to the stages any more, so they end by themselves; but a source that
            // says nothing would hold them, and whoever owns the source ends it on our error.
            request.progress.stop();
            let _ = tokio::time::timeout(GRACE, stages).await;
            Err(error)
        }
    }
}
