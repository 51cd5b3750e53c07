//! One run of ranges: opened one behind the other, and read for what is looked for.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Unreadable,
    plan::{Between, Run},
};
use crate::{
    format::LogRange,
    mysql::replication::{Transaction, Transactions, Wanted},
    pipeline::{Accept, PipelineError, log::RangeOpener},
};

/// What is looked for.
#[derive(Debug, Clone)]
pub(super) struct Search {
    pub(super) wanted: Wanted,
    pub(super) between: Between,
    pub(super) limit: usize,
}

/// What a run has.
#[derive(Debug, Default)]
pub(super) struct Searched {
    /// In the order of the file.
    pub(super) found: VecDeque<Transaction>,
    /// Whether older ones were found, and let go.
    pub(super) overflowed: bool,
    pub(super) unreadable: Vec<Unreadable>,
    pub(super) ranges: u64,
    pub(super) bytes: u64,
}

type Shared = Arc<Mutex<Searched>>;

pub(super) async fn search(
    run: Run<'_>,
    search: &Search,
    opener: &RangeOpener<'_>,
) -> Result<Searched, PipelineError> {
    let shared = Shared::default();
    let with = |f: &mut dyn FnMut(&mut Searched)| {
        f(&mut shared.lock().unwrap_or_else(PoisonError::into_inner));
    };
    let mut reader = None;
    for &(number, range) in run.ranges() {
        let mut reading =
            reader.take().unwrap_or_else(|| Reader::new(run, range, search, Arc::clone(&shared)));
        reading.goes_on_at(range.start);
        match opener.open(number, reading).await {
            Ok(read) => {
                with(&mut |searched| {
                    searched.ranges += 1;
                    searched.bytes += range.end.saturating_sub(range.start);
                });
                reader = Some(read);
            }
            Err(PipelineError::Integrity { object, why }) => with(&mut |searched| {
                // Nothing is told of what turned out not to be what was written.
                searched.found.retain(|found| found.group.end <= range.start);
                searched.unreadable.push(Unreadable::new(number, range, &object, &why));
            }),
            Err(error) => return Err(error),
        }
    }
    let mut searched = Searched::default();
    with(&mut |shared| std::mem::swap(shared, &mut searched));
    Ok(searched)
}

/// Takes the bytes of a file's ranges.
struct Reader {
    transactions: Transactions,
    file: String,
    /// How far the file has been read.
    at: u64,
    /// Bytes that come again.
    skip: u64,
    behind: u64,
    between: Between,
    limit: usize,
    shared: Shared,
}

impl Reader {
    fn new(run: Run<'_>, range: &LogRange, search: &Search, shared: Shared) -> Self {
        let (file, wanted) = (range.file.to_string(), search.wanted.clone());
        // The first four bytes of a file are its magic number.
        let (transactions, at) = if range.start < 4 {
            (Transactions::new(file.as_str(), wanted), 4)
        } else {
            (Transactions::headless(file.as_str(), range.start, wanted), range.start)
        };
        Self {
            transactions,
            file,
            at,
            skip: 0,
            behind: run.behind,
            between: search.between,
            limit: search.limit,
            shared,
        }
    }

    /// A tail may begin within the segment before it.
    fn goes_on_at(&mut self, start: u64) {
        self.skip = self.at.saturating_sub(start);
    }
}

impl Accept for Reader {
    fn accept(&mut self, plain: &[u8]) -> Result<(), PipelineError> {
        let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(plain.len());
        self.skip -= passed as u64;
        let mut input = &plain[passed..];
        self.at += input.len() as u64;
        loop {
            let found = self.transactions.take(&mut input);
            let found = found.map_err(|why| PipelineError::integrity(&self.file, why))?;
            let Some(found) = found else { return Ok(()) };
            if found.group.end <= self.behind || !self.between.has(found.group.committed_at) {
                continue;
            }
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.found.push_back(found);
            if shared.found.len() > self.limit {
                shared.found.pop_front();
                shared.overflowed = true;
            }
        }
    }
}
