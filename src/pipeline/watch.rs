//! Has anything come since? One request says so, where a listing would be dear.

use super::{ChainHead, Found, PipelineError, Repository, repository::key};
use crate::{
    format::{AuditRecord, RunRecord, layout},
    store::StoreErrorKind,
};

/// Whether the log has a record behind this number.
///
/// # Errors
/// When the store fails.
pub async fn log_goes_on(repository: &Repository, number: u64) -> Result<bool, PipelineError> {
    let next = key(&layout::log(repository.cluster(), number + 1))?;
    match repository.store().head(&next).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The record of the audit chain that follows this head, with the head that it makes; nothing when
/// there is none yet.
///
/// # Errors
/// When the store fails, or what is there is not believed or does not follow.
pub async fn next_audit(
    repository: &Repository,
    head: ChainHead,
) -> Result<Option<(AuditRecord, ChainHead)>, PipelineError> {
    let number = head.number + 1;
    let object = layout::audit(repository.cluster(), number);
    let follows = |record: &AuditRecord, _: &RunRecord| {
        if record.number == number && record.previous == head.sha256 {
            return Ok(());
        }
        Err(PipelineError::integrity(&object, "it does not follow the record before it"))
    };
    let found = repository.record_of_cluster(&object, follows).await?;
    Ok(found.map(|Found { record, sha256 }| (record, ChainHead { number, sha256 })))
}
