//! Acts that began: which of them have no end.

use std::collections::BTreeMap;

use crate::{
    format::AuditRecord,
    model::{RunId, Timestamp},
};

/// Acts without an end that are kept; more of them are counted.
const MOST: usize = 10_000;

/// An act without an end: it is going on, or was killed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OpenAct {
    /// The record that begins it.
    pub number: u64,
    /// When it began.
    pub at: Timestamp,
    /// What began.
    pub action: String,
    /// Of what.
    pub subject: String,
    /// The run.
    pub run_id: RunId,
    /// Whether it cannot be going on: another archiver has claimed the log since.
    pub is_over: bool,
}

/// Begun acts, while a chain is read.
#[derive(Debug, Default)]
pub struct OpenActs {
    open: BTreeMap<(RunId, String), OpenAct>,
    /// The record with which the log was last claimed.
    last_claim: u64,
    /// How many could not be kept.
    pub more: u64,
}

impl OpenActs {
    /// Takes the next record.
    pub fn take(&mut self, record: &AuditRecord) {
        let of = (record.run_id, record.job().to_owned());
        if record.ends() {
            self.open.remove(&of);
        }
        if !record.begins() {
            return;
        }
        if record.job() == "archive" {
            // One archiver owns the log at any time.
            self.last_claim = record.number;
        }
        if self.open.len() == MOST {
            self.more += 1;
            return;
        }
        let act = OpenAct {
            number: record.number,
            at: record.at,
            action: record.action.clone(),
            subject: record.subject.clone(),
            run_id: record.run_id,
            is_over: false,
        };
        self.open.insert(of, act);
    }

    /// Those that have no end, in the order of the chain.
    #[must_use]
    pub fn without_end(self) -> Vec<OpenAct> {
        let claimed = self.last_claim;
        let open = self.open.into_iter().map(|((_, job), act)| OpenAct {
            is_over: job == "archive" && act.number < claimed,
            ..act
        });
        let mut open: Vec<_> = open.collect();
        open.sort_by_key(|act| act.number);
        open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClusterUuid, Sha256Digest};

    fn record(number: u64, run: u8, action: &str, ends: bool) -> AuditRecord {
        AuditRecord {
            version: 1,
            cluster_uuid: ClusterUuid::from_bytes([1; 16]),
            number,
            previous: Sha256Digest([0; 32]),
            run_id: RunId::from_bytes([run; 16]),
            at: "2026-11-20T20:43:17Z".parse().unwrap(),
            action: action.into(),
            subject: "s".into(),
            record_sha256: None,
            outcome: ends.then_some(crate::format::audit::Outcome::Success),
            failure: None,
            configuration: None,
            connections: Vec::new(),
            details: None,
        }
    }

    #[test]
    fn what_began_and_has_no_end_is_told() {
        let mut acts = OpenActs::default();
        for (number, (run, action, ends)) in (1..).zip([
            (1, "backup-begun", false),
            (2, "archive-begun", false),
            (1, "backup-committed", false),
            (3, "restore-begun", false),
            (2, "archive-gap", false),
            (4, "archive-begun", false),
            (3, "verify-ended", true),
            (5, "find-begun", false),
            (5, "find-failed", true),
        ]) {
            acts.take(&record(number, run, action, ends));
        }
        let told: Vec<_> =
            acts.without_end().into_iter().map(|act| (act.number, act.is_over)).collect();
        assert_eq!(told, [(2, true), (4, false), (6, false)]);
    }
}
