//! `audit`: the trail of who did what. Reading it needs Get and List on the store, and no key.

mod export;
mod verify;

pub use export::{Exported, Line, Range, export};
pub use verify::{Audited, verify};

use super::{
    JobError, Recorded, Witness,
    witness::{Begun, Intent},
};
use crate::{
    format::audit::Details,
    pipeline::{
        Repository,
        audit::{Act, Settings},
    },
};
use std::sync::Arc;

/// Looking at the trail is an act, too, of one record.
fn looking(subject: &str) -> Intent<'static> {
    Intent {
        job: "audit",
        subject: subject.to_owned(),
        details: Details::Other(serde_json::Map::new()),
        kms: None,
        settings: Settings::default(),
        is_announced: false,
    }
}

/// Begins to record when it must be, so that nothing is looked at that cannot.
async fn early<'a>(
    witness: &'a Witness,
    repository: &Arc<Repository>,
    subject: &str,
) -> Result<Option<Begun<'a>>, JobError> {
    if !witness.is_required() {
        return Ok(None);
    }
    witness.begin(repository, looking(subject)).await.map(Some)
}

async fn record(
    witness: &Witness,
    repository: &Arc<Repository>,
    early: Option<Begun<'_>>,
    act: Act,
) -> Result<Recorded, JobError> {
    let begun = match early {
        Some(begun) => begun,
        None => witness.begin(repository, looking(act.subject())).await?,
    };
    Ok(begun.record(act).await)
}
