//! The report itself: what it says of each control, and what shows it.

use serde::Serialize;

use crate::{
    jobs::keys::status::KekStatus,
    model::{Connection, RunId, Sha256Digest, Timestamp},
    pipeline::audit::OpenAct,
};

/// A report.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of this object.
    pub version: u32,
    /// The worst that is said of a control.
    pub status: Status,
    /// The cluster's name.
    pub cluster: String,
    /// The cluster.
    pub cluster_uuid: String,
    /// Where it is.
    pub repository: String,
    /// The period.
    pub since: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// When this was made.
    pub generated_at: Timestamp,
    /// The program's version.
    pub tool_version: String,
    /// The catalogue that the numbers of the controls are of.
    pub catalogue: &'static str,
    /// The head of the audit chain that this rests on: keep it, and give it as `--at-least` later.
    pub audit_head: String,
    /// The head of the binlog log.
    pub log_head: Option<String>,
    /// Whether `--at-least` was given and held.
    pub freshness_proven: bool,
    /// How many controls there are of each status.
    pub summary: Summary,
    /// The controls.
    pub controls: Vec<Control>,
    /// What they rest on.
    pub appendix: Appendix,
}

/// How many controls there are of each status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// It is shown that they hold.
    pub holds: usize,
    /// It is shown that they do not.
    pub fails: usize,
    /// Neither is shown.
    pub not_shown: usize,
}

/// What the evidence says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The evidence shows it.
    Holds,
    /// There is no evidence, or not enough.
    NotShown,
    /// The evidence shows that it is not so.
    Fails,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::NotShown => "not-shown",
            Self::Fails => "fails",
        }
    }
}

/// A control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Control {
    /// Its number in the catalogue.
    pub id: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// What it asks for, as far as backups can show it.
    pub asks: &'static str,
    /// The worst of its statements; not shown when there are none.
    pub status: Status,
    /// The gist of it.
    pub sentence: String,
    /// What was looked at.
    pub statements: Vec<Statement>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statement {
    /// What it says of the control; nothing when it is a remark.
    pub status: Option<Status>,
    /// The same in words.
    pub text: String,
    /// What shows it: at most [`MOST_EVIDENCE`] objects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// How many objects show it.
    pub evidence_total: u64,
}

/// Objects that a statement names.
pub const MOST_EVIDENCE: usize = 200;

/// A stored object that shows something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Its name below the repository's URL.
    pub object: String,
    /// SHA-256 of its stored bytes; of a log record that of its envelope.
    pub sha256: Option<Sha256Digest>,
}

impl Evidence {
    /// An object, and its hash.
    pub(super) fn new(object: impl Into<String>, sha256: Sha256Digest) -> Self {
        Self { object: object.into(), sha256: Some(sha256) }
    }
}

impl Statement {
    fn of(status: Option<Status>, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), evidence: Vec::new(), evidence_total: 0 }
    }

    /// The evidence shows that it is so.
    pub(super) fn holds(text: impl Into<String>) -> Self {
        Self::of(Some(Status::Holds), text)
    }

    /// The evidence shows that it is not so.
    pub(super) fn fails(text: impl Into<String>) -> Self {
        Self::of(Some(Status::Fails), text)
    }

    /// There is no evidence, or not enough.
    pub(super) fn not_shown(text: impl Into<String>) -> Self {
        Self::of(Some(Status::NotShown), text)
    }

    /// It decides nothing, and an auditor will want to know it.
    pub(super) fn remark(text: impl Into<String>) -> Self {
        Self::of(None, text)
    }

    /// And this shows it.
    pub(super) fn shown_by(mut self, evidence: impl IntoIterator<Item = Evidence>) -> Self {
        for one in evidence {
            self.evidence_total += 1;
            if self.evidence.len() < MOST_EVIDENCE {
                self.evidence.push(one);
            }
        }
        self
    }
}

impl Control {
    pub(super) fn new(
        id: &'static str,
        title: &'static str,
        asks: &'static str,
        statements: Vec<Statement>,
    ) -> Self {
        let worst = statements.iter().filter_map(|s| s.status).max();
        let status = worst.unwrap_or(Status::NotShown);
        let gist: Vec<&str> = statements
            .iter()
            .filter(|s| s.status == Some(status))
            .map(|s| s.text.as_str())
            .collect();
        let sentence = match gist.as_slice() {
            [] => "Nothing of the period shows it.".to_owned(),
            all => all.join(" "),
        };
        Self { id, title, asks, status, sentence, statements }
    }
}

/// What the controls rest on, in lists. Each has at most [`MOST_ROWS`] rows, the newest.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Appendix {
    /// Who did what in the period.
    pub identities: Vec<Identity>,
    /// Over which connections.
    pub connections: Vec<ConnectionUse>,
    /// The KEKs.
    pub keks: Vec<KekStatus>,
    /// Backups that were finished in the period.
    pub backups: Vec<BackupRow>,
    /// Restores of the period, and plans of them.
    pub restores: Vec<RestoreRow>,
    /// Verifications of the period.
    pub verifications: Vec<VerifyRow>,
    /// Gaps that were found in the period.
    pub gaps: Vec<LossRow>,
    /// Forks that were found in the period.
    pub forks: Vec<LossRow>,
    /// How far the archive was behind, at some instants of the period.
    pub recovery_points: Vec<RecoveryPoint>,
    /// Settings that were seen for the first time in the period, or again after others.
    pub configurations: Vec<ConfigurationRow>,
    /// Acts that began and have no end.
    pub without_end: Vec<OpenAct>,
    /// How many acts of each kind there were in the period.
    pub acts: Vec<ActCount>,
}

/// Rows of a list.
pub const MOST_ROWS: usize = 200;

/// Someone who did something.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Identity {
    /// Who, as far as the runs knew; without the host, which in a cluster is another one each time.
    pub who: String,
    /// Some of the hosts.
    pub hosts: Vec<String>,
    /// How many hosts there were.
    pub hosts_total: u64,
    /// As what.
    pub role: &'static str,
    /// The signer that vouches for it.
    pub signer: String,
    /// Records of each action.
    pub actions: std::collections::BTreeMap<String, u64>,
    /// The first of them.
    pub first_at: Timestamp,
    /// The last of them.
    pub last_at: Timestamp,
}

/// A kind of connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConnectionUse {
    /// To whom, and how it was protected.
    #[serde(flatten)]
    pub connection: Connection,
    /// Acts that used it.
    pub acts: u64,
    /// The last of them.
    pub last_at: Timestamp,
    /// Its run.
    pub last_run: RunId,
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackupRow {
    /// Its name.
    pub backup_id: String,
    /// When it was finished.
    pub finished_at: Timestamp,
    /// How its stream's end was proven.
    pub proof: String,
    /// Bytes in the repository.
    pub bytes_stored: u64,
    /// SHA-256 of its manifest.
    pub manifest_sha256: Sha256Digest,
}

/// A restore.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RestoreRow {
    /// When it ended.
    pub at: Timestamp,
    /// What was done.
    pub action: String,
    /// What was asked for.
    pub target: String,
    /// The backup.
    pub backup_id: Option<String>,
    /// Whether a server that started on it had exactly what was planned.
    pub proven: bool,
    /// What it had to have.
    pub expected: Option<String>,
    /// What it had.
    pub actual: Option<String>,
    /// Why it failed.
    pub failure: Option<String>,
    /// Who did it.
    pub who: String,
    /// The audit record.
    pub record: u64,
}

/// A verification.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerifyRow {
    /// When it ended.
    pub at: Timestamp,
    /// What was verified.
    pub subject: String,
    /// `full` or `quick`.
    pub mode: String,
    /// `ok`, `damaged` or `failed`.
    pub result: String,
    /// What was found.
    pub failure: Option<String>,
    /// Who did it.
    pub who: String,
    /// The audit record.
    pub record: u64,
}

/// Transactions that are missing, or were left behind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LossRow {
    /// When it was found.
    pub at: Timestamp,
    /// The log record that tells of it.
    pub record: u64,
    /// That record's name.
    pub object: String,
    /// SHA-256 of its envelope.
    pub sha256: Option<Sha256Digest>,
    /// The server.
    pub server: String,
    /// How many; of MariaDB at most so many.
    pub transactions: u64,
    /// Which, cut.
    pub which: String,
}

/// How far the archive was behind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecoveryPoint {
    /// When.
    pub at: Timestamp,
    /// Everything committed until then was archived.
    pub archived_until: Timestamp,
    /// Seconds between the two.
    pub behind_seconds: f64,
    /// The log record.
    pub record: u64,
}

/// Settings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConfigurationRow {
    /// When they were seen.
    pub at: Timestamp,
    /// The job.
    pub job: String,
    /// Names and values.
    pub settings: std::collections::BTreeMap<String, String>,
    /// The audit record.
    pub record: u64,
}

/// Acts of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActCount {
    /// What was done.
    pub action: String,
    /// How it ended.
    pub outcome: Option<crate::format::audit::Outcome>,
    /// How often.
    pub count: u64,
}
