//! How fast each stage is, on one core, and the whole way up and down on all of them.
//!
//! `cargo bench --bench pipeline` prints a table in Markdown. The cases take turns, round by
//! round, so that a machine that becomes slower for a while does so for all of them; a ratio
//! is the median of the ratios within the rounds.
#![expect(clippy::similar_names, reason = "sealer and sealed are what they are")]

use std::{
    error::Error,
    hint::black_box,
    io::{Cursor, Write as _},
    sync::Arc,
    time::Instant,
};

use backstay::{
    crypto::{ChunkOpener, ChunkSealer, Dek, ObjectKeys},
    model::{ClusterUuid, DekId, RunId},
    mysql::xbstream::{Dialect, Extractor, SyncPolicy, Validator},
    pipeline::{
        Accept, Inspect, Level, Objects, OnBad, PipelineError, Progress, SealRequest, Sealed,
        StoredObject,
        budget::{Budget, CHUNK_BYTES, CHUNKS_PER_VOLUME},
        compressor, open_objects, seal_stream,
    },
    store::{self, Keep, Key, Store, StoreOptions},
};
use sha2::{Digest as _, Sha256};

mod sample;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What is measured, and what one round of it took.
struct Case<'a> {
    name: String,
    /// Bytes that it goes through.
    bytes: usize,
    /// Told beside its speed.
    note: String,
    work: Box<dyn FnMut() -> Outcome<()> + 'a>,
    seconds: Vec<f64>,
}

impl<'a> Case<'a> {
    fn new(name: impl Into<String>, bytes: usize, work: impl FnMut() -> Outcome<()> + 'a) -> Self {
        let (name, work) = (name.into(), Box::new(work));
        Self { name, bytes, note: String::new(), work, seconds: Vec::new() }
    }

    fn note(mut self, note: String) -> Self {
        self.note = note;
        self
    }
}

fn main() -> Outcome<()> {
    // Without `--bench` this is a test that everything still runs.
    let real = std::env::args().any(|arg| arg == "--bench");
    let (mebibytes, rounds) = if real { (64, 5) } else { (5, 1) };
    let folder = tempfile::tempdir()?;
    let stream = sample::stream(folder.path(), mebibytes << 20)?;
    let chunks: Vec<&[u8]> = stream.chunks(CHUNK_BYTES).collect();
    let keys = ObjectKeys::derive(&Dek::from_bytes([7; 32]), &[8; 32], b"header");
    let (sealer, opener) = (ChunkSealer::new(&keys), ChunkOpener::new(&keys));
    let sealed = seal_all(&sealer, &chunks)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let stored = runtime.block_on(up(&stream, Level::Auto))?;

    let mut cases = vec![
        Case::new("SHA-256", stream.len(), || {
            black_box(Sha256::digest(&stream));
            Ok(())
        }),
        Case::new("seal (AES-256-GCM)", stream.len(), || {
            let mut buffer = Vec::with_capacity(CHUNK_BYTES + 16);
            for (counter, chunk) in (0u32..).zip(&chunks) {
                buffer.clear();
                buffer.extend_from_slice(chunk);
                sealer.seal(counter, false, &mut buffer)?;
            }
            Ok(())
        }),
        Case::new("open (AES-256-GCM)", stream.len(), || {
            let mut plain = Vec::new();
            for (counter, chunk) in (0u32..).zip(&sealed) {
                opener.open(counter, false, chunk, &mut plain)?;
            }
            Ok(())
        }),
        Case::new("validate the xbstream", stream.len(), || {
            let mut validator = Validator::new(Dialect::Clone);
            chunks.iter().try_for_each(|chunk| validator.feed(chunk))?;
            validator.finish()?;
            Ok(())
        }),
        Case::new("extract the xbstream", stream.len(), || {
            let into = tempfile::tempdir_in(folder.path())?;
            let mut files = Extractor::new(Dialect::Clone, into.path(), SyncPolicy::Never)?;
            chunks.iter().try_for_each(|chunk| files.feed(chunk))?;
            files.finish()?;
            Ok(())
        }),
    ];
    for level in [-4, 1, 2, 3, 5] {
        cases.push(zstd_level(level, &chunks, stream.len())?);
    }
    cases.push(decompress(&chunks, stream.len())?);
    let whole = "the whole way, all cores: ";
    cases.push(Case::new(format!("{whole}backup into memory"), stream.len(), || {
        runtime.block_on(up(&stream, Level::Auto)).map(drop)
    }));
    cases.push(Case::new(format!("{whole}restore, thrown away"), stream.len(), || {
        runtime.block_on(down(&stored, Nothing, OnBad::Stop))
    }));
    cases.push(Case::new(format!("{whole}verify"), stream.len(), || {
        let validator = Framing(Validator::new(Dialect::Clone));
        runtime.block_on(down(&stored, validator, OnBad::Note))
    }));

    for round in 0..=rounds {
        for case in &mut cases {
            let begun = Instant::now();
            (case.work)()?;
            // The first round warms up.
            if round > 0 {
                case.seconds.push(begun.elapsed().as_secs_f64());
            }
        }
    }
    print(&cases, rounds)
}

fn seal_all(sealer: &ChunkSealer, chunks: &[&[u8]]) -> Outcome<Vec<Vec<u8>>> {
    let mut sealed = Vec::new();
    for (counter, chunk) in (0u32..).zip(chunks) {
        let mut buffer = chunk.to_vec();
        sealer.seal(counter, false, &mut buffer)?;
        sealed.push(buffer);
    }
    Ok(sealed)
}

fn zstd_level<'a>(level: i32, chunks: &'a [&'a [u8]], bytes: usize) -> Outcome<Case<'a>> {
    let mut compressor = compressor()?;
    compressor.set_compression_level(level)?;
    let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(CHUNK_BYTES));
    let mut compress = move || -> std::io::Result<usize> {
        let mut stored = 0;
        for chunk in chunks {
            out.clear();
            stored += compressor.compress_to_buffer(chunk, &mut out)?;
        }
        Ok(stored)
    };
    let note = format!("{:.1} % stored", percent(compress()?, bytes));
    let name = format!("compress, zstd {level}");
    Ok(Case::new(name, bytes, move || Ok(compress().map(drop)?)).note(note))
}

fn decompress<'a>(chunks: &[&[u8]], bytes: usize) -> Outcome<Case<'a>> {
    let mut frames = Vec::new();
    for chunk in chunks {
        frames.push(zstd::bulk::compress(chunk, 1)?);
    }
    let mut decompressor = zstd::bulk::Decompressor::new()?;
    let mut out = Vec::with_capacity(CHUNK_BYTES);
    Ok(Case::new("decompress, zstd", bytes, move || {
        for frame in &frames {
            out.clear();
            decompressor.decompress_to_buffer(frame, &mut out)?;
        }
        Ok(())
    }))
}

#[expect(clippy::cast_precision_loss, reason = "a share, for people")]
fn percent(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64 * 100.0
}

/// Feeds the validator on either way.
struct Framing(Validator);

impl Inspect for Framing {
    fn inspect(&mut self, bytes: &[u8]) -> Result<(), PipelineError> {
        Ok(self.0.feed(bytes)?)
    }
}

impl Accept for Framing {
    fn accept(&mut self, plain: &[u8]) -> Result<(), PipelineError> {
        Ok(self.0.feed(plain)?)
    }
}

/// Takes everything and keeps nothing.
struct Nothing;

impl Accept for Nothing {
    fn accept(&mut self, plain: &[u8]) -> Result<(), PipelineError> {
        black_box(plain);
        Ok(())
    }
}

/// A backup in memory.
struct Stored {
    store: Arc<dyn Store>,
    sealed: Sealed<Framing>,
}

fn volume_key(sequence: u32) -> Result<Key, PipelineError> {
    let name = format!("bench/{sequence}");
    Key::new(&name).map_err(|e| PipelineError::integrity(name, e))
}

async fn up(stream: &[u8], level: Level) -> Outcome<Stored> {
    let store = store::open("memory:", &StoreOptions::default()).await?;
    let request = SealRequest {
        cluster: ClusterUuid::from_bytes([1; 16]),
        run: RunId::from_bytes([2; 16]),
        dek_id: DekId::from_bytes([3; 16]),
        dek: Dek::from_bytes([4; 32]),
        volume_key: Box::new(volume_key),
        keep: Box::new(Keep::default),
        level,
        budget: Budget::here(),
        progress: Arc::new(Progress::default()),
        chunks_per_volume: CHUNKS_PER_VOLUME,
    };
    let source = Cursor::new(stream.to_vec());
    let framing = Framing(Validator::new(Dialect::Clone));
    let sealed = seal_stream(Arc::clone(&store), source, framing, request).await?;
    Ok(Stored { store, sealed })
}

async fn down(stored: &Stored, acceptor: impl Accept, on_bad: OnBad) -> Outcome<()> {
    let mut objects = Vec::new();
    for volume in &stored.sealed.volumes {
        objects.push(StoredObject::volume(volume_key(volume.sequence)?, volume));
    }
    let request = Objects {
        cluster: ClusterUuid::from_bytes([1; 16]),
        run: RunId::from_bytes([2; 16]),
        dek_id: DekId::from_bytes([3; 16]),
        dek: Dek::from_bytes([4; 32]),
        objects,
        budget: Budget::here(),
        progress: Arc::new(Progress::default()),
    };
    let opened = open_objects(Arc::clone(&stored.store), request, acceptor, on_bad).await?;
    if opened.plain_bytes != stored.sealed.bytes_read || !opened.findings.is_empty() {
        return Err("not everything came back".into());
    }
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::cast_precision_loss, reason = "a speed, for people")]
fn print(cases: &[Case<'_>], rounds: usize) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    let Some(yardstick) = cases.first() else { return Ok(()) };
    writeln!(out, "| stage | MB/s, median of {rounds} | min–max | against {} | |", yardstick.name)?;
    writeln!(out, "|---|---|---|---|---|")?;
    for case in cases {
        let speeds: Vec<f64> = case.seconds.iter().map(|s| case.bytes as f64 / s / 1e6).collect();
        let ratios: Vec<f64> =
            case.seconds.iter().zip(&yardstick.seconds).map(|(own, other)| other / own).collect();
        let (low, high) = speeds.iter().fold((f64::MAX, 0f64), |(l, h), s| (l.min(*s), h.max(*s)));
        let (name, note) = (&case.name, &case.note);
        let (speed, ratio) = (median(&speeds), median(&ratios));
        writeln!(out, "| {name} | {speed:.0} | {low:.0}–{high:.0} | {ratio:.2} | {note} |")?;
    }
    Ok(())
}
