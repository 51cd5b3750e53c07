//! What is to be recorded.

use sha2::{Digest, Sha256};

use crate::{
    format::{
        AuditRecord, Payload,
        audit::{Details, Failure, LONGEST_ERROR, Outcome},
    },
    model::{Connection, Sha256Digest, Timestamp},
    pipeline::{Author, ChainHead},
};

/// A text of a record that may be as long as a GTID set is told by its hash from here on.
const LONGEST_TEXT: usize = 200;

/// An act, or an end of one, before it has a place in the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    at: Timestamp,
    action: String,
    subject: String,
    record_sha256: Option<Sha256Digest>,
    failure: Option<Failure>,
    is_end: bool,
    configuration: Option<Sha256Digest>,
    connections: Vec<Connection>,
    details: Option<Details>,
}

impl Act {
    /// It happens now.
    #[must_use]
    pub fn new(action: impl Into<String>, subject: &str) -> Self {
        Self {
            at: Timestamp::now(),
            action: action.into(),
            subject: told(subject),
            record_sha256: None,
            failure: None,
            is_end: false,
            configuration: None,
            connections: Vec::new(),
            details: None,
        }
    }

    /// On what.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What it rests on, or left behind.
    #[must_use]
    pub fn record(mut self, sha256: Sha256Digest) -> Self {
        self.record_sha256 = Some(sha256);
        self
    }

    /// It ends an act that did what it should.
    #[must_use]
    pub fn succeeded(mut self) -> Self {
        self.is_end = true;
        self
    }

    /// It ends an act that did not.
    #[must_use]
    pub fn failed(mut self, failure: Failure) -> Self {
        let error = capped(&failure.error, LONGEST_ERROR);
        (self.is_end, self.failure) = (true, Some(Failure { error, ..failure }));
        self
    }

    /// It rests on the record of the run that does it.
    #[must_use]
    pub fn by(mut self, author: &Author) -> Self {
        self.record_sha256 = author.record_sha256();
        self
    }

    /// The settings that it begins with.
    #[must_use]
    pub fn configuration(mut self, sha256: Sha256Digest) -> Self {
        self.configuration = Some(sha256);
        self
    }

    /// The connections that it used.
    #[must_use]
    pub fn connections(mut self, connections: Vec<Connection>) -> Self {
        self.connections = connections;
        self
    }

    /// What more there is to say.
    #[must_use]
    pub fn details(mut self, details: Details) -> Self {
        self.details = Some(details);
        self
    }

    fn outcome(&self) -> Option<Outcome> {
        let outcome = if self.failure.is_some() { Outcome::Failure } else { Outcome::Success };
        self.is_end.then_some(outcome)
    }

    /// Behind this record, by this run.
    pub(super) fn placed(&self, author: &Author, behind: ChainHead) -> AuditRecord {
        AuditRecord {
            version: AuditRecord::VERSION,
            cluster_uuid: author.cluster,
            number: behind.number.saturating_add(1),
            previous: behind.sha256,
            run_id: author.id,
            at: self.at,
            action: self.action.clone(),
            subject: self.subject.clone(),
            record_sha256: self.record_sha256,
            outcome: self.outcome(),
            failure: self.failure.clone(),
            configuration: self.configuration,
            connections: self.connections.clone(),
            details: self.details.clone(),
        }
    }

    /// Says it on standard error, too: a cluster's log collector has it when the store has not.
    /// `unrecorded` says why no record tells of it.
    pub fn log(&self, recorded: Result<(ChainHead, &Author), &str>) {
        let Self { at, action, subject, failure, .. } = self;
        let outcome = self.outcome().map(|outcome| match outcome {
            Outcome::Success => "success",
            Outcome::Failure => "failure",
        });
        let details = self.details.as_ref().and_then(|d| serde_json::to_string(d).ok());
        let (exit_code, kind, error) = match failure {
            Some(f) => (Some(f.exit_code), Some(f.kind.as_str()), Some(f.error.as_str())),
            None => (None, None, None),
        };
        match recorded {
            Ok((head, author)) => tracing::info!(
                target: "audit", recorded = true, number = head.number, head = %head,
                run_id = %author.id, %at, action, subject, outcome, exit_code, kind, error, details,
                "audit: {action} {subject}"
            ),
            Err(unrecorded) => tracing::warn!(
                target: "audit", recorded = false, unrecorded, %at, action, subject, outcome,
                exit_code, kind, error, details,
                "audit: {action} {subject}, not recorded"
            ),
        }
    }
}

/// A text with so many characters at most.
#[must_use]
pub fn capped(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain("…".chars()).collect()
}

/// A text as records have it: a long one, such as a GTID set of many servers, by its hash.
#[must_use]
pub fn told(text: &str) -> String {
    if text.len() <= LONGEST_TEXT {
        return text.to_owned();
    }
    format!("sha256:{}", hex::encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_or_hashed() {
        let error = "ä".repeat(1_000);
        let failure = Failure { exit_code: 5, kind: "store".into(), error };
        let act = Act::new("backup-failed", &"9".repeat(5_000)).failed(failure);
        assert_eq!(act.failure.as_ref().unwrap().error.chars().count(), LONGEST_ERROR);
        assert!(act.subject.starts_with("sha256:") && act.subject.len() == 71, "{}", act.subject);
        assert_eq!(act.outcome(), Some(Outcome::Failure));
        assert_eq!(Act::new("backup-begun", "b").outcome(), None);
    }
}
