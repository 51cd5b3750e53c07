//! Marks, horizons and, in a copy, the audit chain of what it is a copy of: what is not believed says
//! nothing, and somebody should know of it.

use super::Problem;
use crate::pipeline::{Marks, PipelineError, Repository};

/// What is wrong with them.
pub(super) async fn check(repository: &Repository) -> Result<Vec<Problem>, PipelineError> {
    let of = |marks: Marks| marks.findings;
    let backups = repository.backup_marks().await?.into_values().flat_map(of);
    let runs = repository.run_marks().await?.into_values().flat_map(of);
    let horizons = repository.horizon().await?.findings;
    let (_, origin) = repository.origin_trail(|_| ()).await?;
    Ok(backups.chain(runs).chain(horizons).chain(origin).map(Into::into).collect())
}
