//! Records as lines of JSON, for a system that collects events.

use std::sync::Arc;

use super::{early, record};
use crate::{
    format::{
        AuditRecord, Role, RunIdentity,
        audit::{Details, Failure, Outcome, action},
    },
    jobs::{
        JobError, Recorded, Witness,
        verify::{Problem, chain_problems},
    },
    model::{Connection, RunId, Sha256Digest, Timestamp},
    pipeline::{
        Found, PipelineError, Repository, Vouched,
        audit::{self, Act, scan},
    },
};

/// Clocks of different machines may differ by so much: the search for an instant begins that much
/// before it.
const SKEW_MICROSECONDS: i64 = 3600 * 1_000_000;

/// One record, and the run that wrote it. `docs/audit.md` describes it; its fields are a contract.
#[derive(Debug, serde::Serialize)]
pub struct Line<'a> {
    /// Version of this object.
    pub version: u32,
    /// Its number in the chain.
    pub number: u64,
    /// When it happened, by the clock of the machine that did it.
    pub at: Timestamp,
    /// What was done.
    pub action: &'a str,
    /// On what.
    pub subject: &'a str,
    /// How it ended; `null` when this does not end an act.
    pub outcome: Option<Outcome>,
    /// Why it failed.
    pub failure: Option<&'a Failure>,
    /// The cluster's name.
    pub cluster: &'a str,
    /// The cluster.
    pub cluster_uuid: String,
    /// The repository and the folder in it.
    pub repository: &'a str,
    /// The run that did it.
    pub run_id: RunId,
    /// What that run may write.
    pub role: Role,
    /// When it began.
    pub run_started_at: Timestamp,
    /// The program's version.
    pub tool_version: &'a str,
    /// Who ran it.
    pub identity: &'a RunIdentity,
    /// Who vouches for it.
    pub signer: &'a str,
    /// The connections that it used.
    pub connections: &'a [Connection],
    /// What else there is to say.
    pub details: Option<&'a Details>,
    /// Digest of the settings.
    pub configuration: Option<Sha256Digest>,
    /// Digest of what the act rests on or left behind.
    pub record_sha256: Option<Sha256Digest>,
    /// Digest of the record before.
    pub previous: Sha256Digest,
    /// Digest of this record: with its number it is a head.
    pub sha256: Sha256Digest,
}

/// What was exported.
#[derive(Debug)]
pub struct Exported {
    /// How many records.
    pub records: u64,
    /// The number of the last one.
    pub last: Option<u64>,
    /// What is wrong with the part of the chain that was read.
    pub findings: Vec<Problem>,
    /// Whether this was recorded.
    pub recorded: Option<Recorded>,
}

/// Which records.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range {
    /// Behind this one.
    pub after: u64,
    /// At this instant or later.
    pub since: Option<Timestamp>,
    /// At this instant or earlier.
    pub until: Option<Timestamp>,
}

/// Why reading ended early.
enum Halt {
    /// The other side wants no more.
    Enough,
    Failed(JobError),
}

impl From<PipelineError> for Halt {
    fn from(error: PipelineError) -> Self {
        Self::Failed(error.into())
    }
}

/// Hands each record to `out`, in the order of the chain, until it wants no more (false). A record
/// that is not believed is not handed out; the result says what is wrong.
///
/// # Errors
/// When the store fails, or `out` does.
pub async fn export(
    repository: &Arc<Repository>,
    range: Range,
    witness: &Witness,
    mut out: impl FnMut(&Line<'_>) -> Result<bool, JobError>,
) -> Result<Exported, JobError> {
    let early = early(witness, repository, "lines").await?;
    let behind = match range.since {
        Some(since) => range.after.max(before(repository, since).await?),
        None => range.after,
    };
    let url = repository.url();
    let (mut records, mut last, mut news) = (0, None, false);
    let take = |found: &Found<AuditRecord>, run: &Vouched| -> Result<(), Halt> {
        let at = found.record.at;
        if range.since.is_some_and(|since| at < since) || range.until.is_some_and(|t| at > t) {
            return Ok(());
        }
        match out(&Line::of(repository, &url, found, run)) {
            Ok(true) => {}
            Ok(false) => return Err(Halt::Enough),
            Err(error) => return Err(Halt::Failed(error)),
        }
        (records, last) = (records + 1, Some(found.record.number));
        // Whoever exports every minute must not find its own doing each time, and nothing else.
        news |= found.record.action != action::AUDIT_EXPORTED;
        Ok(())
    };
    let findings = match scan(repository, behind, None, take).await {
        Ok(chain) => chain_problems(repository, chain),
        Err(Halt::Enough) => Vec::new(),
        Err(Halt::Failed(error)) => return Err(error),
    };
    let recorded = match last {
        Some(last) if news => {
            let act = Act::new(action::AUDIT_EXPORTED, &format!("{}-{last}", behind + 1));
            Some(record(witness, repository, early, act.succeeded()).await?)
        }
        _ => None,
    };
    Ok(Exported { records, last, findings, recorded })
}

impl<'a> Line<'a> {
    fn of(
        repository: &'a Repository,
        url: &'a str,
        found: &'a Found<AuditRecord>,
        run: &'a Vouched,
    ) -> Self {
        let record = &found.record;
        Self {
            version: 1,
            number: record.number,
            at: record.at,
            action: &record.action,
            subject: &record.subject,
            outcome: record.outcome,
            failure: record.failure.as_ref(),
            cluster: repository.cluster().as_str(),
            cluster_uuid: record.cluster_uuid.to_string(),
            repository: url,
            run_id: record.run_id,
            role: run.record.role,
            run_started_at: run.record.started_at,
            tool_version: &run.record.tool_version,
            identity: &run.record.identity,
            signer: &run.signer,
            connections: &record.connections,
            details: record.details.as_ref(),
            configuration: record.configuration,
            record_sha256: record.record_sha256,
            previous: record.previous,
            sha256: found.sha256,
        }
    }
}

/// A record before which nothing can be as late as this, whatever the clocks: found by halves.
async fn before(repository: &Repository, since: Timestamp) -> Result<u64, PipelineError> {
    let early = since.as_microseconds() - SKEW_MICROSECONDS;
    let (mut low, mut high) = (0, audit::head(repository).await?.number);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let is_early = match audit::record(repository, middle).await {
            Ok(found) => found.record.at.as_microseconds() < early,
            // What is not believed says nothing: rather too many are read than too few.
            Err(PipelineError::Integrity { .. }) => false,
            Err(error) => return Err(error),
        };
        if is_early {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Ok(low)
}
