//! The bytes that the log holds, opened.

use std::{collections::HashMap, sync::Arc};

use super::{reader, stored};
use crate::{
    crypto::{Dek, kms::Kms},
    format::{LogEntry, LogRange, ObjectKind, SealedRange, SegmentData, layout},
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
    deks: HashMap<DekId, Dek>,
}

impl<'a> RangeOpener<'a> {
    /// An opener for one cluster.
    #[must_use]
    pub fn new(repository: &'a Repository, kms: &'a dyn Kms, progress: Arc<Progress>) -> Self {
        Self { repository, kms, progress, deks: HashMap::new() }
    }

    /// Opens what a tail or segment record holds and hands its bytes on, in order.
    ///
    /// # Errors
    /// When anything is not as it was written, the store or the KMS fails, or the acceptor does.
    pub async fn open<A: Accept>(&mut self, number: u64, acceptor: A) -> Result<A, PipelineError> {
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
                    let request = self.request(found.run_id, vec![object]).await?;
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

    async fn tail<A: Accept>(&mut self, number: u64, mut acceptor: A) -> Result<A, PipelineError> {
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
        &mut self,
        run: RunId,
        objects: Vec<StoredObject>,
    ) -> Result<Objects, PipelineError> {
        let run = self.repository.run(run).await?;
        let dek = match self.deks.get(&run.dek_id) {
            Some(dek) => dek.clone(),
            None => {
                let dek = self.repository.dek(run.dek_id, self.kms).await?;
                self.deks.insert(run.dek_id, dek.clone());
                dek
            }
        };
        Ok(Objects {
            cluster: run.cluster_uuid,
            run: run.run_id,
            dek_id: run.dek_id,
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
    }
}
