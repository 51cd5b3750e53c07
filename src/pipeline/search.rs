//! The last of a row of numbered records, without listing millions of them.

use futures::{StreamExt, TryStreamExt, stream};

use super::PipelineError;

/// Places that are looked at in one round.
const PROBES: usize = 16;

/// The greatest number in an unbroken row that begins with `first`, which is known to be there: in
/// steps that double until one is missing, and then between the two, in rounds of a few requests at
/// once.
pub(super) async fn last<F, A>(first: u64, is_there: F) -> Result<u64, PipelineError>
where
    F: Fn(u64) -> A,
    A: Future<Output = Result<bool, PipelineError>>,
{
    // Known to be there, known to be missing.
    let (mut there, mut missing): (u64, Option<u64>) = (first, None);
    // Steps go on doubling where those of the last round ended.
    let mut doubled = 0;
    loop {
        let probes: Vec<u64> = match missing {
            None => {
                let steps = (doubled..doubled + PROBES).map(|n| 1_u64 << n.min(62));
                doubled += PROBES;
                steps.map(|step| there.saturating_add(step)).collect()
            }
            Some(missing) if there + 1 >= missing => return Ok(there),
            Some(missing) => {
                let step = (missing - there).div_ceil(PROBES as u64 + 1).max(1);
                (1..=PROBES as u64).map(|n| there + n * step).filter(|n| *n < missing).collect()
            }
        };
        let looks: Vec<A> = probes.iter().map(|n| is_there(*n)).collect();
        let found: Vec<bool> = stream::iter(looks).buffered(PROBES).try_collect().await?;
        for (probe, found) in probes.into_iter().zip(found) {
            if found {
                there = probe;
            } else {
                missing = Some(probe);
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn it_finds_the_end_with_few_questions() {
        for end in [1, 2, 3, 15, 16, 17, 1_000, 65_535, 65_536, 65_537, 2_600_000] {
            let asked = Cell::new(0);
            let found = last(1, |n| {
                asked.set(asked.get() + 1);
                async move { Ok(n <= end) }
            });
            assert_eq!(found.await.unwrap(), end);
            assert!(asked.get() < 120, "{} questions for {end}", asked.get());
        }
    }

    #[tokio::test]
    async fn an_error_is_no_answer() {
        let failed =
            last(1, |n| async move { if n < 9 { Ok(true) } else { Err(PipelineError::Worker) } });
        assert!(failed.await.is_err());
    }
}
