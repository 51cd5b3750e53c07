//! Fetch, open, decompress, and write the files of the stream.

use std::{path::Path, sync::Arc};

use super::Request;
use crate::{
    crypto::{Dek, kms::Kms},
    format::Manifest,
    jobs::{JobError, choose, verify::volumes},
    model::BackupId,
    mysql::xbstream::{Dialect, Extractor, SyncPolicy},
    pipeline::{
        Accept, Objects, OnBad, PipelineError, Progress, Repository, budget::Budget, open_objects,
    },
};

/// The extractor, at the end of the pipeline.
struct Files(Extractor);

impl Accept for Files {
    fn accept(&mut self, plain: &[u8]) -> Result<(), PipelineError> {
        // What was sealed was validated first, so this is the disk, or a defect of ours.
        self.0.feed(plain).map_err(|e| PipelineError::Accept(Box::new(e)))
    }
}

/// A backup that is believed, and the key to it.
#[derive(Debug)]
pub struct Chosen {
    /// Its manifest.
    pub manifest: Manifest,
    dek: Dek,
}

impl Chosen {
    /// The backup that was asked for, or the newest one.
    ///
    /// # Errors
    /// When it is not there, not believed, or the KEK does not open its key.
    pub async fn find(
        repository: &Repository,
        kms: &dyn Kms,
        id: Option<&BackupId>,
    ) -> Result<Self, JobError> {
        Self::of(repository, kms, choose(repository, id).await?.record).await
    }

    /// With the manifest at hand.
    pub(super) async fn of(
        repository: &Repository,
        kms: &dyn Kms,
        manifest: Manifest,
    ) -> Result<Self, JobError> {
        let dek = repository.dek(manifest.dek_id, kms).await?;
        Ok(Self { manifest, dek })
    }

    /// Hands the whole stream to the acceptor, in order. No byte of a bad chunk reaches it.
    ///
    /// # Errors
    /// The first thing that is not as it was written, or that fails.
    pub async fn read<A: Accept>(
        &self,
        repository: &Repository,
        acceptor: A,
        progress: &Arc<Progress>,
    ) -> Result<A, JobError> {
        let manifest = &self.manifest;
        progress.expect(manifest.bytes_read);
        let opening = Objects {
            cluster: manifest.cluster_uuid,
            run: manifest.run_id,
            dek_id: manifest.dek_id,
            dek: self.dek.clone(),
            objects: repository.locate(volumes(repository, manifest)?).await?,
            budget: Budget::here(),
            progress: Arc::clone(progress),
        };
        let store = Arc::clone(repository.store());
        let opened = open_objects(store, opening, acceptor, OnBad::Stop).await?;
        if opened.plain_bytes == manifest.bytes_read {
            return Ok(opened.acceptor);
        }
        Err(JobError::integrity(
            format!("{} bytes came out", opened.plain_bytes),
            format!("the manifest says {}; run `backstay verify`", manifest.bytes_read),
        ))
    }
}

/// Extracts the whole backup into a folder.
pub(super) async fn run(request: &Request, chosen: &Chosen, folder: &Path) -> Result<(), JobError> {
    let manifest = &chosen.manifest;
    let dialect = Dialect::of(manifest.engine.kind);
    let stage = Extractor::new(dialect, folder, SyncPolicy::Never).map_err(PipelineError::from)?;
    let files = chosen.read(&request.repository, Files(stage), &request.progress).await?;
    let whole = files.0.finish().map_err(|e| PipelineError::Accept(Box::new(e)))?;
    if whole.files() == manifest.files {
        return Ok(());
    }
    Err(JobError::integrity(
        format!("{} files came out", whole.files()),
        format!("the manifest says {}; run `backstay verify`", manifest.files),
    ))
}
