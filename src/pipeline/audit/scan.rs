//! Reading the chain, one record after another.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::append;
use crate::{
    format::{AuditRecord, RunRecord, layout},
    model::Sha256Digest,
    pipeline::{ChainHead, Finding, Found, PipelineError, Repository, Vouched, repository::digest},
};

/// Requests in flight.
const PARALLEL: usize = 64;
/// Findings that are kept; the rest is counted.
pub const MOST_FINDINGS: usize = 1_000;

/// What the chain is like.
#[derive(Debug)]
pub struct Chain {
    /// Its last record that is believed.
    pub head: ChainHead,
    /// Records that are believed.
    pub records: u64,
    /// What is wrong with it: [`MOST_FINDINGS`] at most.
    pub findings: Vec<Finding>,
    /// How many more things are.
    pub more_findings: u64,
    /// Whether it contains the head that was asked for; so does any, when none was.
    pub contains: bool,
}

/// A record that was listed, or that ought to have been.
struct Looked {
    number: u64,
    /// The record, or why it is not believed.
    found: Result<(Found<AuditRecord>, Arc<Vouched>), String>,
    /// Of what lies there, believed or not.
    sha256: Option<Sha256Digest>,
}

/// The number in a name of the folder.
pub(super) fn number_of(folder: &str, key: &str) -> Option<u64> {
    key.strip_prefix(folder).filter(|name| name.len() == 20)?.parse().ok().filter(|n| *n > 0)
}

/// A record that is there, believed.
///
/// # Errors
/// When the store fails, or the record is missing, not believed, or another one.
pub async fn record(
    repository: &Repository,
    number: u64,
) -> Result<Found<AuditRecord>, PipelineError> {
    let object = layout::audit(repository.cluster(), number);
    let is_it = |record: &AuditRecord, _: &RunRecord| match record.number {
        found if found == number => Ok(()),
        found => Err(PipelineError::integrity(&object, format!("it is record {found}"))),
    };
    let found = repository.record_of_cluster(&object, is_it).await?;
    found.ok_or_else(|| PipelineError::integrity(&object, "it is missing"))
}

/// What a signed document says of itself that belongs under a number.
pub(super) fn belongs(number: u64) -> impl Fn(&serde_json::Value) -> bool {
    move |document| document["number"] == number
}

/// Whether nothing that a run of ours has written was ever under this number.
pub(super) async fn is_strange(
    repository: &Repository,
    number: u64,
) -> Result<bool, PipelineError> {
    let object = layout::audit(repository.cluster(), number);
    repository.has_only_strangers::<AuditRecord>(&object, belongs(number)).await
}

/// The end of the chain, without reading it all.
///
/// # Errors
/// When the store fails.
pub async fn head(repository: &Repository) -> Result<ChainHead, PipelineError> {
    let head = append::end(repository).await?;
    repository.saw_audit(head.number);
    Ok(head)
}

/// Whether the chain has this very record. What comes before it cannot be another then.
///
/// # Errors
/// When the store fails.
pub async fn contains(repository: &Repository, head: ChainHead) -> Result<bool, PipelineError> {
    if head == ChainHead::EMPTY {
        return Ok(true);
    }
    match record(repository, head.number).await {
        Ok(found) => Ok(found.sha256 == head.sha256),
        Err(PipelineError::Integrity { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Nothing when there is nothing but what strangers have put there.
async fn look(repository: &Repository, number: u64) -> Result<Option<Looked>, PipelineError> {
    match record(repository, number).await {
        Ok(found) => {
            // It was believed, so its run was.
            let run = repository.vouched(found.record.run_id).await?;
            Ok(Some(Looked { number, sha256: Some(found.sha256), found: Ok((found, run)) }))
        }
        Err(PipelineError::Integrity { .. }) if is_strange(repository, number).await? => Ok(None),
        Err(PipelineError::Integrity { object, why }) => {
            let name = layout::audit(repository.cluster(), number);
            // What it rests on may be what is damaged: the record of its run.
            let why = if object == name { why } else { format!("{object}: {why}") };
            let bytes = repository.read(&name).await;
            let sha256 = match bytes {
                Ok(bytes) => bytes.map(|bytes| digest(&bytes)),
                // It is too large for a record, for one.
                Err(PipelineError::Integrity { .. }) => None,
                Err(error) => return Err(error),
            };
            Ok(Some(Looked { number, found: Err(why), sha256 }))
        }
        Err(error) => Err(error),
    }
}

/// Reads the chain behind a record (from its beginning, when that is 0), in order, and shows each
/// record that is believed, and its run. Whatever its length, little memory is taken. It must contain `at_least`,
/// when given.
///
/// # Errors
/// When the store fails, or what is shown a record fails.
pub async fn scan<E: From<PipelineError>>(
    repository: &Repository,
    behind: u64,
    at_least: Option<ChainHead>,
    mut show: impl FnMut(&Found<AuditRecord>, &Vouched) -> Result<(), E>,
) -> Result<Chain, E> {
    let mut chain = Chain {
        head: ChainHead::EMPTY,
        records: 0,
        findings: Vec::new(),
        more_findings: 0,
        contains: at_least.is_none_or(|head| head == ChainHead::EMPTY),
    };
    // After a record that is not there, the next one's link has nothing to hold on to.
    let mut previous = Some(Sha256Digest([0; 32]));
    if behind > 0 {
        let before = look(repository, behind).await?;
        previous = before.as_ref().and_then(|before| before.sha256);
        chain.head = ChainHead { number: behind, sha256: previous.unwrap_or(chain.head.sha256) };
        let is_good = before.is_some_and(|before| before.found.is_ok());
        chain.contains |= is_good && at_least == Some(chain.head);
    }
    let folder = layout::audit_folder(repository.cluster());
    let after = crate::pipeline::key(&layout::audit(repository.cluster(), behind))?;
    // With versions, since what was deleted is still there.
    let listed = repository.store().list_versions(&folder, (behind > 0).then_some(&after));
    let numbers = listed
        .map_err(PipelineError::from)
        .try_filter_map(|found| std::future::ready(Ok(number_of(&folder, found.key.as_str()))));
    let looked = numbers.map_ok(|n| look(repository, n)).try_buffered(PARALLEL);
    let mut looked = std::pin::pin!(looked.try_filter_map(|found| std::future::ready(Ok(found))));
    let mut expected = behind.saturating_add(1);
    while let Some(here) = looked.try_next().await? {
        if here.number < expected {
            continue;
        }
        if here.number > expected {
            // A listing may be older than what is read later.
            let again = look(repository, expected).await?;
            if let Some(again) =
                again.filter(|again| again.sha256.is_some() && here.number == expected + 1)
            {
                chain.take(again, at_least, &mut previous, &folder, &mut show)?;
            } else {
                chain.missing(&folder, expected, here.number - 1);
                previous = None;
            }
        }
        expected = here.number.saturating_add(1);
        chain.take(here, at_least, &mut previous, &folder, &mut show)?;
    }
    if let (false, Some(wanted)) = (chain.contains, at_least) {
        let why = format!(
            "the chain does not contain {wanted}: the repository was rolled back or replaced"
        );
        chain.note(folder.clone(), why);
    }
    repository.saw_audit(chain.head.number);
    Ok(chain)
}

impl Chain {
    fn note(&mut self, object: String, why: String) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding { object, chunk: None, why });
        } else {
            self.more_findings += 1;
        }
    }

    fn missing(&mut self, folder: &str, first: u64, last: u64) {
        let why = match last - first {
            0 => "it is missing".into(),
            more => format!("it is missing, and {more} more up to number {last}"),
        };
        self.note(format!("{folder}{first:020}"), why);
    }

    fn take<E: From<PipelineError>>(
        &mut self,
        looked: Looked,
        at_least: Option<ChainHead>,
        previous: &mut Option<Sha256Digest>,
        folder: &str,
        show: &mut impl FnMut(&Found<AuditRecord>, &Vouched) -> Result<(), E>,
    ) -> Result<(), E> {
        let Looked { number, found, sha256 } = looked;
        let object = || format!("{folder}{number:020}");
        let (found, run) = match found {
            Ok(found) => found,
            Err(why) => {
                self.note(object(), why);
                *previous = sha256;
                return Ok(());
            }
        };
        if previous.is_some_and(|previous| previous != found.record.previous) {
            self.note(object(), "it does not follow the record before it".into());
        }
        *previous = sha256;
        self.head = ChainHead { number, sha256: found.sha256 };
        self.contains |= at_least == Some(self.head);
        self.records += 1;
        show(&found, &run)
    }
}

/// The records before a number, the newest first, as long as they are believed and wanted.
pub(super) async fn backwards(
    repository: &Repository,
    from: u64,
    most: u64,
    mut wants_more: impl FnMut(&AuditRecord) -> bool,
) -> Result<(), PipelineError> {
    let numbers = (0..most).map_while(|n| from.checked_sub(n)).take_while(|n| *n > 0);
    let read = numbers.map(|number| look(repository, number));
    let mut read = std::pin::pin!(stream::iter(read).buffered(16));
    while let Some(looked) = read.try_next().await? {
        if let Some(Looked { found: Ok((found, _)), .. }) = looked
            && !wants_more(&found.record)
        {
            break;
        }
    }
    Ok(())
}
