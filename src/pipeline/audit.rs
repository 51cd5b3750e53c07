//! The audit chain: numbered records, each with the hash of the one before.

use std::{fmt, str::FromStr};

use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use super::{Finding, PipelineError, Repository, Run, repository::key};
use crate::{
    format::{AuditRecord, Payload, layout},
    model::{Sha256Digest, Timestamp},
    store::StoreErrorKind,
};

/// How often to try the next number when other runs append, too.
const RACES: u32 = 64;

/// The newest record of the chain: whoever keeps it can later prove a roll-back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditHead {
    /// Its number; 0 for an empty chain.
    pub number: u64,
    /// SHA-256 of its stored bytes.
    pub sha256: Sha256Digest,
}

impl fmt::Display for AuditHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.sha256)
    }
}

/// A text that is no head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a head: NUMBER:HASH is expected, as an earlier run printed it")]
pub struct HeadError(String);

impl FromStr for AuditHead {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Self, HeadError> {
        let wrong = || HeadError(text.chars().take(120).collect());
        let (number, hash) = text.split_once(':').ok_or_else(wrong)?;
        Ok(Self {
            number: number.parse().map_err(|_| wrong())?,
            sha256: hash.parse().map_err(|_| wrong())?,
        })
    }
}

/// Appends an act to the chain.
///
/// # Errors
/// When the store fails, or the head of the chain is not to be believed.
pub async fn append(
    run: &Run,
    action: &str,
    subject: &str,
    record: Sha256Digest,
) -> Result<AuditHead, PipelineError> {
    let repository = &run.repository;
    for _ in 0..RACES {
        let head = head(repository).await?;
        let audit = AuditRecord {
            version: AuditRecord::VERSION,
            cluster_uuid: run.cluster,
            number: head.number + 1,
            previous: head.sha256,
            run_id: run.id,
            at: Timestamp::now(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            record_sha256: record,
        };
        let stored = run.sign(&audit)?;
        let sha256 = Sha256Digest(Sha256::digest(&stored).into());
        let object = key(&layout::audit(repository.cluster(), audit.number))?;
        match repository.store().create(&object, stored).await {
            Ok(()) => return Ok(AuditHead { number: audit.number, sha256 }),
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(PipelineError::Taken {
        id: "audit".into(),
        why: format!("other runs were quicker {RACES} times"),
    })
}

/// The newest record, believed.
async fn head(repository: &Repository) -> Result<AuditHead, PipelineError> {
    let Some(number) = numbers(repository).await?.pop() else {
        return Ok(AuditHead { number: 0, sha256: Sha256Digest([0; 32]) });
    };
    let (_, sha256) = read(repository, number).await?;
    Ok(AuditHead { number, sha256 })
}

async fn numbers(repository: &Repository) -> Result<Vec<u64>, PipelineError> {
    let folder = layout::audit_folder(repository.cluster());
    let listed: Vec<_> = repository.store().list(&folder, None).try_collect().await?;
    let named = |key: &str| {
        key.strip_prefix(&folder).filter(|n| n.len() == 20).and_then(|n| n.parse().ok())
    };
    Ok(listed.iter().filter_map(|object| named(object.key.as_str())).collect())
}

async fn read(
    repository: &Repository,
    number: u64,
) -> Result<(AuditRecord, Sha256Digest), PipelineError> {
    let object = layout::audit(repository.cluster(), number);
    let found = repository.record_of_cluster::<AuditRecord>(object.clone()).await?;
    let Some(found) = found else { return Err(PipelineError::integrity(object, "it is missing")) };
    if found.record.number != number {
        return Err(PipelineError::integrity(
            object,
            format!("it is record {}", found.record.number),
        ));
    }
    Ok((found.record, found.sha256))
}

/// Reads the whole chain. Returns its records, its head, and what is wrong with it; the chain
/// must contain `at_least`, when given.
///
/// # Errors
/// When the store fails.
pub async fn verify_chain(
    repository: &Repository,
    at_least: Option<AuditHead>,
) -> Result<(Vec<AuditRecord>, AuditHead, Vec<Finding>), PipelineError> {
    let mut findings = Vec::new();
    let mut records = Vec::new();
    let mut previous = Some(Sha256Digest([0; 32]));
    let mut head = AuditHead { number: 0, sha256: Sha256Digest([0; 32]) };
    let mut kept = at_least.is_none_or(|head| head.number == 0);
    let last = numbers(repository).await?.last().copied().unwrap_or_default();
    for number in 1..=last {
        let object = layout::audit(repository.cluster(), number);
        let mut bad =
            |why: String| findings.push(Finding { object: object.clone(), chunk: None, why });
        match read(repository, number).await {
            Ok((record, sha256)) => {
                // After a record that cannot be read, the next one's link has nothing to hold on to.
                if previous.is_some_and(|previous| previous != record.previous) {
                    bad("it does not follow the record before it".into());
                }
                kept |= at_least == Some(AuditHead { number, sha256 });
                previous = Some(sha256);
                head = AuditHead { number, sha256 };
                records.push(record);
            }
            Err(PipelineError::Integrity { why, .. }) => {
                bad(why);
                previous = None;
            }
            Err(error) => return Err(error),
        }
    }
    if let (false, Some(wanted)) = (kept, at_least) {
        let why = format!(
            "the chain does not contain {wanted}: the repository was rolled back or replaced"
        );
        findings.push(Finding {
            object: layout::audit_folder(repository.cluster()),
            chunk: None,
            why,
        });
    }
    Ok((records, head, findings))
}
