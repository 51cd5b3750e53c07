//! The audit chain: numbered records, each with the hash of the one before.

use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use super::{Author, ChainHead, Finding, PipelineError, Repository, repository::key};
use crate::{
    format::{AuditRecord, Payload, Role, layout},
    model::{Sha256Digest, Timestamp},
    store::StoreErrorKind,
};

/// The act that removes a backup, as the chain names it: its manifest may be missing from then on.
pub const PRUNED: &str = "backup-pruned";

/// How often to try the next number when other runs append, too.
const RACES: u32 = 64;

/// Appends an act to the chain.
///
/// # Errors
/// When the store fails, or the head of the chain is not to be believed.
pub async fn append(
    run: &Author,
    action: &str,
    subject: &str,
    record: Sha256Digest,
) -> Result<ChainHead, PipelineError> {
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
            Ok(()) => return Ok(ChainHead { number: audit.number, sha256 }),
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
async fn head(repository: &Repository) -> Result<ChainHead, PipelineError> {
    let Some(number) = numbers(repository).await?.pop() else {
        return Ok(ChainHead::EMPTY);
    };
    let (_, sha256) = read(repository, number).await?;
    Ok(ChainHead { number, sha256 })
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
    if found.record.action == PRUNED
        && repository.run(found.record.run_id).await?.role != Role::Prune
    {
        return Err(PipelineError::integrity(object, "its run may not remove backups"));
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
    at_least: Option<ChainHead>,
) -> Result<(Vec<AuditRecord>, ChainHead, Vec<Finding>), PipelineError> {
    let mut findings = Vec::new();
    let mut records = Vec::new();
    let mut previous = Some(Sha256Digest([0; 32]));
    let mut head = ChainHead::EMPTY;
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
                kept |= at_least == Some(ChainHead { number, sha256 });
                previous = Some(sha256);
                head = ChainHead { number, sha256 };
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
