//! `keys rewrap`: every DEK of a cluster gets a wrap by another KEK. No data is touched.
//!
//! At every moment one KEK alone opens everything: first each DEK gets the new wrap *beside* the
//! ones that it has, and only when none lacks it may others be dropped. Each step is one
//! create-only record, so a run that is killed leaves whole records, and the next one skips what
//! is done.

mod execute;
mod plan;

use std::sync::Arc;

use serde::Serialize;

use crate::{
    crypto::{kms::Kms, signer::Signer},
    format::RunIdentity,
    jobs::ExitOf,
    model::{DekId, RunId},
    pipeline::{Progress, Repository},
};
pub use execute::run;

/// What every report says, since the opposite is widely believed.
pub const NO_CURE: &str = "rewrapping does not cure a KEK that was compromised: the older generations of the \
     key records stay in the repository, and whoever has copied one, and holds the old KEK, opens those DEKs \
     and all that they seal for ever";

/// What to rewrap, and how.
#[derive(Debug)]
pub struct Request {
    /// The repository.
    pub repository: Arc<Repository>,
    /// Opens the DEKs.
    pub from: Box<dyn Kms>,
    /// Wraps them anew.
    pub to: Box<dyn Kms>,
    /// Names of KEKs whose wraps the newest records shall have no more.
    pub drop: Vec<String>,
    /// Vouches for the run.
    pub signer: Box<dyn Signer>,
    /// Who runs it.
    pub identity: RunIdentity,
    /// How a failure is recorded.
    pub exit_of: ExitOf,
    /// Where to count, and where to be told to stop.
    pub progress: Arc<Progress>,
}

/// What was rewrapped.
#[derive(Debug, Serialize)]
pub struct Rewrapped {
    /// Version of this object.
    pub version: u32,
    /// `complete`: every DEK has the wrap. `incomplete`: some have not. `stopped` by a signal.
    pub status: &'static str,
    /// The KEK that opened the DEKs.
    pub from: String,
    /// The KEK that wraps them now.
    pub to: String,
    /// Its version, where its provider has versions.
    pub to_version: Option<String>,
    /// Whether it was seen to open what it wrapped; this identity may lack that right.
    pub to_opens: bool,
    /// DEKs of the cluster.
    pub deks: u64,
    /// DEKs that have the wrap since now.
    pub rewrapped: u64,
    /// DEKs that had it before.
    pub already: u64,
    /// DEKs whose newest record has lost the wraps that were to be dropped.
    pub dropped: u64,
    /// DEKs that could not be rewrapped.
    pub failed: Vec<Failed>,
    /// DEKs that were left alone, since the store or the KMS had failed, or a signal had come.
    pub not_tried: u64,
    /// The run that signed the new records; none when there was nothing to do.
    pub run_id: Option<RunId>,
    /// How long it took.
    pub elapsed_seconds: f64,
    /// The head of the audit chain, when the run has written to it.
    pub audit_head: Option<String>,
    /// What rewrapping is no remedy for.
    pub warning: &'static str,
}

/// A DEK that could not be rewrapped.
#[derive(Debug, Clone, Serialize)]
pub struct Failed {
    /// The DEK.
    pub dek_id: DekId,
    /// By what somebody can do about it.
    pub kind: FailedKind,
    /// Why.
    pub why: String,
}

/// Why a DEK could not be rewrapped, by what somebody can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailedKind {
    /// The store or the KMS failed: run it again.
    Unavailable,
    /// The KEK at hand has no wrap there, or not the right to open it: give another `--kek`.
    OtherKek,
    /// What is stored is not to be believed.
    Integrity,
}

impl Rewrapped {
    /// The worst of what went wrong; nothing when all is done.
    #[must_use]
    pub fn worst(&self) -> Option<FailedKind> {
        let left = (self.not_tried > 0).then_some(FailedKind::Unavailable);
        self.failed.iter().map(|failed| failed.kind).max().max(left)
    }
}
