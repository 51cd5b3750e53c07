//! `keys new`: a local KEK, its signer, and the trust file, in one go.

use std::path::{Path, PathBuf};

use crate::{
    crypto::{
        keyfile::{KeyFile, KeyFileError},
        kms::{KmsError, file::FileKms},
        signer::{Signer, SignerError, Trust, file::FileSigner},
    },
    jobs::JobError,
    model::ClusterUuid,
    pipeline::{PipelineError, Repository},
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
    /// What signs runs; none is made for a KEK that joins or follows another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<PathBuf>,
    /// What readers believe; not secret, but whoever changes it changes what is believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<PathBuf>,
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

/// Which files to make.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kind {
    /// A symmetric KEK, which has no public half.
    pub symmetric: bool,
    /// The KEK alone: the cluster has a signer, whom its readers trust already.
    pub kek_only: bool,
}

/// Makes the files, each with mode 0600. When any of them exists, nothing is made.
///
/// # Errors
/// When a file exists, or the folder does not.
pub fn new(path: &Path, kind: Kind) -> Result<NewKeys, JobError> {
    let Kind { symmetric, kek_only } = kind;
    let made = NewKeys {
        version: 1,
        kek: path.to_owned(),
        kek_public: (!symmetric).then(|| beside(path, "pub")),
        signer: (!kek_only).then(|| beside(path, "signer")),
        trust: (!kek_only).then(|| beside(path, "trust")),
        kek_id: String::new(),
    };
    let all =
        [Some(&made.kek), made.kek_public.as_ref(), made.signer.as_ref(), made.trust.as_ref()];
    if let Some(taken) = all.into_iter().flatten().find(|path| path.symlink_metadata().is_ok()) {
        return Err(JobError::usage(
            format!("{} exists already, and keys are never overwritten", taken.display()),
            "choose another path, or move the old keys away if nothing was sealed with them",
        ));
    }
    let kek = if symmetric { FileKms::generate_symmetric() } else { FileKms::generate_x25519() };
    let kek = kek.map_err(KmsError::from).map_err(PipelineError::from)?;
    let file = |error: KeyFileError| {
        JobError::usage(error.to_string(), "the folder must exist and be writable")
    };
    kek.write_new(&made.kek).map_err(file)?;
    if let Some(public) = &made.kek_public {
        kek.public_half().write_new(public).map_err(file)?;
    }
    if let (Some(path), Some(trust)) = (&made.signer, &made.trust) {
        let signer =
            FileSigner::generate().map_err(SignerError::from).map_err(PipelineError::from)?;
        signer.write_new(path).map_err(file)?;
        Trust::of(&signer.id, signer.public.unwrap_or_default())
            .write_new(trust)
            .map_err(|e| JobError::usage(e.to_string(), "the folder must exist and be writable"))?;
    }
    Ok(NewKeys { kek_id: KeyFile::read(path).map_err(file)?.id, ..made })
}

/// A trust file that was made.
#[derive(Debug, serde::Serialize)]
pub struct NewTrust {
    /// Version of this object.
    pub version: u32,
    /// The file.
    pub trust: PathBuf,
    /// The signers that it believes.
    pub signer: String,
    /// The cluster that it pins, when it was asked to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_uuid: Option<ClusterUuid>,
}

/// Makes a trust file that believes a signer, and it alone, for runs of some roles or of all; an
/// existing one is never touched.
///
/// # Errors
/// When the file exists, or the folder does not.
pub fn trust(path: &Path, signer: &dyn Signer, roles: &[String]) -> Result<NewTrust, JobError> {
    let trust = Trust::of(signer.id(), signer.public_key());
    let trust = if roles.is_empty() { trust } else { trust.limited_to(roles) };
    trust.write_new(path).map_err(|e| {
        JobError::usage(e.to_string(), "choose a path where nothing is, in a folder that exists")
    })?;
    let signer = signer.id().to_owned();
    Ok(NewTrust { version: 1, trust: path.to_owned(), signer, cluster_uuid: None })
}

/// Pins the cluster of a repository in a trust file, by which it was believed: from then on whoever
/// reads by that file refuses any other cluster under this name.
///
/// # Errors
/// When there is no such cluster, it is not the one that is pinned already, or the file cannot be
/// written.
pub async fn pin(path: &Path, trust: Trust, repository: &Repository) -> Result<NewTrust, JobError> {
    let cluster = repository.cluster();
    let uuid = repository.uuid().await?.ok_or_else(|| {
        JobError::target(
            format!("{} has no cluster yet, so there is nothing to pin", repository.url()),
            "take the first backup, and pin then",
        )
    })?;
    let signer = trust.signers().collect::<Vec<_>>().join(", ");
    trust
        .pinning(cluster, uuid)
        .write_over(path)
        .map_err(|e| JobError::usage(e.to_string(), "the folder must be writable"))?;
    Ok(NewTrust { version: 1, trust: path.to_owned(), signer, cluster_uuid: Some(uuid) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_command_makes_all_and_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let made = new(&dir.path().join("kek"), Kind::default()).unwrap();
        let beside = [&made.signer, &made.trust, &made.kek_public].map(|p| p.as_ref().unwrap());
        for path in beside.into_iter().chain([&made.kek]) {
            assert!(path.exists(), "{}", path.display());
        }
        std::fs::remove_file(&made.kek).unwrap();
        assert!(matches!(new(&made.kek, Kind::default()), Err(JobError::Usage { .. })));
        assert!(!made.kek.exists(), "nothing is made when anything is in the way");
    }

    #[test]
    fn a_kek_alone_brings_no_signer_that_nobody_trusts() {
        let dir = tempfile::tempdir().unwrap();
        let kind = Kind { kek_only: true, ..Kind::default() };
        new(&dir.path().join("kek"), kind).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["kek", "kek.pub"]);
    }
}
