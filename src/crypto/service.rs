//! Key services over a network: why one did not do what it was asked, and when to ask again.

use std::time::Duration;

use super::random;

/// What a service's refusal means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// How we are set up: an address, a file, credentials that are not there.
    Settings,
    /// The service knows us, or not, and says no.
    Denied,
    /// There is no such key.
    NotFound,
    /// There is such a key, and not the version of it that is needed.
    NoVersion,
    /// The key, or the version of it that is needed, is switched off.
    Disabled,
    /// The key's time has not come, or is over.
    Expired,
    /// The key is about to be destroyed, and can still be saved.
    PendingDeletion,
    /// The key is gone for good.
    Destroyed,
    /// The key cannot do this: it is of another kind.
    WrongKind,
    /// Another key made this wrap.
    OtherKey,
    /// Too many requests, of ours or of others.
    Throttled,
    /// What arrived, there or here, is not what was sent.
    Corrupted,
    /// Nobody answered.
    Unreachable,
    /// The service failed.
    Broken,
    /// An answer that makes no sense.
    Unexpected,
}

impl Fault {
    /// Whether the same request may well succeed a moment later.
    #[must_use]
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Throttled | Self::Corrupted | Self::Unreachable | Self::Broken)
    }

    fn told(self) -> &'static str {
        match self {
            Self::Settings => "it cannot be asked",
            Self::Denied => "the service denies it",
            Self::NotFound => "there is no such key",
            Self::NoVersion => "there is no such version of the key",
            Self::Disabled => "the key is disabled",
            Self::Expired => "the key is not valid now",
            Self::PendingDeletion => "the key is pending deletion",
            Self::Destroyed => "the key is destroyed",
            Self::WrongKind => "it is a key of the wrong kind",
            Self::OtherKey => "another key wrapped this",
            Self::Throttled => "the service is throttling requests",
            Self::Corrupted => "what arrived is not what was sent",
            Self::Unreachable => "the service cannot be reached",
            Self::Broken => "the service failed",
            Self::Unexpected => "the answer makes no sense",
        }
    }
}

/// A key service that did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} with {key}: {}: {why}; {hint}", fault.told())]
pub struct ServiceError {
    /// What it means.
    pub fault: Fault,
    /// What was asked for.
    pub operation: &'static str,
    /// The key, as the caller named it.
    pub key: String,
    /// What the service said, or what stood in the way.
    pub why: String,
    /// What to do about it.
    pub hint: String,
}

/// How long to go on with a service that does not answer, or says "later".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often the same is asked, at the most.
    pub attempts: u32,
    /// The longest first pause; each further one may be twice as long.
    pub pause: Duration,
    /// How long to wait for a connection.
    pub connect: Duration,
    /// How long to wait for one answer.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 6,
            pause: Duration::from_millis(500),
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(20),
        }
    }
}

/// No pause of our own choice is longer.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// No pause that a service asks for is waited for when it is longer.
const LONGEST_ASKED: Duration = Duration::from_mins(1);

impl Patience {
    /// Whether to ask the same again. It waits before it says yes: for as long as the service has
    /// asked for, and at least for a random part of a doubling time, so that many who were turned
    /// away do not come back together.
    pub(super) async fn again(
        &self,
        attempt: &mut u32,
        error: &ServiceError,
        asked: Option<Duration>,
    ) -> bool {
        *attempt += 1;
        let asked = asked.unwrap_or_default();
        if !error.fault.is_passing() || *attempt > self.attempts || asked > LONGEST_ASKED {
            return false;
        }
        tracing::warn!(%error, attempt, "the key service is asked again");
        tokio::time::sleep(self.own_pause(*attempt).max(asked)).await;
        true
    }

    /// The pause before attempt number `next`, counted from 2.
    fn own_pause(&self, next: u32) -> Duration {
        let longest = self.pause.saturating_mul(1 << (next - 2).min(16)).min(LONGEST_PAUSE);
        // Without random bytes the whole pause will do.
        let part = random::<2>().map_or(u32::from(u16::MAX), |b| u32::from(u16::from_le_bytes(b)));
        longest / 2 + (longest / 2) * part / u32::from(u16::MAX)
    }
}

/// What a server wrote, fit for one line of a message.
pub(super) fn plain(said: &str) -> String {
    let clean: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut words = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = words.char_indices().nth(300) {
        words.truncate(end);
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_passes_is_asked_again_after_the_pause_that_the_service_wants() {
        let error = |fault| ServiceError {
            fault,
            operation: "o",
            key: "k".to_owned(),
            why: "w".to_owned(),
            hint: "h".to_owned(),
        };
        let (throttled, millis) = (error(Fault::Throttled), Duration::from_millis);
        let patience = Patience { attempts: 3, pause: millis(1), ..Patience::default() };
        let begun = std::time::Instant::now();
        let mut attempt = 1;
        assert!(patience.again(&mut attempt, &throttled, Some(millis(300))).await);
        assert!(begun.elapsed() >= millis(300), "{:?}", begun.elapsed());
        assert!(patience.again(&mut attempt, &throttled, None).await);
        assert!(!patience.again(&mut attempt, &throttled, None).await, "three are enough");
        let minutes = Some(Duration::from_secs(61));
        assert!(!patience.again(&mut 1, &throttled, minutes).await, "too long to wait");
        assert!(!patience.again(&mut 1, &error(Fault::Denied), None).await, "it does not pass");
    }

    #[test]
    fn what_a_server_says_is_one_short_line() {
        assert_eq!(plain("a\r\n\u{1b}[31m b"), "a [31m b");
        assert_eq!(plain(&"é".repeat(400)).chars().count(), 301);
    }
}
