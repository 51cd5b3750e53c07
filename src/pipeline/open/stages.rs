//! The threads: several open and decompress, one puts in order and hands on.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc as std_mpsc,
    },
    thread,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};

use super::{
    Accept, Finding, Objects, OnBad,
    chunk::{Place, open_chunk},
    volume::{Group, Volume},
};
use crate::{
    format::ChunkEntry,
    pipeline::{PipelineError, Progress},
};

struct Job {
    number: u64,
    counter: u32,
    last: bool,
    entry: ChunkEntry,
    stored: Bytes,
    volume: Arc<Volume>,
    permit: OwnedSemaphorePermit,
}

/// Where fetched groups go in.
pub(super) struct Feed {
    jobs: mpsc::Sender<Job>,
    slots: Arc<Semaphore>,
    next: AtomicU64,
}

impl Feed {
    /// Hands out the chunks of a group; waits while all slots are taken.
    pub(super) async fn group(
        &self,
        volume: &Arc<Volume>,
        group: &Group,
        bytes: &Bytes,
    ) -> Result<(), PipelineError> {
        let mut rest = bytes.clone();
        let count = group.chunks.len();
        for (at, entry) in group.chunks.iter().enumerate() {
            let permit = Arc::clone(&self.slots)
                .acquire_owned()
                .await
                .map_err(|_| PipelineError::Stopped)?;
            let job = Job {
                number: self.next.fetch_add(1, Ordering::Relaxed),
                counter: group.first + u32::try_from(at).unwrap_or(u32::MAX),
                last: group.ends && at + 1 == count,
                entry: *entry,
                stored: rest.split_to(entry.stored as usize),
                volume: Arc::clone(volume),
                permit,
            };
            self.jobs.send(job).await.map_err(|_| PipelineError::Stopped)?;
        }
        Ok(())
    }
}

/// What the stages leave behind.
pub(super) struct Done<A> {
    pub(super) acceptor: A,
    pub(super) findings: Vec<Finding>,
    pub(super) plain_bytes: u64,
}

struct Chunk {
    plain: Result<Vec<u8>, Finding>,
    permit: OwnedSemaphorePermit,
}

/// Starts the threads; they end when the feed is dropped or the acceptor fails.
pub(super) fn start<A: Accept>(
    request: &Arc<Objects>,
    acceptor: A,
    on_bad: OnBad,
) -> (Feed, JoinHandle<Result<Done<A>, PipelineError>>) {
    let slots = Arc::new(Semaphore::new(request.budget.slots));
    let (jobs, queue) = mpsc::channel(request.budget.slots);
    let request = Arc::clone(request);
    let gate = Arc::clone(&slots);
    let stages = tokio::task::spawn_blocking(move || {
        let queue = Mutex::new(queue);
        let pool = Mutex::new(Vec::new());
        let (opened, results) = std_mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..request.budget.workers {
                let (queue, pool, opened) = (&queue, &pool, opened.clone());
                scope.spawn(move || work(queue, pool, &opened));
            }
            drop(opened);
            let done = hand_on(&results, &pool, acceptor, on_bad, &request.progress);
            drop(results);
            if done.is_err() {
                // Wakes a feed that waits for a slot, and workers that wait for a job.
                gate.close();
                if let Ok(mut queue) = queue.lock() {
                    queue.close();
                }
            }
            done
        })
    });
    (Feed { jobs, slots, next: AtomicU64::new(0) }, stages)
}

/// Opens chunks until there are no more.
fn work(
    queue: &Mutex<mpsc::Receiver<Job>>,
    pool: &Mutex<Vec<Vec<u8>>>,
    opened: &std_mpsc::Sender<(u64, Chunk)>,
) {
    let mut frame = Vec::new();
    let Ok(mut decompressor) = zstd::bulk::Decompressor::new() else { return };
    loop {
        let job = match queue.lock() {
            Ok(mut queue) => queue.blocking_recv(),
            Err(_) => return,
        };
        let Some(job) = job else { return };
        let mut plain = pool.lock().ok().and_then(|mut pool| pool.pop()).unwrap_or_default();
        let place = Place { counter: job.counter, last: job.last, entry: job.entry };
        let result =
            open_chunk(&job.volume, place, &job.stored, &mut decompressor, &mut frame, &mut plain);
        let plain = match result {
            Ok(()) => Ok(plain),
            Err(why) => {
                Err(Finding { object: job.volume.object.clone(), chunk: Some(job.counter), why })
            }
        };
        if opened.send((job.number, Chunk { plain, permit: job.permit })).is_err() {
            return;
        }
    }
}

/// Puts chunks in order and hands the good ones to the acceptor.
fn hand_on<A: Accept>(
    results: &std_mpsc::Receiver<(u64, Chunk)>,
    pool: &Mutex<Vec<Vec<u8>>>,
    mut acceptor: A,
    on_bad: OnBad,
    progress: &Progress,
) -> Result<Done<A>, PipelineError> {
    let mut waiting = BTreeMap::new();
    let mut next = 0u64;
    let (mut findings, mut plain_bytes) = (Vec::new(), 0);
    while let Ok((number, chunk)) = results.recv() {
        waiting.insert(number, chunk);
        while let Some(Chunk { plain, permit }) = waiting.remove(&next) {
            next += 1;
            match plain {
                Ok(plain) => {
                    acceptor.accept(&plain)?;
                    plain_bytes += plain.len() as u64;
                    progress.add_plain(plain.len());
                    if let Ok(mut pool) = pool.lock() {
                        pool.push(plain);
                    }
                }
                Err(finding) if on_bad == OnBad::Note => findings.push(finding),
                Err(Finding { object, chunk, why }) => {
                    let chunk = chunk.map_or_else(String::new, |n| format!("chunk {n}: "));
                    return Err(PipelineError::integrity(object, format!("{chunk}{why}")));
                }
            }
            drop(permit);
        }
    }
    Ok(Done { acceptor, findings, plain_bytes })
}
