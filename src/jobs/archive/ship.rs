//! From captured events to durable records: tails, segments, and when to cut them.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use super::{
    outline::Outline,
    range::{FileId, RangeBuilder},
    status::Status,
};
use crate::{
    format::{
        ForkEntry, GapEntry, GroupMark, LogEntry, LogRange, OpenFile, Opening, SegmentData,
        SegmentEntry, TailEntry,
    },
    model::{BinlogName, Flavor, Gtid, GtidSet, GtidState, Missing, ServerName, Timestamp},
    mysql::replication::{EventEnd, Meaning},
    pipeline::{
        PipelineError,
        budget::{LOG_EVENT_BYTES, SEGMENT_BYTES, TAIL_BYTES},
        log::{LogState, LogWriter, SegmentSealer, TailSealer},
    },
};

/// The first bytes of every binlog file; no dump has them.
const MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];
/// A segment that fills slowly is closed after this long.
const SEGMENT_AGE: Duration = Duration::from_mins(10);
/// While the archive catches up, segments are not cut shorter than this.
const CATCHING_UP: Duration = Duration::from_millis(250);

struct Tail {
    sealer: TailSealer,
    range: RangeBuilder,
    bytes: u64,
    since: Instant,
}

struct Segment {
    sealer: SegmentSealer,
    range: RangeBuilder,
    since: Instant,
}

/// The last transaction of a domain that is archived, and not met yet where reading began.
struct Unmatched {
    server: u32,
    sequence: u64,
    /// Whether any archived transaction of the domain was met. What comes before is older than
    /// the archive.
    joined: bool,
}

/// Bytes that are durable already and are read again, to be compared.
struct Skim {
    until: u64,
    opening: Opening,
    last_group: Option<GroupMark>,
}

/// A segment whose last part is on its way.
type Finishing = JoinHandle<(LogRange, Result<SegmentData, PipelineError>)>;

/// Ships what is captured, event by event.
pub(super) struct Shipper {
    pub(super) writer: LogWriter,
    status: Arc<Status>,
    flavor: Flavor,
    rpo: Duration,
    server: ServerName,
    file: Option<FileId>,
    name: Option<BinlogName>,
    /// Everything before this offset of the file has been taken, event by event.
    at: u64,
    cut: bool,
    closed: bool,
    /// The event being taken, when it is small enough to be held until its checksum is known.
    event: Vec<u8>,
    large: bool,
    tail: Option<Tail>,
    segment: Option<Segment>,
    finishing: Option<Finishing>,
    /// Whether tails are left out: the archive is behind, or an event is too large for one.
    bulk: bool,
    /// Whether the source has been waited for since the last tail.
    waited: bool,
    /// The outline of the open transaction, and where it began.
    group: Option<(u64, Outline)>,
    /// The outline of the file's beginning, until it is complete.
    opening: Option<Outline>,
    /// What is being read again, if anything.
    skim: Option<Skim>,
    /// Whether what was read again is not what was archived.
    differs: bool,
    /// MariaDB, where reading began: what was archived before.
    before: GtidState,
    /// The last transaction of each of its domains, until it is met.
    unmatched: BTreeMap<u32, Unmatched>,
    last_append: Instant,
}

impl Shipper {
    pub(super) fn new(
        writer: LogWriter,
        status: Arc<Status>,
        rpo: Duration,
    ) -> Result<Self, PipelineError> {
        let owner = writer.state().owner.clone().ok_or(PipelineError::Worker)?;
        status.durable(writer.state(), writer.written(), true);
        Ok(Self {
            writer,
            status,
            flavor: owner.server.flavor,
            rpo,
            server: owner.server.name,
            file: None,
            name: None,
            at: 0,
            cut: false,
            closed: false,
            event: Vec::new(),
            large: false,
            tail: None,
            segment: None,
            finishing: None,
            bulk: false,
            waited: true,
            group: None,
            opening: None,
            skim: None,
            differs: false,
            before: GtidState::empty(Flavor::Mariadb),
            unmatched: BTreeMap::new(),
            last_append: Instant::now(),
        })
    }

    /// When something was last written.
    pub(super) fn last_append(&self) -> Instant {
        self.last_append
    }

    /// Whether everything that was taken is durable.
    pub(super) fn is_shipped(&self) -> bool {
        let durable = self.writer.state().durable();
        match (&self.name, durable) {
            (Some(name), Some(durable)) => {
                durable.file == name.as_str() && durable.position == self.at
            }
            _ => self.at == 0,
        }
    }

    /// Reading begins with another file: what was archived last has to be met in it. MariaDB only,
    /// whose positions name but the last transaction of a domain; sets of MySQL tell by themselves.
    pub(super) fn expect(&mut self) {
        self.before = self.writer.state().frontier.clone();
        if let GtidSet::Mariadb(domains) = self.before.position() {
            let unmatched = |(domain, (server, sequence))| {
                (domain, Unmatched { server, sequence, joined: false })
            };
            self.unmatched = domains.into_iter().map(unmatched).collect();
        }
    }

    /// Appends a record beside the bytes.
    pub(super) async fn note(&mut self, entry: LogEntry) -> Result<(), PipelineError> {
        self.append(entry, None).await.map(drop)
    }

    async fn append(
        &mut self,
        entry: LogEntry,
        body: Option<bytes::Bytes>,
    ) -> Result<u64, PipelineError> {
        let number = self.writer.append(entry, body).await?;
        self.last_append = Instant::now();
        let shipped = self.is_shipped();
        self.status.durable(self.writer.state(), self.writer.written(), shipped);
        Ok(number)
    }

    /// A file begins, or goes on where it was left.
    pub(super) async fn file(
        &mut self,
        name: &BinlogName,
        offset: u64,
    ) -> Result<(), PipelineError> {
        if self.name.as_ref() == Some(name) && offset == self.at {
            return Ok(());
        }
        if self.skims() {
            // The server's file ends before what is archived of it does.
            self.differs = true;
            return Ok(());
        }
        if self.name.is_some() && self.at > 0 {
            // The server goes on with another file, with or without having said so in this one.
            self.close_file().await?;
        }
        self.name = Some(name.clone());
        self.file = None;
        (self.cut, self.closed) = (false, false);
        self.group = None;
        self.at = 0;
        self.opening = Some(Outline::default());
        self.event.extend_from_slice(&MAGIC);
        self.take_event().await?;
        self.at = MAGIC.len() as u64;
        Ok(())
    }

    /// Goes on in the file that the log ends in. What is read from `from` on is compared with
    /// what is durable, up to its end.
    pub(super) async fn resume(&mut self, open: &OpenFile, from: u64) {
        let same = self.name.as_ref() == Some(&open.file) && self.at == open.durable;
        if !same {
            self.abandon().await;
        }
        self.name = Some(open.file.clone());
        self.file = Some(FileId {
            server: open.server.clone(),
            file: open.file.clone(),
            created: open.created,
        });
        self.at = from;
        self.skim = Some(Skim {
            until: open.durable,
            opening: open.opening.clone(),
            last_group: open.last_group.clone(),
        });
        self.opening = (from == MAGIC.len() as u64).then(Outline::default);
        self.event.clear();
        (self.large, self.closed, self.group) = (false, false, None);
    }

    /// Whether the server has other bytes than those that are archived of the same file.
    pub(super) fn differs(&self) -> bool {
        self.differs
    }

    fn skims(&self) -> bool {
        self.skim.as_ref().is_some_and(|skim| self.at < skim.until)
    }

    async fn close_file(&mut self) -> Result<(), PipelineError> {
        self.closed = true;
        self.flush().await?;
        self.close_segment().await
    }

    /// An event begins.
    pub(super) async fn event(
        &mut self,
        offset: u64,
        length: u64,
        kind: u8,
    ) -> Result<(), PipelineError> {
        debug_assert_eq!(offset, self.at);
        self.event.clear();
        self.large = length > LOG_EVENT_BYTES as u64;
        if self.large && !self.skims() {
            // It is too large to be held: it goes into a segment, and what came before is shipped.
            self.flush().await?;
            (self.bulk, self.waited) = (true, false);
        }
        if let Some(opening) = &mut self.opening {
            opening.event(length, kind, true);
        } else if self.group.is_none() {
            self.group = Some((offset, Outline::default()));
        }
        if let Some((_, outline)) = &mut self.group {
            outline.event(length, kind, false);
        }
        Ok(())
    }

    /// Its next bytes.
    pub(super) async fn bytes(&mut self, bytes: &[u8]) -> Result<(), PipelineError> {
        self.status.captured(bytes.len());
        if let Some(opening) = &mut self.opening {
            opening.bytes(bytes);
        }
        if let Some((_, outline)) = &mut self.group {
            outline.bytes(bytes);
        }
        if self.skims() {
            return Ok(());
        }
        if self.large {
            return self.segment_mut()?.sealer.write(bytes).await;
        }
        self.event.extend_from_slice(bytes);
        Ok(())
    }

    /// The event is complete, and its checksum holds.
    pub(super) async fn end(&mut self, end: EventEnd) -> Result<(), PipelineError> {
        if let Meaning::Gtid(gtid) = &end.meaning {
            self.match_gtid(gtid).await?;
        }
        let skims = self.skims();
        if !skims {
            self.take_event().await?;
        }
        self.at = end.end;
        self.cut = end.in_group;
        match &end.meaning {
            Meaning::FormatDescription { created, .. } if !skims => self.begin(*created)?,
            Meaning::Previous(previous) => self.opened(previous, skims).await?,
            Meaning::Incident { message } => {
                tracing::error!(
                    message,
                    "the server wrote an INCIDENT event: it may have lost transactions; check replicas and take a new base backup"
                );
                self.status.error("incident");
            }
            Meaning::Rotate { .. } | Meaning::Stop => self.closed = true,
            _ => {}
        }
        if let Some(group) = &end.group {
            let mark = self.group.take().map(|(begin, outline)| GroupMark {
                begin,
                end: end.end,
                outline: outline.digest(),
            });
            if skims {
                let known = self.skim.as_ref().and_then(|skim| skim.last_group.as_ref());
                self.differs |=
                    known.is_some_and(|known| known.end == end.end && mark.as_ref() != Some(known));
            } else if let Some(mark) = mark {
                let tail = self.tail.as_mut().map(|tail| &mut tail.range);
                let segment = self.segment.as_mut().map(|segment| &mut segment.range);
                for range in tail.into_iter().chain(segment) {
                    range.group(group, mark.clone());
                }
            }
            self.status.group(group.committed_at);
        } else if !end.in_group {
            // Events between transactions: rotate, checkpoints of MariaDB.
            self.group = None;
        }
        if skims {
            self.large = false;
            // An event boundary of old must be one still.
            self.differs |= self.skim.as_ref().is_some_and(|skim| self.at > skim.until);
            return Ok(());
        }
        self.skim = None;
        self.cut_if_full().await
    }

    async fn take_event(&mut self) -> Result<(), PipelineError> {
        if self.large {
            return Ok(());
        }
        let event = std::mem::take(&mut self.event);
        if !self.bulk {
            self.tail_mut()?.sealer.write(&event)?;
            if let Some(tail) = &mut self.tail {
                tail.bytes += event.len() as u64;
            }
        }
        self.segment_mut()?.sealer.write(&event).await?;
        self.event = event;
        self.event.clear();
        Ok(())
    }

    fn begin(&mut self, created: u32) -> Result<(), PipelineError> {
        let name = self.name.clone().ok_or(PipelineError::Worker)?;
        let created = Timestamp::from_microseconds(i64::from(created) * 1_000_000);
        self.file = Some(FileId {
            server: self.server.clone(),
            file: name,
            created: created.ok_or(PipelineError::Worker)?,
        });
        Ok(())
    }

    async fn opened(&mut self, previous: &GtidState, skims: bool) -> Result<(), PipelineError> {
        let Some(outline) = self.opening.take() else { return Ok(()) };
        if skims {
            let read = Opening { previous: previous.clone(), outline: outline.digest() };
            self.differs |= self.skim.as_ref().is_some_and(|skim| skim.opening != read);
            return Ok(());
        }
        self.unmatched.retain(|domain, last| {
            last.joined |= previous.meets(&self.before.domain(*domain));
            previous.sequence(*domain, last.server) != last.sequence
        });
        self.goes_on_from(previous).await?;
        let opening = Opening { previous: previous.clone(), outline: outline.digest() };
        let tail = self.tail.as_mut().map(|tail| &mut tail.range);
        let segment = self.segment.as_mut().map(|segment| &mut segment.range);
        for range in tail.into_iter().chain(segment) {
            range.opening(opening.clone());
        }
        Ok(())
    }

    /// What was before is archived, or no file has it: a client may give a server transactions
    /// that were never in its log (`SET GLOBAL gtid_purged`).
    pub(super) async fn goes_on_from(&mut self, previous: &GtidState) -> Result<(), PipelineError> {
        let is_new =
            |state: &LogState| !state.frontier.is_empty() && !previous.is_within(&state.frontier);
        if !is_new(self.writer.state()) {
            return Ok(());
        }
        // They may be in the segment that is being completed.
        self.settled().await?;
        let state = self.writer.state();
        if !is_new(state) {
            return Ok(());
        }
        let Some(missing) = previous.missing_from(&state.frontier) else { return Ok(()) };
        self.gap(missing, previous.clone()).await
    }

    async fn gap(&mut self, missing: Missing, resumes_at: GtidState) -> Result<(), PipelineError> {
        let gap = GapEntry {
            server: self.server.clone(),
            file: self.name.clone().ok_or(PipelineError::Worker)?,
            missing: missing.text,
            transactions: missing.count,
            after: self.writer.state().committed_until,
            resumes_at,
        };
        super::warn_of_gap(&gap);
        self.note(LogEntry::Gap(gap)).await?;
        self.status.gap();
        Ok(())
    }

    /// Where MariaDB begins with another file, a domain goes on only behind the transaction that
    /// is archived last: numbers alone would not tell whether something lies between, or whether
    /// others bear the same numbers.
    async fn match_gtid(&mut self, gtid: &Gtid) -> Result<(), PipelineError> {
        let &Gtid::Mariadb { domain, server, sequence } = gtid else { return Ok(()) };
        let Some(known) = self.unmatched.get_mut(&domain) else { return Ok(()) };
        let (last_server, last) = (known.server, known.sequence);
        if self.before.sequence(domain, server) >= sequence {
            known.joined = true;
            if (server, sequence) == (last_server, last) {
                self.unmatched.remove(&domain);
            }
            return Ok(());
        }
        if sequence <= last && !known.joined {
            return Ok(());
        }
        self.unmatched.remove(&domain);
        if sequence == last + 1 {
            return Ok(());
        }
        self.flush().await?;
        if sequence > last {
            let mut resumes_at = GtidState::empty(Flavor::Mariadb);
            resumes_at.add_mariadb(domain, last_server, last);
            let text = match (last + 1, sequence - 1) {
                (first, end) if first == end => format!("{domain}-{last_server}-{first}"),
                (first, end) => format!("{domain}-{last_server}-{first}…{end}"),
            };
            return self.gap(Missing { text, count: sequence - last - 1 }, resumes_at).await;
        }
        self.fork(domain, sequence, last_server).await
    }

    /// The server has other transactions under the numbers from `sequence` on than are archived.
    async fn fork(&mut self, domain: u32, sequence: u64, left: u32) -> Result<(), PipelineError> {
        let archived = self.writer.state().frontier.clone();
        let frontier = archived.before(domain, sequence);
        let Some(forked) = archived.missing_from(&frontier) else { return Ok(()) };
        let fork = ForkEntry {
            left: format!("id-{left}").parse().map_err(|_| PipelineError::Worker)?,
            taken: self.server.clone(),
            forked: forked.text,
            transactions: forked.count,
            frontier,
        };
        super::warn_of_fork(&fork);
        self.note(LogEntry::Fork(fork)).await?;
        self.status.fork();
        Ok(())
    }

    /// Nothing has come for a moment.
    pub(super) async fn starved(&mut self) -> Result<(), PipelineError> {
        self.waited = true;
        if self.bulk && self.is_between_events() {
            self.leave_bulk().await?;
        }
        Ok(())
    }

    /// Caught up: what is in the segment becomes durable now, and tails go on from there.
    async fn leave_bulk(&mut self) -> Result<(), PipelineError> {
        self.close_segment().await?;
        self.settled().await?;
        self.bulk = false;
        Ok(())
    }

    /// The source was waited for, if only for an instant.
    pub(super) fn waited(&mut self) {
        self.waited = true;
    }

    /// What was taken so far, event by event.
    pub(super) fn taken(&self) -> Option<(&BinlogName, u64)> {
        self.name.as_ref().map(|name| (name, self.at))
    }

    /// Whether a segment is being filled.
    pub(super) fn is_filling(&self) -> bool {
        self.segment.is_some()
    }

    /// Whether catching up leaves tails out.
    pub(super) fn is_bulk(&self) -> bool {
        self.bulk
    }

    /// When the tail is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.tail.as_ref().filter(|tail| tail.bytes > 0).map(|tail| tail.since + self.rpo)
    }

    /// Ships what is due; called in between.
    pub(super) async fn tick(&mut self) -> Result<(), PipelineError> {
        if self.is_between_events() && self.due().is_some_and(|due| due <= Instant::now()) {
            self.flush().await?;
        }
        if self.finishing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.settled().await?;
        }
        let old = |segment: &Segment| segment.since.elapsed() >= SEGMENT_AGE;
        if self.is_between_events() && self.segment.as_ref().is_some_and(old) {
            self.flush().await?;
            self.close_segment().await?;
        }
        Ok(())
    }

    /// Whether no transaction is open.
    pub(super) fn is_between_groups(&self) -> bool {
        self.is_between_events() && !self.cut && self.file.is_some()
    }

    fn is_between_events(&self) -> bool {
        self.event.is_empty() && !self.large && self.opening.is_none()
    }

    async fn cut_if_full(&mut self) -> Result<(), PipelineError> {
        self.large = false;
        if self.opening.is_some() {
            return Ok(());
        }
        let ripe = |segment: &Segment| segment.since.elapsed() >= CATCHING_UP;
        if self.bulk && self.waited && self.segment.as_ref().is_none_or(ripe) {
            self.leave_bulk().await?;
        }
        let full = self.tail.as_ref().is_some_and(|tail| tail.bytes >= TAIL_BYTES as u64);
        if full || self.due().is_some_and(|due| due <= Instant::now()) {
            self.flush().await?;
            if full && !self.waited {
                // Always more to take than time to take it: the archive is behind.
                self.bulk = true;
            }
            self.waited = false;
        }
        let long = |segment: &Segment| segment.sealer.plain_bytes() >= SEGMENT_BYTES;
        if self.segment.as_ref().is_some_and(long) {
            self.flush().await?;
            self.close_segment().await?;
        }
        Ok(())
    }

    /// Makes the tail durable.
    pub(super) async fn flush(&mut self) -> Result<(), PipelineError> {
        let Some(tail) = self.tail.take() else { return Ok(()) };
        let (Some(file), true) = (&self.file, tail.bytes > 0 && self.opening.is_none()) else {
            if tail.bytes > 0 {
                self.tail = Some(tail);
            }
            return Ok(());
        };
        let range = tail.range.finish(file, self.at, self.cut, self.closed);
        let (body, sealed) = tail.sealer.finish()?;
        self.append(LogEntry::Tail(TailEntry { range, sealed }), Some(body)).await?;
        Ok(())
    }

    /// Begins to complete the segment; the one before has to be complete first.
    pub(super) async fn close_segment(&mut self) -> Result<(), PipelineError> {
        let (Some(segment), Some(file)) = (self.segment.take(), self.file.clone()) else {
            return Ok(());
        };
        if segment.range.start() == self.at || self.opening.is_some() {
            self.segment = Some(segment);
            return Ok(());
        }
        let range = segment.range.finish(&file, self.at, self.cut, self.closed);
        self.settled().await?;
        self.finishing = Some(tokio::spawn(async move { (range, segment.sealer.finish().await) }));
        Ok(())
    }

    /// Waits for the segment that is being completed, and records it.
    pub(super) async fn settled(&mut self) -> Result<(), PipelineError> {
        let Some(finishing) = self.finishing.take() else { return Ok(()) };
        let (range, data) = finishing.await.map_err(|_| PipelineError::Worker)?;
        let data = data?;
        if let SegmentData::Object { sealed, .. } = &data {
            self.status.segment(sealed.bytes);
        }
        self.append(LogEntry::Segment(SegmentEntry { range, data }), None).await?;
        Ok(())
    }

    /// Ships everything: the job ends, or hands over.
    pub(super) async fn finish(&mut self) -> Result<(), PipelineError> {
        if self.is_between_events() {
            self.flush().await?;
            self.close_segment().await?;
        }
        self.settled().await?;
        if self.segment.is_some() {
            // In the middle of an event: whoever goes on reads it again.
            self.abandon().await;
        }
        Ok(())
    }

    /// Lets go of everything that is not durable: it is captured again later.
    pub(super) async fn abandon(&mut self) {
        self.tail = None;
        self.event.clear();
        self.group = None;
        (self.bulk, self.large) = (false, false);
        if let Some(finishing) = self.finishing.take() {
            finishing.abort();
            let _ = finishing.await;
        }
        if let Some(segment) = self.segment.take() {
            segment.sealer.abort().await;
        }
        self.name = None;
        self.at = 0;
        self.status.abandoned();
        self.skim = None;
        self.opening = None;
    }

    /// The connection is gone: ships what came whole. What has not is captured again.
    pub(super) async fn source_lost(&mut self) -> Result<(), PipelineError> {
        if self.large || self.opening.is_some() {
            self.settled().await?;
            self.abandon().await;
            return Ok(());
        }
        self.event.clear();
        self.group = None;
        self.flush().await?;
        if self.bulk {
            self.leave_bulk().await?;
        }
        Ok(())
    }

    /// Tails that nobody will put into a segment any more stay for good: says so in the log.
    pub(super) async fn promote(&mut self) -> Result<(), PipelineError> {
        self.settled().await?;
        let filling = self.segment.as_ref().map(|_| self.name.clone());
        let files = self.writer.state().files.clone();
        for file in files.iter().filter(|file| !file.tails.is_empty()) {
            if filling == Some(Some(file.open.file.clone())) {
                continue;
            }
            let range = merged(file);
            let data = SegmentData::Tails(file.open.tails.clone());
            self.note(LogEntry::Segment(SegmentEntry { range, data })).await?;
        }
        Ok(())
    }

    fn tail_mut(&mut self) -> Result<&mut Tail, PipelineError> {
        match &mut self.tail {
            Some(tail) => Ok(tail),
            none => Ok(none.insert(Tail {
                sealer: TailSealer::new(self.writer.run())?,
                range: RangeBuilder::new(self.at, self.flavor),
                bytes: 0,
                since: Instant::now(),
            })),
        }
    }

    fn segment_mut(&mut self) -> Result<&mut Segment, PipelineError> {
        match &mut self.segment {
            Some(segment) => Ok(segment),
            none => {
                let name = self.name.as_ref().ok_or(PipelineError::Worker)?;
                let sealer = SegmentSealer::new(self.writer.run(), &self.server, name, self.at)?;
                Ok(none.insert(Segment {
                    sealer,
                    range: RangeBuilder::new(self.at, self.flavor),
                    since: Instant::now(),
                }))
            }
        }
    }
}

/// What the tails of a file hold together.
fn merged(file: &crate::pipeline::log::FileState) -> LogRange {
    let ranges = file.tails.iter().map(|tail| &tail.range);
    let mut ranges = ranges.cloned();
    let first = ranges.next();
    let open = &file.open;
    let mut whole = first.unwrap_or_else(|| LogRange {
        server: open.server.clone(),
        file: open.file.clone(),
        created: open.created,
        start: open.segmented,
        end: open.durable,
        transactions: 0,
        gtids: GtidState::empty(Flavor::Mysql),
        committed: None,
        last_group: None,
        cut: false,
        opening: None,
        closed: open.closed,
    });
    for range in ranges {
        whole.end = range.end;
        whole.transactions += range.transactions;
        whole.gtids.merge(&range.gtids);
        whole.committed = match (whole.committed, range.committed) {
            (Some(a), Some(b)) => Some(crate::format::CommitSpan {
                first: a.first.min(b.first),
                last: a.last.max(b.last),
            }),
            (a, b) => a.or(b),
        };
        whole.last_group = range.last_group.or(whole.last_group);
        whole.cut = range.cut;
        whole.closed = range.closed;
    }
    whole
}
