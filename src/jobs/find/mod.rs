//! Finds the transactions that did something to a table: what somebody needs who has to restore to
//! just before it. The ranges of the log are opened in parallel, the newest first, and only those
//! whose commits can match.

mod plan;
mod reach;
mod search;

use std::{collections::HashSet, sync::Arc};

use futures::{StreamExt, stream};

use crate::{
    crypto::kms::Kms,
    format::{
        LogRange,
        audit::{Details, FindDetails},
    },
    jobs::{
        JobError, Recorded, Witness, window,
        witness::{Ended, Intent},
    },
    model::{BackupId, ChangeKind, HistoryId, ServerName, TablePattern, Timestamp},
    mysql::replication::{Change, Transaction, Wanted},
    pipeline::{
        PipelineError, Progress, Repository,
        audit::Settings,
        log::{ArchivedFile, RangeOpener, read_archive},
    },
};
use plan::{Between, Run};
use reach::Reach;
use search::{Search, Searched};

/// Runs that are searched at once: each holds up to 72 MiB of what is fetched of a segment. Three of
/// them took 250 MiB with rows that do not compress, and a restore may take 256. Within a run, all
/// cores open chunks.
const PARALLEL: usize = 2;

/// What to find, and where.
pub struct Request<'a> {
    /// The repository.
    pub repository: Arc<Repository>,
    /// Opens the keys.
    pub kms: &'a dyn Kms,
    /// Changes of these tables; of all when there is none.
    pub table: Option<TablePattern>,
    /// Changes of this kind. Without it and without a table, every definition.
    pub kind: Option<ChangeKind>,
    /// Committed then or later.
    pub since: Option<Timestamp>,
    /// Committed then or earlier.
    pub until: Option<Timestamp>,
    /// How many transactions to tell of, at most.
    pub limit: usize,
    /// The flags that a restore takes beside, for the commands that are told; each with a space
    /// before it.
    pub flags: String,
    /// Records it.
    pub witness: &'a Witness,
    /// Where to count, and where to be told to stop.
    pub progress: Arc<Progress>,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("table", &self.table).finish_non_exhaustive()
    }
}

/// What was found.
#[derive(Debug, serde::Serialize)]
pub struct Found {
    /// Version of this object.
    pub version: u32,
    /// `complete`, or `incomplete` when something that can hold matches could not be read.
    pub status: &'static str,
    /// The tables that were asked for.
    pub table: Option<String>,
    /// The kind of change that was asked for.
    pub kind: Option<ChangeKind>,
    /// Committed then or later.
    pub since: Option<Timestamp>,
    /// Committed then or earlier.
    pub until: Option<Timestamp>,
    /// The transactions, newest first: in the order of the binary log, not of the clocks.
    pub matches: Vec<Match>,
    /// How many are told of at most.
    pub limit: usize,
    /// Whether there may be older ones than those that are told of.
    pub more: bool,
    /// Everything that was committed until then is archived, and nothing later can be found.
    pub archived_until: Option<Timestamp>,
    /// What was looked at.
    pub searched: Effort,
    /// What could not be read: transactions in there, or across it, are not told of.
    pub unreadable: Vec<Unreadable>,
    /// Whether this was recorded.
    #[serde(flatten)]
    pub recorded: Recorded,
}

/// How much was read.
#[derive(Debug, Default, serde::Serialize)]
pub struct Effort {
    /// Ranges (segments and tails) of the log.
    pub ranges: u64,
    /// Those that were opened.
    pub opened: u64,
    /// Bytes of binary logs in them.
    pub bytes: u64,
}

/// A transaction.
#[derive(Debug, serde::Serialize)]
pub struct Match {
    /// Its name; none for an anonymous one of MySQL.
    pub gtid: Option<String>,
    /// When it was committed, by the clock of the server that was archived.
    pub committed_at: Timestamp,
    /// When it was committed where it comes from, if that is another instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_committed_at: Option<Timestamp>,
    /// The gravest of its changes.
    pub kind: ChangeKind,
    /// What it did, as far as that was asked for.
    pub changes: Vec<ChangeSummary>,
    /// Whether it did more such things than are told of.
    pub more: bool,
    /// `current`; `forked` when the server that took over never had it; `earlier` when its
    /// history has ended and another one has begun.
    pub line: &'static str,
    /// The history.
    pub history: HistoryId,
    /// The log record of the fork at which it was left behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fork: Option<u64>,
    /// The server that was archived.
    pub server: ServerName,
    /// The file that it is in.
    pub binlog_file: String,
    /// Where it begins.
    pub binlog_position: u64,
    /// Where it ends.
    pub binlog_end: u64,
    /// The log record that holds its end.
    pub record: u64,
    /// The newest backup from which a restore reaches it; nothing when none does.
    pub restorable_from: Option<BackupId>,
    /// The command that restores to just before it.
    pub restore: Option<String>,
}

/// What a transaction did.
#[derive(Debug, serde::Serialize)]
pub struct ChangeSummary {
    /// What.
    pub kind: ChangeKind,
    /// To which tables; `schema.*` for all of a schema; empty for users, routines and the like.
    pub tables: Vec<String>,
    /// How many rows, when rows are in the binary log.
    pub rows: Option<u64>,
    /// Whether there may be more rows, or tables.
    pub at_least: bool,
    /// Whether only the text of a statement tells it: its rows are not known, and what triggers
    /// and functions did beside is not seen.
    pub by_text: bool,
    /// The (first) statement, if it is in the binary log: its first 4 KiB.
    pub statement: Option<String>,
    /// How many statements.
    pub statements: u64,
}

/// A range that could not be read.
#[derive(Debug, serde::Serialize)]
pub struct Unreadable {
    /// Its record.
    pub record: u64,
    /// The server.
    pub server: ServerName,
    /// The file.
    pub binlog_file: String,
    /// Its first byte.
    pub start: u64,
    /// The byte after its last.
    pub end: u64,
    /// The earliest commit in it.
    pub first_committed: Option<Timestamp>,
    /// The latest commit in it.
    pub last_committed: Option<Timestamp>,
    /// What is wrong.
    pub why: String,
}

impl Unreadable {
    fn new(record: u64, range: &LogRange, object: &str, why: &str) -> Self {
        Self {
            record,
            server: range.server.clone(),
            binlog_file: range.file.to_string(),
            start: range.start,
            end: range.end,
            first_committed: range.committed.map(|span| span.first),
            last_committed: range.committed.map(|span| span.last),
            why: format!("{object}: {why}"),
        }
    }
}

/// Finds transactions, and says in the audit chain that somebody looked. It asks no server.
///
/// # Errors
/// When the store or the KMS fails, or the records of the log are damaged. A range that is not as it
/// was written is told of in the result.
pub async fn run(request: Request<'_>) -> Result<Found, JobError> {
    let details = || FindDetails {
        // Its name would stand where it can be read without a key.
        table: request.table.is_some(),
        kind: request.kind.map(|kind| kind.to_string()),
        since: request.since,
        until: request.until,
        matches: None,
    };
    let intent = Intent {
        job: "find",
        subject: "log".into(),
        details: Details::Find(details()),
        kms: Some(request.kms),
        settings: Settings::default(),
        is_announced: true,
    };
    let begun = request.witness.begin(&request.repository, intent).await?;
    let outcome = find(&request).await;
    let recorded = begun.end(&outcome, |found| found.ended(details())).await;
    outcome.map(|found| Found { recorded, ..found })
}

async fn find(request: &Request<'_>) -> Result<Found, JobError> {
    let between = Between { since: request.since, until: request.until };
    if let (Some(since), Some(until)) = (between.since, between.until)
        && since > until
    {
        return Err(JobError::usage(
            format!("--since {since} is later than --until {until}"),
            "give the earlier instant as --since",
        ));
    }
    let kind = request.kind.or(request.table.is_none().then_some(ChangeKind::Ddl));
    let repository = &*request.repository;
    let archive = read_archive(repository).await?;
    if archive.state.owner.is_none() {
        return Err(JobError::target(
            format!("{} has no archived binary log", repository.url()),
            "run `backstay archive`; a server's own binary logs can be read with mysqlbinlog",
        ));
    }
    let lines = window::lines(repository, &archive)?;
    let mut reach = Reach::of(repository, &lines).await?;
    let files = lines.archived();
    let search = Search {
        wanted: Wanted { table: request.table.clone(), kind },
        between,
        limit: request.limit,
    };
    let mut found = Found {
        version: 1,
        status: "complete",
        table: request.table.as_ref().map(ToString::to_string),
        kind,
        since: request.since,
        until: request.until,
        matches: Vec::new(),
        limit: request.limit,
        more: false,
        archived_until: archive.state.committed_until.max(archive.state.quiet_until),
        searched: Effort {
            ranges: files.iter().map(|file| file.ranges.len() as u64).sum(),
            ..Effort::default()
        },
        unreadable: Vec::new(),
        recorded: Recorded::default(),
    };
    found.look(request, &search, &files, &mut reach).await?;
    if !found.unreadable.is_empty() {
        found.status = "incomplete";
    }
    Ok(found)
}

impl Found {
    /// What there is to say of the search.
    fn ended(&self, details: FindDetails) -> Ended {
        let details = FindDetails { matches: Some(self.matches.len() as u64), ..details };
        let failed = self.unreadable.first().map(|first| {
            let what = format!("{} ranges could not be read: {}", self.unreadable.len(), first.why);
            JobError::integrity(what, "run `backstay verify`")
        });
        Ended { record: None, details: Details::Find(details), failed }
    }

    /// Searches run after run, until there are as many matches as were asked for.
    async fn look(
        &mut self,
        request: &Request<'_>,
        search: &Search,
        files: &[ArchivedFile<'_>],
        reach: &mut Reach<'_, '_>,
    ) -> Result<(), JobError> {
        let runs = plan::runs(files, &search.between);
        let bytes = runs.iter().flat_map(Run::ranges).map(|(_, range)| range.end - range.start);
        request.progress.expect(bytes.sum());
        let opener =
            RangeOpener::new(&request.repository, request.kms, Arc::clone(&request.progress));
        let opener = &opener;
        let to_do = runs.iter().map(|&run| async move {
            search::search(run, search, opener).await.map(|searched| (run, searched))
        });
        let mut done = stream::iter(to_do).buffered(PARALLEL);
        let mut known = HashSet::new();
        let mut left = runs.len();
        while let Some(next) = done.next().await {
            let (run, searched) = next?;
            left -= 1;
            if request.progress.is_stopped() {
                return Err(PipelineError::Stopped.into());
            }
            let overflowed = searched.overflowed;
            self.take(request, run, searched, reach, &mut known);
            if overflowed || self.matches.len() >= self.limit {
                self.more |= overflowed || left > 0;
                break;
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        request: &Request<'_>,
        run: Run<'_>,
        searched: Searched,
        reach: &mut Reach<'_, '_>,
        known: &mut HashSet<(HistoryId, String)>,
    ) {
        self.searched.opened += searched.ranges;
        self.searched.bytes += searched.bytes;
        self.unreadable.extend(searched.unreadable);
        for transaction in searched.found.into_iter().rev() {
            // What a new primary has of the old one is archived twice.
            let name = transaction.group.gtid.as_ref().map(ToString::to_string);
            if name.is_some_and(|name| !known.insert((run.file.history, name))) {
                continue;
            }
            if self.matches.len() >= self.limit {
                self.more = true;
                return;
            }
            self.matches.extend(Match::new(request, run, transaction, reach));
        }
    }
}

impl Match {
    fn new(
        request: &Request<'_>,
        run: Run<'_>,
        transaction: Transaction,
        reach: &mut Reach<'_, '_>,
    ) -> Option<Self> {
        let Transaction { group, changes, more } = transaction;
        let holds = |(_, range): &&(u64, &LogRange)| group.end <= range.end;
        let (record, range) = run.ranges().iter().find(holds)?;
        let gtid = group.gtid.as_ref();
        let fork = gtid.and_then(|gtid| run.file.left_at(gtid));
        let original = group.original_committed_at.filter(|at| *at != group.committed_at);
        Some(Self {
            gtid: gtid.map(ToString::to_string),
            committed_at: group.committed_at,
            original_committed_at: original,
            kind: changes.iter().map(|change| change.kind).min().unwrap_or(ChangeKind::Ddl),
            changes: changes.into_iter().map(ChangeSummary::from).collect(),
            more,
            line: match () {
                () if fork.is_some() => "forked",
                () if !run.file.is_current => "earlier",
                () => "current",
            },
            history: run.file.history,
            server: range.server.clone(),
            binlog_file: range.file.to_string(),
            binlog_position: group.begin,
            binlog_end: group.end,
            record: *record,
            fork,
            restorable_from: gtid.and_then(|gtid| reach.backup(run.file.history, fork, gtid)),
            restore: gtid.map(|gtid| {
                let flags = &request.flags;
                let line = match fork {
                    Some(record) => format!(" --fork {record}"),
                    None if !run.file.is_current => format!(" --history {}", run.file.history),
                    None => String::new(),
                };
                format!("backstay restore --before-gtid {gtid}{line} --datadir /path/to/new{flags}")
            }),
        })
    }
}

impl From<Change> for ChangeSummary {
    fn from(change: Change) -> Self {
        Self {
            kind: change.kind,
            tables: change.tables,
            rows: change.rows,
            at_least: change.at_least,
            by_text: change.by_text,
            statement: change.statement,
            statements: change.statements,
        }
    }
}
