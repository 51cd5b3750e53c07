//! Appending to the chain: many runs do it at once, and each finds its place.

use std::time::{Duration, Instant};

use futures::TryStreamExt;

use super::{Act, scan};
use crate::{
    format::{AuditRecord, layout},
    pipeline::{
        Author, ChainHead, Class, PipelineError, Repository,
        repository::{digest, key},
        search,
    },
};

/// How long to try for a place when other runs append, too.
const RACE: Duration = Duration::from_mins(2);
/// Names that are listed before the end of the chain is searched for.
const LISTED: usize = 1_000;
/// Records far behind the end of the row that are looked at: one that is believed is the end of a
/// chain that has lost some before it, and anything else was put there.
const STRAYS: usize = 8;

/// Appends an act to the chain. It says it on standard error, too.
///
/// The place is behind the greatest record that is believed, or behind what lies unbroken after it,
/// believed or not: who may do nothing but create objects can spoil the looks of a chain, and cannot
/// keep anybody from going on with it.
///
/// # Errors
/// When the store fails.
pub async fn append(author: &Author, act: &Act) -> Result<ChainHead, PipelineError> {
    let appended = place(author, act).await;
    match &appended {
        Ok(head) => act.log(Ok((*head, author))),
        Err(error) => act.log(Err(&error.to_string())),
    }
    appended
}

async fn place(author: &Author, act: &Act) -> Result<ChainHead, PipelineError> {
    let repository = &author.repository;
    let mut head = end(repository).await?;
    let began = Instant::now();
    loop {
        let record = act.placed(author, head);
        let stored = author.sign(&record)?;
        let sha256 = digest(&stored);
        let object = layout::audit(repository.cluster(), record.number);
        let (keep, ours) = (repository.keep(Class::Evidence), scan::belongs(record.number));
        let is_alone = author.create_alone::<AuditRecord>(&object, stored, &keep, ours).await?;
        // In a store that keeps versions another run's may be older, and count.
        let there = if is_alone { None } else { at(repository, record.number).await? };
        match there {
            Some(other) if other.sha256 != sha256 => head = other,
            _ => {
                repository.saw_audit(record.number);
                return Ok(ChainHead { number: record.number, sha256 });
            }
        }
        if began.elapsed() >= RACE {
            let why = format!("other runs were quicker for {RACE:?}");
            return Err(PipelineError::integrity(object, why));
        }
    }
}

/// The record under this number, or whatever lies there; nothing when that is of strangers alone,
/// where what they write over is kept.
async fn at(repository: &Repository, number: u64) -> Result<Option<ChainHead>, PipelineError> {
    if number == 0 {
        return Ok(Some(ChainHead::EMPTY));
    }
    match scan::record(repository, number).await {
        Ok(found) => Ok(Some(ChainHead { number, sha256: found.sha256 })),
        Err(PipelineError::Integrity { .. }) if scan::is_strange(repository, number).await? => {
            Ok(None)
        }
        Err(error @ PipelineError::Integrity { .. }) => {
            match repository.read(&layout::audit(repository.cluster(), number)).await? {
                Some(bytes) => Ok(Some(ChainHead { number, sha256: digest(&bytes) })),
                None => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// The end of the chain.
pub(super) async fn end(repository: &Repository) -> Result<ChainHead, PipelineError> {
    let known = repository.seen_audit();
    let row = match names(repository, known, LISTED).await? {
        Row { is_whole: true, found } => found,
        Row { found: listed, .. } => {
            // Numbers that are believed: junk under the next power of two leads nobody astray.
            let is_there = |number| async move {
                match scan::record(repository, number).await {
                    Ok(_) => Ok(true),
                    Err(PipelineError::Integrity { .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            };
            let near = search::last(listed.unbroken, is_there).await?;
            names(repository, near, usize::MAX).await?.found
        }
    };
    for stray in row.strays.iter().rev() {
        if let Ok(found) = scan::record(repository, *stray).await {
            repository.saw_audit(*stray);
            return Ok(ChainHead { number: *stray, sha256: found.sha256 });
        }
    }
    let mut number = row.unbroken;
    loop {
        match at(repository, number).await? {
            Some(head) => return Ok(head),
            None => number -= 1,
        }
    }
}

/// A part of the chain, by its names.
struct Row {
    found: Numbers,
    /// Whether nothing comes behind it.
    is_whole: bool,
}

struct Numbers {
    /// The last number up to which there is no hole.
    unbroken: u64,
    /// The greatest ones behind a hole.
    strays: Vec<u64>,
}

/// What is listed behind a number, at most so many names.
async fn names(repository: &Repository, after: u64, most: usize) -> Result<Row, PipelineError> {
    let folder = layout::audit_folder(repository.cluster());
    let behind =
        (after > 0).then(|| key(&layout::audit(repository.cluster(), after))).transpose()?;
    let mut listed = repository.store().list_versions(&folder, behind.as_ref());
    let mut found = Numbers { unbroken: after, strays: Vec::new() };
    let mut seen = 0;
    while let Some(info) = listed.try_next().await? {
        let Some(number) = scan::number_of(&folder, info.key.as_str()) else { continue };
        if seen == most {
            return Ok(Row { found, is_whole: false });
        }
        seen += 1;
        if found.unbroken.checked_add(1) == Some(number) {
            found.unbroken = number;
        } else if number > found.unbroken {
            if found.strays.len() == STRAYS {
                found.strays.remove(0);
            }
            found.strays.push(number);
        }
    }
    Ok(Row { found, is_whole: true })
}
