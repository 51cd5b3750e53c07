//! The one retry loop of all stores.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout};

use super::{StoreError, StoreErrorKind, backend::Fault};

/// The slowest transfer that is waited for; a part slower than this counts as stuck.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 * 1024;

/// How long and how often to try.
#[derive(Debug, Clone)]
pub(super) struct Retry {
    /// Time for all attempts together, apart from the time that the bytes need.
    pub(super) budget: Duration,
    pub(super) attempts: u32,
    /// The longest silence within one attempt.
    pub(super) stall: Duration,
    /// The first pause is at most this long; each further one at most twice the one before.
    pub(super) first_pause: Duration,
    pub(super) longest_pause: Duration,
}

/// What it means when nobody knows whether an attempt took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Doing it twice is the same as doing it once: not knowing is merely a failure.
    Repeatable,
    /// The caller has to be told that it may have happened.
    Once,
}

/// What is being tried, for the limits and for the error.
#[derive(Debug, Clone)]
pub(super) struct Call<'a> {
    pub(super) operation: &'static str,
    pub(super) object: &'a str,
    pub(super) bytes: u64,
    pub(super) effect: Effect,
}

impl Retry {
    /// How long one attempt at moving this many bytes may take.
    pub(super) fn allowance(&self, bytes: u64) -> Duration {
        self.stall.saturating_add(moving(bytes))
    }

    /// One request, given up on when it is stuck.
    pub(super) async fn limited<T>(
        &self,
        bytes: u64,
        request: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let allowance = self.allowance(bytes);
        timeout(allowance, request).await.unwrap_or_else(|_| {
            // Nobody knows what a store did that never answered.
            Err(Fault::new(
                StoreErrorKind::Unclear,
                format!("no answer within {}", seconds(allowance)),
            ))
        })
    }

    /// Tries until it works, until trying again is pointless, or until attempts or time run out.
    pub(super) async fn run<T, F, A>(
        &self,
        call: &Call<'_>,
        mut attempt: F,
    ) -> Result<T, StoreError>
    where
        F: FnMut() -> A,
        A: Future<Output = Result<T, Fault>>,
    {
        let deadline = Instant::now().checked_add(self.budget.saturating_add(moving(call.bytes)));
        let mut tried = 0;
        let mut doubt = false;
        loop {
            tried += 1;
            let left = deadline.map_or(Duration::MAX, |d| d.duration_since(Instant::now()));
            let mut fault = match timeout(left, attempt()).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(fault)) => fault,
                Err(_) => {
                    let text =
                        format!("no answer within the time budget of {}", seconds(self.budget));
                    Fault::new(StoreErrorKind::Unclear, text)
                }
            };
            doubt |= fault.kind == StoreErrorKind::Unclear;
            let pause = self.pause(tried);
            let late = deadline.is_some_and(|d| Instant::now() + pause >= d);
            if fault.again && !late && tried < self.attempts {
                tokio::time::sleep(pause).await;
                continue;
            }
            // An earlier attempt may have taken effect, however clearly the last one failed.
            let known = fault.kind == StoreErrorKind::AlreadyExists;
            if doubt && call.effect == Effect::Once && !known {
                fault.kind = StoreErrorKind::Unclear;
            } else if fault.kind == StoreErrorKind::Unclear {
                fault.kind = StoreErrorKind::Unavailable;
            }
            return Err(call.error(fault, tried));
        }
    }

    /// A random pause, so that many writers that failed together do not return together.
    fn pause(&self, tried: u32) -> Duration {
        let most =
            self.first_pause.saturating_mul(1 << (tried - 1).min(16)).min(self.longest_pause);
        let share = getrandom::u32().unwrap_or(u32::MAX / 2);
        most.mul_f64(0.25 + 0.75 * f64::from(share) / f64::from(u32::MAX))
    }
}

impl Call<'_> {
    pub(super) fn error(&self, fault: Fault, attempts: u32) -> StoreError {
        let mut error = StoreError::new(fault.kind, self.operation, self.object, fault.cause);
        error.attempts = attempts;
        error.hint = fault.hint;
        error
    }
}

/// The time that bytes need on the slowest way that we put up with.
fn moving(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn quick() -> Retry {
        Retry {
            budget: Duration::from_millis(300),
            attempts: 4,
            stall: Duration::from_millis(50),
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(2),
        }
    }

    fn call(effect: Effect) -> Call<'static> {
        Call { operation: "put", object: "memory:/a", bytes: 0, effect }
    }

    async fn outcome(effect: Effect, faults: &[StoreErrorKind]) -> Result<u32, StoreError> {
        let count = Cell::new(0);
        quick()
            .run(&call(effect), || {
                let n = count.get();
                count.set(n + 1);
                let fault = faults.get(n).map(|kind| Fault::new(*kind, "because"));
                async move { fault.map_or(Ok(u32::try_from(n).unwrap()), Err) }
            })
            .await
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again_and_what_will_not_pass_is_not() {
        use StoreErrorKind::{Denied, Unavailable, Unclear};
        assert_eq!(outcome(Effect::Repeatable, &[Unavailable, Unclear]).await.unwrap(), 2);
        let denied = outcome(Effect::Repeatable, &[Unavailable, Denied]).await.unwrap_err();
        assert_eq!((denied.kind, denied.attempts), (Denied, 2));
    }

    #[tokio::test]
    async fn attempts_run_out_and_are_counted() {
        use StoreErrorKind::{Unavailable, Unclear};
        let error = outcome(Effect::Repeatable, &[Unclear; 9]).await.unwrap_err();
        assert_eq!((error.kind, error.attempts), (Unavailable, 4));
        assert!(error.to_string().contains("after 4 attempts"), "{error}");
    }

    #[tokio::test]
    async fn a_doubt_outlives_later_clear_failures() {
        use StoreErrorKind::{Unavailable, Unclear};
        let faults = [Unavailable, Unclear, Unavailable, Unavailable];
        assert_eq!(outcome(Effect::Once, &faults).await.unwrap_err().kind, Unclear);
        assert_eq!(outcome(Effect::Once, &[Unavailable; 4]).await.unwrap_err().kind, Unavailable);
    }

    #[tokio::test]
    async fn a_store_that_never_answers_ends_with_the_budget() {
        let retry = quick();
        let begun = Instant::now();
        let error = retry
            .run::<(), _, _>(&call(Effect::Repeatable), || async {
                retry.limited(0, std::future::pending()).await
            })
            .await
            .unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unavailable);
        assert!(error.to_string().contains("no answer"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
}
