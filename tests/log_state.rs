//! The fold over the log: whatever an archiver may write is taken, and leads where it should; what
//! was moved, dropped, renumbered or put into another epoch is not.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use backstay::{
    format::{
        CHECKPOINT_EVERY, EpochEntry, EpochReason, ForkEntry, GapEntry, HeartbeatEntry, LogEntry,
        LogRange, LogRecord, LogServer, Opening, SealedRange, SegmentData, SegmentEntry, TailEntry,
    },
    model::{
        BinlogPosition, ClusterUuid, Flavor, GtidState, HistoryId, RunId, SegmentId, Sha256Digest,
    },
    pipeline::log::{Applied, LogState, Owner, TailRef},
};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

fn digest(record: &LogRecord) -> Sha256Digest {
    Sha256Digest(Sha256::digest(serde_json::to_vec(record).unwrap()).into())
}

/// A uuid for each of four servers.
fn server(n: u8) -> String {
    format!("3e11fa47-71ca-11e1-9e33-c80aa942956{}", n % 4)
}

/// An archiver, as simple as it can be, that keeps its own account of what it wrote.
struct Archiver {
    records: Vec<LogRecord>,
    fold: LogState,
    epoch: u64,
    run: u8,
    server: u8,
    file: u32,
    /// Of the file being read; nothing while it has not begun.
    durable: u64,
    segmented: u64,
    closed: bool,
    tails: Vec<(u64, u64)>,
    /// The transactions that are archived, by server and number.
    frontier: BTreeSet<(u8, u64)>,
    given: u64,
    quiet: bool,
}

impl Archiver {
    fn new() -> Self {
        let mut new = Self {
            records: Vec::new(),
            fold: LogState::default(),
            epoch: 0,
            run: 1,
            server: 0,
            file: 1,
            durable: 0,
            segmented: 0,
            closed: false,
            tails: Vec::new(),
            frontier: BTreeSet::new(),
            given: 0,
            quiet: false,
        };
        new.claim(EpochReason::First, 1, None);
        new
    }

    fn state(&self) -> GtidState {
        let mut state = GtidState::empty(Flavor::Mysql);
        for (of, number) in &self.frontier {
            state.add_mysql(&server(*of), *number);
        }
        state
    }

    fn write_as(&mut self, run: u8, epoch: u64, entry: LogEntry) {
        let number = self.fold.head.number + 1;
        let record = LogRecord {
            version: 1,
            cluster_uuid: ClusterUuid::from_bytes([9; 16]),
            number,
            previous: self.fold.head.sha256,
            run_id: RunId::from_bytes([run; 16]),
            epoch,
            at: "2026-11-20T20:43:17Z".parse().unwrap(),
            entry,
        };
        assert!(self.fold.apply(&record, digest(&record)).is_ok(), "{record:?}");
        self.records.push(record);
        if self.fold.checkpoint_is_due() {
            let checkpoint = self.fold.checkpoint_entry().unwrap();
            // Anybody may write it.
            self.write_as(run ^ 1, self.fold.epoch(), LogEntry::Checkpoint(checkpoint));
        }
    }

    fn write(&mut self, entry: LogEntry) {
        self.write_as(self.run, self.epoch, entry);
    }

    fn claim(&mut self, reason: EpochReason, run: u8, resumes: Option<BinlogPosition>) {
        self.epoch += 1;
        self.run = run;
        self.quiet &= resumes.is_some();
        let server = LogServer {
            name: server(self.server).parse().unwrap(),
            flavor: Flavor::Mysql,
            version: "9.7.1".parse().unwrap(),
            server_id: 1,
        };
        let history = HistoryId::from_bytes([1; 16]);
        self.write(LogEntry::Epoch(EpochEntry {
            reason,
            server,
            history,
            parent: None,
            resumes,
            connections: Vec::new(),
        }));
    }

    fn name(&self) -> String {
        format!("binlog.{:06}", self.file)
    }

    fn position(&self) -> BinlogPosition {
        BinlogPosition { file: self.name(), position: self.durable }
    }

    /// The next bytes, and so many transactions in them.
    fn range(&mut self, start: u64, end: u64, transactions: u64) -> LogRange {
        let opening = (start == 0)
            .then(|| Opening { previous: self.state(), outline: Sha256Digest([3; 32]) });
        let mut gtids = GtidState::empty(Flavor::Mysql);
        for _ in 0..transactions {
            self.given += 1;
            gtids.add_mysql(&server(self.server), self.given);
            self.frontier.insert((self.server % 4, self.given));
        }
        LogRange {
            server: server(self.server).parse().unwrap(),
            file: self.name().parse().unwrap(),
            created: "2026-11-20T20:00:00Z".parse().unwrap(),
            start,
            end,
            transactions,
            gtids,
            committed: None,
            last_group: None,
            cut: false,
            opening,
            closed: false,
        }
    }

    fn sealed(&self) -> SealedRange {
        let sequence = self.fold.head.number;
        SealedRange { sequence, bytes: 700, sha256: Sha256Digest([4; 32]), chunks: 1 }
    }

    fn tail(&mut self, bytes: u64, transactions: u64, closes: bool) {
        let (start, end) = (self.durable, self.durable + bytes);
        let mut range = self.range(start, end, transactions);
        range.closed = closes;
        let sealed = self.sealed();
        self.tails.push((self.fold.head.number + 1, end));
        (self.durable, self.closed) = (end, closes);
        // Something has come since.
        self.quiet = false;
        self.write(LogEntry::Tail(TailEntry { range, sealed }));
    }

    fn segment(&mut self, end: u64, transactions: u64, data: SegmentData) {
        let mut range = self.range(self.segmented, end, transactions);
        range.closed = self.closed && end >= self.durable;
        self.tails.retain(|(_, tail)| *tail > end);
        self.quiet &= end <= self.durable;
        (self.segmented, self.durable) = (end, self.durable.max(end));
        self.write(LogEntry::Segment(SegmentEntry { range, data }));
    }

    fn object(&self) -> SegmentData {
        SegmentData::Object { id: SegmentId::from_bytes([5; 16]), sealed: self.sealed() }
    }

    /// Tails that no segment supersedes stay for good.
    fn promote(&mut self) {
        let Some(&(_, end)) = self.tails.last() else { return };
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for &(number, _) in &self.tails {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => runs.push((number, number)),
            }
        }
        // A segment may have ended inside the first of them.
        if self.fold.files.last().unwrap().tails[0].range.start == self.segmented {
            self.segment(end, 0, SegmentData::Tails(runs));
        } else {
            let object = self.object();
            self.segment(end, 0, object);
        }
    }

    fn leave_file(&mut self) {
        self.file += 1;
        (self.durable, self.segmented, self.closed) = (0, 0, false);
        self.tails.clear();
    }

    /// One of the things that an archiver does.
    fn act(&mut self, choice: u8, size: u64) {
        let begun = self.durable > 0;
        match choice % 16 {
            6 if !self.tails.is_empty() => {
                let at = usize::try_from(size).unwrap() % self.tails.len();
                // At the end of a tail, or a byte before it where that leaves anything.
                let end = self.tails[at].1;
                let end =
                    if size.is_multiple_of(5) && end - 1 > self.segmented { end - 1 } else { end };
                let object = self.object();
                self.segment(end, 0, object);
            }
            7 if begun && !self.closed => {
                let object = self.object();
                self.segment(self.durable + size, size % 3, object);
            }
            8 => self.promote(),
            9 if begun => {
                self.promote();
                if !self.closed {
                    self.tail(size, 1, true);
                }
                self.leave_file();
            }
            10 if begun => {
                let at = self.position();
                self.claim(EpochReason::Silence, self.run ^ 1, Some(at));
            }
            11 => {
                self.promote();
                self.server += 1;
                self.leave_file();
                self.claim(EpochReason::Server, self.run, None);
                if let Some(&lost) = self.frontier.last().filter(|_| size.is_multiple_of(2)) {
                    self.frontier.remove(&lost);
                    let frontier = self.state();
                    self.write(LogEntry::Fork(ForkEntry {
                        left: server(self.server + 3).parse().unwrap(),
                        taken: server(self.server).parse().unwrap(),
                        forked: format!("{}:{}", server(lost.0), lost.1),
                        transactions: 1,
                        frontier,
                    }));
                }
            }
            12 if !begun => {
                self.given += 2;
                self.frontier.insert((self.server % 4, self.given));
                let resumes_at = self.state();
                self.write(LogEntry::Gap(GapEntry {
                    server: server(self.server).parse().unwrap(),
                    file: self.name().parse().unwrap(),
                    missing: "some".into(),
                    transactions: 1,
                    after: None,
                    resumes_at,
                }));
            }
            13 => self.beat(begun, false),
            14 if self.epoch > 1 => {
                // Somebody who was fenced, and does not know.
                let range = self.range(self.durable, self.durable + size, 0);
                let tail = TailEntry { range, sealed: self.sealed() };
                self.write_as(self.run ^ 1, self.epoch - 1, LogEntry::Tail(tail));
            }
            15 => self.beat(false, true),
            _ if !self.closed => self.tail(size, size % 4, false),
            _ => self.leave_file(),
        }
    }

    fn beat(&mut self, quiet: bool, released: bool) {
        let quiet_until = quiet.then(|| "2026-11-20T20:43:17Z".parse().unwrap());
        self.quiet |= quiet;
        self.write(LogEntry::Heartbeat(HeartbeatEntry {
            server: server(self.server).parse().unwrap(),
            position: quiet.then(|| self.position()),
            quiet_until,
            released,
        }));
    }

    fn done(actions: &[(u8, u64)]) -> Self {
        let mut archiver = Self::new();
        for &(choice, size) in actions {
            archiver.act(choice, size);
        }
        archiver
    }
}

/// Folds records, each with its own digest. The number of those taken, and the state behind them.
fn fold(records: &[LogRecord]) -> (usize, LogState, Option<Applied>) {
    let (mut state, mut last) = (LogState::default(), None);
    for (taken, record) in records.iter().enumerate() {
        let mut next = state.clone();
        match next.apply(record, digest(record)) {
            Ok(applied) => (state, last) = (next, Some(applied)),
            Err(_) => return (taken, state, last),
        }
    }
    (records.len(), state, last)
}

/// Numbers and links records anew, as their writer would.
fn chained(mut records: Vec<LogRecord>) -> Vec<LogRecord> {
    let mut previous = Sha256Digest([0; 32]);
    for (number, record) in (1..).zip(&mut records) {
        (record.number, record.previous) = (number, previous);
        previous = digest(record);
    }
    records
}

fn some(most: usize) -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((any::<u8>(), 1u64..900), 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_an_archiver_writes_is_taken(actions in some(120)) {
        let archiver = Archiver::done(&actions);
        let (taken, state, _) = fold(&archiver.records);
        prop_assert_eq!(taken, archiver.records.len());
        prop_assert_eq!(&state, &archiver.fold);
        prop_assert_eq!(state.epoch(), archiver.epoch);
        prop_assert_eq!(&state.frontier, &archiver.state());
        prop_assert_eq!(state.quiet_until.is_some(), archiver.quiet);
        if archiver.durable > 0 {
            let file = state.files.last().unwrap();
            prop_assert_eq!(state.durable(), Some(archiver.position()));
            prop_assert_eq!(file.open.segmented, archiver.segmented);
            let tails: Vec<_> = file.tails.iter().map(|t| (t.number, t.range.end)).collect();
            prop_assert_eq!(tails, archiver.tails);
        }
    }

    #[test]
    fn what_was_moved_or_changed_is_refused(actions in some(60), at in any::<prop::sample::Index>(), what in 0u8..7) {
        let mut records = Archiver::done(&actions).records;
        let at = at.index(records.len());
        let is_last = at + 1 == records.len();
        // That the last one is missing can only tell who kept a head.
        let what = if is_last && what < 2 { 6 } else { what };
        match what {
            0 => records.swap(at, at + 1),
            1 => drop(records.remove(at)),
            2 => records.insert(at, records[at].clone()),
            3 => records[at].number += 1,
            4 => records[at].previous.0[at % 32] ^= 1,
            5 => records[at].epoch += 1,
            _ => records[at].epoch -= 1,
        }
        let (taken, _, last) = fold(&records);
        if what >= 5 && is_last && taken == records.len() {
            // In an older epoch it says nothing, and nothing else can tell.
            prop_assert_eq!(last, Some(Applied::Void));
        } else {
            prop_assert!(taken < records.len(), "change {} of record {} went unnoticed", what, at + 1);
        }
    }

    /// Even by who signs it all anew.
    #[test]
    fn no_tail_can_be_left_out_of_the_bytes(actions in some(60), at in any::<prop::sample::Index>()) {
        let archiver = Archiver::done(&actions);
        let is_tail = |record: &LogRecord| match &record.entry {
            LogEntry::Tail(tail) => Some((tail.range.file.clone(), tail.range.end)),
            _ => None,
        };
        let mut counted = Vec::new();
        let mut state = LogState::default();
        for (n, record) in archiver.records.iter().enumerate() {
            let applied = state.apply(record, digest(record)).unwrap();
            if let (Some(tail), Applied::Counted) = (is_tail(record), applied) {
                counted.push((n, tail));
            }
        }
        // One that the next tail of its file builds on.
        let pairs: Vec<_> = counted.windows(2).filter(|pair| pair[0].1.0 == pair[1].1.0).collect();
        prop_assume!(!pairs.is_empty());
        let pair = pairs[at.index(pairs.len())];
        let between = &archiver.records[pair[0].0 + 1..pair[1].0];
        // A segment would hold the bytes itself, and a promotion names the number.
        prop_assume!(!between.iter().any(|r| matches!(r.entry, LogEntry::Segment(_))));
        let mut records = archiver.records[..=pair[1].0].to_vec();
        records.remove(pair[0].0);
        let records = chained(records);
        let (taken, ..) = fold(&records);
        prop_assert!(taken < records.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn from_a_checkpoint_on_all_is_as_from_the_beginning(actions in prop::collection::vec((any::<u8>(), 1u64..900), 1200..2600)) {
        let archiver = Archiver::done(&actions);
        let records = &archiver.records;
        let record = |number: u64| &records[usize::try_from(number - 1).unwrap()];
        let mut seen = 0;
        for number in (CHECKPOINT_EVERY..=records.len() as u64).step_by(1024) {
            seen += 1;
            let LogEntry::Checkpoint(checkpoint) = &record(number).entry else {
                return Err(TestCaseError::fail(format!("{number} is no checkpoint")));
            };
            let claim = record(checkpoint.epoch_record);
            let LogEntry::Epoch(epoch) = &claim.entry else {
                return Err(TestCaseError::fail("its claim is none"));
            };
            let owner = Owner {
                epoch: claim.epoch,
                record: claim.number,
                run: claim.run_id,
                server: epoch.server.clone(),
                history: epoch.history,
            };
            let numbers = checkpoint.files.iter().flat_map(|f| &f.tails).flat_map(|&(a, b)| a..=b);
            let tails = numbers.map(|number| match &record(number).entry {
                LogEntry::Tail(t) => TailRef { number, range: t.range.clone(), bytes: t.sealed.bytes },
                _ => unreachable!("{number} is no tail"),
            });
            let head = backstay::pipeline::ChainHead { number, sha256: digest(record(number)) };
            let mut state = LogState::resume(head, checkpoint, owner, tails.collect()).unwrap();
            let (_, mut whole, _) = fold(&records[..usize::try_from(number).unwrap()]);
            // Whether the owner had let go is not in a checkpoint.
            whole.released = false;
            prop_assert_eq!(&state, &whole);
            for record in &records[usize::try_from(number).unwrap()..] {
                prop_assert!(state.apply(record, digest(record)).is_ok());
            }
            whole = archiver.fold.clone();
            whole.released = state.released;
            // What lies before a later checkpoint is in that one.
            prop_assert_eq!(state, whole);
        }
        prop_assert!(seen > 0);
    }
}
