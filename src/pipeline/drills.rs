//! The evidence of drills.

use futures::{StreamExt, TryStreamExt, stream};

use super::{Author, Class, Found, PipelineError, Repository, repository::digest};
use crate::{
    format::{DrillRecord, Role, layout},
    model::{DrillId, Sha256Digest},
};

/// Requests in flight.
const PARALLEL: usize = 8;

/// A drill's record, believed, or why it is not.
pub type FoundDrill = (DrillId, Result<Found<DrillRecord>, PipelineError>);

impl Repository {
    /// The record of a drill; nothing when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is not this drill's record of this cluster.
    pub async fn drill(&self, id: &DrillId) -> Result<Option<Found<DrillRecord>>, PipelineError> {
        let object = layout::drill(self.cluster(), id);
        self.record_of_cluster::<DrillRecord>(&object, |record, run| {
            if record.drill_id != *id {
                let why = format!("it is the record of drill {}", record.drill_id);
                return Err(PipelineError::integrity(object.as_str(), why));
            }
            if run.role != Role::Drill {
                let why = format!("its run is one of role {}: it may not write this", run.role);
                return Err(PipelineError::integrity(object.as_str(), why));
            }
            Ok(())
        })
        .await
    }

    /// The newest drills, at most so many, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn drills(&self, most: usize) -> Result<Vec<FoundDrill>, PipelineError> {
        let folder = layout::drills(self.cluster());
        let listed: Vec<_> = self.store().list_versions(&folder, None).try_collect().await?;
        let named = |name: &str| -> Option<DrillId> {
            name.strip_prefix(&folder)?.strip_suffix(".json")?.parse().ok()
        };
        // Their names begin with the time.
        let ids = listed.iter().rev().filter_map(|object| named(object.key.as_str())).take(most);
        let read = ids.map(|id| async move {
            match self.drill(&id).await {
                Ok(found) => Ok(found.map(|found| (id, Ok(found)))),
                Err(error @ PipelineError::Integrity { .. }) => Ok(Some((id, Err(error)))),
                Err(error) => Err(error),
            }
        });
        let read = stream::iter(read.collect::<Vec<_>>()).buffered(PARALLEL);
        read.try_filter_map(|drill| async { Ok(drill) }).try_collect().await
    }
}

/// Stores the record of a drill; returns the hash of what is stored.
///
/// # Errors
/// When the store fails, or the name is taken.
pub async fn store_drill(
    author: &Author,
    record: &DrillRecord,
) -> Result<Sha256Digest, PipelineError> {
    let stored = author.sign(record)?;
    let sha256 = digest(&stored);
    let object = layout::drill(author.repository.cluster(), &record.drill_id);
    author.create(&object, stored, Class::Evidence).await?;
    Ok(sha256)
}
