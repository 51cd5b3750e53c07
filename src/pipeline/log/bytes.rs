//! The bytes that the log holds, opened.

use std::{collections::HashMap, sync::Arc};

use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::{reader, stored};
use crate::{
    crypto::{Dek, kms::Kms},
    format::{LogEntry, LogRange, ObjectKind, SealedRange, SegmentData, SegmentEntry, layout},
    model::{DekId, RunId},
    pipeline::{
        Accept, Objects, OnBad, PipelineError, Progress, Repository, StoredObject, budget::Budget,
        open_objects, open_whole, repository::key,
    },
    store::Key,
};

/// Opens ranges; each DEK is unwrapped once.
#[derive(Debug)]
pub struct RangeOpener<'a> {
    repository: &'a Repository,
    kms: &'a dyn Kms,
    progress: Arc<Progress>,
    deks: Mutex<HashMap<DekId, Dek>>,
}

impl<'a> RangeOpener<'a> {
    /// An opener for one cluster.
    #[must_use]
    pub fn new(repository: &'a Repository, kms: &'a dyn Kms, progress: Arc<Progress>) -> Self {
        Self { repository, kms, progress, deks: Mutex::default() }
    }

    /// Opens what a tail or segment record holds and hands its bytes on, in order.
    ///
    /// # Errors
    /// When anything is not as it was written, the store or the KMS fails, or the acceptor does.
    pub async fn open<A: Accept>(&self, number: u64, acceptor: A) -> Result<A, PipelineError> {
        let found = reader::record(self.repository, number).await?.record;
        match found.entry {
            LogEntry::Tail(_) => self.tail(number, acceptor).await,
            LogEntry::Segment(segment) => match segment.data {
                SegmentData::Object { id, sealed } => {
                    let range = &segment.range;
                    let cluster = self.repository.cluster();
                    let name =
                        layout::segment(cluster, &range.server, &range.file, range.start, id);
                    let object = described(key(&name)?, ObjectKind::LogSegment, &sealed, range);
                    let objects = self.repository.locate(vec![object]).await?;
                    let request = self.request(found.run_id, objects).await?;
                    let store = Arc::clone(self.repository.store());
                    let opened = open_objects(store, request, acceptor, OnBad::Stop).await?;
                    Ok(opened.acceptor)
                }
                SegmentData::Tails(tails) => {
                    let mut acceptor = acceptor;
                    for number in tails.into_iter().flat_map(|(first, last)| first..=last) {
                        acceptor = self.tail(number, acceptor).await?;
                    }
                    Ok(acceptor)
                }
            },
            _ => {
                let object = layout::log(self.repository.cluster(), number);
                Err(PipelineError::integrity(object, "it holds no bytes"))
            }
        }
    }

    /// Compares what is stored with its record, without any key.
    ///
    /// # Errors
    /// When it is not as it was written, or the store fails.
    pub async fn hash(
        repository: &Repository,
        number: u64,
        progress: &Progress,
    ) -> Result<(), PipelineError> {
        let object = layout::log(repository.cluster(), number);
        let Some((found, body)) = stored::read(repository, number).await? else {
            return Err(PipelineError::integrity(object, "it is missing"));
        };
        match &found.record.entry {
            LogEntry::Tail(tail) => {
                progress.add_stored(body.len());
                if Sha256::digest(&body).as_slice() == tail.sealed.sha256.0 {
                    return Ok(());
                }
                Err(PipelineError::integrity(object, "its SHA-256 is not the one that was signed"))
            }
            LogEntry::Segment(SegmentEntry { range, data: SegmentData::Object { id, sealed } }) => {
                let cluster = repository.cluster();
                let name = layout::segment(cluster, &range.server, &range.file, range.start, *id);
                let object = described(key(&name)?, ObjectKind::LogSegment, sealed, range);
                repository.check_hash(object, 1, progress).await
            }
            _ => Ok(()),
        }
    }

    async fn tail<A: Accept>(&self, number: u64, mut acceptor: A) -> Result<A, PipelineError> {
        let object = layout::log(self.repository.cluster(), number);
        let Some((found, body)) = stored::read(self.repository, number).await? else {
            return Err(PipelineError::integrity(object, "it is missing"));
        };
        let LogEntry::Tail(tail) = &found.record.entry else {
            return Err(PipelineError::integrity(object, "it is no tail"));
        };
        let described = described(key(&object)?, ObjectKind::LogTail, &tail.sealed, &tail.range);
        let request = self.request(found.record.run_id, Vec::new()).await?;
        open_whole(&body, &request, &described, &mut acceptor)?;
        Ok(acceptor)
    }

    async fn request(
        &self,
        run: RunId,
        objects: Vec<StoredObject>,
    ) -> Result<Objects, PipelineError> {
        let run = self.repository.run(run).await?;
        let dek_id = run.dek_id.ok_or_else(|| {
            let object = layout::run(self.repository.cluster(), run.run_id);
            PipelineError::integrity(object, "it names no DEK, so it sealed nothing")
        })?;
        let mut deks = self.deks.lock().await;
        let dek = if let Some(dek) = deks.get(&dek_id) {
            dek.clone()
        } else {
            let dek = self.repository.dek(dek_id, self.kms).await?;
            deks.insert(dek_id, dek.clone());
            dek
        };
        drop(deks);
        Ok(Objects {
            cluster: run.cluster_uuid,
            run: run.run_id,
            dek_id,
            dek,
            objects,
            budget: Budget::here(),
            progress: Arc::clone(&self.progress),
        })
    }
}

fn described(key: Key, kind: ObjectKind, sealed: &SealedRange, range: &LogRange) -> StoredObject {
    StoredObject {
        key,
        kind,
        sequence: sealed.sequence,
        bytes: sealed.bytes,
        sha256: sealed.sha256,
        chunks: sealed.chunks,
        // A record can be read by itself, without the rules that make a range a range.
        plain_bytes: range.end.saturating_sub(range.start),
        version: None,
    }
}
