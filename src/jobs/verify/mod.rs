//! `verify`: is everything stored as it was written?

mod keys;
mod locks;
mod log;
mod marks;

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Committed, JobError, Recorded, Witness,
    witness::{Ended, Intent},
};
use crate::{
    crypto::kms::Kms,
    format::{
        AuditRecord, Manifest,
        audit::{Details, VerifyDetails},
        layout,
    },
    model::BackupId,
    mysql::xbstream::{Dialect, Validator},
    pipeline::{
        Accept, ChainHead, Finding, Found, Intruder, Objects, OnBad, PipelineError, Progress,
        Repository, StoredObject, Vouched,
        audit::{Chain, Settings, scan},
        budget::{Budget, FETCHES},
        key, open_objects,
    },
};
pub use locks::VerifiedLock;
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
    /// Records it.
    pub witness: &'a Witness,
    /// Where to count.
    pub progress: Arc<Progress>,
}

/// What was found.
#[derive(Debug, serde::Serialize)]
pub struct Verified {
    /// Version of this object.
    pub version: u32,
    /// `ok`; `warn` when all is as it was written, and somebody should look; `damaged`.
    pub status: &'static str,
    /// `full` or `quick`.
    pub mode: &'static str,
    /// The backups that were looked at.
    pub backups: Vec<VerifiedBackup>,
    /// The binlog log, when there is one and not one backup alone was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<VerifiedLog>,
    /// The locks, when there are any, or were to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<VerifiedLock>,
    /// What is wrong beyond single backups.
    pub findings: Vec<Problem>,
    /// What somebody has written over, or deleted, though the original is there; and names that
    /// somebody made up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub intruders: Vec<Intruder>,
    /// Whether `--at-least` was given and held; without it a roll-back cannot be seen.
    pub freshness_proven: bool,
    /// The head of the audit chain that was verified; `audit_head` is behind what this job recorded.
    pub verified_head: String,
    /// Whether this was recorded.
    #[serde(flatten)]
    pub recorded: Recorded,
}

/// One backup that was looked at.
#[derive(Debug, serde::Serialize)]
pub struct VerifiedBackup {
    /// The backup.
    pub backup_id: BackupId,
    /// The backup that it stands on when it is an increment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<BackupId>,
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

/// Verifies backups, the binlog log, all key records and the audit chain, and says so there.
///
/// # Errors
/// When the store or the KMS fails. Damage is no error here: it is in the result.
pub async fn run(
    repository: &Arc<Repository>,
    request: &Request<'_>,
) -> Result<Verified, JobError> {
    let details = || VerifyDetails {
        mode: if request.quick { "quick" } else { "full" }.to_owned(),
        ..VerifyDetails::default()
    };
    let intent = Intent {
        job: "verify",
        subject: request.id.as_ref().map_or_else(|| "all".into(), ToString::to_string),
        details: Details::Verify(details()),
        kms: request.kms,
        settings: Settings::default(),
        is_announced: true,
    };
    let begun = request.witness.begin(repository, intent).await?;
    let outcome = verify(repository, request).await;
    let recorded = begun.end(&outcome, |verified| verified.ended(details())).await;
    outcome.map(|verified| Verified { recorded, ..verified })
}

impl Verified {
    /// What there is to say of it.
    fn ended(&self, details: VerifyDetails) -> Ended {
        let log = self.log.as_ref();
        let all = || {
            let backups = self.backups.iter().flat_map(|backup| &backup.findings);
            let log = log.iter().flat_map(|log| &log.findings);
            backups.chain(log).chain(&self.findings)
        };
        let failed = all().next().map(|first| {
            let count = all().count();
            let what = format!("{count} findings, the first: {}: {}", first.object, first.why);
            JobError::integrity(what, "run `backstay verify`")
        });
        let details = VerifyDetails {
            status: Some(self.status.to_owned()),
            backups: Some(self.backups.len() as u64),
            findings: Some(all().count() as u64),
            audit_head: Some(self.verified_head.clone()),
            log_head: log.map(|log| log.head.clone()),
            fresh: Some(self.freshness_proven),
            ..details
        };
        Ended { record: None, details: Details::Verify(details), failed }
    }
}

async fn verify(repository: &Repository, request: &Request<'_>) -> Result<Verified, JobError> {
    let (log, in_log) = log::check(repository, request).await?;
    // A head is of the one chain or of the other.
    let at_least = request.at_least.filter(|_| !in_log);
    let mut committed = Committed::default();
    // Only what keeps versions can lock them.
    let can_lock = repository.store().keeps_versions().await.map_err(PipelineError::from)?;
    let mut acts = Vec::new();
    let take = |found: &Found<AuditRecord>, run: &Vouched| -> Result<(), PipelineError> {
        committed.take(&found.record, run);
        if can_lock {
            acts.push(locks::Acted::of(&found.record));
        }
        Ok(())
    };
    let chain = scan(repository, 0, at_least, take).await?;
    let head = chain.head;
    let mut findings = chain_problems(repository, chain);
    let mut listed = repository.backups().await?;
    let swept = repository.swept().await?;
    findings.extend(against_chain(repository, &committed, &listed, &swept));
    // The whole is looked at, or one backup.
    let lock = if request.id.is_some() {
        None
    } else {
        let of_log = log.as_ref().map_or(0, |log| log.records);
        lock(repository, request, &listed, &acts, of_log).await?
    };
    if let Some(wanted) = &request.id {
        let chain = with_bases(&listed, wanted);
        listed.retain(|(id, _)| chain.contains(id));
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
        let base = found.as_ref().ok().and_then(|found| found.record.base.as_ref());
        let base = base.map(|base| base.backup_id.clone());
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
            base,
            status: status(findings.is_empty()),
            bytes_read: request.progress.read().1 - before,
            findings: findings.into_iter().map(Into::into).collect(),
        });
    }
    blame_bases(repository, &mut backups);
    if request.id.is_none() {
        findings.extend(keys::check(repository, &deks).await?);
        findings.extend(marks::check(repository).await?);
        locks::intruders(repository).await?;
    }
    let intruders = repository.intruders();
    let is_copy = lock.as_ref().is_some_and(|lock| lock.status == "none");
    let ok = findings.is_empty()
        && backups.iter().all(|b| b.findings.is_empty())
        && lock.as_ref().is_none_or(|lock| lock.findings.is_empty())
        && log.as_ref().is_none_or(|log| log.findings.is_empty());
    Ok(Verified {
        version: 1,
        status: match status(ok) {
            "ok" if is_copy || !intruders.is_empty() => "warn",
            status => status,
        },
        mode: if request.quick { "quick" } else { "full" },
        freshness_proven: request.at_least.is_some() && fresh,
        backups,
        log,
        lock,
        findings,
        intruders,
        verified_head: head.to_string(),
        recorded: Recorded::default(),
    })
}

/// Holds what is locked against what was to be.
async fn lock(
    repository: &Repository,
    request: &Request<'_>,
    listed: &[(BackupId, Result<Found<Manifest>, PipelineError>)],
    acts: &[locks::Acted],
    of_log: u64,
) -> Result<Option<VerifiedLock>, JobError> {
    let told = locks::promises(repository, listed, acts).await?;
    if told.is_empty() {
        return Ok(None);
    }
    let mut promised = told.len() as u64;
    let has_lock = repository.store().bucket_lock().await.map_err(PipelineError::from)?.is_some();
    let mut findings = Vec::new();
    if has_lock {
        findings = locks::check(repository, told).await?;
        let (of_log, short) = log::locks(repository, of_log, &request.progress).await?;
        promised += of_log;
        findings.extend(short);
    }
    let status = if has_lock { status(findings.is_empty()) } else { "none" };
    Ok(Some(VerifiedLock { status, promised, findings }))
}

/// What is wrong with a chain.
pub(super) fn chain_problems(repository: &Repository, chain: Chain) -> Vec<Problem> {
    let mut problems: Vec<Problem> = chain.findings.into_iter().map(Into::into).collect();
    if chain.more_findings > 0 {
        let why = format!("{} more records are not as they should be", chain.more_findings);
        let object = layout::audit_folder(repository.cluster());
        problems.push(Problem { object, chunk: None, why });
    }
    problems
}

/// A backup and all that it stands on.
fn with_bases(
    listed: &[(BackupId, Result<Found<Manifest>, PipelineError>)],
    wanted: &BackupId,
) -> BTreeSet<BackupId> {
    let mut chain = BTreeSet::new();
    let mut next = Some(wanted.clone());
    while let Some(id) = next.filter(|id| chain.insert(id.clone())) {
        let found = listed.iter().find(|(listed, _)| *listed == id);
        let base = found.and_then(|(_, found)| found.as_ref().ok()?.record.base.as_ref());
        next = base.map(|base| base.backup_id.clone());
    }
    chain.retain(|id| listed.iter().any(|(listed, _)| listed == id));
    chain
}

/// An increment is no better than what it stands on.
fn blame_bases(repository: &Repository, backups: &mut [VerifiedBackup]) {
    let damaged: BTreeSet<BackupId> = backups
        .iter()
        .filter(|backup| !backup.findings.is_empty())
        .map(|backup| backup.backup_id.clone())
        .collect();
    let bases: std::collections::BTreeMap<_, _> = backups
        .iter()
        .filter_map(|backup| Some((backup.backup_id.clone(), backup.base.clone()?)))
        .collect();
    for backup in backups {
        let mut below = bases.get(&backup.backup_id);
        while let Some(id) = below {
            if damaged.contains(id) {
                backup.status = status(false);
                backup.findings.push(Problem {
                    object: layout::manifest(repository.cluster(), &backup.backup_id),
                    chunk: None,
                    why: format!("it stands on backup {id}, which is damaged"),
                });
                break;
            }
            below = bases.get(id);
        }
    }
}

/// Holds the backups and the audit chain against each other.
fn against_chain(
    repository: &Repository,
    committed: &Committed,
    listed: &[(BackupId, Result<Found<Manifest>, PipelineError>)],
    swept: &BTreeSet<BackupId>,
) -> Vec<Problem> {
    let mut findings = Vec::new();
    let mut note = |id: &BackupId, why: String| {
        let object = layout::manifest(repository.cluster(), id);
        findings.push(Problem { object, chunk: None, why });
    };
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
        objects: repository.locate(volumes(repository, manifest)?).await?,
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
    for object in volumes(repository, manifest)? {
        match repository.check_hash(object, FETCHES, progress).await {
            Ok(()) => {}
            Err(PipelineError::Integrity { object, why }) => {
                findings.push(Finding { object, chunk: None, why });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(findings)
}
