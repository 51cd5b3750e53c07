//! Is the chain whole, and which acts have no end?

use std::sync::Arc;

use super::{early, record};
use crate::{
    format::{AuditRecord, audit::action},
    jobs::{
        JobError, Recorded, Witness, failure,
        verify::{Problem, chain_problems},
    },
    model::Timestamp,
    pipeline::{
        ChainHead, Found, Repository, Vouched,
        audit::{Act, OpenAct, OpenActs, scan},
    },
};

/// What the chain is like.
#[derive(Debug, serde::Serialize)]
pub struct Audited {
    /// Version of this object.
    pub version: u32,
    /// `ok` or `damaged`.
    pub status: &'static str,
    /// Records that are believed.
    pub records: u64,
    /// When the first of them was written, by its writer's clock.
    pub first_at: Option<Timestamp>,
    /// When the last of them was.
    pub last_at: Option<Timestamp>,
    /// The head of the chain that was verified.
    pub verified_head: String,
    /// Whether `--at-least` was given and held; without it records that were cut off at the end
    /// cannot be missed.
    pub freshness_proven: bool,
    /// Acts that began and have no end: they are going on, or were killed.
    pub without_end: Vec<OpenAct>,
    /// How many more there are.
    pub more_without_end: u64,
    /// What is wrong.
    pub findings: Vec<Problem>,
    /// Whether this was recorded.
    #[serde(flatten)]
    pub recorded: Recorded,
}

/// Verifies the chain, whatever its length, in little memory.
///
/// # Errors
/// When the store fails. Damage is no error here: it is in the result.
pub async fn verify(
    repository: &Arc<Repository>,
    at_least: Option<ChainHead>,
    witness: &Witness,
) -> Result<Audited, JobError> {
    let early = early(witness, repository, "chain").await?;
    let (mut first_at, mut last_at, mut acts) = (None, None, OpenActs::default());
    let take = |found: &Found<AuditRecord>, _: &Vouched| -> Result<(), JobError> {
        first_at.get_or_insert(found.record.at);
        last_at = Some(found.record.at);
        acts.take(&found.record);
        Ok(())
    };
    let chain = scan(repository, 0, at_least, take).await?;
    let (head, records, contains) = (chain.head, chain.records, chain.contains);
    let findings = chain_problems(repository, chain);
    let act = Act::new(action::AUDIT_VERIFIED, "chain").record(head.sha256);
    let act = match findings.first() {
        None => act.succeeded(),
        Some(first) => {
            let what =
                format!("{} findings, the first: {}: {}", findings.len(), first.object, first.why);
            let error = JobError::integrity(what, "run `backstay audit verify`");
            act.failed(failure(witness.exit_of(), &error))
        }
    };
    let more_without_end = acts.more;
    Ok(Audited {
        version: 1,
        status: if findings.is_empty() { "ok" } else { "damaged" },
        records,
        first_at,
        last_at,
        verified_head: head.to_string(),
        freshness_proven: at_least.is_some() && contains,
        without_end: acts.without_end(),
        more_without_end,
        findings,
        recorded: record(witness, repository, early, act).await?,
    })
}
