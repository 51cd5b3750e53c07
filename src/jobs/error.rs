//! Why a job failed, by what the caller can do about it.

use crate::{mysql::MysqlError, pipeline::PipelineError, process::ProcessError};

/// A failed job.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The pipeline, the store, a key.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The database server.
    #[error(transparent)]
    Mysql(#[from] MysqlError),
    /// A child of ours.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Asked for something that cannot be.
    #[error("{what}; {hint}")]
    Usage {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// Something must be put right before the job can begin.
    #[error("{what}; {hint}")]
    Preflight {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The source of a backup, or a restored server, did not do what it should.
    #[error("{what}; {hint}")]
    Source {
        /// What went wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// What was asked for is not in the repository.
    #[error("{what}; {hint}")]
    Target {
        /// What is missing.
        what: String,
        /// What to do.
        hint: String,
    },
    /// What came out is not what was put in.
    #[error("{what}; {hint}")]
    Integrity {
        /// What differs.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The local file system.
    #[error("{operation} {path}: {cause}", path = path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: std::path::PathBuf,
        /// Why it failed.
        cause: std::io::Error,
    },
}

macro_rules! constructors {
    ($($name:ident => $variant:ident),*) => {$(
        pub(super) fn $name(what: impl Into<String>, hint: impl Into<String>) -> Self {
            Self::$variant { what: what.into(), hint: hint.into() }
        }
    )*};
}

impl JobError {
    constructors!(usage => Usage, preflight => Preflight, source => Source, target => Target, integrity => Integrity);

    /// For `map_err` on file operations.
    pub(super) fn io(
        operation: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |cause| Self::Io { operation, path, cause }
    }
}
