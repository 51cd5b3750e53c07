//! From captured events to durable records: tails, segments, and when to cut them.

mod continuity;
mod cut;

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
    format::{GroupMark, LogEntry, LogRange, OpenFile, Opening, SegmentData},
    model::{BinlogName, Flavor, GtidState, ServerName, Timestamp},
    mysql::replication::{EventEnd, Meaning},
    pipeline::{
        PipelineError,
        budget::LOG_EVENT_BYTES,
        log::{LogWriter, SegmentSealer, TailSealer},
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
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one fact of the stream, and any may hold"
)]
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
        // A server that crashed leaves nothing behind the last transaction of its file.
        self.skim = None;
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

    /// What was taken so far, event by event.
    pub(super) fn taken(&self) -> Option<(&BinlogName, u64)> {
        self.name.as_ref().map(|name| (name, self.at))
    }
}
