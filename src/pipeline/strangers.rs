//! Names that somebody made up.
//!
//! Where nothing is kept of what is written over, junk under a name of ours is damage: something of
//! ours may have been there. Where versions are kept it would still be there, so a name under which
//! no run of ours ever stored anything is not ours. Who may only write can make such names, and with
//! them neither stop a reader nor a writer.

use serde_json::Value;

use super::{
    PipelineError, Repository,
    candidates::Candidates,
    repository::{SignedByRun, key},
};
use crate::{
    crypto::verify,
    format::{Envelope, MAX_RECORD_BYTES, Opened, RunRecord, layout},
    model::RunId,
    store::Versions,
};

impl Repository {
    /// Whether no run of ours has stored anything of this type under a name. `belongs` says of the
    /// signed document whether it is meant for that name.
    pub(super) async fn is_strange<P: SignedByRun>(
        &self,
        versions: &Versions,
        belongs: impl Fn(&Value) -> bool,
    ) -> Result<bool, PipelineError> {
        if !self.store().keeps_versions().await? {
            return Ok(false);
        }
        for version in &versions.versions {
            let store = self.store();
            match store.get_version(&versions.key, version, MAX_RECORD_BYTES).await {
                Ok(bytes) if self.is_ours::<P>(&bytes, &belongs).await? => return Ok(false),
                Ok(_) => {}
                Err(error) => match PipelineError::reading(error) {
                    PipelineError::Integrity { .. } => {}
                    error => return Err(error),
                },
            }
        }
        self.met().strange(versions);
        Ok(true)
    }

    /// The same of a name that was not listed.
    pub(super) async fn has_only_strangers<P: SignedByRun>(
        &self,
        object: &str,
        belongs: impl Fn(&Value) -> bool,
    ) -> Result<bool, PipelineError> {
        if !self.store().keeps_versions().await? {
            return Ok(false);
        }
        let versions = self.store().versions(&key(object)?).await?;
        Ok(!versions.versions.is_empty() && self.is_strange::<P>(&versions, belongs).await?)
    }

    /// Whether a run of ours has signed this, whatever version of the format it is in.
    pub(super) async fn is_ours<P: SignedByRun>(
        &self,
        bytes: &[u8],
        belongs: impl Fn(&Value) -> bool,
    ) -> Result<bool, PipelineError> {
        let Ok(opened) = Envelope::decode::<P>(bytes) else { return Ok(false) };
        let Some((document, run)) = author(&opened) else { return Ok(false) };
        if !belongs(&document) {
            return Ok(false);
        }
        match self.run(run).await {
            Ok(run) => Ok(verify(&run.public_key.0, &opened.signed, &opened.signature).is_ok()),
            // Of a newer program, perhaps: then it is ours, and not to be read by this one.
            Err(PipelineError::Integrity { .. }) => self.is_run(run).await,
            Err(error) => Err(error),
        }
    }

    /// Whether a trusted signer has signed anything as this run's record.
    async fn is_run(&self, id: RunId) -> Result<bool, PipelineError> {
        let mut found = Candidates::of(self, &layout::run(self.cluster(), id)).await?;
        while let Some(bytes) = found.read(MAX_RECORD_BYTES).await? {
            let Ok(opened) = Envelope::decode::<RunRecord>(&bytes) else { continue };
            let named = author(&opened).is_some_and(|(_, run)| run == id);
            if named && self.trusts(&opened.signed, &opened.signature) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A signed document, whatever else it says, and the run that it names.
fn author(opened: &Opened) -> Option<(Value, RunId)> {
    let document: Value = serde_json::from_slice(&opened.payload).ok()?;
    let run = document.get("run_id")?.as_str()?.parse().ok()?;
    Some((document, run))
}
