//! Folders of our own for what is not to stay.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::JobError;
use crate::{crypto, pipeline::PipelineError};

/// A folder that only we can enter, removed with everything in it when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// A new folder below `parent`, or below the system's temporary folder.
    pub(super) fn new(parent: Option<&Path>) -> Result<Self, JobError> {
        let parent = Self::parent(parent);
        let random: [u8; 6] = crypto::random().map_err(PipelineError::from)?;
        let path = parent.join(format!("backstay-{}", hex::encode(random)));
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(|cause| {
            JobError::preflight(
                format!("create the scratch folder {}: {cause}", path.display()),
                "give a writable folder by --scratch or TMPDIR",
            )
        })?;
        Ok(Self(path))
    }

    /// Where a new one would be.
    pub(super) fn parent(given: Option<&Path>) -> PathBuf {
        let parent = given.map_or_else(std::env::temp_dir, Path::to_owned);
        // A server takes a relative path to be below its own data directory.
        std::path::absolute(&parent).unwrap_or(parent)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "could not remove the scratch folder");
        }
    }
}
