//! Hashing beside the work: SHA-256 is the slowest stage of reading, so it has a thread of its own.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::{sync::mpsc, task::JoinHandle};

use super::PipelineError;
use crate::model::Sha256Digest;

/// A SHA-256 over pieces in the order in which they are given. At most two pieces are held.
#[derive(Debug)]
pub struct Hasher {
    pieces: mpsc::Sender<Bytes>,
    digest: JoinHandle<Sha256Digest>,
}

impl Hasher {
    /// Starts the thread; it ends with this value.
    #[must_use]
    pub fn start() -> Self {
        let (pieces, mut received) = mpsc::channel::<Bytes>(1);
        let digest = tokio::task::spawn_blocking(move || {
            let mut hash = Sha256::new();
            while let Some(piece) = received.blocking_recv() {
                hash.update(&piece);
            }
            Sha256Digest(hash.finalize().into())
        });
        Self { pieces, digest }
    }

    /// Takes the next piece; waits while two others are held.
    ///
    /// # Errors
    /// When the thread is gone, which it never should be.
    pub async fn update(&self, piece: Bytes) -> Result<(), PipelineError> {
        self.pieces.send(piece).await.map_err(|_| PipelineError::Worker)
    }

    /// The digest of everything that was taken.
    ///
    /// # Errors
    /// As [`Hasher::update`].
    pub async fn finish(self) -> Result<Sha256Digest, PipelineError> {
        drop(self.pieces);
        self.digest.await.map_err(|_| PipelineError::Worker)
    }
}
