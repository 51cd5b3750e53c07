//! What nothing refers to: attempts that came to nothing and the keys of their runs, segments that
//! no record names, what tests of the store have left.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures::{StreamExt, TryStreamExt, stream};

use super::gather::{Gathered, runs_of_log};
use crate::{
    format::{HEADER_BYTES, LogEntry, ObjectHeader, Role, SegmentData, layout},
    jobs::JobError,
    model::{AttemptId, BackupId, BinlogName, DekId, RunId, ServerName, Timestamp},
    pipeline::{
        PipelineError, Repository, StoredName, key,
        log::{Archive, record},
    },
    store::{Key, StoreErrorKind},
};

/// Requests in flight.
const PARALLEL: usize = 16;

/// A run that has begun, and left something that nothing refers to.
#[derive(Debug, Clone)]
pub(super) struct LeftRun {
    pub(super) run: RunId,
    pub(super) role: Role,
    /// Names of backups that its attempts were to become.
    pub(super) backups: BTreeSet<BackupId>,
    /// Its volumes, and its key records.
    pub(super) objects: Vec<(Key, u64)>,
}

/// Everything that nothing refers to, and that is old enough.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    pub(super) runs: Vec<LeftRun>,
    pub(super) segments: Vec<(Key, u64)>,
    pub(super) probes: Vec<(Key, u64)>,
}

/// An attempt whose backup is not complete.
#[derive(Debug)]
struct Attempt {
    backup: BackupId,
    objects: Vec<(Key, u64)>,
    newest: Option<Timestamp>,
}

/// Finds what is left over of before this instant, if the log's horizon is where the plan puts it.
pub(super) async fn find(
    repository: &Repository,
    gathered: &Gathered,
    begins: u64,
    before: Timestamp,
) -> Result<Leftovers, JobError> {
    let mut runs: BTreeMap<RunId, LeftRun> = BTreeMap::new();
    // DEKs of what is complete, of what may yet become so, and of the log.
    let mut needed: HashSet<DekId> = gathered.manifests.values().map(|m| m.record.dek_id).collect();
    needed.extend(gathered.unfinished.iter().map(|unfinished| unfinished.backup.dek_id));
    for attempt in attempts(repository, gathered).await? {
        let Some(header) = header(repository, &attempt).await? else {
            tracing::warn!(backup = %attempt.backup, "an attempt holds what is no volume; it is left alone");
            continue;
        };
        if header.cluster != gathered.cluster || attempt.newest.is_none_or(|at| at > before) {
            needed.insert(header.dek);
            runs.remove(&header.run);
            continue;
        }
        let left = runs.entry(header.run).or_insert_with(|| LeftRun {
            run: header.run,
            role: Role::Backup,
            backups: BTreeSet::new(),
            objects: Vec::new(),
        });
        left.backups.insert(attempt.backup);
        left.objects.extend(attempt.objects);
    }
    for run in runs_of_log(repository, &gathered.archive, begins).await? {
        needed.extend(repository.run(run).await?.dek_id);
    }
    runs.retain(|_, left| !left.objects.is_empty());
    keys(repository, &needed, before, &mut runs).await?;
    Ok(Leftovers {
        runs: runs.into_values().collect(),
        segments: segments(repository, gathered, begins, before).await?,
        probes: probes(repository, before).await?,
    })
}

/// Attempts that no manifest names. Where a manifest is damaged nobody knows which one it names.
async fn attempts(
    repository: &Repository,
    gathered: &Gathered,
) -> Result<Vec<Attempt>, PipelineError> {
    let folder = layout::backups(repository.cluster());
    let mut known: HashSet<(&BackupId, AttemptId)> =
        gathered.manifests.iter().map(|(id, found)| (id, found.record.attempt)).collect();
    known.extend(gathered.unfinished.iter().map(|u| (&u.backup.backup_id, u.backup.attempt)));
    let damaged: HashSet<&BackupId> = gathered.left_alone.iter().map(|l| &l.backup_id).collect();
    let mut found: BTreeMap<(BackupId, AttemptId), Attempt> = BTreeMap::new();
    let mut listed = repository.stored(&folder, None);
    while let Some(StoredName { key, size, modified }) = listed.try_next().await? {
        let Some((backup, attempt)) = placed(&folder, key.as_str()) else { continue };
        if known.contains(&(&backup, attempt)) || damaged.contains(&backup) {
            continue;
        }
        let place = (backup.clone(), attempt);
        let attempt = found.entry(place).or_insert_with(|| Attempt {
            backup,
            objects: Vec::new(),
            newest: modified,
        });
        attempt.objects.push((key, size));
        // Without a time nobody knows how old it is.
        attempt.newest = attempt.newest.and_then(|newest| Some(newest.max(modified?)));
    }
    Ok(found.into_values().collect())
}

/// The backup and the attempt that a volume's name tells of.
fn placed(folder: &str, key: &str) -> Option<(BackupId, AttemptId)> {
    let mut parts = key.strip_prefix(folder)?.split('/');
    let (backup, attempt) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (parts.next().is_some() && parts.next().is_none()).then_some((backup, attempt))
}

/// The header of an attempt's first volume; nothing when it is none, or has gone.
async fn header(
    repository: &Repository,
    attempt: &Attempt,
) -> Result<Option<ObjectHeader>, PipelineError> {
    match attempt.objects.first() {
        Some((key, size)) => header_of(repository, key, *size).await,
        None => Ok(None),
    }
}

async fn header_of(
    repository: &Repository,
    key: &Key,
    size: u64,
) -> Result<Option<ObjectHeader>, PipelineError> {
    if size < HEADER_BYTES as u64 {
        return Ok(None);
    }
    match repository.store().get_range(key, 0..HEADER_BYTES as u64).await {
        Ok(bytes) => Ok(ObjectHeader::decode(&bytes).ok()),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Adds the key records of DEKs that nothing needs to what their runs have left.
async fn keys(
    repository: &Repository,
    needed: &HashSet<DekId>,
    before: Timestamp,
    runs: &mut BTreeMap<RunId, LeftRun>,
) -> Result<(), PipelineError> {
    let mut deks = repository.deks().await?;
    deks.retain(|dek, _| !needed.contains(dek));
    let read = deks.into_iter().map(|(dek, names)| async move {
        let found = repository.key_records(dek, &names).await?;
        let first = found.generations.iter().find(|record| record.generation == 1);
        let Some(first) = first else { return Ok(None) };
        let run = repository.run(first.run_id).await?;
        Ok::<_, PipelineError>(Some((run, names)))
    });
    let read: Vec<_> = stream::iter(read).buffered(PARALLEL).try_collect().await?;
    for (run, names) in read.into_iter().flatten() {
        let is_known = runs.contains_key(&run.run_id);
        if run.started_at > before && !is_known {
            continue;
        }
        let left = runs.entry(run.run_id).or_insert_with(|| LeftRun {
            run: run.run_id,
            role: run.role,
            backups: BTreeSet::new(),
            objects: Vec::new(),
        });
        for name in names {
            left.objects.push((key(&name)?, 0));
        }
    }
    Ok(())
}

/// What a segment's name tells of it.
type SegmentName = (ServerName, BinlogName, u64);

/// Records that name segments of one name.
#[derive(Debug, Default)]
struct Naming {
    numbers: Vec<u64>,
    /// How many of them surely have an object of their own.
    surely: usize,
}

/// Segments that no record behind the horizon names. One that the log's owner has sealed may yet be
/// named.
async fn segments(
    repository: &Repository,
    gathered: &Gathered,
    begins: u64,
    before: Timestamp,
) -> Result<Vec<(Key, u64)>, PipelineError> {
    let folder = layout::segments(repository.cluster());
    let named = naming(&gathered.archive, begins);
    let owner = gathered.archive.state.owner.as_ref().map(|owner| owner.run);
    let mut left = Vec::new();
    let mut listed = repository.stored(&folder, None);
    // Objects of one name stand together.
    let mut group: (Option<SegmentName>, Vec<(StoredName, String)>) = (None, Vec::new());
    loop {
        let next = listed.try_next().await?;
        let name = next.as_ref().map(|info| segment_name(&folder, info.key.as_str()));
        let (name, id) = match name {
            Some(Some((name, id))) => (Some(name), id),
            Some(None) => continue,
            None => (None, String::new()),
        };
        if name != group.0 {
            let (of, objects) = std::mem::replace(&mut group, (name, Vec::new()));
            let naming = of.and_then(|of| named.get(&of));
            let objects = unnamed(repository, naming, objects).await?;
            let old =
                objects.into_iter().filter(|info| info.modified.is_some_and(|at| at <= before));
            let looked = old.map(|info| async move {
                let header = header_of(repository, &info.key, info.size).await?;
                let is_owners = header.is_some_and(|header| owner == Some(header.run));
                Ok::<_, PipelineError>((!is_owners).then_some((info.key, info.size)))
            });
            let found: Vec<_> = stream::iter(looked).buffered(PARALLEL).try_collect().await?;
            left.extend(found.into_iter().flatten());
        }
        match next {
            Some(info) => group.1.push((info, id)),
            None => return Ok(left),
        }
    }
}

/// Which records behind the horizon name segments.
fn naming(archive: &Archive, begins: u64) -> HashMap<SegmentName, Naming> {
    let epochs: Vec<u64> = archive
        .notes
        .iter()
        .filter(|note| matches!(note.entry, LogEntry::Epoch(_)))
        .map(|note| note.number)
        .collect();
    let mut named: HashMap<SegmentName, Naming> = HashMap::new();
    for segment in archive.segments.iter().filter(|segment| segment.number > begins) {
        let range = &segment.range;
        let name = (range.server.clone(), range.file.clone(), range.start);
        let naming = named.entry(name).or_default();
        naming.numbers.push(segment.number);
        // It may be made of an earlier owner's tails.
        let at = epochs.partition_point(|epoch| *epoch < segment.first_record);
        let is_doubtful = epochs.get(at).is_some_and(|epoch| *epoch <= segment.number);
        naming.surely += usize::from(!is_doubtful);
    }
    named
}

/// Those of some objects of one name that no record names.
async fn unnamed(
    repository: &Repository,
    naming: Option<&Naming>,
    objects: Vec<(StoredName, String)>,
) -> Result<Vec<StoredName>, PipelineError> {
    let Some(naming) = naming else {
        return Ok(objects.into_iter().map(|(info, _)| info).collect());
    };
    if objects.len() <= naming.surely {
        return Ok(Vec::new());
    }
    let mut ids = HashSet::new();
    for number in &naming.numbers {
        if let LogEntry::Segment(entry) = record(repository, *number).await?.record.entry
            && let SegmentData::Object { id, .. } = entry.data
        {
            ids.insert(id.to_string());
        }
    }
    Ok(objects.into_iter().filter(|(_, id)| !ids.contains(id)).map(|(info, _)| info).collect())
}

fn segment_name(folder: &str, key: &str) -> Option<(SegmentName, String)> {
    let mut parts = key.strip_prefix(folder)?.split('/');
    let (server, file, last) = (parts.next()?, parts.next()?, parts.next()?);
    let (start, id) = last.split_once('-').filter(|(start, _)| start.len() == 20)?;
    let name = (server.parse().ok()?, file.parse().ok()?, start.parse().ok()?);
    parts.next().is_none().then(|| (name, id.to_owned()))
}

async fn probes(
    repository: &Repository,
    before: Timestamp,
) -> Result<Vec<(Key, u64)>, PipelineError> {
    let folder = layout::probes(repository.cluster());
    let listed = repository.stored(&folder, None);
    let old = listed.try_filter_map(|info| async move {
        let is_old = info.modified.is_some_and(|at| at <= before);
        Ok(is_old.then_some((info.key, info.size)))
    });
    old.try_collect().await
}
