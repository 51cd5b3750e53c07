//! `report`: what the repository shows of the controls that an auditor asks for, and what it does not.
//!
//! Gather, then judge: `gather` reads, `judge` is pure and has `now` among its facts.

mod document;
mod facts;
mod gather;
mod judge;

use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use document::{
    ActCount, Appendix, BackupRow, ConfigurationRow, ConnectionUse, Control, Evidence, Identity,
    LossRow, MOST_EVIDENCE, MOST_ROWS, RecoveryPoint, Report, RestoreRow, Statement, Status,
    Summary, VerifyRow,
};
use facts::{Facts, Period};

use super::{JobError, Recorded, Witness, witness::Intent};
use crate::{
    format::audit::{Details, ReportDetails, action},
    model::{Sha256Digest, Timestamp},
    pipeline::{
        ChainHead, Repository,
        audit::{Act, Settings},
    },
};

/// What to report on.
#[derive(Debug)]
pub struct Request<'a> {
    /// The repository.
    pub repository: Arc<Repository>,
    /// The period.
    pub since: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// The present instant.
    pub now: Timestamp,
    /// What the audit chain must contain.
    pub at_least: Option<ChainHead>,
    /// Records that the report was made.
    pub witness: &'a Witness,
    /// What `render` makes: `text`, `json` or `html`.
    pub format: &'static str,
}

/// A report, as it is printed.
#[derive(Debug)]
pub struct Made {
    /// What it says.
    pub report: Report,
    /// The document; its SHA-256 is in the audit chain.
    pub document: String,
    /// That hash.
    pub sha256: Sha256Digest,
    /// Whether it was recorded.
    pub recorded: Recorded,
}

/// Makes a report, and records that it was made.
///
/// # Errors
/// When the store fails, or there is no such cluster. Damage is no error here: the report says it.
pub async fn run(
    request: &Request<'_>,
    render: impl FnOnce(&Report) -> String,
) -> Result<Made, JobError> {
    if request.since > request.until {
        return Err(JobError::usage(
            format!("--since {} is later than --until {}", request.since, request.until),
            "give the earlier instant as --since",
        ));
    }
    let subject = format!("{}/{}", request.since, request.until);
    let intent = || Intent {
        job: "report",
        subject: subject.clone(),
        details: Details::Other(serde_json::Map::new()),
        kms: None,
        settings: Settings::default(),
        is_announced: false,
    };
    let early = if request.witness.is_required() {
        Some(request.witness.begin(&request.repository, intent()).await?)
    } else {
        None
    };
    let period = Period { since: request.since, until: request.until, now: request.now };
    let facts = gather::gather(request, period).await?;
    let report = report(&request.repository, facts).await?;
    let document = render(&report);
    let sha256 = Sha256Digest(Sha256::digest(&document).into());
    let begun = match early {
        Some(begun) => begun,
        None => request.witness.begin(&request.repository, intent()).await?,
    };
    let act = Act::new(action::REPORT_MADE, &subject)
        .record(sha256)
        .succeeded()
        .details(Details::Report(report.told(request.format)));
    let recorded = begun.record(act).await;
    Ok(Made { report, document, sha256, recorded })
}

async fn report(repository: &Repository, facts: Facts) -> Result<Report, JobError> {
    let controls = judge::judge(&facts);
    let count = |status| controls.iter().filter(|control| control.status == status).count();
    let summary = Summary {
        holds: count(Status::Holds),
        fails: count(Status::Fails),
        not_shown: count(Status::NotShown),
    };
    let uuid = repository.uuid().await?;
    let Period { since, until, now } = facts.period;
    let log = facts.log.as_ref().and_then(|log| log.as_ref().ok());
    Ok(Report {
        version: 1,
        status: controls.iter().map(|control| control.status).max().unwrap_or(Status::NotShown),
        cluster: repository.cluster().to_string(),
        cluster_uuid: uuid.map_or_else(String::new, |uuid| uuid.to_string()),
        repository: repository.url(),
        since,
        until,
        generated_at: now,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        catalogue: judge::CATALOGUE,
        audit_head: facts.trail.head.to_string(),
        log_head: log.map(|log| log.head.to_string()),
        freshness_proven: facts.trail.asked && facts.trail.contains,
        summary,
        controls,
        appendix: appendix(facts),
    })
}

fn appendix(facts: Facts) -> Appendix {
    let period = facts.period;
    let finished = facts.backups.iter().filter(|b| period.has(b.manifest.finished_at));
    let backups = finished.take(MOST_ROWS).map(|backup| BackupRow {
        backup_id: backup.id().to_string(),
        finished_at: backup.manifest.finished_at,
        proof: backup.manifest.proof.to_string(),
        bytes_stored: backup.manifest.bytes_stored,
        manifest_sha256: backup.sha256,
    });
    let backups = backups.collect();
    let log = facts.log.and_then(Result::ok);
    let (gaps, forks, points) =
        log.map_or_else(Default::default, |log| (log.gaps, log.forks, log.points));
    let trail = facts.trail;
    Appendix {
        identities: trail.identities,
        connections: trail.connections.into_iter().map(|(used, _)| used).collect(),
        keks: facts.key_status.keks,
        backups,
        restores: trail.restores,
        verifications: trail.verifications.into_iter().map(|(row, _)| row).collect(),
        gaps,
        forks,
        recovery_points: points,
        configurations: trail.configurations,
        without_end: trail.open,
        acts: trail.acts,
    }
}

impl Report {
    /// What the audit chain has of it.
    fn told(&self, format: &str) -> ReportDetails {
        let of = |status| {
            let controls = self.controls.iter().filter(|control| control.status == status);
            controls.map(|control| control.id.to_owned()).collect()
        };
        ReportDetails {
            format: format.to_owned(),
            holds: of(Status::Holds),
            fails: of(Status::Fails),
            not_shown: of(Status::NotShown),
        }
    }
}
