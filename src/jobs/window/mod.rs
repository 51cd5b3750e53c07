//! `window`: from when until when each backup can be restored, and what stands in the way. All
//! of it comes from the repository; no key is needed, and no server is asked.

mod end;
mod estimate;

pub use end::transactions;
use estimate::Work;
pub use estimate::{Estimate, LastDrill};

use crate::{
    format::{DrillRecord, LogEntry, LogRecord, Manifest},
    jobs::{BackupMark, BackupSummary, JobError, Position},
    model::{BackupId, Flavor, HistoryId, ServerName, Timestamp},
    pipeline::{
        Found, PipelineError, Repository,
        log::{Archive, Base, Coverage, End, Line, Lines, read_archive, record},
        marked_backup,
    },
};

/// An owner that wrote nothing for so long has let go or is cut off: it writes every 20 s.
const SILENCE: f64 = 30.0;

/// A backup as it is listed.
type ListedBackup = (BackupId, Result<Found<Manifest>, PipelineError>);

/// What can be restored.
#[derive(Debug, serde::Serialize)]
pub struct Windows {
    /// Version of this object.
    pub version: u32,
    /// When this was found, by the clock of this machine.
    pub at: Timestamp,
    /// The binary logs that are archived; nothing when none are.
    pub archive: Option<ArchiveSummary>,
    /// One for each backup, newest first.
    pub windows: Vec<Window>,
    /// How long recovering to the latest point would take now; nothing when it cannot be reached.
    pub recovery: Option<Estimate>,
    /// The newest drill, if there was one.
    pub last_drill: Option<LastDrill>,
    /// Transactions that were purged before they were archived.
    pub gaps: Vec<GapSummary>,
    /// Transactions that are archived, and that the server that took over never had.
    pub forks: Vec<ForkSummary>,
    /// The cluster's lines of life, oldest first.
    pub histories: Vec<HistorySummary>,
}

/// How far the archive goes.
#[derive(Debug, serde::Serialize)]
pub struct ArchiveSummary {
    /// `running`; `silent` when its owner wrote nothing for 30 s; `released` when it has ended.
    pub status: &'static str,
    /// The server that is archived.
    pub server: ServerName,
    /// Its flavor.
    pub flavor: Flavor,
    /// Its version.
    pub server_version: String,
    /// The epoch.
    pub epoch: u64,
    /// The history.
    pub history: HistoryId,
    /// Everything that was committed until then is archived, by the server's clock.
    pub archived_until: Option<Timestamp>,
    /// How long ago that was, in seconds, by this machine's clock.
    pub lag_seconds: Option<f64>,
    /// The latest commit that is archived.
    pub committed_until: Option<Timestamp>,
    /// Where the archive ends.
    #[serde(flatten)]
    pub position: Position,
    /// The transactions that are archived, with all that led to them.
    pub gtid_set: String,
    /// When its last record was written, by the archiver's clock.
    pub last_record_at: Timestamp,
    /// Its head: keep it, and give it as `--at-least` later.
    pub log_head: String,
}

/// What can be reached from a backup.
#[derive(Debug, serde::Serialize)]
pub struct Window {
    /// The backup.
    pub backup_id: BackupId,
    /// `complete`, or `damaged` when its manifest is not believed.
    pub status: &'static str,
    /// The history that it belongs to, when that is archived.
    pub history: Option<HistoryId>,
    /// The earliest instant that it can be restored to: its own.
    pub earliest: Option<Timestamp>,
    /// The latest one. Without archived logs it is the same.
    pub latest: Option<Timestamp>,
    /// The transactions at the earliest point.
    pub earliest_gtid_set: Option<String>,
    /// The transactions at the latest point.
    pub latest_gtid_set: Option<String>,
    /// Why it ends there.
    pub end: WindowEnd,
    /// What was decided about it; nothing for most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<BackupMark>,
}

/// Why a window ends.
#[derive(Debug, serde::Serialize)]
pub struct WindowEnd {
    /// `current` (nothing more is archived yet), `gap`, `fork`, `history`, `foreign`, `inexact`,
    /// `not-archived`, or `damaged`.
    pub kind: &'static str,
    /// The same for people.
    pub why: String,
    /// The log record that tells of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// The transactions that are missing, left behind, or foreign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// How many these are; of MariaDB at most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transactions: Option<u64>,
}

/// A gap.
#[derive(Debug, serde::Serialize)]
pub struct GapSummary {
    /// Its record.
    pub record: u64,
    /// When it was found.
    pub at: Timestamp,
    /// The server that had purged them.
    pub server: ServerName,
    /// The file that is read on.
    pub binlog_file: String,
    /// The transactions.
    pub missing: String,
    /// How many; of MariaDB at most so many.
    pub transactions: u64,
    /// The latest archived commit before them.
    pub after: Option<Timestamp>,
}

/// A fork.
#[derive(Debug, serde::Serialize)]
pub struct ForkSummary {
    /// Its record.
    pub record: u64,
    /// When it was found.
    pub at: Timestamp,
    /// The server that has them.
    pub left: ServerName,
    /// The server that goes on without them.
    pub taken: ServerName,
    /// The transactions.
    pub forked: String,
    /// How many; of MariaDB at most so many.
    pub transactions: u64,
}

/// A line of life.
#[derive(Debug, serde::Serialize)]
pub struct HistorySummary {
    /// Its id.
    pub history: HistoryId,
    /// The record that it begins with.
    pub record: u64,
    /// When that was written.
    pub at: Timestamp,
    /// The server that it begins with.
    pub server: ServerName,
    /// The history that it branched off from.
    pub parent: Option<HistoryId>,
    /// What the two have in common.
    pub branch_gtid_set: Option<String>,
}

/// Finds out what can be restored. It needs Get and List on the store, and no right to decrypt.
///
/// # Errors
/// When the store fails, or the log is damaged. A backup whose manifest is not believed is listed
/// as damaged.
pub async fn run(repository: &Repository) -> Result<Windows, JobError> {
    let archive = read_archive(repository).await?;
    let backups = repository.backups().await?;
    let lines = lines(repository, &archive)?;
    let now = Timestamp::now();
    let marks = repository.backup_marks().await?;
    let marked = |id: &BackupId, found: &Result<Found<Manifest>, PipelineError>| {
        let standing = marks.get(id)?.standing(&marked_backup(found.as_ref().ok()?));
        BackupMark::of(standing)
    };
    let windows = backups
        .iter()
        .map(|(id, found)| Window { mark: marked(id, found), ..window(id, found, &lines) });
    let windows = windows.collect();
    let drills = drills(repository).await?;
    let mut told = Windows {
        version: 1,
        at: now,
        archive: summary(repository, &archive, now).await?,
        windows,
        recovery: recovery(&believed(&backups), &lines, &drills),
        last_drill: drills.first().map(LastDrill::from),
        gaps: Vec::new(),
        forks: Vec::new(),
        histories: Vec::new(),
    };
    archive.notes.iter().for_each(|note| told.note(note));
    Ok(told)
}

/// The manifests that are believed.
fn believed(listed: &[ListedBackup]) -> Vec<&Manifest> {
    listed.iter().filter_map(|(_, found)| Some(&found.as_ref().ok()?.record)).collect()
}

/// The newest drills, as far as they are believed.
pub(in crate::jobs) async fn drills(
    repository: &Repository,
) -> Result<Vec<DrillRecord>, PipelineError> {
    let mut believed = Vec::new();
    for (drill_id, found) in repository.drills(estimate::DRILLS).await? {
        match found {
            Ok(found) => believed.push(found.record),
            Err(error) => {
                tracing::warn!(%drill_id, %error, "the record of a drill is not believed");
            }
        }
    }
    Ok(believed)
}

/// How long recovering to the latest point would take. Manifests come newest first.
pub(in crate::jobs) fn recovery(
    manifests: &[&Manifest],
    lines: &Lines<'_>,
    drills: &[DrillRecord],
) -> Option<Estimate> {
    work(manifests, lines).map(|work| estimate::estimate(work, drills))
}

/// What a restore to the latest point would have to do: it begins with the newest backup from
/// which that can be reached.
fn work(manifests: &[&Manifest], lines: &Lines<'_>) -> Option<Work> {
    let of = |wanted: &BackupId| manifests.iter().find(|manifest| manifest.backup_id == *wanted);
    manifests.iter().find_map(|&manifest| {
        let coverage = lines.walk(&Base::from(manifest));
        if !(lines.is_empty() || Line::Newest.ends_with(&coverage.end)) {
            return None;
        }
        let mut work = Work {
            backup_id: manifest.backup_id.clone(),
            stored_bytes: 0,
            payload_bytes: 0,
            log_bytes: coverage
                .pieces
                .iter()
                .map(|piece| piece.range.end - piece.range.start)
                .sum(),
        };
        let mut link = Some(manifest);
        while let Some(manifest) = link {
            work.stored_bytes = work.stored_bytes.saturating_add(manifest.bytes_stored);
            work.payload_bytes = work.payload_bytes.saturating_add(manifest.payload_bytes);
            link = manifest.base.as_ref().and_then(|base| of(&base.backup_id).copied());
        }
        Some(work)
    })
}

/// Until when each of these backups can be restored; nothing for those that end with themselves.
pub(super) async fn restorable_until(
    repository: &Repository,
    summaries: &mut [BackupSummary],
    manifests: &[ListedBackup],
) -> Result<(), JobError> {
    let archive = read_archive(repository).await?;
    let lines = lines(repository, &archive)?;
    for (summary, (_, found)) in summaries.iter_mut().zip(manifests) {
        let Ok(found) = found else { continue };
        summary.restorable_until =
            Some(reach(&found.record, &lines.walk(&Base::from(&found.record))).1);
    }
    Ok(())
}

/// Why a way ends, in words.
pub(in crate::jobs) fn why(end: &End, lines: &Lines<'_>) -> String {
    end::told(end, lines).why
}

/// The archive in order.
pub(super) fn lines<'a>(
    repository: &Repository,
    archive: &'a Archive,
) -> Result<Lines<'a>, JobError> {
    Lines::of(archive).map_err(|broken| {
        let object = crate::format::layout::log(repository.cluster(), broken.number);
        PipelineError::Integrity { object, why: broken.why }.into()
    })
}

/// The earliest and the latest instant. A backup whose latest commit is not known holds nothing
/// that was committed after it was finished.
fn reach(manifest: &Manifest, coverage: &Coverage<'_>) -> (Timestamp, Timestamp) {
    let earliest = coverage.base_committed.unwrap_or(manifest.finished_at);
    (earliest, coverage.until().map_or(earliest, |until| until.max(earliest)))
}

/// The earliest and the latest instant that a backup can be restored to.
pub(super) fn reached(manifest: &Manifest, lines: &Lines<'_>) -> (Timestamp, Timestamp) {
    reach(manifest, &lines.walk(&Base::from(manifest)))
}

fn window(
    id: &BackupId,
    found: &Result<Found<Manifest>, PipelineError>,
    lines: &Lines<'_>,
) -> Window {
    let manifest = match found {
        Ok(found) => &found.record,
        Err(error) => {
            return Window {
                backup_id: id.clone(),
                status: "damaged",
                history: None,
                earliest: None,
                latest: None,
                earliest_gtid_set: None,
                latest_gtid_set: None,
                end: WindowEnd::new("damaged", error.to_string()),
                mark: None,
            };
        }
    };
    let coverage = lines.walk(&Base::from(manifest));
    let (earliest, latest) = reach(manifest, &coverage);
    let own = manifest.server.as_ref().and_then(|server| server.gtid_set.as_ref());
    Window {
        backup_id: id.clone(),
        status: "complete",
        history: coverage.history,
        earliest: Some(earliest),
        latest: Some(latest),
        earliest_gtid_set: own.map(ToString::to_string),
        latest_gtid_set: if coverage.pieces.is_empty() {
            own.map(ToString::to_string)
        } else {
            Some(coverage.reached.position().to_string())
        },
        end: end::told(&coverage.end, lines),
        mark: None,
    }
}

async fn summary(
    repository: &Repository,
    archive: &Archive,
    now: Timestamp,
) -> Result<Option<ArchiveSummary>, JobError> {
    let state = &archive.state;
    let Some(owner) = &state.owner else { return Ok(None) };
    let last = record(repository, state.head.number).await?.record;
    let until = state.committed_until.max(state.quiet_until);
    let status = match () {
        () if state.released => "released",
        () if now.seconds_since(last.at) > SILENCE => "silent",
        () => "running",
    };
    Ok(Some(ArchiveSummary {
        status,
        server: owner.server.name.clone(),
        flavor: owner.server.flavor,
        server_version: owner.server.version.text.clone(),
        epoch: owner.epoch,
        history: owner.history,
        archived_until: until,
        lag_seconds: until.map(|until| (now.seconds_since(until) * 10.0).round().max(0.0) / 10.0),
        committed_until: state.committed_until,
        position: state.durable().into(),
        gtid_set: state.frontier.position().to_string(),
        last_record_at: last.at,
        log_head: state.head.to_string(),
    }))
}

impl Windows {
    fn note(&mut self, note: &LogRecord) {
        let (record, at) = (note.number, note.at);
        match &note.entry {
            LogEntry::Gap(gap) => self.gaps.push(GapSummary {
                record,
                at,
                server: gap.server.clone(),
                binlog_file: gap.file.to_string(),
                missing: gap.missing.clone(),
                transactions: gap.transactions,
                after: gap.after,
            }),
            LogEntry::Fork(fork) => self.forks.push(ForkSummary {
                record,
                at,
                left: fork.left.clone(),
                taken: fork.taken.clone(),
                forked: fork.forked.clone(),
                transactions: fork.transactions,
            }),
            LogEntry::Epoch(epoch) if epoch.parent.is_some() || self.histories.is_empty() => {
                self.histories.push(HistorySummary {
                    history: epoch.history,
                    record,
                    at,
                    server: epoch.server.name.clone(),
                    parent: epoch.parent.as_ref().map(|parent| parent.history),
                    branch_gtid_set: epoch.parent.as_ref().map(|p| p.at.position().to_string()),
                });
            }
            _ => {}
        }
    }
}

impl WindowEnd {
    fn new(kind: &'static str, why: String) -> Self {
        Self { kind, why, record: None, missing: None, transactions: None }
    }
}
