//! Everything that the judgement rests on, read from the repository. No KEK is needed.

mod locks;
mod log;
mod stored;
mod trail;

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    Request,
    facts::{Facts, KeyFact, Period},
};
use crate::{
    format::layout,
    jobs::{JobError, keys::status},
    pipeline::{PipelineError, Repository},
};

/// Requests in flight.
const PARALLEL: usize = 16;

/// Gathers the facts of a period.
pub(super) async fn gather(request: &Request<'_>, period: Period) -> Result<Facts, JobError> {
    let repository = &request.repository;
    let Some(created_at) = repository.created_at().await? else {
        return Err(JobError::target(
            format!("{} is no cluster", repository.url()),
            "check --repo and --cluster",
        ));
    };
    let trail = trail::read(repository, request.at_least, period).await?;
    let (backups, unbelieved) = stored::backups(repository).await?;
    let log = log::read(repository, period).await?;
    let keys = keys(repository).await?;
    let (sealed, sealed_total) = stored::look(repository, &backups).await?;
    let locks = locks::look(repository, &trail, &backups, &keys, &sealed).await?;
    Ok(Facts {
        period,
        created_at,
        backups,
        unbelieved,
        sealed,
        sealed_total,
        keys,
        key_status: status::at(repository, period.until).await?,
        trail,
        log,
        locks,
    })
}

/// The records of DEKs that count.
async fn keys(repository: &Repository) -> Result<Vec<KeyFact>, PipelineError> {
    let deks = repository.deks().await?;
    let read = deks.iter().map(|(dek, names)| repository.key_records(*dek, names));
    let read: Vec<_> = stream::iter(read).buffered(PARALLEL).try_collect().await?;
    let newest = read.into_iter().filter_map(|mut found| {
        let (record, sha256) = (found.generations.pop()?, found.digests.pop()?);
        Some(KeyFact {
            dek: record.dek_id,
            object: layout::key(repository.cluster(), record.dek_id, record.generation),
            sha256,
            generation: record.generation,
            created_at: record.created_at,
            run: record.run_id,
            wraps: record.wraps.into_iter().map(|wrap| (wrap.kek, wrap.algorithm)).collect(),
        })
    });
    Ok(newest.collect())
}

/// So many of them, spread evenly, with the first and the last.
fn spread<T: Clone>(all: &[T], most: usize) -> Vec<T> {
    if all.len() <= most {
        return all.to_vec();
    }
    let last = all.len() - 1;
    (0..most).map(|n| all[n * last / (most - 1).max(1)].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_both_ends() {
        let all: Vec<u32> = (0..1000).collect();
        let some = spread(&all, 7);
        assert_eq!((some.len(), some[0], some[6]), (7, 0, 999));
        assert_eq!(spread(&all[..5], 7), &all[..5]);
    }
}
