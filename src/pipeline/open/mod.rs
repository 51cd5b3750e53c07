//! The way down: fetch in parallel → open and decompress on all cores → order → accept.
//!
//! Nothing of a chunk is handed on unless its tag has verified and its frame has given
//! exactly the bytes that the sealed index promised.

mod chunk;
mod locate;
mod stages;
mod volume;
mod whole;

pub use whole::open_whole;

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Hasher, PipelineError, Progress,
    budget::{Budget, FETCHES},
};
use crate::{
    crypto::Dek,
    format::{ObjectKind, VolumeRecord},
    model::{ClusterUuid, DekId, RunId, Sha256Digest},
    store::{Key, Store, Version},
};

/// Takes the plaintext, in order.
pub trait Accept: Send + 'static {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// When they cannot be used; the whole pipeline then ends with this error.
    fn accept(&mut self, plain: &[u8]) -> Result<(), PipelineError>;
}

/// What to do when a chunk is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBad {
    /// Stop: a restore must not go on.
    Stop,
    /// Note it and go on: a verification tells everything that is bad.
    Note,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The object's key.
    pub object: String,
    /// The chunk, when it is one chunk.
    pub chunk: Option<u32>,
    /// What is wrong.
    pub why: String,
}

/// A sealed object, as a signed record describes it.
#[derive(Debug, Clone)]
pub struct StoredObject {
    /// Its key.
    pub key: Key,
    /// What must stand in its header.
    pub kind: ObjectKind,
    /// What must stand in its header.
    pub sequence: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Sha256Digest,
    /// Chunks in it.
    pub chunks: u32,
    /// Bytes of plaintext in it.
    pub plain_bytes: u64,
    /// Which version of it, where the store keeps several: see [`super::Repository::locate`].
    pub version: Option<Version>,
}

impl StoredObject {
    /// Its version; the only one, where no other is known.
    fn version(&self) -> Version {
        let only = Version { id: None, size: self.bytes, modified: None, tag: None };
        self.version.clone().unwrap_or(only)
    }

    /// A volume of a backup.
    #[must_use]
    pub fn volume(key: Key, record: &VolumeRecord) -> Self {
        Self {
            key,
            kind: ObjectKind::BackupVolume,
            sequence: record.sequence.into(),
            bytes: record.bytes,
            sha256: record.sha256,
            chunks: record.chunks,
            plain_bytes: record.plain_bytes,
            version: None,
        }
    }
}

/// Which objects of one run to open, and with what.
pub struct Objects {
    /// The cluster that must stand in the headers.
    pub cluster: ClusterUuid,
    /// The run that must stand in the headers.
    pub run: RunId,
    /// The DEK's id.
    pub dek_id: DekId,
    /// The DEK.
    pub dek: Dek,
    /// The objects in order.
    pub objects: Vec<StoredObject>,
    /// How much memory.
    pub budget: Budget,
    /// Where to count, and where to be told to stop.
    pub progress: Arc<Progress>,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects")
            .field("run", &self.run)
            .field("objects", &self.objects.len())
            .finish_non_exhaustive()
    }
}

/// The acceptor after the last byte, and what was found on the way.
#[derive(Debug)]
pub struct Opened<A> {
    /// The acceptor.
    pub acceptor: A,
    /// What was bad; empty with [`OnBad::Stop`].
    pub findings: Vec<Finding>,
    /// Plaintext bytes that were good.
    pub plain_bytes: u64,
}

/// Opens objects, one after another, and hands their plaintext on in order.
///
/// # Errors
/// The first failure of any stage.
pub async fn open_objects<A: Accept>(
    store: Arc<dyn Store>,
    request: Objects,
    acceptor: A,
    on_bad: OnBad,
) -> Result<Opened<A>, PipelineError> {
    let request = Arc::new(request);
    let (feed, stages) = stages::start(&request, acceptor, on_bad);
    let mut findings = Vec::new();
    let fetched = fetch(&store, &request, &feed, on_bad, &mut findings).await;
    drop(feed);
    let finished = stages.await.map_err(|_| PipelineError::Worker)?;
    match (fetched, finished) {
        // What the stages complain of was fetched before anything that failed to be fetched.
        (_, Err(error)) | (Err(error), Ok(_)) => Err(error),
        (Ok(()), Ok(done)) => {
            findings.extend(done.findings);
            Ok(Opened { acceptor: done.acceptor, findings, plain_bytes: done.plain_bytes })
        }
    }
}

async fn fetch(
    store: &Arc<dyn Store>,
    request: &Arc<Objects>,
    feed: &stages::Feed,
    on_bad: OnBad,
    findings: &mut Vec<Finding>,
) -> Result<(), PipelineError> {
    for record in &request.objects {
        let key = &record.key;
        let volume = match volume::begin(&**store, request, record).await {
            Ok(volume) => Arc::new(volume),
            Err(PipelineError::Integrity { object, why }) if on_bad == OnBad::Note => {
                findings.push(Finding { object, chunk: None, why });
                continue;
            }
            Err(error) => return Err(error),
        };
        // The tags prove that whoever sealed this knew the DEK, as every reader does. That the
        // run wrote it is in the manifest's signature alone, by way of this hash.
        let hash = Hasher::start();
        hash.update(volume.head.clone()).await?;
        let version = record.version();
        let groups = stream::iter(volume.groups().into_iter().map(|group| {
            // Tasks of their own: bytes go on arriving while others are handed out.
            let (store, key, range) = (Arc::clone(store), key.clone(), group.range.clone());
            let version = version.clone();
            let fetch =
                tokio::spawn(async move { store.get_version_range(&key, &version, range).await });
            let fetch = AbortOnDropHandle::new(fetch);
            async move {
                let bytes = fetch.await.map_err(|_| PipelineError::Worker)?;
                Ok::<_, PipelineError>((group, bytes.map_err(PipelineError::reading)?))
            }
        }));
        let mut groups = groups.buffered(FETCHES);
        while let Some((group, bytes)) = groups.try_next().await? {
            if request.progress.is_stopped() {
                return Err(PipelineError::Stopped);
            }
            request.progress.add_stored(bytes.len());
            hash.update(bytes.clone()).await?;
            feed.group(&volume, &group, &bytes).await?;
        }
        hash.update(volume.tail.clone()).await?;
        if hash.finish().await? != record.sha256 {
            let why = "its SHA-256 is not the one that was signed";
            if on_bad == OnBad::Stop {
                return Err(PipelineError::integrity(key.as_str(), why));
            }
            findings.push(Finding { object: key.to_string(), chunk: None, why: why.into() });
        }
    }
    Ok(())
}
