//! Credentials that end: kept while they are good, fetched anew before they end, and at once when
//! the store refuses them.
//!
//! They are good until two thirds of their life are over, but for the last five minutes of a long
//! one at the most. When new ones cannot be had just then, the old ones serve until they end.

use std::{
    fmt,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{StoreErrorKind, backend::Fault};
use crate::model::{Access, Timestamp};

/// The most that is left of a life when new credentials are fetched.
const SPARE: i64 = 300_000_000;
/// What does not say when it ends may have been replaced in its file meanwhile.
const LOOK_AGAIN: i64 = 900_000_000;
/// How often in a row fresh credentials may be refused: clocks that differ, rights that travel slowly.
const STRIKES: u32 = 3;

/// Credentials, and what they are.
pub(super) struct Fetched<C> {
    pub(super) credential: C,
    /// Tells them from others; never a secret.
    pub(super) id: String,
    pub(super) access: Access,
}

/// Where credentials come from.
#[async_trait]
pub(super) trait Fetch: Send + Sync {
    type Credential: Clone + Send + Sync;

    /// New ones, asked for once.
    async fn fetch(&self) -> Result<Fetched<Self::Credential>, Fault>;
}

/// A fault of ours on its way through a library that wraps it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Carried(pub(super) Fault);

impl Carried {
    /// What lies at the bottom of an error of a library.
    pub(super) fn within(error: &(dyn std::error::Error + 'static)) -> Option<Fault> {
        let found = super::backend::causes(error).find_map(|e| e.downcast_ref::<Self>());
        found.map(|Carried(fault)| fault.clone())
    }
}

struct Held<C> {
    fetched: Fetched<C>,
    generation: u64,
    /// From when others should be fetched.
    due: Timestamp,
}

impl<C> Held<C> {
    fn lasts(&self, now: Timestamp) -> bool {
        self.fetched.access.expires_at.is_none_or(|end| now < end)
    }
}

/// The credentials of one store.
pub(super) struct Renewing<F: Fetch> {
    source: F,
    held: Mutex<Option<Held<F::Credential>>>,
    generation: AtomicU64,
    strikes: AtomicU32,
}

impl<F: Fetch> fmt::Debug for Renewing<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewing").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl<F: Fetch> Renewing<F> {
    pub(super) fn new(source: F) -> Self {
        Self {
            source,
            held: Mutex::default(),
            generation: AtomicU64::default(),
            strikes: AtomicU32::default(),
        }
    }

    /// Good ones.
    pub(super) async fn current(&self) -> Result<F::Credential, Fault> {
        Ok(self.good().await?.0)
    }

    /// Makes sure that there are good ones, and says which. To be asked before a request, and told
    /// when it was refused.
    pub(super) async fn ready(&self) -> Result<u64, Fault> {
        Ok(self.good().await?.1)
    }

    async fn good(&self) -> Result<(F::Credential, u64), Fault> {
        let mut held = self.held.lock().await;
        let now = Timestamp::now();
        if held.as_ref().is_none_or(|held| now >= held.due) {
            match (self.source.fetch().await, held.as_mut().filter(|held| held.lasts(now))) {
                (Ok(fetched), _) => {
                    self.keep(&mut held, fetched);
                }
                (Err(fault), Some(old)) => {
                    tracing::warn!(
                        error = %fault,
                        ends = ?old.fetched.access.expires_at.map(|end| end.to_string()),
                        "the store's credentials were not renewed; the present ones are still good"
                    );
                    old.due = again_at(now, old.fetched.access.expires_at);
                }
                (Err(fault), None) => return Err(fault),
            }
        }
        let none = || Fault::new(StoreErrorKind::Unauthenticated, "there are no credentials");
        let held = held.as_ref().ok_or_else(none)?;
        Ok((held.fetched.credential.clone(), held.generation))
    }

    /// What they are, fetched anew.
    pub(super) async fn access(&self) -> Result<Access, Fault> {
        let mut held = self.held.lock().await;
        let fetched = self.source.fetch().await?;
        Ok(self.keep(&mut held, fetched).access.clone())
    }

    /// The store takes them.
    pub(super) fn accepted(&self) {
        self.strikes.store(0, Ordering::Relaxed);
    }

    /// The store does not take these as good. Whether the same request may do better now.
    pub(super) async fn refused(&self, generation: u64) -> bool {
        let mut held = self.held.lock().await;
        let Some(old) = held.as_ref().filter(|held| held.generation <= generation) else {
            return true; // others were fetched meanwhile
        };
        if self.strikes.fetch_add(1, Ordering::Relaxed) >= STRIKES {
            return false;
        }
        match self.source.fetch().await {
            Ok(fetched) if fetched.id == old.fetched.id => false,
            Ok(fetched) => {
                self.keep(&mut held, fetched);
                true
            }
            // The next attempt will say why there are none.
            Err(_) => {
                *held = None;
                true
            }
        }
    }

    fn keep<'a>(
        &self,
        held: &'a mut Option<Held<F::Credential>>,
        fetched: Fetched<F::Credential>,
    ) -> &'a Fetched<F::Credential> {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let due = due(Timestamp::now(), fetched.access.expires_at);
        &held.insert(Held { fetched, generation, due }).fetched
    }
}

fn later(than: Timestamp, microseconds: i64) -> Timestamp {
    Timestamp::from_microseconds(than.as_microseconds().saturating_add(microseconds))
        .unwrap_or(than)
}

/// From when credentials that were fetched now should be fetched anew.
fn due(now: Timestamp, end: Option<Timestamp>) -> Timestamp {
    let Some(end) = end else { return later(now, LOOK_AGAIN) };
    let life = end.as_microseconds() - now.as_microseconds();
    later(end, -(life / 3).min(SPARE))
}

/// When to try again after a failure that nobody has felt yet.
fn again_at(now: Timestamp, end: Option<Timestamp>) -> Timestamp {
    let left = end.map_or(LOOK_AGAIN, |end| end.as_microseconds() - now.as_microseconds());
    later(now, (left / 10).max(100_000))
}

/// The end that a token (a JWT, RFC 7519) states of itself; nothing when it is none.
/// It is not verified: whoever is asked for credentials does that.
pub(super) fn end_of_token(token: &str) -> Option<Timestamp> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    #[derive(serde::Deserialize)]
    struct Claims {
        exp: i64,
    }
    let claims = token.trim().split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    Timestamp::from_microseconds(claims.exp.checked_mul(1_000_000)?)
}

/// The token in a file that the platform renews.
///
/// # Errors
/// When it cannot be read, or has ended by what it says of itself.
pub(super) async fn read_token(
    whose: &str,
    path: &std::path::Path,
) -> Result<zeroize::Zeroizing<String>, Fault> {
    let shown = path.display();
    let token = tokio::fs::read_to_string(path).await.map_err(|e| {
        Fault::new(
            StoreErrorKind::Unauthenticated,
            format!("credentials of {whose}: the token file {shown}: {e}"),
        )
        .hint("mount the service account's token there")
    })?;
    let token = zeroize::Zeroizing::new(token.trim().to_owned());
    match end_of_token(&token).filter(|end| *end <= Timestamp::now()) {
        Some(end) => Err(Fault::new(
            StoreErrorKind::Expired,
            format!("credentials of {whose}: the token in {shown} has ended at {end}"),
        )
        .hint(RENEWED_BY)),
        None => Ok(token),
    }
}

/// Who has to act when a token has ended.
pub(super) const RENEWED_BY: &str = "the kubelet renews a projected token in its file: see that it is one, and that the node is well";

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Std;

    use super::*;
    use crate::model::AccessKind;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_microseconds(seconds * 1_000_000).unwrap()
    }

    #[test]
    fn credentials_are_renewed_before_they_end() {
        assert_eq!(due(at(0), Some(at(3600))), at(3300));
        assert_eq!(due(at(0), Some(at(30))), at(20));
        assert_eq!(due(at(0), None), at(900));
        // Those that have ended already are due.
        assert!(due(at(100), Some(at(40))) <= at(100));
        assert_eq!(again_at(at(0), Some(at(100))), at(10));
        assert!(again_at(at(0), Some(at(0))) > at(0));
    }

    #[test]
    fn a_token_says_when_it_ends() {
        // {"alg":"none"} . {"exp":1700000000}
        assert_eq!(
            end_of_token("eyJhbGciOiJub25lIn0.eyJleHAiOjE3MDAwMDAwMDB9."),
            Some(at(1_700_000_000))
        );
        for none in ["", "opaque", "a.b.c", "a.eyJzdWIiOiJ4In0.c"] {
            assert_eq!(end_of_token(none), None, "{none}");
        }
    }

    /// Hands out what it was given, the last first.
    struct Script(Std<Vec<Result<(&'static str, i64), StoreErrorKind>>>);

    #[async_trait]
    impl Fetch for Script {
        type Credential = &'static str;

        async fn fetch(&self) -> Result<Fetched<&'static str>, Fault> {
            let next = self.0.lock().unwrap().pop().expect("nobody asks that often");
            let (id, milliseconds) = next.map_err(|kind| Fault::new(kind, "no"))?;
            let mut access = Access::of(AccessKind::WebIdentity);
            access.expires_at = Some(later(Timestamp::now(), milliseconds * 1000));
            Ok(Fetched { credential: id, id: id.to_owned(), access })
        }
    }

    fn script(steps: &[Result<(&'static str, i64), StoreErrorKind>]) -> Renewing<Script> {
        let mut steps = steps.to_vec();
        steps.reverse();
        Renewing::new(Script(Std::new(steps)))
    }

    #[tokio::test]
    async fn good_ones_are_kept_and_old_ones_serve_until_they_end() {
        let unavailable = Err(StoreErrorKind::Unavailable);
        let held = script(&[Ok(("a", 600)), unavailable, unavailable, Ok(("b", 9000))]);
        for _ in 0..3 {
            assert_eq!(held.current().await.unwrap(), "a");
        }
        tokio::time::sleep(std::time::Duration::from_millis(450)).await;
        assert_eq!(held.current().await.unwrap(), "a", "not renewed, and still good");
        assert_eq!(held.current().await.unwrap(), "a", "nobody is asked again at once");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert!(held.current().await.is_err(), "what has ended is not used");
        assert_eq!(held.current().await.unwrap(), "b");
    }

    #[tokio::test]
    async fn refused_ones_are_replaced_and_only_if_there_are_others() {
        let held = script(&[Ok(("a", 9000)), Ok(("b", 9000)), Ok(("b", 9000))]);
        let used = held.ready().await.unwrap();
        assert!(held.refused(used).await);
        assert_eq!(held.current().await.unwrap(), "b");
        // A slower request that still had the first ones.
        assert!(held.refused(used).await);
        assert_eq!(held.current().await.unwrap(), "b");
        // The same again: it would be refused again.
        assert!(!held.refused(held.ready().await.unwrap()).await);
    }

    #[tokio::test]
    async fn fresh_ones_that_are_refused_again_and_again_end_it() {
        let names = ["a", "b", "c", "d", "e"];
        let held = script(&names.map(|name| Ok((name, 9000))));
        for _ in 0..STRIKES {
            assert!(held.refused(held.ready().await.unwrap()).await);
        }
        assert!(!held.refused(held.ready().await.unwrap()).await);
        held.accepted();
        assert!(held.refused(held.ready().await.unwrap()).await);
    }
}
