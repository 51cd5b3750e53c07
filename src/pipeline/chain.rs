//! Increments and what they stand on: each names its base by the hash of its manifest, down to a
//! full backup.

use std::collections::BTreeMap;

use super::{Class, Found, PipelineError, Repository};
use crate::{
    format::{BaseRecord, Manifest, layout},
    model::{BackupId, ClusterName},
};

/// No chain is so long; a longer one leads in circles.
const LONGEST: usize = 1000;

/// A backup as it is listed: its manifest, or why that is not believed.
type Listed = (BackupId, Result<Found<Manifest>, PipelineError>);

impl Repository {
    /// What a backup stands on, the full one first; nothing for a full one.
    ///
    /// # Errors
    /// When a link cannot be read, or is not the one that was meant.
    pub async fn bases(&self, manifest: &Manifest) -> Result<Vec<Manifest>, PipelineError> {
        let mut bases: Vec<Manifest> = Vec::new();
        while let Some(base) = &bases.last().unwrap_or(manifest).base {
            let found = self.manifest(&base.backup_id).await?;
            let above = bases.last().unwrap_or(manifest);
            check(self.cluster(), above, base, found.as_ref(), bases.len())?;
            bases.extend(found.map(|found| found.record));
        }
        bases.reverse();
        Ok(bases)
    }

    /// Locks what an increment stands on for as long as the increment itself, which is worth
    /// nothing without it.
    ///
    /// # Errors
    /// When the store fails, or something of it is missing.
    pub async fn lock_bases(&self, bases: &[Manifest]) -> Result<(), PipelineError> {
        if self.lock_policy().is_none() {
            return Ok(());
        }
        let cluster = self.cluster();
        for base in bases {
            self.lock_anew(&layout::run(cluster, base.run_id), Class::Evidence).await?;
            for name in self.key_names(base.dek_id).await? {
                self.lock_anew(&name, Class::Key).await?;
            }
            let id = &base.backup_id;
            for volume in &base.volumes {
                let name = layout::volume(cluster, id, base.attempt, volume.sequence);
                self.lock_anew(&name, Class::Data).await?;
            }
            self.lock_anew(&layout::manifest(cluster, id), Class::Data).await?;
        }
        Ok(())
    }
}

/// Takes back the belief in backups whose chain is broken: they cannot be restored.
pub(super) fn judge(cluster: &ClusterName, listed: &mut [Listed]) {
    let believed: BTreeMap<BackupId, Found<Manifest>> = listed
        .iter()
        .filter_map(|(id, found)| Some((id.clone(), found.as_ref().ok()?.clone())))
        .collect();
    for (_, found) in listed.iter_mut() {
        let broken = found.as_ref().ok().and_then(|top| broken(cluster, top, &believed));
        if let Some(error) = broken {
            *found = Err(error);
        }
    }
}

/// What is wrong with the chain that a backup stands on, if anything is.
#[must_use]
pub fn broken(
    cluster: &ClusterName,
    top: &Found<Manifest>,
    believed: &BTreeMap<BackupId, Found<Manifest>>,
) -> Option<PipelineError> {
    let (mut above, mut links) = (&top.record, 0);
    while let Some(base) = &above.base {
        let found = believed.get(&base.backup_id);
        if let Err(error) = check(cluster, above, base, found, links) {
            return Some(error);
        }
        above = &found?.record;
        links += 1;
    }
    None
}

/// Whether what was found is the base that a backup was made on.
fn check(
    cluster: &ClusterName,
    above: &Manifest,
    base: &BaseRecord,
    found: Option<&Found<Manifest>>,
    links: usize,
) -> Result<(), PipelineError> {
    let id = &above.backup_id;
    let why = match found {
        None => format!("it is missing or not believed, and backup {id} stands on it"),
        Some(found) if found.sha256 != base.manifest_sha256 => {
            format!("it is not the manifest that backup {id} was made on")
        }
        Some(found) if found.record.engine.kind != above.engine.kind => {
            format!("it was made by another engine than backup {id}, which stands on it")
        }
        Some(found) if found.record.engine.to_lsn != Some(base.from_lsn) => {
            format!("it does not end where backup {id}, which stands on it, begins")
        }
        Some(_) if links >= LONGEST => format!("the chain of backup {id} leads in circles"),
        Some(_) => return Ok(()),
    };
    Err(PipelineError::integrity(layout::manifest(cluster, &base.backup_id), why))
}
