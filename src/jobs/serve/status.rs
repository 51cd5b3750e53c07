//! What the agent has done so far, for whoever asks.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::model::Timestamp;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// The stream that ends with a verdict.
    Verdict,
    /// A manager's stream.
    Manager,
}

impl Endpoint {
    /// Its path.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Verdict => crate::pipeline::verdict::PATH,
            Self::Manager => super::MANAGER_PATH,
        }
    }
}

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The engine ended well, and the client took all of it.
    Complete,
    /// The engine failed, or could not begin.
    Failed,
    /// The client went away, or took nothing for minutes.
    Abandoned,
    /// The agent was told to stop.
    Stopped,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Complete, Self::Failed, Self::Abandoned, Self::Stopped];

    /// The word for it in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
            Self::Stopped => "stopped",
        }
    }

    /// Whether it is the one that is wanted.
    #[must_use]
    pub fn is_well(self) -> bool {
        self == Self::Complete
    }
}

/// Why somebody was sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Another backup is being streamed.
    Busy,
    /// The client's name is not on the list.
    NotAllowed,
    /// No TLS, or no valid certificate.
    Handshake,
    /// Too many connections.
    Connections,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Busy, Self::NotAllowed, Self::Handshake, Self::Connections];

    /// The word for it in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::NotAllowed => "not-allowed",
            Self::Handshake => "handshake",
            Self::Connections => "connections",
        }
    }
}

/// The agent at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// How many streams ended how.
    pub streams: BTreeMap<(Endpoint, Outcome), u64>,
    /// Streams at work: 0 or 1.
    pub running: u64,
    /// Bytes of backups sent.
    pub bytes: u64,
    /// How many were sent away, and why.
    pub refused: BTreeMap<Refusal, u64>,
    /// When the last stream ended well.
    pub last_complete_at: Option<Timestamp>,
    /// When the present certificate was read.
    pub certificate_loaded_at: Option<Timestamp>,
    /// Until when it is valid.
    pub certificate_expires_at: Option<Timestamp>,
    /// New certificates that were not right.
    pub certificates_refused: u64,
}

/// Shared between the agent and whoever tells of it.
#[derive(Debug, Default)]
pub struct Status(Mutex<Snapshot>);

impl Status {
    /// The agent now.
    #[must_use]
    pub fn read(&self) -> Snapshot {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn begun(&self) {
        self.change(|now| now.running += 1);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.change(|now| now.bytes += bytes as u64);
    }

    /// A stream that had begun has ended.
    pub(super) fn over(&self, endpoint: Endpoint, outcome: Outcome) {
        self.change(|now| now.running = now.running.saturating_sub(1));
        self.ended(endpoint, outcome);
    }

    pub(super) fn ended(&self, endpoint: Endpoint, outcome: Outcome) {
        self.change(|now| {
            *now.streams.entry((endpoint, outcome)).or_default() += 1;
            if outcome.is_well() {
                now.last_complete_at = Some(Timestamp::now());
            }
        });
    }

    pub(super) fn refused(&self, why: Refusal) {
        self.change(|now| *now.refused.entry(why).or_default() += 1);
    }

    pub(super) fn certificate_loaded(&self, expires: Option<Timestamp>) {
        self.change(|now| {
            now.certificate_loaded_at = Some(Timestamp::now());
            now.certificate_expires_at = expires;
        });
    }

    pub(super) fn certificate_refused(&self) {
        self.change(|now| now.certificates_refused += 1);
    }
}
