//! `verify`: is everything stored as it was written?

mod keys;
mod log;
mod marks;

use std::{collections::BTreeSet, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};

use super::{Committed, JobError};
use crate::{
    crypto::kms::Kms,
    format::{AuditRecord, Manifest, layout},
    model::BackupId,
    mysql::xbstream::{Dialect, Validator},
    pipeline::{
        Accept, ChainHead, Finding, Found, Hasher, Objects, OnBad, PipelineError, Progress,
        Repository, StoredObject,
        budget::{Budget, FETCHES, GROUP_BYTES},
        key, open_objects, verify_chain,
    },
    store::StoreErrorKind,
};
pub use log::VerifiedLog;

/// What to verify, and how.
#[derive(Debug)]
pub struct Request<'a> {
    /// One backup; all of them when none is named.
    pub id: Option<BackupId>,
    /// Hashes and sizes of what is stored, and nothing is decrypted.
    pub quick: bool,
    /// Opens the DEKs; not needed for a quick look.
    pub kms: Option<&'a dyn Kms>,
    /// What the audit chain must contain.
    pub at_least: Option<ChainHead>,
    /// Where to count.
    pub progress: Arc<Progress>,
}

/// What was found.
#[derive(Debug, serde::Serialize)]
pub struct Verified {
    /// Version of this object.
    pub version: u32,
    /// `ok` or `damaged`.
    pub status: &'static str,
    /// `full` or `quick`.
    pub mode: &'static str,
    /// The backups that were looked at.
    pub backups: Vec<VerifiedBackup>,
    /// The binlog log, when there is one and not one backup alone was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<VerifiedLog>,
    /// What is wrong beyond single backups.
    pub findings: Vec<Problem>,
    /// The head of the audit chain: keep it, and give it as `--at-least` later.
    pub audit_head: String,
    /// Whether `--at-least` was given and held; without it a roll-back cannot be seen.
    pub freshness_proven: bool,
}

/// One backup that was looked at.
#[derive(Debug, serde::Serialize)]
pub struct VerifiedBackup {
    /// The backup.
    pub backup_id: BackupId,
    /// `ok` or `damaged`.
    pub status: &'static str,
    /// Bytes that were read from the store.
    pub bytes_read: u64,
    /// What is wrong with it.
    pub findings: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, serde::Serialize)]
pub struct Problem {
    /// The object.
    pub object: String,
    /// The chunk, when it is one chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<u32>,
    /// What is wrong.
    pub why: String,
}

impl From<Finding> for Problem {
    fn from(Finding { object, chunk, why }: Finding) -> Self {
        Self { object, chunk, why }
    }
}

/// Validates the framing of what comes out; a broken stream is noted, not fatal.
struct Framing {
    validator: Option<Validator>,
    problem: Option<String>,
}

impl Accept for Framing {
    fn accept(&mut self, plain: &[u8]) -> Result<(), PipelineError> {
        if let Some(validator) = &mut self.validator
            && let Err(error) = validator.feed(plain)
        {
            self.validator = None;
            self.problem = Some(error.to_string());
        }
        Ok(())
    }
}

/// Verifies backups, the binlog log, all key records and the audit chain.
///
/// # Errors
/// When the store or the KMS fails. Damage is no error here: it is in the result.
pub async fn run(repository: &Repository, request: &Request<'_>) -> Result<Verified, JobError> {
    let (log, in_log) = log::check(repository, request).await?;
    // A head is of the one chain or of the other.
    let at_least = request.at_least.filter(|_| !in_log);
    let (records, head, chain) = verify_chain(repository, at_least).await?;
    let mut findings: Vec<Problem> = chain.into_iter().map(Into::into).collect();
    let mut listed = repository.backups().await?;
    let swept = repository.swept().await?;
    findings.extend(against_chain(repository, &records, &listed, &swept));
    if let Some(wanted) = &request.id {
        listed.retain(|(id, _)| id == wanted);
        if listed.is_empty() {
            let what = format!("{} has no complete backup {wanted}", repository.url());
            return Err(JobError::target(what, "run `backstay list` to see what there is"));
        }
    }
    // What else is wrong says nothing about that.
    let fresh = findings.is_empty();
    let mut backups = Vec::new();
    let mut deks = BTreeSet::new();
    for (id, found) in listed {
        let before = request.progress.read().1;
        let findings = match found {
            Ok(Found { record, .. }) => {
                let mut findings = if request.quick {
                    quick(repository, &record, &request.progress).await?
                } else {
                    full(repository, &record, request).await?
                };
                deks.insert(record.dek_id);
                for finding in repository.key_findings(record.dek_id).await? {
                    if findings.iter().all(|known| known.object != finding.object) {
                        findings.push(finding);
                    }
                }
                findings
            }
            Err(error) => vec![Finding {
                object: layout::manifest(repository.cluster(), &id),
                chunk: None,
                why: error.to_string(),
            }],
        };
        backups.push(VerifiedBackup {
            backup_id: id,
            status: status(findings.is_empty()),
            bytes_read: request.progress.read().1 - before,
            findings: findings.into_iter().map(Into::into).collect(),
        });
    }
    if request.id.is_none() {
        findings.extend(keys::check(repository, &deks).await?);
        findings.extend(marks::check(repository).await?);
    }
    let ok = findings.is_empty()
        && backups.iter().all(|b| b.findings.is_empty())
        && log.as_ref().is_none_or(|log| log.findings.is_empty());
    Ok(Verified {
        version: 1,
        status: status(ok),
        mode: if request.quick { "quick" } else { "full" },
        freshness_proven: request.at_least.is_some() && fresh,
        backups,
        log,
        findings,
        audit_head: head.to_string(),
    })
}

/// Holds the backups and the audit chain against each other.
fn against_chain(
    repository: &Repository,
    records: &[AuditRecord],
    listed: &[(BackupId, Result<Found<Manifest>, PipelineError>)],
    swept: &BTreeSet<BackupId>,
) -> Vec<Problem> {
    let mut findings = Vec::new();
    let mut note = |id: &BackupId, why: String| {
        let object = layout::manifest(repository.cluster(), id);
        findings.push(Problem { object, chunk: None, why });
    };
    let committed = Committed::of(records);
    let there: BTreeSet<&BackupId> = listed.iter().map(|(id, _)| id).chain(swept).collect();
    for id in committed.subjects().filter_map(|subject| subject.parse::<BackupId>().ok()) {
        if !there.contains(&id) {
            note(&id, committed.contradicts(&id, None).unwrap_or_default());
        }
    }
    for (id, found) in listed {
        let Ok(found) = found else { continue };
        if let Some(why) = committed.contradicts(id, Some(found)) {
            note(id, why);
        } else if !committed.has(id) {
            // Whoever removes the newest records of the chain leaves this behind; so does a job
            // that was killed in the instant after its commit.
            note(
                id,
                format!(
                    "no audit record speaks of it: the record was removed, or the job was killed \
                     right after its commit; then `backstay backup --id {id}` makes up for it"
                ),
            );
        }
    }
    findings
}

fn no_key() -> JobError {
    JobError::usage(
        "a full verification decrypts, and no --kek was given",
        "give --kek, or --quick to check stored hashes and sizes alone",
    )
}

fn status(ok: bool) -> &'static str {
    if ok { "ok" } else { "damaged" }
}

/// Volumes of a manifest with their keys.
pub(super) fn volumes(
    repository: &Repository,
    manifest: &Manifest,
) -> Result<Vec<StoredObject>, JobError> {
    manifest
        .volumes
        .iter()
        .map(|volume| {
            let name = layout::volume(
                repository.cluster(),
                &manifest.backup_id,
                manifest.attempt,
                volume.sequence,
            );
            Ok(StoredObject::volume(key(&name)?, volume))
        })
        .collect()
}

/// Opens every chunk, hashes every object, and checks the framing of the stream.
async fn full(
    repository: &Repository,
    manifest: &Manifest,
    request: &Request<'_>,
) -> Result<Vec<Finding>, JobError> {
    let Some(kms) = request.kms else {
        return Err(no_key());
    };
    let dek = match repository.dek(manifest.dek_id, kms).await {
        Ok(dek) => dek,
        Err(PipelineError::Integrity { object, why }) => {
            return Ok(vec![Finding { object, chunk: None, why }]);
        }
        Err(error) => return Err(error.into()),
    };
    let request = Objects {
        cluster: manifest.cluster_uuid,
        run: manifest.run_id,
        dek_id: manifest.dek_id,
        dek,
        objects: volumes(repository, manifest)?,
        budget: Budget::here(),
        progress: Arc::clone(&request.progress),
    };
    let framing = Framing {
        validator: Some(Validator::new(Dialect::of(manifest.engine.kind))),
        problem: None,
    };
    let opened =
        open_objects(Arc::clone(repository.store()), request, framing, OnBad::Note).await?;
    let mut findings = opened.findings;
    if findings.is_empty() {
        let ended = opened.acceptor.validator.map(Validator::finish);
        let broken = opened.acceptor.problem.or(ended.and_then(Result::err).map(|e| e.to_string()));
        findings.extend(broken.map(|why| Finding {
            object: layout::manifest(repository.cluster(), &manifest.backup_id),
            chunk: None,
            why: format!("the stream that it seals is not whole: {why}"),
        }));
    }
    Ok(findings)
}

/// Compares sizes and hashes of what is stored with the manifest, without any key.
async fn quick(
    repository: &Repository,
    manifest: &Manifest,
    progress: &Progress,
) -> Result<Vec<Finding>, JobError> {
    let mut findings = Vec::new();
    for record in volumes(repository, manifest)? {
        let key = record.key;
        let mut note =
            |why: String| findings.push(Finding { object: key.to_string(), chunk: None, why });
        let store = repository.store();
        let size = match store.head(&key).await {
            Ok(info) => info.size,
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                note("it is missing".into());
                continue;
            }
            Err(error) => return Err(PipelineError::from(error).into()),
        };
        if size != record.bytes {
            note(format!("it has {size} bytes, and the manifest says {}", record.bytes));
            continue;
        }
        let starts = (0..size.div_ceil(GROUP_BYTES)).map(|n| n * GROUP_BYTES);
        let ranges =
            stream::iter(starts.map(|at| store.get_range(&key, at..size.min(at + GROUP_BYTES))));
        let mut ranges = ranges.buffered(FETCHES);
        let hash = Hasher::start();
        while let Some(bytes) = ranges.try_next().await.map_err(PipelineError::from)? {
            progress.add_stored(bytes.len());
            hash.update(bytes).await?;
        }
        if hash.finish().await? != record.sha256 {
            note("its SHA-256 is not the manifest's".into());
        }
    }
    Ok(findings)
}
