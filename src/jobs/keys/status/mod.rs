//! `keys status`: which KEK opens what, and what would be lost with it. It is told from the
//! records alone: no right to unwrap is needed, and nothing is decrypted.

mod judge;
mod usage;

use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use crate::{
    format::{KeyRecord, layout},
    jobs::{JobError, verify::Problem},
    model::{BackupId, DekId, Timestamp},
    pipeline::{PipelineError, Repository},
};
use judge::DekFacts;
pub(in crate::jobs) use judge::ROTATE_AFTER_DAYS;
pub use usage::Usage;

/// Requests in flight.
const PARALLEL: usize = 16;

/// What the KEKs of a cluster open.
#[derive(Debug, Serialize)]
pub struct KeyStatus {
    /// Version of this object.
    pub version: u32,
    /// `ok`; `warn` when something should be done; `damaged` when records are not believed.
    pub status: &'static str,
    /// When it was looked at, by the clock of this machine: ages are counted to it.
    pub at: Timestamp,
    /// DEKs that have a record that counts.
    pub deks: u64,
    /// DEKs that one KEK alone opens.
    pub deks_with_one_kek: u64,
    /// The KEKs, those first that wrapped something last.
    pub keks: Vec<KekStatus>,
    /// What should be done.
    pub warnings: Vec<String>,
    /// Records that are not believed.
    pub findings: Vec<Problem>,
}

/// What one KEK opens; of each of its versions, where its provider tells them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KekStatus {
    /// Its name in key records.
    pub kek: String,
    /// Its version.
    pub kek_version: Option<String>,
    /// DEKs that it opens.
    pub deks: u64,
    /// What it alone opens: what would be lost if it were destroyed.
    pub only: Only,
    /// DEKs of which only older generations have a wrap by it: backstay opens them by it no more,
    /// and whoever holds it and has read the repository still can.
    pub superseded: u64,
    /// The oldest of its wraps.
    pub oldest_wrap: Timestamp,
    /// The newest of its wraps.
    pub newest_wrap: Timestamp,
    /// Days since the oldest.
    pub age_days: u64,
    /// Whether it wraps the newest DEK.
    pub in_use: bool,
}

/// What nothing else opens.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Only {
    /// DEKs.
    pub deks: u64,
    /// What they seal.
    #[serde(flatten)]
    pub sealed: Usage,
}

/// Looks at all key records, and at what they are for.
///
/// # Errors
/// When the store fails.
pub async fn run(repository: &Repository) -> Result<KeyStatus, JobError> {
    at(repository, Timestamp::now()).await
}

/// The same, with ages counted to an instant.
pub(in crate::jobs) async fn at(
    repository: &Repository,
    now: Timestamp,
) -> Result<KeyStatus, JobError> {
    let mut findings: Vec<Problem> = Vec::new();
    let deks = repository.deks().await?;
    let read = deks.iter().map(|(dek, names)| repository.key_records(*dek, names));
    let records: Vec<_> = stream::iter(read).buffered(PARALLEL).try_collect().await?;
    let mut used = backups(repository, &mut findings).await?;
    match usage::of_log(repository).await {
        Ok(log) => {
            for (dek, usage) in log {
                used.entry(dek).or_default().add(&usage);
            }
        }
        Err(PipelineError::Integrity { object, why }) => {
            let why = format!("what is archived is not counted: {why}");
            findings.push(Problem { object, chunk: None, why });
        }
        Err(error) => return Err(error.into()),
    }
    let mut facts = Vec::new();
    for found in records {
        findings.extend(found.findings.into_iter().map(Into::into));
        if !found.generations.is_empty() {
            let sealed = used.remove(&found.dek).unwrap_or_default();
            facts.push(DekFacts { generations: found.generations, sealed });
        }
    }
    let mut status = judge::judge(&facts, now);
    for (dek, usage) in used.into_iter().collect::<BTreeMap<_, _>>() {
        let object = layout::key_folder(repository.cluster(), dek);
        let why = format!("no record of this DEK is believed, and nothing opens {usage}");
        findings.push(Problem { object, chunk: None, why });
    }
    status.findings = findings;
    status.status = match (status.findings.is_empty(), status.warnings.is_empty()) {
        (false, _) => "damaged",
        (true, false) => "warn",
        (true, true) => "ok",
    };
    Ok(status)
}

/// The same of key records that were read already, without what they seal.
pub(in crate::jobs) fn of_records(
    deks: impl Iterator<Item = Vec<KeyRecord>>,
    now: Timestamp,
) -> KeyStatus {
    let facts: Vec<_> =
        deks.map(|generations| DekFacts { generations, sealed: Usage::default() }).collect();
    judge::judge(&facts, now)
}

/// Which backups each DEK seals.
async fn backups(
    repository: &Repository,
    findings: &mut Vec<Problem>,
) -> Result<HashMap<DekId, Usage>, JobError> {
    let mut used: HashMap<_, Usage> = HashMap::new();
    let mut ids: Vec<(BackupId, _)> = repository.backups().await?;
    ids.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (id, found) in ids {
        match found {
            Ok(found) => used.entry(found.record.dek_id).or_default().backups.push(id),
            Err(PipelineError::Integrity { object, why }) => {
                findings.push(Problem { object, chunk: None, why });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(used)
}
