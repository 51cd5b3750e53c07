//! The bytes that the log holds, opened.

use std::{collections::HashMap, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::numbered::Numbered;
use crate::{
    crypto::{Dek, kms::Kms},
    format::{LogEntry, LogRange, ObjectKind, SealedRange, SegmentData, SegmentEntry, layout},
    model::{DekId, RunId, SegmentId},
    pipeline::{
        Accept, Class, Finding, Objects, OnBad, PipelineError, Progress, Repository, StoredObject,
        budget::Budget, locking::earlier, open_objects, open_whole, repository::key,
    },
    store::Key,
};

/// How long a segment may be filled, at the most, before its record is written.
const SEGMENT_GRACE: Duration = Duration::from_hours(1);

/// Opens ranges; each DEK is unwrapped once.
#[derive(Debug)]
pub struct RangeOpener<'a> {
    repository: &'a Repository,
    records: Numbered<'a>,
    kms: Option<&'a dyn Kms>,
    progress: Arc<Progress>,
    deks: Mutex<HashMap<DekId, Dek>>,
}

impl<'a> RangeOpener<'a> {
    /// An opener for one cluster.
    #[must_use]
    pub fn new(repository: &'a Repository, kms: &'a dyn Kms, progress: Arc<Progress>) -> Self {
        Self { kms: Some(kms), ..Self::without_key(repository, progress) }
    }

    /// One that compares hashes, and opens nothing.
    #[must_use]
    pub fn without_key(repository: &'a Repository, progress: Arc<Progress>) -> Self {
        let records = Numbered::of(repository);
        Self { repository, records, kms: None, progress, deks: Mutex::default() }
    }

    /// Opens what a tail or segment record holds and hands its bytes on, in order.
    ///
    /// # Errors
    /// When anything is not as it was written, the store or the KMS fails, or the acceptor does.
    pub async fn open<A: Accept>(&self, number: u64, acceptor: A) -> Result<A, PipelineError> {
        let (found, _) = self.records.read(number).await?;
        let found = found.record;
        match found.entry {
            LogEntry::Tail(_) => self.tail(number, acceptor).await,
            LogEntry::Segment(segment) => match segment.data {
                SegmentData::Object { id, sealed } => {
                    let range = &segment.range;
                    let name = self.segment(range, id)?;
                    let object = described(name, ObjectKind::LogSegment, &sealed, range);
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
    pub async fn hash(&self, number: u64) -> Result<(), PipelineError> {
        let (repository, progress) = (self.repository, &self.progress);
        let (found, body) = self.records.read(number).await?;
        match &found.record.entry {
            LogEntry::Tail(tail) => {
                progress.add_stored(body.len());
                if Sha256::digest(&body).as_slice() == tail.sealed.sha256.0 {
                    return Ok(());
                }
                let object = layout::log(repository.cluster(), number);
                Err(PipelineError::integrity(object, "its SHA-256 is not the one that was signed"))
            }
            LogEntry::Segment(SegmentEntry { range, data: SegmentData::Object { id, sealed } }) => {
                let name = self.segment(range, *id)?;
                let object = described(name, ObjectKind::LogSegment, sealed, range);
                repository.check_hash(object, 1, progress).await
            }
            _ => Ok(()),
        }
    }

    /// In what the locks of a record, and of its segment, fall short of what its run has promised;
    /// nothing when it has promised none, or their time is over.
    ///
    /// # Errors
    /// When the store fails, or the record is not believed.
    pub async fn locks(&self, number: u64) -> Result<Option<Vec<Finding>>, PipelineError> {
        let (found, _) = self.records.read(number).await?;
        let (record, repository) = (found.record, self.repository);
        let class = match &record.entry {
            LogEntry::Epoch(_) => Class::Key,
            _ => Class::Data,
        };
        let own = layout::log(repository.cluster(), number);
        let Some(promise) = repository.promise(record.run_id, class, record.at).await? else {
            return Ok(None);
        };
        let mut short = Vec::new();
        if let Some(versions) = self.records.versions(number).await? {
            short.extend(repository.short_of(&versions, &promise).await?);
        } else {
            short.extend(repository.look_short(&own, &promise).await?);
        }
        if let LogEntry::Segment(SegmentEntry { range, data: SegmentData::Object { id, .. } }) =
            &record.entry
        {
            // It was locked when its upload began, a little before its record was.
            let name = self.segment(range, *id)?;
            let promise = earlier(promise, SEGMENT_GRACE);
            short.extend(repository.look_short(name.as_str(), &promise).await?);
        }
        Ok(Some(short))
    }

    fn segment(&self, range: &LogRange, id: SegmentId) -> Result<Key, PipelineError> {
        let cluster = self.repository.cluster();
        key(&layout::segment(cluster, &range.server, &range.file, range.start, id))
    }

    async fn tail<A: Accept>(&self, number: u64, mut acceptor: A) -> Result<A, PipelineError> {
        let object = layout::log(self.repository.cluster(), number);
        let (found, body) = self.records.read(number).await?;
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
            let kms = self.kms.ok_or(PipelineError::Worker)?;
            let dek = self.repository.dek(dek_id, kms).await?;
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
