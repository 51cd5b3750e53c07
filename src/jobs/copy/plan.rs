//! What to copy: decided from what both sides have.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Copied, CopiedBackup, CopiedLog, Request, Scope};
use crate::{
    format::{AuditRecord, CHECKPOINT_EVERY, LogEntry, Manifest, Role, audit::action},
    jobs::{
        Committed, JobError,
        prune::plan::{Candidate, SettledCheckpoint, bases_since, horizon_since},
        window,
    },
    model::{BackupId, ClusterUuid},
    pipeline::{
        Found, Horizon, Horizons, PipelineError, Repository, Standing, Vouched,
        audit::scan,
        log::{Archive, LogState, checkpoint, read_archive, tip},
        marked_backup,
    },
};

/// What to do about a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    Copy,
    /// Nothing, since this is so; and why, where that is not plain.
    Leave(&'static str, Option<String>),
}

/// A backup of the original.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) id: BackupId,
    pub(super) found: Option<Found<Manifest>>,
    pub(super) decision: Decision,
}

/// The log of the original, and what of it the copy shall have.
#[derive(Debug)]
pub(super) struct PlannedLog {
    pub(super) archive: Archive,
    /// The last checkpoint of the original, from which on every record is copied.
    pub(super) last: Option<SettledCheckpoint>,
    /// Where the copy's horizon shall be.
    pub(super) horizon: Horizon,
    pub(super) horizons_there: Horizons,
    /// The log of the copy, as far as it can be read.
    pub(super) there: LogState,
}

/// What to copy.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) cluster: ClusterUuid,
    pub(super) is_new: bool,
    /// Newest first.
    pub(super) backups: Vec<Planned>,
    pub(super) log: Option<PlannedLog>,
}

pub(super) async fn make(request: &Request) -> Result<Plan, JobError> {
    let Request { from, to, scope, .. } = request;
    if from.url() == to.url() {
        return Err(JobError::usage(
            "a repository cannot be copied into itself",
            "give another --to",
        ));
    }
    let Some(cluster) = from.uuid().await? else {
        return Err(JobError::target(
            format!("{} is no cluster", from.url()),
            "check --repo and --cluster",
        ));
    };
    let there = to.uuid().await?;
    if there.is_some_and(|there| there != cluster) {
        let why = format!("{} is another cluster of that name", to.url());
        return Err(PipelineError::Taken { id: from.cluster().to_string(), why }.into());
    }
    let archive = match scope {
        Scope::Backup(_) => None,
        _ => Some(read_archive(from).await?),
    };
    let backups = backups(request, archive.as_ref()).await?;
    let log = match archive.filter(|archive| archive.state.head.number > 0) {
        Some(archive) => Some(log(request, archive, &backups).await?),
        None => None,
    };
    Ok(Plan { cluster, is_new: there.is_none(), backups, log })
}

/// The backups, and what to do about each.
async fn backups(request: &Request, archive: Option<&Archive>) -> Result<Vec<Planned>, JobError> {
    let Request { from, to, scope, .. } = request;
    let there = There::look(to).await?;
    let committed = Committed::read(from).await?;
    let marks = from.backup_marks().await?;
    let mut planned = Vec::new();
    let mut candidates = Vec::new();
    for (id, found) in from.backups().await? {
        let problem = match &found {
            Ok(found) => committed.contradicts(&id, Some(found)),
            Err(error) => Some(error.to_string()),
        };
        let (decision, found) = match (found, problem) {
            (Ok(found), None) => {
                let subject = marked_backup(&found);
                let standing = marks.get(&id).map(|marks| marks.standing(&subject));
                let standing = standing.unwrap_or_default();
                let is_named = *scope == Scope::Backup(id.clone());
                let decision = there.decide(&id, &found, &standing, is_named);
                candidates.push(Candidate::of(&found, standing));
                (decision, Some(found))
            }
            (found, problem) => (Decision::Leave("damaged", problem), found.ok()),
        };
        planned.push(Planned { id, found, decision });
    }
    let wanted = wanted(request, archive, &candidates)?;
    planned.retain(|one| {
        // What is damaged may belong to it, or not.
        wanted.contains(&one.id) || (one.found.is_none() && !matches!(scope, Scope::Backup(_)))
    });
    Ok(planned)
}

/// The backups that were asked for, and what they were built on.
fn wanted(
    request: &Request,
    archive: Option<&Archive>,
    candidates: &[Candidate],
) -> Result<HashSet<BackupId>, JobError> {
    let mut wanted: HashSet<BackupId> = match (&request.scope, archive) {
        (Scope::Backup(id), _) => {
            if candidates.iter().all(|candidate| candidate.id != *id) {
                return Err(JobError::target(
                    format!("{} has no complete backup {id} that is whole", request.from.url()),
                    "run `backstay list` to see what there is",
                ));
            }
            HashSet::from([id.clone()])
        }
        (Scope::Since(since), Some(archive)) => {
            let lines = window::lines(&request.from, archive)?;
            let bases = bases_since(candidates, &lines, *since);
            bases.into_iter().map(|at| candidates[at].id.clone()).collect()
        }
        _ => candidates.iter().map(|candidate| candidate.id.clone()).collect(),
    };
    // The children of a backup are younger, and stand before it.
    for candidate in candidates {
        if wanted.contains(&candidate.id) {
            wanted.extend(candidate.needs.clone());
        }
    }
    Ok(wanted)
}

/// What the other side has.
struct There {
    backups: HashMap<BackupId, Result<Found<Manifest>, String>>,
    /// Backups that were removed there.
    pruned: BTreeSet<String>,
}

impl There {
    async fn look(to: &Repository) -> Result<Self, JobError> {
        let mut pruned = BTreeSet::new();
        if to.uuid().await?.is_none() {
            return Ok(Self { backups: HashMap::new(), pruned });
        }
        let take = |found: &Found<AuditRecord>, run: &Vouched| -> Result<(), PipelineError> {
            let record = &found.record;
            if record.action == action::PRUNE_SWEPT && run.record.role == Role::Prune {
                pruned.insert(record.subject.clone());
            }
            Ok(())
        };
        scan(to, 0, None, take).await?;
        pruned.extend(to.swept().await?.iter().map(ToString::to_string));
        let backups = to.backups().await?.into_iter();
        let backups = backups.map(|(id, found)| (id, found.map_err(|e| e.to_string()))).collect();
        Ok(Self { backups, pruned })
    }

    fn decide(
        &self,
        id: &BackupId,
        found: &Found<Manifest>,
        standing: &Standing,
        is_named: bool,
    ) -> Decision {
        match self.backups.get(id) {
            Some(Ok(there)) if there.sha256 == found.sha256 => Decision::Leave("already", None),
            Some(Ok(_)) => {
                Decision::Leave("differs", Some("another backup of that name is there".into()))
            }
            Some(Err(why)) => Decision::Leave("differs", Some(why.clone())),
            // What was removed there is copied again when it is named.
            None if self.pruned.contains(id.as_str()) && !is_named => {
                Decision::Leave("pruned", Some("it was removed there".into()))
            }
            None => match standing.condemned() {
                Some(mark) if !is_named => Decision::Leave(
                    "tombstoned",
                    Some(format!("it has had a tombstone since {}", mark.at)),
                ),
                _ => Decision::Copy,
            },
        }
    }
}

async fn log(
    request: &Request,
    archive: Archive,
    backups: &[Planned],
) -> Result<PlannedLog, JobError> {
    let Request { from, to, scope, restart_log, .. } = request;
    let last = last_checkpoint(from, &archive).await?;
    let since = match scope {
        Scope::Since(since) => Some(*since),
        _ => None,
    };
    let mut horizon = archive.horizon;
    if let (Some(last), Some(_)) = (&last, since) {
        let lines = window::lines(from, &archive)?;
        let candidates: Vec<Candidate> = backups
            .iter()
            .filter_map(|one| one.found.as_ref())
            .map(|found| Candidate::of(found, Standing::Free))
            .collect();
        horizon = horizon_since(&candidates, &archive, &lines, last, since);
    }
    horizon.thinned = last.as_ref().map_or(0, |last| last.number);
    let horizons_there = to.horizon().await?;
    let there = match to.uuid().await? {
        None => LogState::default(),
        Some(_) => match tip(to).await {
            Ok(state) => state,
            // The first copy was not finished: nothing can be read yet.
            Err(PipelineError::Integrity { .. })
                if horizons_there.horizon.pending.is_some()
                    && horizons_there.horizon.thinned == 0 =>
            {
                LogState::default()
            }
            Err(error) => return Err(error.into()),
        },
    };
    if there.head.number > 0 {
        let is_apart = archive.horizon.begins > there.head.number;
        if is_apart && !restart_log {
            return Err(JobError::target(
                format!(
                    "the original's log begins behind record {}, and the copy's ends with {}: what lies \
                     between was pruned before it was copied",
                    archive.horizon.begins, there.head.number
                ),
                "copy more often than the original is pruned; --restart-log begins the copy's log anew, \
                 and makes it forget what it has of the log so far",
            ));
        }
        if !is_apart {
            // How far the copy forgets is decided there.
            horizon.begins = horizons_there.horizon.begins;
        }
    }
    Ok(PlannedLog { archive, last, horizon, horizons_there, there })
}

/// The last checkpoint of a log.
async fn last_checkpoint(
    repository: &Repository,
    archive: &Archive,
) -> Result<Option<SettledCheckpoint>, PipelineError> {
    let number = archive.state.head.number / CHECKPOINT_EVERY * CHECKPOINT_EVERY;
    if number == 0 {
        return Ok(None);
    }
    let found = checkpoint(repository, number).await?.record;
    let LogEntry::Checkpoint(entry) = found.entry else { return Err(PipelineError::Worker) };
    Ok(Some(SettledCheckpoint { number, entry }))
}

impl Plan {
    pub(super) fn told(&self, request: &Request) -> Copied {
        let backups = self.backups.iter().map(|one| {
            let manifest = one.found.as_ref().map(|found| &found.record);
            let (status, why) = match &one.decision {
                Decision::Copy => ("copy", None),
                Decision::Leave(status, why) => (*status, why.clone()),
            };
            CopiedBackup {
                backup_id: one.id.clone(),
                finished_at: manifest.map(|manifest| manifest.finished_at),
                bytes_stored: manifest.map_or(0, |manifest| manifest.bytes_stored),
                status,
                why,
            }
        });
        Copied {
            version: 1,
            status: "planned",
            from: request.from.url(),
            to: request.to.url(),
            backups: backups.collect(),
            log: self.log.as_ref().map(|log| CopiedLog {
                begins: log.horizon.begins,
                records: log.archive.state.head.number,
                records_before: log.there.head.number,
                records_copied: 0,
                segments_copied: 0,
                head: log.archive.state.head.to_string(),
            }),
            objects_copied: 0,
            bytes_copied: 0,
            run_id: None,
            audit_head: None,
        }
    }
}
