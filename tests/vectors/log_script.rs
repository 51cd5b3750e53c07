//! Logs for the examples, record by record: who says what in which epoch.

use std::collections::BTreeMap;

use backstay::{
    crypto::{Dek, RunKey},
    format::{
        Branch, ClusterRecord, CommitSpan, Compression, EpochEntry, EpochReason, ForkEntry,
        GapEntry, GroupMark, HeartbeatEntry, KeyRecord, LogEntry, LogRange, LogRecord, LogServer,
        ObjectHeader, ObjectKind, Opening, Role, RunRecord, SealedRange, SegmentData, SegmentEntry,
        TailEntry, layout,
    },
    model::{
        BinlogPosition, DekId, Flavor, HistoryId, RunId, SegmentId, Sha256Digest, Timestamp,
        WrappedDek,
    },
    pipeline::log::LogState,
};
use sha2::{Digest as _, Sha256};

use crate::{
    forge::{Object, header, pieces, record},
    repositories::{SIGNER, Stored, name, run_record, signed},
    sealed::padded,
};

pub(crate) const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
pub(crate) const B: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429563";

/// A run with its signing key, its DEK, and what it may write.
#[derive(Clone, Copy)]
pub(crate) struct Who {
    pub(crate) id: u8,
    pub(crate) role: Role,
}

pub(crate) const FIRST: Who = Who { id: 0xa1, role: Role::Archive };
pub(crate) const SECOND: Who = Who { id: 0xb1, role: Role::Archive };
/// Makes backups, and has no business in the log.
pub(crate) const BACKUP: Who = Who { id: 0xe1, role: Role::Backup };
/// Has no run record.
pub(crate) const STRANGER: Who = Who { id: 0x91, role: Role::Archive };

impl Who {
    pub(crate) fn run(self) -> RunId {
        RunId::from_bytes([self.id; 16])
    }

    pub(crate) fn key(self) -> RunKey {
        RunKey::from_seed(&[self.id + 1; 32]).unwrap()
    }

    pub(crate) fn dek_id(self) -> DekId {
        DekId::from_bytes([self.id + 2; 16])
    }

    pub(crate) fn dek(self) -> [u8; 32] {
        [self.id + 3; 32]
    }
}

/// What a record says; a checkpoint sums up what came before it.
#[derive(Clone)]
pub(crate) enum Say {
    This(Box<LogEntry>),
    Checkpoint,
}

/// One record to be written.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) who: Who,
    pub(crate) epoch: u64,
    pub(crate) say: Say,
    /// What follows the envelope.
    pub(crate) body: Vec<u8>,
    /// The object of a segment.
    pub(crate) object: Option<(String, Vec<u8>)>,
    /// Changes the record before it is signed.
    pub(crate) edit: fn(&mut serde_json::Value),
}

impl Step {
    pub(crate) fn of(who: Who, epoch: u64, entry: LogEntry) -> Self {
        let say = Say::This(Box::new(entry));
        Self { who, epoch, say, body: Vec::new(), object: None, edit: |_| {} }
    }

    pub(crate) fn checkpoint(who: Who, epoch: u64) -> Self {
        let say = Say::Checkpoint;
        Self { who, epoch, say, body: Vec::new(), object: None, edit: |_| {} }
    }

    pub(crate) fn entry(&mut self) -> &mut LogEntry {
        match &mut self.say {
            Say::This(entry) => entry,
            Say::Checkpoint => unreachable!("a checkpoint is made when its turn comes"),
        }
    }

    pub(crate) fn range(&mut self) -> &mut LogRange {
        match self.entry() {
            LogEntry::Tail(tail) => &mut tail.range,
            LogEntry::Segment(segment) => &mut segment.range,
            _ => unreachable!("it has no range"),
        }
    }
}

pub(crate) fn at(second: u32) -> Timestamp {
    format!("2026-11-20T20:{:02}:{:02}Z", second / 60 % 60, second % 60).parse().unwrap()
}

pub(crate) fn hash(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest(Sha256::digest(bytes).into())
}

/// The bytes of a binlog file: text that differs everywhere.
pub(crate) fn bytes(server: &str, file: &str, range: std::ops::Range<u64>) -> Vec<u8> {
    let text = (0u32..).flat_map(|n| format!("{file} of {server}, line {n:08}\n").into_bytes());
    let bytes = b"\xfebin".iter().copied().chain(text);
    let (skip, take) = (range.start, range.end - range.start);
    bytes.skip(usize::try_from(skip).unwrap()).take(usize::try_from(take).unwrap()).collect()
}

/// A range with nothing in it, of the file that was created at second 7.
pub(crate) fn range(server: &str, file: &str, bytes: std::ops::Range<u64>) -> LogRange {
    LogRange {
        server: server.parse().unwrap(),
        file: file.parse().unwrap(),
        created: at(7),
        start: bytes.start,
        end: bytes.end,
        transactions: 0,
        gtids: "".parse().unwrap(),
        committed: None,
        last_group: None,
        cut: false,
        opening: None,
        closed: false,
    }
}

impl Step {
    /// What the file begins with.
    pub(crate) fn opens(mut self, previous: &str) -> Self {
        let opening = Opening { previous: previous.parse().unwrap(), outline: hash(b"opening") };
        self.range().opening = Some(opening);
        self
    }

    /// Transactions that end in it, committed at these seconds; the last one is 100 bytes long.
    pub(crate) fn holds(mut self, count: u64, gtids: &str, seconds: (u32, u32)) -> Self {
        let range = self.range();
        range.transactions = count;
        range.gtids = gtids.parse().unwrap();
        range.committed = Some(CommitSpan { first: at(seconds.0), last: at(seconds.1) });
        let end = range.end;
        range.last_group = Some(GroupMark { begin: end - 100, end, outline: hash(b"group") });
        self
    }

    pub(crate) fn closes(mut self) -> Self {
        self.range().closed = true;
        self
    }
}

fn log_header(who: Who, kind: ObjectKind, sequence: u64) -> ObjectHeader {
    let compression = match kind {
        ObjectKind::LogTail => Compression::ZstdPadded,
        _ => Compression::Zstd,
    };
    let salt = [u8::try_from(sequence).unwrap() ^ who.id; 32];
    let (run, dek) = (who.run(), who.dek_id());
    ObjectHeader { compression, kind, run, dek, salt, ..header(sequence) }
}

fn described(object: &Object, sequence: u64) -> SealedRange {
    let chunks = u32::try_from(object.chunks.len()).unwrap();
    let sealed = record(&object.bytes(), 0, chunks, object.plain);
    SealedRange { sequence, bytes: sealed.bytes, sha256: sealed.sha256, chunks }
}

/// New bytes.
pub(crate) fn tail(who: Who, epoch: u64, sequence: u64, range: LogRange) -> Step {
    let plain = bytes(range.server.as_str(), range.file.as_str(), range.start..range.end);
    let object = padded(&log_header(who, ObjectKind::LogTail, sequence), who.dek(), &plain);
    let sealed = described(&object, sequence);
    let entry = LogEntry::Tail(TailEntry { range, sealed });
    Step { body: object.bytes(), ..Step::of(who, epoch, entry) }
}

/// Bytes in bulk.
pub(crate) fn segment(who: Who, epoch: u64, sequence: u64, range: LogRange) -> Step {
    let plain = bytes(range.server.as_str(), range.file.as_str(), range.start..range.end);
    let header = log_header(who, ObjectKind::LogSegment, sequence);
    let pieces = pieces(&plain);
    let last = pieces.len() - 1;
    let object =
        Object::of(&header.encode(), &header.salt, who.dek(), &pieces, |n| n == last, |_| {});
    let id = SegmentId::from_bytes([u8::try_from(sequence).unwrap(); 16]);
    let key = layout::segment(&name(), &range.server, &range.file, range.start, id);
    let data = SegmentData::Object { id, sealed: described(&object, sequence) };
    let entry = LogEntry::Segment(SegmentEntry { range, data });
    Step { object: Some((key, object.bytes())), ..Step::of(who, epoch, entry) }
}

/// Tails that stay.
pub(crate) fn promote(who: Who, epoch: u64, tails: &[(u64, u64)], range: LogRange) -> Step {
    let data = SegmentData::Tails(tails.to_vec());
    Step::of(who, epoch, LogEntry::Segment(SegmentEntry { range, data }))
}

pub(crate) fn history(n: u8) -> HistoryId {
    HistoryId::from_bytes([n; 16])
}

pub(crate) fn position(file: &str, position: u64) -> BinlogPosition {
    BinlogPosition { file: file.to_owned(), position }
}

/// A claim; `resumes` is where.
pub(crate) fn epoch(
    who: Who,
    epoch: u64,
    reason: EpochReason,
    (server, flavor): (&str, Flavor),
    resumes: Option<BinlogPosition>,
) -> Step {
    let version = if flavor == Flavor::Mysql { "9.7.1" } else { "10.11.14-MariaDB" };
    let server = LogServer {
        name: server.parse().unwrap(),
        flavor,
        version: version.parse().unwrap(),
        server_id: 7,
    };
    let claim = EpochEntry {
        reason,
        server,
        history: history(1),
        parent: None,
        resumes,
        connections: Vec::new(),
    };
    Step::of(who, epoch, LogEntry::Epoch(claim))
}

/// The same claim, at the beginning of another history.
pub(crate) fn branches(mut step: Step, common: &str) -> Step {
    if let LogEntry::Epoch(claim) = step.entry() {
        claim.parent = Some(Branch { history: claim.history, at: common.parse().unwrap() });
        claim.history = history(2);
    }
    step
}

pub(crate) fn heartbeat(
    who: Who,
    epoch: u64,
    server: &str,
    position: Option<BinlogPosition>,
    quiet_until: Option<u32>,
) -> Step {
    let server = server.parse().unwrap();
    let quiet_until = quiet_until.map(at);
    let beat = HeartbeatEntry { server, position, quiet_until, released: false };
    Step::of(who, epoch, LogEntry::Heartbeat(beat))
}

pub(crate) fn gap(who: Who, epoch: u64, server: &str, file: &str, resumes_at: &str) -> Step {
    Step::of(
        who,
        epoch,
        LogEntry::Gap(GapEntry {
            server: server.parse().unwrap(),
            file: file.parse().unwrap(),
            missing: format!("{B}:1-4"),
            transactions: 4,
            after: Some(at(30)),
            resumes_at: resumes_at.parse().unwrap(),
        }),
    )
}

pub(crate) fn fork(who: Who, epoch: u64, frontier: &str) -> Step {
    Step::of(
        who,
        epoch,
        LogEntry::Fork(ForkEntry {
            left: A.parse().unwrap(),
            taken: B.parse().unwrap(),
            forked: format!("{A}:10-11"),
            transactions: 2,
            frontier: frontier.parse().unwrap(),
        }),
    )
}

/// Numbers, chains and signs the records of a log. What follows from a bad one is not looked at.
pub(crate) fn written(steps: &[Step]) -> Stored {
    let mut stored = BTreeMap::new();
    let mut state = LogState::default();
    for step in steps {
        let number = state.head.number + 1;
        let entry = match &step.say {
            Say::This(entry) => (**entry).clone(),
            Say::Checkpoint => LogEntry::Checkpoint(state.checkpoint_entry().unwrap()),
        };
        let record = LogRecord {
            version: 1,
            cluster_uuid: header(0).cluster,
            number,
            previous: state.head.sha256,
            run_id: step.who.run(),
            epoch: step.epoch,
            at: at(u32::try_from(number).unwrap()),
            entry,
        };
        let line = signed(&record, &step.who.key(), step.edit);
        let digest = hash(&line);
        let _ = state.apply(&record, digest);
        state.head = backstay::pipeline::ChainHead { number, sha256: digest };
        stored.insert(layout::log(&name(), number), [&line[..], &step.body].concat());
        stored.extend(step.object.clone());
    }
    stored
}

/// Cluster, runs and keys; `wrap` wraps the DEK of a run.
pub(crate) fn beside(wrap: impl Fn(Who) -> WrappedDek) -> Stored {
    let (c, signer) = (name(), RunKey::from_seed(&SIGNER).unwrap());
    let cluster = ClusterRecord {
        version: 1,
        cluster_uuid: header(0).cluster,
        run_id: FIRST.run(),
        created_at: at(0),
    };
    let mut stored: Stored = [(layout::cluster(&c), signed(&cluster, &FIRST.key(), |_| {}))].into();
    for who in [FIRST, SECOND, BACKUP] {
        let record =
            RunRecord { role: who.role, ..run_record(who.run(), who.dek_id(), &who.key()) };
        stored.insert(layout::run(&c, who.run()), signed(&record, &signer, |_| {}));
        let key = KeyRecord {
            version: 1,
            cluster_uuid: header(0).cluster,
            dek_id: who.dek_id(),
            generation: 1,
            run_id: who.run(),
            created_at: at(0),
            commitment: Sha256Digest(
                Dek::from_bytes(who.dek()).commitment(who.dek_id().as_bytes()),
            ),
            wraps: vec![wrap(who)],
        };
        stored.insert(layout::key(&c, who.dek_id(), 1), signed(&key, &who.key(), |_| {}));
    }
    stored
}
