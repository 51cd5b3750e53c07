//! The threads: one reads, several compress and seal, one puts in order.

use std::{
    io::Read,
    sync::{Arc, Mutex, mpsc as std_mpsc},
    thread,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;

use super::{
    Inspect, SealRequest,
    assemble::{Assembler, Piece},
};
use crate::{
    crypto::{self, ChunkSealer, ObjectKeys},
    format::{Compression, ObjectHeader, ObjectKind},
    pipeline::{
        PipelineError,
        budget::CHUNK_BYTES,
        level::{self, Chooser},
    },
};

/// The keys of one volume, made when its first chunk is read.
pub(super) struct VolumeKeys {
    pub(super) sequence: u32,
    pub(super) header: Vec<u8>,
    pub(super) keys: ObjectKeys,
    sealer: ChunkSealer,
}

/// A chunk's buffers; held from reading until the chunk is in order.
#[derive(Default)]
struct Slot {
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

struct Job {
    number: u64,
    counter: u32,
    last: bool,
    volume: Arc<VolumeKeys>,
    slot: Slot,
}

/// A sealed chunk on its way to its place.
pub(super) struct SealedChunk {
    pub(super) counter: u32,
    pub(super) last: bool,
    pub(super) plain_bytes: u32,
    pub(super) volume: Arc<VolumeKeys>,
}

/// Runs all stages to the end of the source.
pub(super) fn run<R: Read + Send, I: Inspect>(
    source: R,
    inspector: I,
    request: &SealRequest,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(I, u64), PipelineError> {
    let (free, slots) = std_mpsc::channel();
    for _ in 0..request.budget.slots {
        let _ = free.send(Slot::default());
    }
    let (jobs, queue) = std_mpsc::sync_channel::<Job>(request.budget.slots);
    let queue = Mutex::new(queue);
    let (sealed, results) = std_mpsc::channel();
    let chooser = Chooser::new(request.level);
    thread::scope(|scope| {
        let reader = scope.spawn(move || read(source, inspector, request, &slots, &jobs));
        let workers: Vec<_> = (0..request.budget.workers)
            .map(|_| {
                let (queue, chooser, sealed) = (&queue, &chooser, sealed.clone());
                scope.spawn(move || {
                    if let Err(error) = work(queue, chooser, &sealed) {
                        let _ = sealed.send(Err(error));
                    }
                })
            })
            .collect();
        drop(sealed);
        let ordered = order(&results, &free, request, pieces);
        drop((results, free));
        let worked =
            workers.into_iter().try_for_each(|w| w.join().map_err(|_| PipelineError::Worker));
        let read = reader.join().map_err(|_| PipelineError::Worker)?;
        // The reader's error, if it has one, is why the others ended early.
        let read = read?;
        worked?;
        ordered.map(|()| read)
    })
}

/// Reads chunks, shows them to the inspector, and hands them out. One chunk is held back,
/// since the last one is sealed as the last.
fn read<R: Read, I: Inspect>(
    mut source: R,
    mut inspector: I,
    request: &SealRequest,
    slots: &std_mpsc::Receiver<Slot>,
    jobs: &std_mpsc::SyncSender<Job>,
) -> Result<(I, u64), PipelineError> {
    let mut total = 0;
    let mut held: Option<Job> = None;
    let mut number = 0u64;
    loop {
        let Ok(mut slot) = slots.recv() else { return Ok((inspector, total)) };
        let bytes = fill(&mut source, &mut slot.plain).map_err(PipelineError::Read)?;
        if request.progress.is_stopped() {
            return Err(PipelineError::Stopped);
        }
        inspector.inspect(&slot.plain)?;
        total += bytes as u64;
        request.progress.add_plain(bytes);
        let end = bytes < CHUNK_BYTES;
        if bytes == 0 && held.is_some() {
            if let Some(job) = held.take() {
                let _ = jobs.send(Job { last: true, ..job });
            }
            return Ok((inspector, total));
        }
        let counter =
            u32::try_from(number % u64::from(request.chunks_per_volume)).unwrap_or_default();
        let volume = match held.take() {
            Some(job) if counter != 0 => {
                let volume = Arc::clone(&job.volume);
                let _ = jobs.send(job);
                volume
            }
            previous => {
                let sequence = u32::try_from(number / u64::from(request.chunks_per_volume))
                    .unwrap_or(u32::MAX);
                if let Some(job) = previous {
                    let _ = jobs.send(Job { last: true, ..job });
                }
                Arc::new(begin_volume(request, sequence)?)
            }
        };
        held = Some(Job { number, counter, last: false, volume, slot });
        number += 1;
        if end {
            // A short read is the end of the stream; whatever follows would have filled it.
            if let Some(job) = held.take() {
                let _ = jobs.send(Job { last: true, ..job });
            }
            return Ok((inspector, total));
        }
    }
}

/// Reads until the buffer holds a whole chunk or the source ends.
fn fill(source: &mut impl Read, buffer: &mut Vec<u8>) -> std::io::Result<usize> {
    buffer.resize(CHUNK_BYTES, 0);
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    buffer.truncate(filled);
    Ok(filled)
}

fn begin_volume(request: &SealRequest, sequence: u32) -> Result<VolumeKeys, PipelineError> {
    let header = ObjectHeader {
        compression: Compression::Zstd,
        chunk_size: u32::try_from(CHUNK_BYTES).unwrap_or(u32::MAX),
        cluster: request.cluster,
        run: request.run,
        kind: ObjectKind::BackupVolume,
        sequence: sequence.into(),
        dek: request.dek_id,
        salt: crypto::random()?,
    };
    let bytes = header.encode();
    let keys = ObjectKeys::derive(&request.dek, &header.salt, &bytes);
    let sealer = ChunkSealer::new(&keys);
    Ok(VolumeKeys { sequence, header: bytes.to_vec(), keys, sealer })
}

/// A sealed chunk with its number and its slot, or why there is none.
type Outcome = Result<(u64, SealedChunk, Slot), PipelineError>;

/// Compresses and seals chunks until there are no more.
fn work(
    queue: &Mutex<std_mpsc::Receiver<Job>>,
    chooser: &Chooser,
    sealed: &std_mpsc::Sender<Outcome>,
) -> Result<(), PipelineError> {
    let failed = |e: std::io::Error| {
        PipelineError::Read(std::io::Error::other(format!("compress a chunk: {e}")))
    };
    let mut compressor = level::compressor().map_err(failed)?;
    loop {
        let job = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return Err(PipelineError::Worker),
        };
        let Ok(Job { number, counter, last, volume, mut slot }) = job else { return Ok(()) };
        let (level, sample) = chooser.next();
        let bound = zstd::zstd_safe::compress_bound(slot.plain.len()) + crate::format::TAG_BYTES;
        let mut compress = |level: i32, slot: &mut Slot| {
            slot.sealed.clear();
            slot.sealed.reserve(bound);
            compressor.set_compression_level(level)?;
            compressor.compress_to_buffer(&slot.plain, &mut slot.sealed)
        };
        if sample {
            let measured = |level| {
                let before = thread_seconds();
                compress(level, &mut slot).map(|stored| (stored, thread_seconds() - before))
            };
            chooser.sample(CHUNK_BYTES, measured).map_err(failed)?;
        }
        compress(level, &mut slot).map_err(failed)?;
        volume.sealer.seal(counter, last, &mut slot.sealed)?;
        let plain_bytes = u32::try_from(slot.plain.len()).unwrap_or(u32::MAX);
        if sealed
            .send(Ok((number, SealedChunk { counter, last, plain_bytes, volume }, slot)))
            .is_err()
        {
            return Ok(());
        }
    }
}

/// CPU seconds of this thread: on a busy machine the wall clock would favour nothing but luck.
#[expect(clippy::cast_precision_loss, reason = "seconds of a thread fit")]
fn thread_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

/// Puts sealed chunks in order and hands them to the assembler.
fn order(
    results: &std_mpsc::Receiver<Outcome>,
    free: &std_mpsc::Sender<Slot>,
    request: &SealRequest,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), PipelineError> {
    let mut assembler = Assembler::new(pieces, request.budget.parts, &request.progress);
    let mut waiting = std::collections::BTreeMap::new();
    let mut next = 0u64;
    while let Ok(outcome) = results.recv() {
        let (number, chunk, slot) = outcome?;
        waiting.insert(number, (chunk, slot));
        while let Some((chunk, slot)) = waiting.remove(&next) {
            assembler.chunk(&chunk, &slot.sealed)?;
            next += 1;
            let _ = free.send(slot);
        }
    }
    Ok(())
}
