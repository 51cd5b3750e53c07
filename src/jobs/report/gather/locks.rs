//! What keeps objects from being removed, as the store says. Some of each kind are asked for.

use futures::{StreamExt, stream};

use super::{PARALLEL, spread};
use crate::{
    format::layout,
    jobs::report::facts::{BackupFact, KeyFact, LockFact, SealedFact, Trail},
    model::Sha256Digest,
    pipeline::{PipelineError, Repository, key},
};

/// Objects of a kind.
const MOST: usize = 50;

pub(super) async fn look(
    repository: &Repository,
    trail: &Trail,
    backups: &[BackupFact],
    keys: &[KeyFact],
    sealed: &[SealedFact],
) -> Result<Vec<LockFact>, PipelineError> {
    let first = trail.first.as_ref().map_or(0, |_| 1);
    let numbers: Vec<u64> = if first == 0 { Vec::new() } else { evenly(trail.head.number, MOST) };
    let audit = numbers.into_iter().map(|n| (layout::audit(repository.cluster(), n), None, true));
    let of = |object: &String, sha256: Sha256Digest| (object.clone(), Some(sha256), false);
    let backups: Vec<_> = backups.iter().map(|b| of(&b.object, b.sha256)).collect();
    let keys: Vec<_> = keys.iter().map(|k| of(&k.object, k.sha256)).collect();
    let sealed: Vec<_> = sealed.iter().map(|s| of(&s.object, s.sha256)).collect();
    let others = [backups, keys, sealed];
    let others = others.iter().flat_map(|kind| spread(kind, MOST));
    let asked = audit.chain(others).map(|(object, sha256, is_audit)| async move {
        let key = key(&object)?;
        let protection = repository.store().protection(&key).await;
        let protection = protection.map_err(|error| error.to_string());
        Ok(LockFact { object, sha256, is_audit, protection })
    });
    let asked: Vec<Result<LockFact, PipelineError>> =
        stream::iter(asked).buffered(PARALLEL).collect().await;
    asked.into_iter().collect()
}

/// Numbers from 1 to the last, spread evenly.
fn evenly(last: u64, most: usize) -> Vec<u64> {
    let most = most as u64;
    if last <= most {
        return (1..=last).collect();
    }
    (0..most).map(|n| 1 + n * (last - 1) / (most - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_whole_chain_are_asked_for() {
        assert_eq!(evenly(3, 50), [1, 2, 3]);
        let some = evenly(1_000_000, 50);
        assert_eq!((some.len(), some[0], some[49]), (50, 1, 1_000_000));
    }
}
