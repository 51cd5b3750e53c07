//! What can fail between a stream and a repository.

use crate::{
    crypto::{CryptoError, kms::KmsError, signer::SignerError},
    format::FormatError,
    mysql::xbstream::XbstreamError,
    store::{StoreError, StoreErrorKind},
};

/// A failed step, named by what a caller can do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The source could not be read.
    #[error("read the backup stream: {0}")]
    Read(#[source] std::io::Error),
    /// The stream is not whole.
    #[error("{0}")]
    Stream(#[from] XbstreamError),
    /// What was opened could not be used (a full disk, an unsafe path).
    #[error("{0}")]
    Accept(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store failed.
    #[error("{0}")]
    Store(#[source] Box<StoreError>),
    /// The KMS failed.
    #[error("{0}")]
    Kms(#[from] KmsError),
    /// The signer failed.
    #[error("{0}")]
    Signer(#[from] SignerError),
    /// Our own keys failed; nothing that is stored is to blame.
    #[error("{0}")]
    Crypto(#[from] CryptoError),
    /// Something stored is not what was written.
    #[error("integrity: {object}: {why}")]
    Integrity {
        /// The object's key.
        object: String,
        /// What is wrong with it.
        why: String,
    },
    /// The id belongs to somebody else's backup.
    #[error("backup id {id} is taken: {why}; choose another --id")]
    Taken {
        /// The id.
        id: String,
        /// By what.
        why: String,
    },
    /// Another archiver owns the log now.
    #[error(
        "fenced: run {run} has claimed epoch {epoch} of the log: this archiver ships nothing more"
    )]
    Fenced {
        /// Its epoch.
        epoch: u64,
        /// Its run.
        run: crate::model::RunId,
    },
    /// A run has stood still for so long that `prune` has given it up.
    #[error(
        "run {run} was given up by `backstay prune` at {since}, since it had stored nothing for so long: \
         what it has stored is being removed, and it commits nothing; begin again"
    )]
    GivenUp {
        /// The run.
        run: crate::model::RunId,
        /// Since when.
        since: crate::model::Timestamp,
    },
    /// An earlier write of ours turned out to have happened: read the state again.
    #[error("an earlier write of this archiver was done after all")]
    Unsettled,
    /// Asked to stop.
    #[error("stopped by a signal")]
    Stopped,
    /// A thread of ours ended without a word.
    #[error("a worker thread failed; this is a defect of backstay")]
    Worker,
}

impl PipelineError {
    /// Something stored is wrong.
    pub fn integrity(object: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Integrity { object: object.into(), why: why.to_string() }
    }

    /// A failed read of something that a record says is there: missing or cut is an
    /// integrity failure, anything else is the store's.
    pub(super) fn reading(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::NotFound => Self::integrity(error.object, "it is missing"),
            StoreErrorKind::Corrupt => Self::integrity(error.object.clone(), error.cause),
            _ => error.into(),
        }
    }

    /// A format error in a stored object.
    pub(super) fn format(object: &str, error: &FormatError) -> Self {
        Self::integrity(object, error)
    }
}

impl From<StoreError> for PipelineError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}
