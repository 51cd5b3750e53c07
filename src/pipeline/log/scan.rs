//! The whole log, record by record: for whoever believes no checkpoint.

use futures::TryStreamExt;

use super::{
    state::{Applied, LogState},
    stored::{self, FoundRecord},
};
use crate::{
    format::layout,
    pipeline::{ChainHead, Finding, PipelineError, Repository},
};

/// Requests in flight.
const PARALLEL: usize = 32;

/// Whether the log has this very record.
///
/// # Errors
/// When the store fails, or the record is not believed.
pub async fn contains(repository: &Repository, head: ChainHead) -> Result<bool, PipelineError> {
    let found = stored::read(repository, head.number).await?;
    Ok(found.is_some_and(|(found, _)| found.sha256 == head.sha256))
}

/// Reads every record from the first on, in order, and shows it. Ends at the first one that is
/// missing, not believed, or does not follow from those before it: a finding tells which.
///
/// # Errors
/// When the store fails.
pub async fn scan(
    repository: &Repository,
    mut show: impl FnMut(&FoundRecord, Applied),
) -> Result<(LogState, Option<Finding>), PipelineError> {
    let folder = layout::log_folder(repository.cluster());
    let mut state = LogState::default();
    let listed = repository.store().list_versions(&folder, None).map_err(PipelineError::from);
    let numbered = listed.try_filter_map(|found| {
        let number = super::reader::number_of(&folder, found.key.as_str());
        async move { Ok(number.map(|number| (number, found))) }
    });
    let read = numbered.map_ok(|(number, versions)| async move {
        match stored::read_own(repository, number, versions).await {
            Ok(found) => Ok((number, Ok(found))),
            Err(PipelineError::Integrity { object, why }) => {
                Ok((number, Err(Finding { object, chunk: None, why })))
            }
            Err(error) => Err(error),
        }
    });
    let mut read = std::pin::pin!(read.try_buffered(PARALLEL));
    while let Some((number, found)) = read.try_next().await? {
        let Some(found) = found.transpose() else { continue };
        let expected = state.head.number + 1;
        let bad = |number: u64, why: String| Finding {
            object: layout::log(repository.cluster(), number),
            chunk: None,
            why,
        };
        if number != expected {
            let why = format!("it is missing, and record {number} is there");
            return Ok((state, Some(bad(expected, why))));
        }
        let found = match found {
            Ok(found) => found,
            Err(finding) => return Ok((state, Some(finding))),
        };
        match state.apply(&found.record, found.sha256) {
            Ok(applied) => show(&found, applied),
            Err(why) => return Ok((state, Some(bad(number, why)))),
        }
    }
    Ok((state, None))
}
