//! Fetch, open, decompress, and write the files of the stream.

use std::sync::Arc;

use super::{Request, place::Place};
use crate::{
    crypto::Dek,
    format::Manifest,
    jobs::{JobError, verify::volumes},
    mysql::xbstream::{Dialect, Extractor, SyncPolicy},
    pipeline::{Accept, OnBad, PipelineError, Volumes, budget::Budget, open_volumes},
};

/// The extractor, at the end of the pipeline.
struct Files(Extractor);

impl Accept for Files {
    fn accept(&mut self, plain: &[u8]) -> Result<(), PipelineError> {
        // What was sealed was validated first, so this is the disk, or a defect of ours.
        self.0.feed(plain).map_err(|e| PipelineError::Accept(Box::new(e)))
    }
}

/// Extracts the whole backup into the place's stage.
pub(super) async fn run(
    request: &Request,
    manifest: &Manifest,
    dek: Dek,
    place: &Place,
) -> Result<(), JobError> {
    request.progress.expect(manifest.bytes_read);
    let dialect = Dialect::of(manifest.engine.kind);
    let stage =
        Extractor::new(dialect, place.stage(), SyncPolicy::Never).map_err(PipelineError::from)?;
    let opening = Volumes {
        cluster: manifest.cluster_uuid,
        run: manifest.run_id,
        dek_id: manifest.dek_id,
        dek,
        volumes: volumes(&request.repository, manifest)?,
        budget: Budget::here(),
        progress: Arc::clone(&request.progress),
    };
    let store = Arc::clone(request.repository.store());
    let opened = open_volumes(store, opening, Files(stage), OnBad::Stop).await?;
    let whole = opened.acceptor.0.finish().map_err(|e| PipelineError::Accept(Box::new(e)))?;
    if opened.plain_bytes != manifest.bytes_read || whole.files() != manifest.files {
        return Err(JobError::integrity(
            format!("{} bytes and {} files came out", opened.plain_bytes, whole.files()),
            format!(
                "the manifest says {} and {}; run `backstay verify`",
                manifest.bytes_read, manifest.files
            ),
        ));
    }
    Ok(())
}
