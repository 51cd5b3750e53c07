//! What a plan is made of, read from the repository. It needs Get and List, and nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::plan::{Candidate, SettledCheckpoint};
use crate::{
    format::{
        AuditRecord, CHECKPOINT_EVERY, LogEntry, Manifest, MarkSubject, MarkedBackup, audit::action,
    },
    jobs::{Committed, JobError},
    model::{Age, BackupId, ClusterUuid, RunId, Sha256Digest, Timestamp},
    pipeline::{
        Found, Marks, PipelineError, Repository, Standing, Vouched,
        audit::scan,
        log::{Archive, checkpoint, read_archive, record},
        marked_backup,
    },
};

/// A backup that no policy touches.
#[derive(Debug, Clone, serde::Serialize)]
pub struct LeftAlone {
    /// Its name.
    pub backup_id: BackupId,
    /// Why.
    pub why: String,
}

/// The repository as it is.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) cluster: ClusterUuid,
    /// Complete backups, newest first.
    pub(super) candidates: Vec<Candidate>,
    pub(super) manifests: HashMap<BackupId, Found<Manifest>>,
    pub(super) left_alone: Vec<LeftAlone>,
    /// Backups that an earlier run has begun to remove.
    pub(super) unfinished: Vec<Unfinished>,
    pub(super) archive: Archive,
    pub(super) settled: Option<SettledCheckpoint>,
    /// Runs that have signed an audit record.
    pub(super) audited: HashSet<RunId>,
    /// The run that has created the cluster.
    pub(super) founder: RunId,
    /// The latest instant that any record bears, and which one that is.
    pub(super) newest: Option<(Timestamp, String)>,
}

/// A backup that is being removed.
#[derive(Debug, Clone)]
pub(super) struct Unfinished {
    pub(super) backup: MarkedBackup,
    /// Its sweep mark.
    pub(super) mark: Sha256Digest,
    /// Whether the audit chain tells of it.
    pub(super) is_audited: bool,
}

/// Reads everything that the plan is made of.
pub(super) async fn all(
    repository: &Repository,
    grace: Age,
    now: Timestamp,
) -> Result<Gathered, JobError> {
    let Some(cluster) = repository.uuid().await? else {
        return Err(JobError::target(
            format!("{} is no cluster", repository.url()),
            "check --repo and --cluster",
        ));
    };
    let archive = read_archive(repository).await?;
    let settled = settled(repository, &archive, now.minus(grace.duration())).await?;
    let mut newest = Newest::default();
    let mut acts = Acts::default();
    let chain = scan(repository, 0, None, |found, run| {
        acts.take(&found.record, run);
        Ok::<_, PipelineError>(())
    });
    if let Some(finding) = chain.await?.findings.into_iter().next() {
        // What is missing from the chain might be what says that a backup is damaged.
        return Err(PipelineError::integrity(finding.object, finding.why).into());
    }
    let Acts { committed, swept, runs, last } = acts;
    newest.see(last, "the audit chain");
    let marks = repository.backup_marks().await?;
    newest.see(marks.values().filter_map(Marks::newest).max(), "a mark");
    if archive.state.head.number > 0 {
        let head = record(repository, archive.state.head.number).await?.record;
        newest.see(Some(head.at), "the binlog log");
    }
    let mut gathered = Gathered {
        cluster,
        candidates: Vec::new(),
        manifests: HashMap::new(),
        left_alone: Vec::new(),
        unfinished: unfinished(&marks, |sha256| swept.contains(&sha256)),
        archive,
        settled,
        audited: runs,
        founder: repository.founder().await?,
        newest: None,
    };
    for (id, found) in repository.backups().await? {
        let problem = match &found {
            Ok(found) => committed.contradicts(&id, Some(found)),
            Err(error) => Some(error.to_string()),
        };
        let (Ok(found), None) = (found, &problem) else {
            let why = problem.unwrap_or_default();
            gathered.left_alone.push(LeftAlone { backup_id: id, why: format!("damaged: {why}") });
            continue;
        };
        newest.see(Some(found.record.finished_at), &format!("backup {id}"));
        gathered.candidates.push(candidate(&found, marks.get(&id)));
        gathered.manifests.insert(id, found);
    }
    gathered.newest = newest.0;
    Ok(gathered)
}

/// What the audit chain says, as far as it matters here.
#[derive(Default)]
struct Acts {
    committed: Committed,
    /// Marks by which backups were removed.
    swept: HashSet<Sha256Digest>,
    /// Who has signed anything.
    runs: HashSet<RunId>,
    last: Option<Timestamp>,
}

impl Acts {
    fn take(&mut self, record: &AuditRecord, run: &Vouched) {
        self.committed.take(record, run);
        if record.action == action::PRUNE_SWEPT {
            self.swept.extend(record.record_sha256);
        }
        self.runs.insert(record.run_id);
        self.last = self.last.max(Some(record.at));
    }
}

fn candidate(found: &Found<Manifest>, marks: Option<&Marks>) -> Candidate {
    let subject = marked_backup(found);
    Candidate::of(found, marks.map_or(Standing::Free, |marks| marks.standing(&subject)))
}

/// What is being removed. Once the audit chain tells of a sweep there is no way back: what is left of
/// such a backup's marks says nothing else.
fn unfinished(
    marks: &BTreeMap<BackupId, Marks>,
    is_audited: impl Fn(Sha256Digest) -> bool,
) -> Vec<Unfinished> {
    let subjects = marks.values().flat_map(|marks| marks.subjects().map(move |s| (marks, s)));
    let swept = subjects.filter_map(|(marks, subject)| {
        let MarkSubject::Backup(backup) = subject else { return None };
        let backup = backup.clone();
        if let Some(mark) = marks.sweeps(subject).find(|mark| is_audited(*mark)) {
            return Some(Unfinished { backup, mark, is_audited: true });
        }
        match marks.standing(subject) {
            Standing::Swept(mark) => {
                Some(Unfinished { backup, mark: mark.sha256, is_audited: false })
            }
            _ => None,
        }
    });
    swept.collect()
}

/// The newest checkpoint that was written before this instant.
async fn settled(
    repository: &Repository,
    archive: &Archive,
    before: Timestamp,
) -> Result<Option<SettledCheckpoint>, PipelineError> {
    let known = archive.horizon.thinned / CHECKPOINT_EVERY;
    let (mut low, mut high) = (known, archive.state.head.number / CHECKPOINT_EVERY + 1);
    let read = async |n: u64| -> Result<_, PipelineError> {
        let found = checkpoint(repository, n * CHECKPOINT_EVERY).await?.record;
        let LogEntry::Checkpoint(entry) = found.entry else { return Err(PipelineError::Worker) };
        Ok((found.at, SettledCheckpoint { number: found.number, entry }))
    };
    let mut found = if known > 0 { Some(read(known).await?.1) } else { None };
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        let (at, checkpoint) = read(middle).await?;
        if at > before {
            high = middle;
        } else {
            (low, found) = (middle, Some(checkpoint));
        }
    }
    Ok(found)
}

/// The latest instant of all.
#[derive(Default)]
struct Newest(Option<(Timestamp, String)>);

impl Newest {
    fn see(&mut self, at: Option<Timestamp>, what: &str) {
        if let Some(at) = at
            && self.0.as_ref().is_none_or(|(newest, _)| at > *newest)
        {
            self.0 = Some((at, what.to_owned()));
        }
    }
}

/// Runs that seal something that is left of the log behind this record: their DEKs are needed.
pub(super) async fn runs_of_log(
    repository: &Repository,
    archive: &Archive,
    begins: u64,
) -> Result<BTreeSet<RunId>, PipelineError> {
    let epochs: Vec<(u64, RunId)> = archive
        .notes
        .iter()
        .filter(|note| note.number > begins && matches!(note.entry, LogEntry::Epoch(_)))
        .map(|note| (note.number, note.run_id))
        .collect();
    let mut runs: BTreeSet<RunId> = epochs.iter().map(|(_, run)| *run).collect();
    runs.extend(archive.state.owner.as_ref().map(|owner| owner.run));
    // What was written before the first claim that is left belongs to an epoch that nobody tells of.
    let first = epochs.first().map_or(u64::MAX, |(number, _)| *number);
    let segments = archive.segments.iter().filter(|segment| segment.number > begins);
    let segments: Vec<_> = segments.take_while(|segment| segment.first_record < first).collect();
    for segment in segments {
        let found = record(repository, segment.number).await?.record;
        runs.insert(found.run_id);
        if let LogEntry::Segment(entry) = found.entry
            && let crate::format::SegmentData::Tails(tails) = entry.data
        {
            for number in tails.into_iter().flat_map(|(first, last)| first..=last) {
                runs.insert(record(repository, number).await?.record.run_id);
            }
        }
    }
    Ok(runs)
}
