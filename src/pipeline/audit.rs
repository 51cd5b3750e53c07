//! The audit chain: numbered records, each with the hash of the one before.

use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use super::{Author, ChainHead, Class, Finding, PipelineError, Repository};
use crate::{
    format::{AuditRecord, Payload, RunRecord, layout},
    model::{Sha256Digest, Timestamp},
};

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
        let object = layout::audit(repository.cluster(), audit.number);
        let ours = ChainHead { number: audit.number, sha256 };
        let keep = repository.keep(Class::Evidence);
        let is_it = belongs(audit.number);
        if run.create_alone::<AuditRecord>(&object, stored, &keep, is_it).await?
            || read(repository, audit.number).await?.1 == sha256
        {
            return Ok(ours);
        }
    }
    Err(PipelineError::Taken {
        id: "audit".into(),
        why: format!("other runs were quicker {RACES} times"),
    })
}

/// The newest record, believed.
async fn head(repository: &Repository) -> Result<ChainHead, PipelineError> {
    let Some(number) = last(repository).await? else {
        return Ok(ChainHead::EMPTY);
    };
    let (_, sha256) = read(repository, number).await?;
    Ok(ChainHead { number, sha256 })
}

/// What a signed document says of itself that belongs under a number.
fn belongs(number: u64) -> impl Fn(&serde_json::Value) -> bool {
    move |document| document["number"] == number
}

/// The last number under which anything of ours was stored.
async fn last(repository: &Repository) -> Result<Option<u64>, PipelineError> {
    let folder = layout::audit_folder(repository.cluster());
    let listed: Vec<_> = repository.store().list_versions(&folder, None).try_collect().await?;
    let number = |key: &str| {
        key.strip_prefix(&folder).filter(|n| n.len() == 20).and_then(|n| n.parse::<u64>().ok())
    };
    for found in listed.iter().rev() {
        let Some(number) = number(found.key.as_str()) else { continue };
        if !repository.is_strange::<AuditRecord>(found, belongs(number)).await? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

async fn read(
    repository: &Repository,
    number: u64,
) -> Result<(AuditRecord, Sha256Digest), PipelineError> {
    let object = layout::audit(repository.cluster(), number);
    let is_it = |record: &AuditRecord, _: &RunRecord| match record.number {
        found if found == number => Ok(()),
        found => Err(PipelineError::integrity(&object, format!("it is record {found}"))),
    };
    match repository.record_of_cluster(&object, is_it).await? {
        Some(found) => Ok((found.record, found.sha256)),
        None => Err(PipelineError::integrity(&object, "it is missing")),
    }
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
    let last = last(repository).await?.unwrap_or_default();
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
