//! How long it takes to see from the repository alone what can be restored: 30 days of archived
//! binary logs, one tail a second, 2.6 million records.
//!
//! `cargo bench --bench plan` writes such a log into memory, plans, and prints a table in Markdown.
//! With `BACKSTAY_BENCH_FOLDER` it puts it all into that folder, too (11 GB), and plans from there.
//! With `BACKSTAY_BENCH_REPO` and `BACKSTAY_BENCH_ENDPOINT` it puts what planning reads into that
//! store, and plans from there: it asks for no other object, and lists from the last checkpoint on.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use backstay::{
    crypto::{
        kms::file::FileKms,
        signer::{Trust, file::FileSigner},
    },
    format::{
        CommitSpan, EpochEntry, EpochReason, LogEntry, LogRange, LogServer, Opening, Role,
        RunIdentity, SealedRange, SegmentData, SegmentEntry, TailEntry,
    },
    jobs,
    model::{Flavor, GtidSet, GtidState, HistoryId, SegmentId, Sha256Digest, Timestamp},
    pipeline::{
        Repository, Run, RunRequest,
        log::{Base, Lines, LogState, LogWriter, read_archive},
    },
    store::{self, Key, Store, StoreOptions},
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A tail a second for 30 days.
const MONTH: u64 = 30 * 86_400;
/// Tails in a segment: ten minutes.
const SEGMENT: u64 = 600;
/// Segments in a file: six hours.
const FILE: u64 = 36;
/// Transactions in a tail.
const TRANSACTIONS: u64 = 10;
/// Bytes of binary log in a tail.
const BYTES: u64 = 4_000;
const SERVER: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const START: i64 = 1_790_000_000_000_000;

#[tokio::main]
async fn main() -> Outcome<()> {
    // Without `--bench` this is a test that everything still runs.
    let real = std::env::args().any(|arg| arg == "--bench");
    let (tails, rounds) = if real { (MONTH, 5) } else { (3_000, 1) };
    let memory = store::open("memory:", &StoreOptions::default()).await?;
    let dir = tempfile::tempdir()?;
    jobs::keys::new(&dir.path().join("kek"), jobs::keys::Kind::default())?;
    let trust = || Trust::read(&dir.path().join("kek.trust"));
    let begun = Instant::now();
    let repository = Arc::new(Repository::new(Arc::clone(&memory), "bench".parse()?, trust()?));
    let records = write(&repository, dir.path(), tails).await?;
    eprintln!("{records} records written in {:.0} s", begun.elapsed().as_secs_f64());
    println!("| store | records | segments | pieces | median | worst |");
    println!("|---|---|---|---|---|---|");
    measure("memory", &repository, records, rounds).await?;
    if let Some(folder) = std::env::var_os("BACKSTAY_BENCH_FOLDER") {
        let folder = PathBuf::from(folder);
        lay_out(&*memory, &folder).await?;
        let url = format!("file://{}", folder.display());
        let local = store::open(&url, &StoreOptions::default()).await?;
        let repository = Repository::new(local, "bench".parse()?, trust()?);
        measure("folder", &repository, records, rounds).await?;
    }
    if let Ok(url) = std::env::var("BACKSTAY_BENCH_REPO") {
        let options = StoreOptions {
            endpoint: std::env::var("BACKSTAY_BENCH_ENDPOINT").ok(),
            region: Some("us-east-1".into()),
            ..StoreOptions::default()
        };
        let remote = store::open(&url, &options).await?;
        copy(&*memory, &*remote, records).await?;
        let repository = Repository::new(remote, "bench".parse()?, trust()?);
        measure("S3", &repository, records, rounds).await?;
    }
    Ok(())
}

async fn measure(name: &str, repository: &Repository, records: u64, rounds: usize) -> Outcome<()> {
    let mut seconds = Vec::new();
    let mut found = (0, 0);
    for _ in 0..rounds {
        let begun = Instant::now();
        let archive = read_archive(repository).await?;
        let lines = Lines::of(&archive)?;
        let base = Base {
            gtids: Some(GtidState::from(&GtidSet::parse(
                Flavor::Mysql,
                &format!("{SERVER}:1-995"),
            )?)),
            exact: true,
            place: None,
            started_at: at(99)?,
            finished_at: at(100)?,
        };
        let coverage = lines.walk(&base);
        seconds.push(begun.elapsed().as_secs_f64());
        found = (archive.segments.len(), coverage.pieces.len());
        let last = archive.state.head.number;
        if last != records || coverage.end != backstay::pipeline::log::End::Current {
            return Err(format!("{last} records of {records}, {:?}", coverage.end).into());
        }
    }
    seconds.sort_by(f64::total_cmp);
    let (median, worst) = (seconds[rounds / 2], seconds[rounds - 1]);
    let (segments, pieces) = found;
    println!("| {name} | {records} | {segments} | {pieces} | {median:.2} s | {worst:.2} s |");
    Ok(())
}

fn at(second: u64) -> Outcome<Timestamp> {
    let us = START + i64::try_from(second)? * 1_000_000;
    Timestamp::from_microseconds(us).ok_or_else(|| "no such instant".into())
}

/// Writes the log. Returns how many records it has.
async fn write(repository: &Arc<Repository>, keys: &Path, tails: u64) -> Outcome<u64> {
    let request = RunRequest {
        kms: &FileKms::open(&keys.join("kek.pub"))?,
        also: &[],
        signer: &FileSigner::open(&keys.join("kek.signer"))?,
        role: Role::Archive,
        identity: RunIdentity::default(),
        started_at: at(0)?,
    };
    let run = Arc::new(Run::begin(Arc::clone(repository), &request).await?);
    let server = LogServer {
        name: SERVER.parse()?,
        flavor: Flavor::Mysql,
        version: "9.7.1".parse()?,
        server_id: 1,
    };
    let history = HistoryId::from_bytes([7; 16]);
    let reason = EpochReason::First;
    let claim = EpochEntry {
        reason,
        server,
        history,
        parent: None,
        resumes: None,
        connections: Vec::new(),
    };
    let claimed = LogWriter::claim(run, LogState::default(), claim, false).await;
    let mut writer = claimed.map_err(|(error, _)| error)?;
    let body = Bytes::from(vec![0x5a; 300]);
    let sealed =
        |sequence, bytes| SealedRange { sequence, bytes, sha256: Sha256Digest([0; 32]), chunks: 1 };
    for tail in 0..tails {
        let range = range(tail..tail + 1)?;
        let entry = TailEntry { range, sealed: sealed(tail, body.len() as u64) };
        writer.append(LogEntry::Tail(entry), Some(body.clone())).await?;
        if (tail + 1).is_multiple_of(SEGMENT) {
            let range = self::range(tail + 1 - SEGMENT..tail + 1)?;
            let data = SegmentData::Object {
                id: SegmentId::from_bytes([9; 16]),
                sealed: sealed(tail, SEGMENT * 300),
            };
            writer.append(LogEntry::Segment(SegmentEntry { range, data }), None).await?;
        }
    }
    Ok(writer.state().head.number)
}

/// What these seconds brought; all of them of one file.
fn range(seconds: std::ops::Range<u64>) -> Outcome<LogRange> {
    let per_file = SEGMENT * FILE;
    let file = seconds.start / per_file;
    let began = file * per_file;
    let gtids = |from: u64, to: u64| -> Outcome<GtidState> {
        let text = if from < to { format!("{SERVER}:{}-{to}", from + 1) } else { String::new() };
        Ok(GtidState::from(&GtidSet::parse(Flavor::Mysql, &text)?))
    };
    let opening = (seconds.start == began).then(|| -> Outcome<Opening> {
        Ok(Opening { previous: gtids(0, began * TRANSACTIONS)?, outline: Sha256Digest([0; 32]) })
    });
    Ok(LogRange {
        server: SERVER.parse()?,
        file: format!("binlog.{:06}", file + 1).parse()?,
        created: at(began)?,
        start: (seconds.start - began) * BYTES,
        end: (seconds.end - began) * BYTES,
        transactions: (seconds.end - seconds.start) * TRANSACTIONS,
        gtids: gtids(seconds.start * TRANSACTIONS, seconds.end * TRANSACTIONS)?,
        committed: Some(CommitSpan { first: at(seconds.start)?, last: at(seconds.end)? }),
        last_group: None,
        cut: false,
        opening: opening.transpose()?,
        closed: seconds.end == began + per_file,
    })
}

/// Puts everything into a folder as the store of local files has it. That would make every file
/// durable by itself, which takes an hour.
async fn lay_out(from: &dyn Store, folder: &Path) -> Outcome<()> {
    let mut listed = from.list("bench/", None);
    while let Some(info) = listed.try_next().await? {
        let path = folder.join(info.key.as_str());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, from.get(&info.key, 64 << 20).await?)?;
    }
    Ok(())
}

/// Copies what planning reads: everything but the records between the checkpoints.
async fn copy(from: &dyn Store, to: &dyn Store, records: u64) -> Outcome<()> {
    let recent = records / 1_024 * 1_024 - 2_048;
    let keys: Vec<Key> = from
        .list("bench/", None)
        .try_filter_map(|info| async move {
            let number = info.key.as_str().strip_prefix("bench/log/").map(str::parse::<u64>);
            let wanted = match number {
                Some(Ok(number)) => number == 1 || number % 1_024 == 0 || number >= recent,
                _ => true,
            };
            Ok(wanted.then_some(info.key))
        })
        .try_collect()
        .await?;
    let copied = futures::stream::iter(keys).map(|key| async move {
        let bytes = from.get(&key, 64 << 20).await?;
        to.create(&key, bytes).await
    });
    copied.buffer_unordered(32).try_for_each(|()| async { Ok(()) }).await?;
    Ok(())
}
