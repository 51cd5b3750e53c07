//! `keys new`: a local KEK, its signer, and the trust file, in one go.

use std::path::{Path, PathBuf};

use super::JobError;
use crate::{
    crypto::{
        keyfile::{KeyFile, KeyFileError},
        kms::{KmsError, file::FileKms},
        signer::{Signer, SignerError, Trust, file::FileSigner},
    },
    pipeline::PipelineError,
};

/// The files that were made.
#[derive(Debug, serde::Serialize)]
pub struct NewKeys {
    /// Version of this object.
    pub version: u32,
    /// The KEK: wraps and unwraps. Keep it safe and keep a copy elsewhere: without it nothing can be restored.
    pub kek: PathBuf,
    /// Its public half, for identities that may only write; X25519 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kek_public: Option<PathBuf>,
    /// What signs runs.
    pub signer: PathBuf,
    /// What readers believe; not secret, but whoever changes it changes what is believed.
    pub trust: PathBuf,
    /// The KEK's name in key records.
    pub kek_id: String,
}

/// `path` with `.suffix` behind it.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Makes the files, each with mode 0600. When any of them exists, nothing is made.
///
/// # Errors
/// When a file exists, or the folder does not.
pub fn new(path: &Path, symmetric: bool) -> Result<NewKeys, JobError> {
    let made = NewKeys {
        version: 1,
        kek: path.to_owned(),
        kek_public: (!symmetric).then(|| beside(path, "pub")),
        signer: beside(path, "signer"),
        trust: beside(path, "trust"),
        kek_id: String::new(),
    };
    let all = [Some(&made.kek), made.kek_public.as_ref(), Some(&made.signer), Some(&made.trust)];
    if let Some(taken) = all.into_iter().flatten().find(|path| path.symlink_metadata().is_ok()) {
        return Err(JobError::usage(
            format!("{} exists already, and keys are never overwritten", taken.display()),
            "choose another path, or move the old keys away if nothing was sealed with them",
        ));
    }
    let kek = if symmetric { FileKms::generate_symmetric() } else { FileKms::generate_x25519() };
    let kek = kek.map_err(KmsError::from).map_err(PipelineError::from)?;
    let signer = FileSigner::generate().map_err(SignerError::from).map_err(PipelineError::from)?;
    let file = |error: KeyFileError| {
        JobError::usage(error.to_string(), "the folder must exist and be writable")
    };
    kek.write_new(&made.kek).map_err(file)?;
    if let Some(public) = &made.kek_public {
        kek.public_half().write_new(public).map_err(file)?;
    }
    signer.write_new(&made.signer).map_err(file)?;
    let public = signer.public.unwrap_or_default();
    Trust::of(&signer.id, public)
        .write_new(&made.trust)
        .map_err(|e| JobError::usage(e.to_string(), "the folder must exist and be writable"))?;
    Ok(NewKeys { kek_id: KeyFile::read(path).map_err(file)?.id, ..made })
}

/// A trust file that was made.
#[derive(Debug, serde::Serialize)]
pub struct NewTrust {
    /// Version of this object.
    pub version: u32,
    /// The file.
    pub trust: PathBuf,
    /// The signer that it believes.
    pub signer: String,
}

/// Makes a trust file that believes a signer, and it alone; an existing one is never touched.
///
/// # Errors
/// When the file exists, or the folder does not.
pub fn trust(path: &Path, signer: &dyn Signer) -> Result<NewTrust, JobError> {
    Trust::of(signer.id(), signer.public_key()).write_new(path).map_err(|e| {
        JobError::usage(e.to_string(), "choose a path where nothing is, in a folder that exists")
    })?;
    Ok(NewTrust { version: 1, trust: path.to_owned(), signer: signer.id().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_command_makes_all_and_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let made = new(&dir.path().join("kek"), false).unwrap();
        for path in [&made.kek, &made.signer, &made.trust, made.kek_public.as_ref().unwrap()] {
            assert!(path.exists(), "{}", path.display());
        }
        std::fs::remove_file(&made.kek).unwrap();
        assert!(matches!(new(&made.kek, false), Err(JobError::Usage { .. })));
        assert!(!made.kek.exists(), "nothing is made when anything is in the way");
    }
}
