//! Marks and horizons: one that is not believed says nothing, and somebody should know of it.

use super::Problem;
use crate::pipeline::{Marks, PipelineError, Repository};

/// What is wrong with them.
pub(super) async fn check(repository: &Repository) -> Result<Vec<Problem>, PipelineError> {
    let of = |marks: Marks| marks.findings;
    let backups = repository.backup_marks().await?.into_values().flat_map(of);
    let runs = repository.run_marks().await?.into_values().flat_map(of);
    let horizons = repository.horizon().await?.findings;
    Ok(backups.chain(runs).chain(horizons).map(Into::into).collect())
}
