//! What an archiver would write of these servers: records that `LogState` accepts.

use std::collections::{BTreeMap, BTreeSet};

use backstay::{
    format::{
        Branch, CommitSpan, EpochEntry, EpochReason, ForkEntry, GapEntry, HeartbeatEntry, LogEntry,
        LogRange, LogRecord, LogServer, Opening, SealedRange, SegmentData, SegmentEntry, TailEntry,
    },
    model::{ClusterUuid, GtidState, HistoryId, RunId, SegmentId, Sha256Digest, Timestamp},
    pipeline::log::{Archive, LogState},
};

use crate::world::{EVENT, File, HEAD, Server, Tx, World};

fn sealed() -> SealedRange {
    SealedRange { sequence: 0, bytes: 1, sha256: Sha256Digest([0; 32]), chunks: 1 }
}

pub(crate) struct Archiver {
    pub(crate) state: LogState,
    archive: (Vec<backstay::format::SegmentSummary>, Vec<LogRecord>),
    history: HistoryId,
    run: u8,
    epoch: u64,
    pub(crate) server: Option<Server>,
    /// The file being read, by number, and how far.
    pub(crate) file: usize,
    pub(crate) at: u64,
    /// A file whose tails still want their segment.
    late: Option<(Server, usize)>,
    /// The transactions that end in a record, with where they begin.
    pub(crate) holds: BTreeMap<u64, Vec<(u64, Tx)>>,
    pub(crate) archived: BTreeSet<usize>,
    /// All records.
    pub(crate) records: Vec<LogRecord>,
    /// The records in words, for a test that fails.
    pub(crate) told: Vec<String>,
}

impl Archiver {
    pub(crate) fn new() -> Self {
        Self {
            state: LogState::default(),
            archive: (Vec::new(), Vec::new()),
            history: HistoryId::from_bytes([0; 16]),
            run: 0,
            epoch: 0,
            server: None,
            file: 0,
            at: 0,
            late: None,
            holds: BTreeMap::new(),
            archived: BTreeSet::new(),
            records: Vec::new(),
            told: Vec::new(),
        }
    }

    pub(crate) fn archive(&self) -> Archive {
        let mut segments = self.archive.0.clone();
        segments.extend(self.state.segments.iter().cloned());
        let (notes, state) = (self.archive.1.clone(), self.state.clone());
        Archive { segments, notes, state, ..Archive::default() }
    }

    fn append(&mut self, entry: LogEntry, now: Timestamp) -> u64 {
        if self.state.checkpoint_is_due() {
            let checkpoint = self.state.checkpoint_entry().unwrap();
            self.archive.0.extend(checkpoint.segments.iter().cloned());
            self.write(LogEntry::Checkpoint(checkpoint), now);
        }
        self.write(entry, now)
    }

    fn write(&mut self, entry: LogEntry, now: Timestamp) -> u64 {
        let number = self.state.head.number + 1;
        let record = LogRecord {
            version: 1,
            cluster_uuid: ClusterUuid::from_bytes([1; 16]),
            number,
            previous: self.state.head.sha256,
            run_id: RunId::from_bytes([self.run; 16]),
            // Whoever claims may have to write a checkpoint first, which is of the epoch before.
            epoch: match &entry {
                LogEntry::Checkpoint(_) => self.state.epoch(),
                _ => self.epoch,
            },
            at: now,
            entry,
        };
        self.told.push(match &record.entry {
            LogEntry::Tail(TailEntry { range, .. })
            | LogEntry::Segment(SegmentEntry { range, .. }) => {
                let kind =
                    if matches!(record.entry, LogEntry::Tail(_)) { "tail" } else { "segment" };
                let previous = range.opening.as_ref().map(|opening| &opening.previous);
                format!(
                    "{number} {kind} {} {} [{}, {}) {} {} previous {previous:?}",
                    range.server, range.file, range.start, range.end, range.gtids, range.cut
                )
            }
            LogEntry::Epoch(epoch) => {
                format!("{number} epoch {}, {:?}", epoch.server.name, epoch.parent)
            }
            other => format!("{number} {}", serde_json::to_string(other).unwrap()),
        });
        let mut sha = [7; 32];
        sha[..8].copy_from_slice(&number.to_le_bytes());
        self.state.apply(&record, Sha256Digest(sha)).unwrap();
        self.records.push(record.clone());
        if matches!(record.entry, LogEntry::Epoch(_) | LogEntry::Gap(_) | LogEntry::Fork(_)) {
            self.archive.1.push(record);
        }
        number
    }

    fn claim(&mut self, server: &Server, reason: EpochReason, resume: bool, now: Timestamp) {
        self.claim_new(server, reason, resume, None, now);
    }

    fn claim_new(
        &mut self,
        server: &Server,
        reason: EpochReason,
        resume: bool,
        parent: Option<Branch>,
        now: Timestamp,
    ) {
        self.run += 1;
        self.epoch += 1;
        if parent.is_some() {
            self.history = HistoryId::from_bytes([self.run; 16]);
        }
        let flavor = match server.executed {
            GtidState::Mysql(_) => backstay::model::Flavor::Mysql,
            GtidState::Mariadb(_) => backstay::model::Flavor::Mariadb,
        };
        let entry = EpochEntry {
            reason,
            server: LogServer {
                name: server.name.clone(),
                flavor,
                version: "9.7.0".parse().unwrap(),
                server_id: server.id,
            },
            history: self.history,
            parent,
            resumes: if resume { self.state.durable() } else { None },
            connections: Vec::new(),
        };
        self.append(LogEntry::Epoch(entry), now);
        self.promote(now);
    }

    fn promote(&mut self, now: Timestamp) {
        self.late = None;
        for file in self.state.files.clone() {
            let Some(first) = file.tails.first() else { continue };
            let mut range = first.range.clone();
            for tail in &file.tails[1..] {
                range.end = tail.range.end;
                range.transactions += tail.range.transactions;
                range.gtids.merge(&tail.range.gtids);
                range.committed = span(range.committed, tail.range.committed);
                (range.cut, range.closed) = (tail.range.cut, tail.range.closed);
            }
            let numbers = file.tails.iter().map(|tail| tail.number);
            let held = numbers.flat_map(|n| self.holds.get(&n).cloned().unwrap_or_default());
            let held: Vec<_> = held.collect();
            let data = SegmentData::Tails(file.open.tails.clone());
            let number = self.append(LogEntry::Segment(SegmentEntry { range, data }), now);
            self.holds.insert(number, held);
        }
    }

    /// Finds where to read on, as `backstay archive` does, and claims.
    pub(crate) fn connect(&mut self, world: &mut World) {
        let now = world.now();
        let primary = world.primary.clone();
        let Some(server) = self.server.clone() else {
            self.claim(&primary, EpochReason::First, false, now);
            (self.server, self.file, self.at) = (Some(primary.clone()), primary.files[0].number, 0);
            return;
        };
        let same = server.name == primary.name;
        if same && primary.files.iter().any(|file| file.number == self.file) && self.at > 0 {
            self.claim(&primary, EpochReason::Silence, true, now);
            self.server = Some(primary);
            return;
        }
        let lost = self.state.frontier.missing_from(&primary.executed);
        self.claim(&primary, EpochReason::Server, false, now);
        if let Some(lost) = lost {
            assert!(!same);
            let fork = ForkEntry {
                left: server.name.clone(),
                taken: primary.name.clone(),
                forked: lost.text,
                transactions: lost.count,
                frontier: self.state.frontier.shared_with(&primary.executed),
            };
            self.append(LogEntry::Fork(fork), now);
        }
        self.begin(&primary, now);
    }

    /// Begins with the newest file that continues the frontier; records a gap when none does.
    fn begin(&mut self, primary: &Server, now: Timestamp) {
        let mut files = primary.files.iter().rev();
        let file = files.find(|file| file.previous.is_within(&self.state.frontier));
        let number = if let Some(file) = file {
            file.number
        } else {
            let oldest = &primary.files[0];
            let missing = oldest.previous.missing_from(&self.state.frontier).unwrap();
            let gap = GapEntry {
                server: primary.name.clone(),
                file: oldest.name().parse().unwrap(),
                missing: missing.text,
                transactions: missing.count,
                after: self.state.committed_until,
                resumes_at: oldest.previous.clone(),
            };
            self.append(LogEntry::Gap(gap), now);
            oldest.number
        };
        (self.server, self.file, self.at) = (Some(primary.clone()), number, 0);
    }

    /// After a reset, as with `--new-history`.
    pub(crate) fn new_history(&mut self, world: &mut World) {
        let now = world.now();
        let primary = world.primary.clone();
        let at = self.state.frontier.shared_with(&primary.executed);
        let parent = Some(Branch { history: self.history, at });
        self.claim_new(&primary, EpochReason::Takeover, false, parent, now);
        (self.server, self.file, self.at) = (Some(primary.clone()), primary.files[0].number, 0);
    }

    /// Whether everything is durable.
    pub(crate) fn is_current(&self, world: &World) -> bool {
        let last = world.primary.files.last().unwrap();
        self.file == last.number && self.at == last.end()
    }

    /// Reads on: maybe a little, maybe all there is.
    pub(crate) fn read(&mut self, world: &mut World) {
        let primary = world.primary.clone();
        if self.server.as_ref().is_none_or(|server| server.name != primary.name) {
            return;
        }
        self.server = Some(primary.clone());
        let Some(place) = primary.files.iter().position(|file| file.number == self.file) else {
            if self.at == 0 {
                // It went before anything was read.
                return;
            }
            // Purged under our eyes: the same session goes on with what is there.
            let now = world.now();
            self.begin(&primary, now);
            return;
        };
        let file = primary.files[place].clone();
        let closed = place + 1 < primary.files.len();
        let left = file.end() - self.at;
        let to = if world.random.below(3) == 0 {
            file.end()
        } else {
            let events = (left / EVENT).min(12);
            self.at + EVENT * (world.random.next() % (events + 1))
        };
        let to = if self.at == 0 { to.max(HEAD) } else { to };
        let ends = closed && to == file.end();
        let now = world.now();
        if to > self.at || (ends && to == self.at) {
            self.ship(world, &primary, &file, to, ends, now);
        }
        if ends {
            let next = primary.files[place + 1].number;
            if world.random.one_in(2) {
                self.late = Some((primary.clone(), self.file));
            } else {
                self.segment(&primary, self.file, now);
            }
            (self.file, self.at) = (next, 0);
        } else if world.random.one_in(4) {
            self.settle_late(now);
            self.segment(&primary, self.file, now);
        } else if world.random.one_in(2) && self.at > 0 {
            self.settle_late(now);
        }
    }

    fn settle_late(&mut self, now: Timestamp) {
        if let Some((server, file)) = self.late.take() {
            self.segment(&server, file, now);
        }
    }

    fn ship(
        &mut self,
        world: &mut World,
        server: &Server,
        file: &File,
        to: u64,
        closed: bool,
        now: Timestamp,
    ) {
        // In bulk the segment comes without tails, and its own bytes are the first of them.
        let bulk = world.random.one_in(4) && to > self.at;
        let (start, end) = (self.at, to);
        if bulk {
            self.settle_late(now);
            let open =
                self.state.files.last().filter(|open| open.open.file.as_str() == file.name());
            let start = open.filter(|_| start > 0).map_or(start, |open| open.open.segmented);
            self.record_segment(server, file, (start, end), closed, now);
        } else if to > self.at {
            if self.at == 0 && self.late.is_some() && world.random.one_in(2) {
                self.settle_late(now);
            }
            let (range, held) = range(server, file, start, end, closed);
            self.archived.extend(held.iter().map(|(_, tx)| tx.id));
            let number = self.append(LogEntry::Tail(TailEntry { range, sealed: sealed() }), now);
            self.holds.insert(number, held);
        }
        self.at = to;
    }

    /// Puts the tails of a file into a segment.
    fn segment(&mut self, server: &Server, number: usize, now: Timestamp) {
        let Some(file) = server.files.iter().find(|file| file.number == number) else { return };
        let open =
            self.state.files.iter().find(|open| {
                open.open.file.as_str() == file.name() && open.open.server == server.name
            });
        let Some(open) = open.filter(|open| !open.tails.is_empty()) else { return };
        let (start, end, closed) = (open.open.segmented, open.open.durable, open.open.closed);
        self.record_segment(server, file, (start, end), closed, now);
    }

    fn record_segment(
        &mut self,
        server: &Server,
        file: &File,
        (start, end): (u64, u64),
        closed: bool,
        now: Timestamp,
    ) {
        let (range, held) = range(server, file, start, end, closed);
        self.archived.extend(held.iter().map(|(_, tx)| tx.id));
        let data = SegmentData::Object { id: SegmentId::from_bytes([0; 16]), sealed: sealed() };
        let number = self.append(LogEntry::Segment(SegmentEntry { range, data }), now);
        self.holds.insert(number, held);
    }

    pub(crate) fn beat(&mut self, world: &mut World) {
        let (Some(server), now) = (self.server.clone(), world.now()) else { return };
        let primary = &world.primary;
        let last = primary.files.last().unwrap();
        let durable = self.state.durable();
        let quiet = primary.name == server.name
            && durable
                .as_ref()
                .is_some_and(|at| at.file == last.name() && at.position == last.end());
        let beat = HeartbeatEntry {
            server: server.name,
            position: durable,
            quiet_until: quiet.then_some(now),
            released: false,
        };
        self.append(LogEntry::Heartbeat(beat), now);
    }
}

fn span(a: Option<CommitSpan>, b: Option<CommitSpan>) -> Option<CommitSpan> {
    match (a, b) {
        (Some(a), Some(b)) => {
            Some(CommitSpan { first: a.first.min(b.first), last: a.last.max(b.last) })
        }
        (a, b) => a.or(b),
    }
}

fn range(
    server: &Server,
    file: &File,
    start: u64,
    end: u64,
    closed: bool,
) -> (LogRange, Vec<(u64, Tx)>) {
    let mut range = LogRange {
        server: server.name.clone(),
        file: file.name().parse().unwrap(),
        created: file.created,
        start,
        end,
        transactions: 0,
        gtids: GtidState::empty(backstay::model::Flavor::Mysql),
        committed: None,
        last_group: None,
        cut: false,
        opening: (start == 0)
            .then(|| Opening { previous: file.previous.clone(), outline: Sha256Digest([0; 32]) }),
        closed,
    };
    let mut held = Vec::new();
    for (begin, ends, tx) in file.placed() {
        if ends > start && ends <= end {
            range.transactions += 1;
            range.gtids.add(&tx.gtid);
            range.committed = span(range.committed, Some(CommitSpan { first: tx.at, last: tx.at }));
            held.push((begin, tx.clone()));
        }
        range.cut |= begin < end && ends > end;
    }
    (range, held)
}
