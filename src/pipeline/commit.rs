//! The commit point of a backup. It cannot be written without proof of a whole stream.

use sha2::{Digest, Sha256};

use super::{Class, PipelineError, Run, verdict::Verdict};
use crate::{
    format::{Manifest, layout},
    model::{ProofKind, Sha256Digest},
    mysql::xbstream::WholeStream,
    process::CleanExit,
};

/// How the stream ended, beside its framing.
#[derive(Debug)]
pub enum Ending {
    /// We reaped the engine. Only [`crate::process`] can make a `CleanExit`.
    Exit(CleanExit),
    /// Our agent did, and its verdict fits what was received. Only [`super::verdict`] can make one.
    Verdict(Box<Verdict>),
    /// Nobody said anything.
    Framing,
}

impl Ending {
    /// What the manifest calls it.
    #[must_use]
    pub fn kind(&self) -> ProofKind {
        match self {
            Self::Exit(_) => ProofKind::Exit,
            Self::Verdict(_) => ProofKind::Verdict,
            Self::Framing => ProofKind::Framing,
        }
    }
}

/// Everything that a commit consumes: the proofs cannot be used twice.
#[derive(Debug)]
pub struct Commit {
    /// The manifest, but for what the proofs say.
    pub manifest: Manifest,
    /// The framing was whole. Only [`crate::mysql::xbstream`] can make one.
    pub stream: WholeStream,
    /// How the stream ended.
    pub ending: Ending,
}

/// A committed backup.
#[derive(Debug)]
pub struct Committed {
    /// The manifest as it is stored.
    pub manifest: Manifest,
    /// SHA-256 of its stored bytes.
    pub sha256: Sha256Digest,
}

/// Writes the manifest, create-only.
///
/// # Errors
/// `Taken` when another attempt has committed under this id in the meantime.
pub async fn commit(run: &Run, commit: Commit) -> Result<Committed, PipelineError> {
    let Commit { mut manifest, stream, ending } = commit;
    manifest.proof = ending.kind();
    manifest.files = stream.files();
    manifest.payload_bytes = stream.payload_bytes();
    let told = match &ending {
        Ending::Verdict(verdict) => verdict.bytes(),
        Ending::Exit(_) | Ending::Framing => manifest.bytes_read,
    };
    if stream.stream_bytes() != manifest.bytes_read || told != manifest.bytes_read {
        // What was validated must be what was sealed, byte for byte.
        return Err(PipelineError::Worker);
    }
    let stored = run.sign(&manifest)?;
    let sha256 = Sha256Digest(Sha256::digest(&stored).into());
    let object = layout::manifest(run.repository.cluster(), &manifest.backup_id);
    let keep = run.repository.keep(Class::Data);
    let is_it = |document: &serde_json::Value| document["backup_id"] == manifest.backup_id.as_str();
    if !run.create_alone::<Manifest>(&object, stored, &keep, is_it).await? {
        let counts = match run.repository.manifest(&manifest.backup_id).await {
            Ok(found) => found,
            Err(PipelineError::Integrity { .. }) => None,
            Err(error) => return Err(error),
        };
        if counts.is_none_or(|found| found.sha256 != sha256) {
            return Err(PipelineError::Taken {
                id: manifest.backup_id.to_string(),
                why: "another attempt committed while this one ran".into(),
            });
        }
    }
    run.repository.must_be_locked(&object, &keep).await?;
    Ok(Committed { manifest, sha256 })
}
