//! Runs that came to nothing: a tombstone, a time of grace, another look, and then what they have
//! left goes. A run that wakes up after that finds the mark, and commits nothing.

use std::collections::HashSet;

use super::Work;
use crate::{
    format::{MarkKind, Role, audit::action, layout},
    jobs::prune::{Planned, Pruned, leftovers::LeftRun},
    model::RunId,
    pipeline::{PipelineError, Removed, Standing, key, log::refresh, marked_run},
};

/// Gives tombstones to runs that have left something, and removes what those have left whose time
/// is over.
pub(super) async fn sweep(
    work: &Work<'_>,
    planned: &mut Planned,
    told: &mut Pruned,
) -> Result<(), PipelineError> {
    let repository = &work.request.repository;
    let grace = work.request.grace.duration();
    let mut going: Vec<LeftRun> = Vec::new();
    for left in std::mem::take(&mut planned.leftovers.runs) {
        work.go_on()?;
        let subject = marked_run(left.run);
        let mut standing = repository.marks_of(&subject).await?.standing(&subject);
        if standing == Standing::Free {
            let is_free = |standing: &Standing| *standing == Standing::Free;
            let why = "it has committed nothing";
            let author = work.author().await?;
            let decided = author.decide(&subject, MarkKind::Tombstone, why, work.now, is_free);
            standing = match decided.await? {
                Ok(mark) => {
                    work.audit(action::PRUNE_RUN_TOMBSTONE, &left.run.to_string(), mark.sha256)
                        .await?;
                    Standing::Tombstoned(mark)
                }
                Err(standing) => standing,
            };
        }
        match standing {
            Standing::Tombstoned(mark) if mark.at.plus(grace) <= work.now => {
                let is_due = |standing: &Standing| matches!(standing, Standing::Tombstoned(_));
                let why = "its time is over";
                let author = work.author().await?;
                let decided = author.decide(&subject, MarkKind::Sweep, why, work.now, is_due);
                if let Ok(mark) = decided.await? {
                    work.audit(action::PRUNE_RUN_SWEPT, &left.run.to_string(), mark.sha256).await?;
                    going.push(left);
                }
            }
            Standing::Swept(_) => going.push(left),
            Standing::Free | Standing::Held(_) | Standing::Tombstoned(_) => {}
        }
    }
    if going.is_empty() {
        return Ok(());
    }
    let alive = alive(work, planned, &going).await?;
    for left in going {
        work.go_on()?;
        if alive.contains(&left.run) {
            let is_swept = |standing: &Standing| standing.condemned().is_some();
            let subject = marked_run(left.run);
            let why = "it has committed something after all";
            let author = work.author().await?;
            drop(author.decide(&subject, MarkKind::Revoke, why, work.now, is_swept).await?);
            continue;
        }
        told.add(remove(work, planned, left).await?);
    }
    Ok(())
}

/// Those of these runs that something depends on now.
async fn alive(
    work: &Work<'_>,
    planned: &Planned,
    going: &[LeftRun],
) -> Result<HashSet<RunId>, PipelineError> {
    let repository = &work.request.repository;
    let mut alive = HashSet::new();
    for id in going.iter().flat_map(|left| &left.backups) {
        match repository.manifest(id).await {
            Ok(found) => alive.extend(found.map(|found| found.record.run_id)),
            Err(PipelineError::Integrity { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    // One that has stored no volume can have become any backup.
    if going.iter().any(|left| left.role == Role::Backup && left.backups.is_empty()) {
        for id in repository.ids().await? {
            if planned.gathered.manifests.contains_key(&id) {
                continue;
            }
            match repository.manifest(&id).await {
                Ok(found) => alive.extend(found.map(|found| found.record.run_id)),
                Err(PipelineError::Integrity { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    let mut state = planned.gathered.archive.state.clone();
    refresh(repository, &mut state).await?;
    alive.extend(state.owner.map(|owner| owner.run));
    Ok(alive)
}

/// Removes what a run has left, and its record when nobody has to believe anything by it.
async fn remove(
    work: &Work<'_>,
    planned: &Planned,
    left: LeftRun,
) -> Result<Removed, PipelineError> {
    let repository = &work.request.repository;
    let mut removed = repository.remove(left.objects).await?;
    // An archiver may have signed records of the log, even some that say nothing.
    let is_needed = left.role != Role::Backup
        || planned.gathered.audited.contains(&left.run)
        || planned.gathered.founder == left.run;
    if removed.locked > 0 || is_needed {
        return Ok(removed);
    }
    let record = layout::run(repository.cluster(), left.run);
    removed.add(repository.remove(vec![(key(&record)?, 0)]).await?);
    Ok(removed)
}
