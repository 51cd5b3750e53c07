//! `hold` and `unhold`: a backup that no policy removes, until somebody says otherwise.

use std::sync::Arc;

use serde::Serialize;

use super::{JobError, choose, connections};
use crate::{
    crypto::signer::Signer,
    format::{MarkKind, Role, RunIdentity, audit::action},
    model::{BackupId, RunId, Timestamp},
    pipeline::{
        Author, Introduction, Mark, Repository, Standing,
        audit::{Act, append},
        marked_backup,
    },
};

/// What to hold, and by whom.
#[derive(Debug)]
pub struct Request {
    /// The repository.
    pub repository: Arc<Repository>,
    /// Vouches for the run.
    pub signer: Box<dyn Signer>,
    /// Who runs it.
    pub identity: RunIdentity,
    /// The backup.
    pub id: BackupId,
    /// Why.
    pub reason: String,
}

/// What became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Held {
    /// Version of this object.
    pub version: u32,
    /// `held`, `unheld`, or `unchanged`: it was so before.
    pub status: &'static str,
    /// The backup.
    pub backup_id: BackupId,
    /// Whether it is held now.
    pub held: bool,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
    /// Whether it had a tombstone, which the hold has taken away.
    pub had_tombstone: bool,
    /// The run that has signed it; none when nothing was to be done.
    pub run_id: Option<RunId>,
    /// The head of the audit chain, when the run has written to it.
    pub audit_head: Option<String>,
}

/// Holds a backup. A tombstone that it has is taken away.
///
/// # Errors
/// When there is no such backup, or it is being removed already; when the store or the signer fails.
pub async fn hold(request: &Request) -> Result<Held, JobError> {
    decide(request, MarkKind::Hold, action::HOLD_SET).await
}

/// Lets a backup go again: from then on the policy decides.
///
/// # Errors
/// As [`hold`].
pub async fn unhold(request: &Request) -> Result<Held, JobError> {
    decide(request, MarkKind::Unhold, action::HOLD_LIFTED).await
}

async fn decide(request: &Request, kind: MarkKind, action: &str) -> Result<Held, JobError> {
    let Request { repository, id, reason, .. } = request;
    let found = choose(repository, Some(id)).await?;
    let subject = marked_backup(&found);
    let before = repository.standing(&found).await?;
    let wanted = kind == MarkKind::Hold;
    let fits = |standing: &Standing| match standing {
        Standing::Free | Standing::Tombstoned(_) => wanted,
        Standing::Held(_) => !wanted,
        Standing::Swept(_) => false,
    };
    if !fits(&before) {
        return unchanged(id, &before);
    }
    let by = Introduction {
        signer: &*request.signer,
        identity: request.identity.clone(),
        started_at: Timestamp::now(),
    };
    let cluster = found.record.cluster_uuid;
    let author = Author::begin(Arc::clone(repository), cluster, Role::Prune, by).await?;
    let mark = match author.decide(&subject, kind, reason, Timestamp::now(), fits).await? {
        Ok(mark) => mark,
        // Somebody else was quicker.
        Err(standing) => return unchanged(id, &standing),
    };
    let made = connections(repository, &[], Some(&*request.signer));
    let act = Act::new(action, id.as_str()).record(mark.sha256).connections(made).succeeded();
    let head = append(&author, &act).await?;
    Ok(Held {
        status: if wanted { "held" } else { "unheld" },
        had_tombstone: before.condemned().is_some(),
        run_id: Some(author.id),
        audit_head: Some(head.to_string()),
        ..told(id, wanted.then_some(&mark))
    })
}

/// It is so already, unless it is too late.
fn unchanged(id: &BackupId, standing: &Standing) -> Result<Held, JobError> {
    match standing {
        Standing::Swept(mark) => Err(JobError::target(
            format!("backup {id} has been removed since {}: it is too late", mark.at),
            "`backstay list` shows what there is",
        )),
        Standing::Held(mark) => Ok(told(id, Some(mark))),
        Standing::Free | Standing::Tombstoned(_) => Ok(told(id, None)),
    }
}

fn told(id: &BackupId, mark: Option<&Mark>) -> Held {
    Held {
        version: 1,
        status: "unchanged",
        backup_id: id.clone(),
        held: mark.is_some(),
        since: mark.map(|mark| mark.at),
        reason: mark.map(|mark| mark.reason.clone()),
        had_tombstone: false,
        run_id: None,
        audit_head: None,
    }
}
