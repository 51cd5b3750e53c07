//! Backups: what a manifest rests on and names first, and it last.

use super::{
    Copied,
    execute::Work,
    plan::{Decision, Plan, Planned},
};
use crate::{
    format::{audit::action, layout},
    pipeline::{Class, Found, PipelineError, SealedObject, carry_record, key},
};

/// Copies backups, the oldest first: what something was built on is there before it.
pub(super) async fn copy(
    work: &Work<'_>,
    plan: &Plan,
    told: &mut Copied,
) -> Result<(), PipelineError> {
    for (planned, told) in plan.backups.iter().zip(&mut told.backups).rev() {
        if planned.decision != Decision::Copy {
            continue;
        }
        match backup(work, planned).await {
            Ok(()) => told.status = "copied",
            // It is damaged, or another one is there: the others can be copied all the same.
            Err(PipelineError::Integrity { object, why }) => {
                tracing::error!(backup_id = %planned.id, object, why, "a damaged backup is not copied");
                (told.status, told.why) = ("damaged", Some(format!("{object}: {why}")));
            }
            Err(PipelineError::Taken { id, why }) => {
                tracing::error!(backup_id = %planned.id, object = id, why, "not copied");
                (told.status, told.why) = ("differs", Some(format!("{id}: {why}")));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn backup(work: &Work<'_>, planned: &Planned) -> Result<(), PipelineError> {
    let (from, to) = (&work.request.from, &work.request.to);
    let (Found { record: manifest, sha256 }, bytes) = from.original_manifest(&planned.id).await?;
    tracing::info!(backup_id = %planned.id, bytes = manifest.bytes_stored, "copying");
    // The copy's chain begins before anything else is there.
    work.author().await?;
    work.run(manifest.run_id).await?;
    work.dek(manifest.dek_id).await?;
    for volume in &manifest.volumes {
        let name = layout::volume(to.cluster(), &planned.id, manifest.attempt, volume.sequence);
        let object = SealedObject { key: key(&name)?, bytes: volume.bytes, sha256: volume.sha256 };
        work.sealed(&object).await?;
    }
    work.go_on()?;
    let object = layout::manifest(to.cluster(), &planned.id);
    let size = bytes.len() as u64;
    if carry_record(to, &key(&object)?, bytes, &to.keep(Class::Data)).await? {
        work.count(1, size);
    }
    // By the eyes of whoever reads the copy.
    match to.manifest(&planned.id).await? {
        Some(there) if there.sha256 == sha256 => {}
        _ => return Err(PipelineError::integrity(object, "it is not there as it was copied")),
    }
    work.audit(action::COPY_BACKUP, planned.id.as_str(), sha256).await
}
