//! How long it takes to decide what of 100,000 backups and 5 million segments may go, and what memory
//! that takes: the plan alone, without the reading before it.
//!
//! `cargo bench --bench prune_plan` prints a table in Markdown.

use std::{error::Error, time::Instant};

use backstay::{
    format::{
        CHECKPOINT_EVERY, CheckpointEntry, CommitSpan, EpochEntry, EpochReason, LogEntry, LogRange,
        LogRecord, LogServer, Opening, SegmentSummary,
    },
    jobs::prune::plan::{Candidate, Policy, SettledCheckpoint, decide, steps},
    model::{
        Age, ClusterUuid, Flavor, GtidSet, GtidState, HistoryId, RunId, Sha256Digest, Timestamp,
    },
    pipeline::{
        ChainHead, Horizon, Standing,
        log::{Archive, Base, Lines, LogState, Owner},
    },
};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Segments in a file: six hours.
const FILE: u64 = 36;
/// Seconds in a segment: ten minutes.
const SEGMENT: u64 = 600;
/// Transactions in a segment.
const TRANSACTIONS: u64 = 6_000;
/// Bytes of binary log in a segment.
const BYTES: u64 = 2_400_000;
const SERVER: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const START: i64 = 1_790_000_000_000_000;
const GRACE: Age = Age::from_seconds(48 * 3600);

fn main() -> Outcome<()> {
    // Without `--bench` this is a test that everything still runs.
    let real = std::env::args().any(|arg| arg == "--bench");
    let (backups, segments) = if real { (100_000, 5_000_000) } else { (200, 10_000) };
    let archive = archive(segments)?;
    let candidates = candidates(backups, segments)?;
    let now = at(segments * SEGMENT)?;
    let settled = settled(&archive);
    println!("| policy | kept | log forgotten up to | order | decide | peak memory |");
    println!("|---|---|---|---|---|---|");
    let days = |days: u64| Some(Age::from_seconds(days * 86_400));
    for (name, policy) in [
        ("window 30d, monthly 12", Policy { window: days(30), monthly: Some(12), ..empty() }),
        ("window 365d", Policy { window: days(365), ..empty() }),
        ("last 7", Policy { last: Some(7), ..empty() }),
        (
            "hourly to yearly, 100 of each",
            Policy {
                hourly: Some(100),
                daily: Some(100),
                weekly: Some(100),
                monthly: Some(100),
                yearly: Some(100),
                ..empty()
            },
        ),
    ] {
        let begun = Instant::now();
        let lines = Lines::of(&archive)?;
        let ordered = begun.elapsed();
        let begun = Instant::now();
        let decisions = decide(&candidates, &archive, &lines, Some(&settled), &policy, GRACE, now);
        let decided = begun.elapsed();
        let steps =
            steps(&candidates, &decisions.backups, &std::collections::HashMap::new(), GRACE, now);
        let kept = decisions.backups.iter().filter(|backup| !backup.reasons.is_empty()).count();
        if steps.len() != candidates.len() || kept == 0 {
            return Err(format!("{kept} are kept, {} steps", steps.len()).into());
        }
        println!(
            "| {name} | {kept} | {:.1} % | {:.2} s | {:.2} s | {} MiB |",
            100.0 * share(decisions.horizon.begins, archive.state.head.number),
            ordered.as_secs_f64(),
            decided.as_secs_f64(),
            peak()?
        );
    }
    Ok(())
}

fn empty() -> Policy {
    Policy::default()
}

#[expect(clippy::cast_precision_loss, reason = "it is printed with one decimal")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// The most memory that this process had, in MiB.
fn peak() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 =
        line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?.parse()?;
    Ok(kib / 1024)
}

fn at(second: u64) -> Outcome<Timestamp> {
    let us = START + i64::try_from(second)? * 1_000_000;
    Timestamp::from_microseconds(us).ok_or_else(|| "no such instant".into())
}

fn gtids(from: u64, to: u64) -> Outcome<GtidState> {
    let text = if from < to { format!("{SERVER}:{}-{to}", from + 1) } else { String::new() };
    Ok(GtidState::from(&GtidSet::parse(Flavor::Mysql, &text)?))
}

/// The number of a segment's record: 600 tails before each, and the checkpoints between.
fn number_of(segment: u64) -> u64 {
    let plain = 1 + (segment + 1) * (SEGMENT + 1);
    plain + (plain - 1) / (CHECKPOINT_EVERY - 1)
}

/// A log of so many segments, all of one owner.
fn archive(segments: u64) -> Outcome<Archive> {
    let server = LogServer {
        name: SERVER.parse()?,
        flavor: Flavor::Mysql,
        version: "9.7.1".parse()?,
        server_id: 1,
    };
    let history = HistoryId::from_bytes([7; 16]);
    let run = RunId::from_bytes([8; 16]);
    let claim = EpochEntry {
        reason: EpochReason::First,
        server: server.clone(),
        history,
        parent: None,
        resumes: None,
        connections: Vec::new(),
    };
    // The same run claims the log again now and then, as it does when its DEK is renewed.
    let claims = (0..segments / 144).map(|day| if day == 0 { 1 } else { number_of(day * 144) + 1 });
    let notes = (1..).zip(claims).map(|(epoch, number)| {
        Ok(LogRecord {
            version: 1,
            cluster_uuid: ClusterUuid::from_bytes([9; 16]),
            number,
            previous: Sha256Digest([0; 32]),
            run_id: run,
            epoch,
            at: at(number)?,
            entry: LogEntry::Epoch(claim.clone()),
        })
    });
    let notes: Vec<LogRecord> = notes.collect::<Outcome<_>>()?;
    let summaries = (0..segments).map(|segment| {
        Ok(SegmentSummary {
            number: number_of(segment),
            first_record: number_of(segment) - SEGMENT,
            range: range(segment)?,
            bytes: BYTES / 4,
        })
    });
    let last = notes.last().ok_or("no claim")?;
    let owner = Owner { epoch: last.epoch, record: last.number, run, server, history };
    Ok(Archive {
        segments: summaries.collect::<Outcome<_>>()?,
        state: LogState {
            head: ChainHead { number: number_of(segments), sha256: Sha256Digest([1; 32]) },
            owner: Some(owner),
            frontier: gtids(0, segments * TRANSACTIONS)?,
            committed_until: Some(at(segments * SEGMENT)?),
            ..LogState::default()
        },
        notes,
        horizon: Horizon::default(),
    })
}

/// What these ten minutes brought.
fn range(segment: u64) -> Outcome<LogRange> {
    let (file, place) = (segment / FILE, segment % FILE);
    let began = segment - place;
    let opening = (place == 0).then(|| -> Outcome<Opening> {
        let previous = gtids(0, began * TRANSACTIONS)?;
        Ok(Opening { previous, outline: Sha256Digest([0; 32]) })
    });
    let (first, last) = (at(segment * SEGMENT)?, at((segment + 1) * SEGMENT - 1)?);
    Ok(LogRange {
        server: SERVER.parse()?,
        file: format!("binlog.{:06}", file + 1).parse()?,
        created: at(began * SEGMENT)?,
        start: place * BYTES,
        end: (place + 1) * BYTES,
        transactions: TRANSACTIONS,
        gtids: gtids(segment * TRANSACTIONS, (segment + 1) * TRANSACTIONS)?,
        committed: Some(CommitSpan { first, last }),
        last_group: None,
        cut: false,
        opening: opening.transpose()?,
        closed: place + 1 == FILE,
    })
}

/// Backups at equal distances, the newest first.
fn candidates(backups: u64, segments: u64) -> Outcome<Vec<Candidate>> {
    let candidates = (0..backups).rev().map(|n| {
        let segment = segments * n / backups;
        let second = segment * SEGMENT;
        Ok(Candidate {
            id: format!("nightly-{n}").parse()?,
            finished_at: at(second)?,
            bytes_stored: 1 << 40,
            base: Base {
                gtids: Some(gtids(0, segment * TRANSACTIONS + TRANSACTIONS / 2)?),
                exact: true,
                place: None,
                started_at: at(second)?,
                finished_at: at(second)?,
            },
            needs: None,
            is_proven: true,
            standing: Standing::Free,
        })
    });
    candidates.collect()
}

/// The log's last checkpoint.
fn settled(archive: &Archive) -> SettledCheckpoint {
    let number = archive.state.head.number / CHECKPOINT_EVERY * CHECKPOINT_EVERY;
    let entry = CheckpointEntry {
        previous_checkpoint: Sha256Digest([2; 32]),
        epoch_record: archive.state.owner.as_ref().map_or(1, |owner| owner.record),
        frontier: archive.state.frontier.clone(),
        committed_until: archive.state.committed_until,
        quiet_until: None,
        segments: Vec::new(),
        notes: Vec::new(),
        files: Vec::new(),
    };
    SettledCheckpoint { number, entry }
}
