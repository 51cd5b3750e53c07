//! Sends parts to the store, several at once, one volume after another.

use std::sync::Arc;

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::{SealRequest, assemble::Piece};
use crate::{
    format::VolumeRecord,
    pipeline::{
        PipelineError,
        budget::{PART_BYTES, UPLOADS},
    },
    store::{Store, Upload},
};

/// Uploads until the stages have no more; aborts the current volume on any failure.
pub(super) async fn run(
    store: Arc<dyn Store>,
    request: &SealRequest,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<Vec<VolumeRecord>, PipelineError> {
    let mut upload = None;
    match volumes(&*store, request, &mut pieces, &mut upload).await {
        Ok(volumes) => Ok(volumes),
        Err(error) => {
            drop(pieces);
            if let Some(upload) = upload
                && let Err(left) = upload.abort().await
            {
                // The first error is the one to tell; an upload left behind is found by `prune`.
                tracing::warn!(error = %left, "could not abort an upload; its parts remain in the store");
            }
            Err(error)
        }
    }
}

async fn volumes(
    store: &dyn Store,
    request: &SealRequest,
    pieces: &mut mpsc::Receiver<Piece>,
    upload: &mut Option<Box<dyn Upload>>,
) -> Result<Vec<VolumeRecord>, PipelineError> {
    let mut done = Vec::new();
    let mut in_flight = FuturesUnordered::new();
    loop {
        let piece = tokio::select! {
            () = request.progress.stopped() => return Err(PipelineError::Stopped),
            piece = pieces.recv() => piece,
            Some(sent) = in_flight.next() => { sent?; continue }
        };
        match piece {
            Some(Piece::Part { volume, number, bytes }) => {
                let current = if let Some(current) = upload {
                    current
                } else {
                    let (key, keep) = ((request.volume_key)(volume)?, (request.keep)());
                    upload.insert(store.upload_kept(&key, PART_BYTES, &keep).await?)
                };
                in_flight.push(current.part(number, bytes));
                while in_flight.len() >= UPLOADS {
                    if let Some(sent) = in_flight.next().await {
                        sent?;
                    }
                }
            }
            Some(Piece::End(record)) => {
                while let Some(sent) = in_flight.next().await {
                    sent?;
                }
                if let Some(current) = upload.take() {
                    current.complete().await?;
                }
                done.push(record);
            }
            // An end in the middle of a volume: the stages have failed and will say why.
            None if upload.is_some() => return Err(PipelineError::Worker),
            None => return Ok(done),
        }
    }
}
