//! Backups: tombstones, and what follows when their time is over.
//!
//! A sweep begins with a mark that is created only if nothing was decided since the tombstone; from
//! then on the backup is listed no more. Whatever is built on it after that look is seen by a second
//! one. Then the audit chain says that it is gone, and only then its manifest goes, then its volumes,
//! then its key, and last its marks.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::Work;
use crate::{
    format::{MarkKind, MarkSubject, MarkedBackup, audit::action, layout},
    jobs::prune::{
        Planned, Pruned,
        gather::Unfinished,
        plan::{Step, needs},
    },
    model::{BackupId, Sha256Digest},
    pipeline::{Mark, PipelineError, Removed, Standing, key, marked_backup},
};

/// Writes the tombstones that are due, and takes away those that are not wanted any more.
pub(super) async fn mark(work: &Work<'_>, planned: &mut Planned) -> Result<(), PipelineError> {
    let gathered = &mut planned.gathered;
    for (candidate, step) in gathered.candidates.iter_mut().zip(&planned.steps) {
        if !matches!(step, Step::Tombstone | Step::Revoke) {
            continue;
        }
        work.go_on()?;
        let Some(found) = gathered.manifests.get(&candidate.id) else { continue };
        let subject = marked_backup(found);
        candidate.standing = if *step == Step::Tombstone {
            tombstone(work, &candidate.id, &subject).await?
        } else {
            revoke(work, &candidate.id, &subject, "a rule keeps it again").await?
        };
    }
    Ok(())
}

async fn tombstone(
    work: &Work<'_>,
    id: &BackupId,
    subject: &MarkSubject,
) -> Result<Standing, PipelineError> {
    let is_free = |standing: &Standing| *standing == Standing::Free;
    let author = work.author().await?;
    let decided =
        author.decide(subject, MarkKind::Tombstone, "no rule keeps it", work.now, is_free);
    match decided.await? {
        Ok(mark) => {
            tracing::info!(backup_id = %id, "tombstone");
            work.audit(action::PRUNE_TOMBSTONE, id.as_str(), mark.sha256).await?;
            Ok(Standing::Tombstoned(mark))
        }
        // Somebody has decided about it since it was looked at.
        Err(standing) => Ok(standing),
    }
}

async fn revoke(
    work: &Work<'_>,
    id: &BackupId,
    subject: &MarkSubject,
    why: &str,
) -> Result<Standing, PipelineError> {
    let is_condemned = |standing: &Standing| standing.condemned().is_some();
    let author = work.author().await?;
    match author.decide(subject, MarkKind::Revoke, why, work.now, is_condemned).await? {
        Ok(mark) => {
            tracing::info!(backup_id = %id, why, "the tombstone is taken away");
            work.audit(action::PRUNE_REVOKE, id.as_str(), mark.sha256).await?;
            Ok(Standing::Free)
        }
        Err(standing) => Ok(standing),
    }
}

/// Removes the backups whose time is over, and finishes what an earlier run has begun. Whether all
/// of them have gone.
pub(super) async fn sweep(
    work: &Work<'_>,
    planned: &mut Planned,
    told: &mut Pruned,
) -> Result<bool, PipelineError> {
    let mut all = true;
    let mut going: Vec<Unfinished> = std::mem::take(&mut planned.gathered.unfinished);
    // The children of a backup are younger, and go first.
    for (candidate, step) in planned.gathered.candidates.iter().zip(&planned.steps) {
        if *step != Step::Sweep {
            continue;
        }
        work.go_on()?;
        let Some(found) = planned.gathered.manifests.get(&candidate.id) else { continue };
        let MarkSubject::Backup(backup) = marked_backup(found) else { continue };
        match begin(work, &backup).await? {
            Some(mark) => {
                going.push(Unfinished { backup, mark: mark.sha256, is_audited: false });
            }
            None => all = false,
        }
    }
    if going.is_empty() {
        return Ok(all);
    }
    let parents = parents(work, planned).await?;
    for unfinished in going {
        work.go_on()?;
        let Unfinished { backup, mark, is_audited } = &unfinished;
        let id = &backup.backup_id;
        if !is_audited && parents.contains(id) {
            let subject = MarkSubject::Backup(backup.clone());
            revoke(work, id, &subject, "another backup was built on it").await?;
            all = false;
            continue;
        }
        if !is_audited {
            work.audit(action::PRUNE_SWEPT, id.as_str(), *mark).await?;
        }
        told.add(finish(work, backup).await?);
    }
    Ok(all)
}

/// The second look, and the mark that nobody can take back but who wrote it; nothing when something
/// was decided since.
async fn begin(work: &Work<'_>, backup: &MarkedBackup) -> Result<Option<Mark>, PipelineError> {
    let subject = MarkSubject::Backup(backup.clone());
    let is_due = |standing: &Standing| matches!(standing, Standing::Tombstoned(_));
    let author = work.author().await?;
    let decided = author.decide(&subject, MarkKind::Sweep, "its time is over", work.now, is_due);
    Ok(decided.await?.ok())
}

/// The backups that another complete backup needs, as it is now.
async fn parents(
    work: &Work<'_>,
    planned: &mut Planned,
) -> Result<HashSet<BackupId>, PipelineError> {
    let repository = &work.request.repository;
    let gathered = &planned.gathered;
    let swept = repository.swept().await?;
    let known = gathered.manifests.iter().filter(|(id, _)| !swept.contains(*id));
    let mut parents: HashSet<BackupId> =
        known.filter_map(|(_, found)| needs(&found.record)).collect();
    for id in repository.ids().await? {
        if gathered.manifests.contains_key(&id) || swept.contains(&id) {
            continue;
        }
        match repository.manifest(&id).await {
            Ok(found) => parents.extend(found.and_then(|found| needs(&found.record))),
            // It is damaged, and was told as such.
            Err(PipelineError::Integrity { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(parents)
}

/// Removes everything of a backup.
async fn finish(work: &Work<'_>, backup: &MarkedBackup) -> Result<Removed, PipelineError> {
    let repository = &work.request.repository;
    let (cluster, id) = (repository.cluster(), &backup.backup_id);
    tracing::info!(backup_id = %id, "removing");
    let mut removed = Removed::default();
    let manifest = key(&layout::manifest(cluster, id))?;
    // A younger backup may bear its name by now.
    if let Some(bytes) = repository.stored_bytes(manifest.as_str()).await?
        && Sha256Digest(Sha256::digest(&bytes).into()) == backup.manifest_sha256
    {
        let bytes = bytes.len() as u64;
        removed.add(repository.remove(vec![(manifest, bytes)]).await?);
    }
    if removed.locked > 0 {
        // Locked since the plan was made: a manifest without its volumes is what must never be.
        return Ok(removed);
    }
    let attempt = layout::attempt(cluster, id, backup.attempt);
    for folder in [attempt, work.keys_of(backup.dek_id)] {
        let objects = work.below(&folder).await?;
        removed.add(repository.remove(objects).await?);
    }
    if removed.locked == 0 {
        let subject = MarkSubject::Backup(backup.clone());
        let marks = repository.marks_of(&subject).await?;
        let names = marks.objects(repository, &subject);
        let mut objects: Vec<_> =
            names.iter().map(|name| Ok((key(name)?, 0))).collect::<Result<_, PipelineError>>()?;
        // The last is that of the sweep: by it whoever comes next knows what to do with the rest.
        let sweep = objects.pop();
        removed.add(repository.remove(objects).await?);
        removed.add(repository.remove(sweep.into_iter().collect()).await?);
    }
    Ok(removed)
}
