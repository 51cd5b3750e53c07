//! Key records: a restore takes the newest that it believes, and somebody should know of the
//! others, whatever their DEK seals.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};

use super::Problem;
use crate::{
    model::DekId,
    pipeline::{PipelineError, Repository},
};

/// DEKs that are looked at, at once.
const PARALLEL: usize = 8;

/// What is wrong with the records of all DEKs but these.
pub(super) async fn check(
    repository: &Repository,
    known: &BTreeSet<DekId>,
) -> Result<Vec<Problem>, PipelineError> {
    let mut deks = repository.deks().await?;
    deks.retain(|dek, _| !known.contains(dek));
    let read = deks.iter().map(|(dek, names)| repository.key_records(*dek, names));
    let found: Vec<_> =
        stream::iter(read).buffered(PARALLEL).map_ok(|found| found.findings).try_collect().await?;
    Ok(found.into_iter().flatten().map(Into::into).collect())
}
