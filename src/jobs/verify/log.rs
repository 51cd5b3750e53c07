//! The binlog log: every record, every tail, every segment.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::{Problem, Request, status};
use crate::{
    format::{LogEntry, SegmentData},
    jobs::JobError,
    pipeline::{
        Accept, ChainHead, Finding, PipelineError, Progress, Repository,
        log::{Applied, RangeOpener, Scanned, scan},
    },
};

/// Objects that are looked at, at once.
const PARALLEL: usize = 4;

/// What was found in the log.
#[derive(Debug, serde::Serialize)]
pub struct VerifiedLog {
    /// `ok` or `damaged`.
    pub status: &'static str,
    /// Records that follow from one another: the number of the last of them.
    pub records: u64,
    /// How many of the first of them were pruned.
    pub pruned: u64,
    /// Tails that were looked at.
    pub tails: u64,
    /// Segments that were looked at.
    pub segments: u64,
    /// Gaps that it tells of.
    pub gaps: u64,
    /// Forks that it tells of.
    pub forks: u64,
    /// Its head: keep it, and give it as `--at-least` later.
    pub head: String,
    /// What is wrong.
    pub findings: Vec<Problem>,
}

/// Bytes that nobody wants.
struct Nobody;

impl Accept for Nobody {
    fn accept(&mut self, _: &[u8]) -> Result<(), PipelineError> {
        Ok(())
    }
}

/// Looks at the whole log; nothing when there is none. Says, too, whether it contains the head
/// that was asked for.
pub(super) async fn check(
    repository: &Repository,
    request: &Request<'_>,
) -> Result<(Option<VerifiedLog>, bool), JobError> {
    if request.id.is_some() && request.at_least.is_none() {
        return Ok((None, false));
    }
    let (mut tails, mut segments, mut gaps, mut forks) = (Vec::new(), Vec::new(), 0, 0);
    let mut kept = false;
    let Scanned { state, broken, horizon } = scan(repository, |found, applied| {
        let record = &found.record;
        kept |= request.at_least == Some(ChainHead { number: record.number, sha256: found.sha256 });
        match &record.entry {
            _ if applied == Applied::Void => {}
            LogEntry::Tail(_) => tails.push(record.number),
            LogEntry::Segment(segment) => {
                // A promoted segment is made of tails.
                if matches!(segment.data, SegmentData::Object { .. }) {
                    segments.push(record.number);
                }
            }
            LogEntry::Gap(_) => gaps += 1,
            LogEntry::Fork(_) => forks += 1,
            _ => {}
        }
    })
    .await?;
    if request.id.is_some() || (state.head.number == 0 && broken.is_none()) {
        return Ok((None, kept));
    }
    let opener = match (request.quick, request.kms) {
        (false, Some(kms)) => RangeOpener::new(repository, kms, Arc::clone(&request.progress)),
        (true, _) => RangeOpener::without_key(repository, Arc::clone(&request.progress)),
        (false, None) => return Err(super::no_key()),
    };
    let opener = &opener;
    let objects = tails.iter().chain(&segments).map(|&number| async move {
        let looked = if request.quick {
            opener.hash(number).await
        } else {
            opener.open(number, Nobody).await.map(drop)
        };
        match looked {
            Ok(()) => Ok(None),
            Err(PipelineError::Integrity { object, why }) => {
                Ok(Some(Finding { object, chunk: None, why }))
            }
            Err(error) => Err(error),
        }
    });
    let found: Vec<_> = stream::iter(objects).buffered(PARALLEL).try_collect().await?;
    let findings: Vec<Problem> =
        broken.into_iter().chain(found.into_iter().flatten()).map(Into::into).collect();
    let log = VerifiedLog {
        status: status(findings.is_empty()),
        records: state.head.number,
        pruned: horizon.begins,
        tails: tails.len() as u64,
        segments: segments.len() as u64,
        gaps,
        forks,
        head: state.head.to_string(),
        findings,
    };
    Ok((Some(log), kept))
}

/// Which of the first records of the log, and of their segments, are not locked as their runs have promised; and how
/// many records were to be.
pub(super) async fn locks(
    repository: &Repository,
    records: u64,
    progress: &Arc<Progress>,
) -> Result<(u64, Vec<Problem>), JobError> {
    let opener = RangeOpener::without_key(repository, Arc::clone(progress));
    let opener = &opener;
    let looks = (1..=records).map(|number| async move {
        match opener.locks(number).await {
            // What is damaged is told by whoever opens it.
            Err(PipelineError::Integrity { .. }) => Ok(None),
            looked => looked,
        }
    });
    let found: Vec<_> = stream::iter(looks).buffered(PARALLEL).try_collect().await?;
    let promised = found.iter().filter(|found| found.is_some()).count() as u64;
    let short = found.into_iter().flatten().flatten().map(Into::into);
    Ok((promised, short.collect()))
}
