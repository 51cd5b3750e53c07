//! What the log says up to some record: a fold over its records, without any I/O.

use crate::{
    format::{
        CHECKPOINT_EVERY, CheckpointEntry, LogEntry, LogRange, LogRecord, LogServer, OpenFile,
        SegmentData, SegmentEntry, SegmentSummary,
    },
    model::{BinlogPosition, GtidState, HistoryId, RunId, Sha256Digest, Timestamp},
    pipeline::ChainHead,
};

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It counts.
    Counted,
    /// It was written in an epoch that had ended: it says nothing.
    Void,
}

/// A tail that no segment supersedes yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailRef {
    /// Its record.
    pub number: u64,
    /// What it holds.
    pub range: LogRange,
    /// Bytes of its sealed object.
    pub bytes: u64,
}

/// A file that is not wholly in segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    /// What a checkpoint says of it.
    pub open: OpenFile,
    /// Its tails behind `open.segmented`.
    pub tails: Vec<TailRef>,
}

impl FileState {
    /// Whether segments hold all of it that is durable.
    fn is_in_segments(&self) -> bool {
        self.open.segmented == self.open.durable
    }

    /// Whether this range is of the file, as far as it has come. A new epoch may read a file
    /// again from its beginning that is archived already: that is another one.
    fn goes_on_with(&self, range: &LogRange) -> bool {
        let again = range.start == 0 && self.open.durable > 0 && self.is_in_segments();
        belongs(&self.open, range) && !again
    }
}

/// Who may extend the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The epoch.
    pub epoch: u64,
    /// Number of its record.
    pub record: u64,
    /// Its run.
    pub run: RunId,
    /// The server that it reads.
    pub server: LogServer,
    /// The history that it extends.
    pub history: HistoryId,
}

/// The log up to its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    /// The last record.
    pub head: ChainHead,
    /// Who owns the log; nothing while it is empty.
    pub owner: Option<Owner>,
    /// The transactions that are durable, with all that led to them.
    pub frontier: GtidState,
    /// The latest commit stamp among them.
    pub committed_until: Option<Timestamp>,
    /// Up to when nothing was committed behind what is durable, where that is known.
    pub quiet_until: Option<Timestamp>,
    /// Files with tails, and the one being read; the newest last.
    pub files: Vec<FileState>,
    /// Segments since the last checkpoint.
    pub segments: Vec<SegmentSummary>,
    /// Epoch, gap and fork records since the last checkpoint.
    pub notes: Vec<u64>,
    /// Whether the owner has let go.
    pub released: bool,
    /// The last checkpoint.
    pub checkpoint: Sha256Digest,
}

impl Default for LogState {
    fn default() -> Self {
        Self {
            head: ChainHead::EMPTY,
            owner: None,
            frontier: GtidState::empty(crate::model::Flavor::Mysql),
            committed_until: None,
            quiet_until: None,
            files: Vec::new(),
            segments: Vec::new(),
            notes: Vec::new(),
            released: false,
            checkpoint: Sha256Digest([0; 32]),
        }
    }
}

impl LogState {
    /// The epoch in force; 0 for an empty log.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.owner.as_ref().map_or(0, |owner| owner.epoch)
    }

    /// Whether the next record has to be a checkpoint.
    #[must_use]
    pub fn checkpoint_is_due(&self) -> bool {
        (self.head.number + 1).is_multiple_of(CHECKPOINT_EVERY)
    }

    /// Whether everything read so far was closed by its server, or nothing was.
    #[must_use]
    pub fn current(&self) -> Option<&FileState> {
        self.files.last()
    }

    /// The end of what is durable.
    #[must_use]
    pub fn durable(&self) -> Option<BinlogPosition> {
        let open = &self.files.last()?.open;
        Some(BinlogPosition { file: open.file.to_string(), position: open.durable })
    }

    /// Takes the next record, whose envelope has this hash.
    ///
    /// # Errors
    /// When it does not follow from the records before it.
    pub fn apply(&mut self, record: &LogRecord, sha256: Sha256Digest) -> Result<Applied, String> {
        if record.number != self.head.number + 1 || record.previous != self.head.sha256 {
            return Err("it does not follow the record before it".into());
        }
        let checkpoint = matches!(record.entry, LogEntry::Checkpoint(_));
        if checkpoint != record.number.is_multiple_of(CHECKPOINT_EVERY) {
            return Err("checkpoints stand at every 1,024th number and nowhere else".into());
        }
        let applied = self.judge(record)?;
        if applied == Applied::Counted {
            self.take(record, sha256)?;
        }
        self.head = ChainHead { number: record.number, sha256 };
        Ok(applied)
    }

    /// Whether a record counts.
    fn judge(&self, record: &LogRecord) -> Result<Applied, String> {
        let epoch = self.epoch();
        match &record.entry {
            LogEntry::Epoch(_) if record.epoch == epoch + 1 => Ok(Applied::Counted),
            // A checkpoint says what follows from the records before it, whoever writes it. One of
            // another epoch would say nothing, and whoever begins to read there would believe it.
            LogEntry::Checkpoint(_) if record.epoch == epoch => Ok(Applied::Counted),
            LogEntry::Checkpoint(_) => {
                Err(format!("it is of epoch {}, and epoch {epoch} is in force", record.epoch))
            }
            _ if record.epoch < epoch => Ok(Applied::Void),
            LogEntry::Epoch(_) => Err(format!("epoch {} cannot follow {epoch}", record.epoch)),
            _ if record.epoch > epoch => Err("its epoch has not begun".into()),
            _ if self.owner.as_ref().is_some_and(|owner| owner.run == record.run_id) => {
                Ok(Applied::Counted)
            }
            _ => Err("its run does not own the epoch".into()),
        }
    }

    fn take(&mut self, record: &LogRecord, sha256: Sha256Digest) -> Result<(), String> {
        match &record.entry {
            LogEntry::Epoch(epoch) => {
                let current = self.files.last().map(|file| &file.open.server);
                let resumed = |at: &BinlogPosition| {
                    self.durable().as_ref() == Some(at) && current == Some(&epoch.server.name)
                };
                if epoch.resumes.as_ref().is_some_and(|at| !resumed(at)) {
                    return Err("it resumes where nothing ended".into());
                }
                if epoch.resumes.is_none() {
                    // What comes next is another server's, or from another file.
                    self.files.retain(|file| !file.is_in_segments());
                }
                self.owner = Some(Owner {
                    epoch: record.epoch,
                    record: record.number,
                    run: record.run_id,
                    server: epoch.server.clone(),
                    history: epoch.history,
                });
                if let Some(parent) = &epoch.parent {
                    self.frontier = parent.at.clone();
                }
                self.released = false;
                self.quiet_until = self.quiet_until.filter(|_| epoch.resumes.is_some());
                self.notes.push(record.number);
            }
            LogEntry::Tail(tail) => {
                self.extend(&tail.range)?;
                let file = self.files.last_mut().ok_or("it has no file")?;
                file.tails.push(TailRef {
                    number: record.number,
                    range: tail.range.clone(),
                    bytes: tail.sealed.bytes,
                });
                file.open.tails = numbers(&file.tails);
            }
            LogEntry::Segment(segment) => self.segment(record.number, segment)?,
            LogEntry::Gap(gap) => {
                self.frontier.merge(&gap.resumes_at);
                self.notes.push(record.number);
            }
            LogEntry::Fork(fork) => {
                if !fork.frontier.is_within(&self.frontier) {
                    return Err("its frontier has transactions that were not archived".into());
                }
                self.frontier = fork.frontier.clone();
                self.notes.push(record.number);
            }
            LogEntry::Heartbeat(beat) => {
                if let Some(until) = beat.quiet_until {
                    if beat.position != self.durable() {
                        return Err("it tells of quiet at another place than the log's end".into());
                    }
                    self.quiet_until = Some(until);
                }
                self.released = beat.released;
            }
            LogEntry::Checkpoint(checkpoint) => {
                if self.checkpoint_entry().as_ref() != Some(checkpoint) {
                    return Err("it contradicts the records before it".into());
                }
                self.checkpoint = sha256;
                self.segments.clear();
                self.notes.clear();
            }
        }
        Ok(())
    }

    /// Takes bytes at the end of what is durable.
    fn extend(&mut self, range: &LogRange) -> Result<(), String> {
        if range.start >= range.end {
            return Err("its range is empty".into());
        }
        if self.owner.as_ref().is_none_or(|owner| owner.server.name != range.server) {
            return Err("its server is not the epoch's".into());
        }
        let known = self.files.last().filter(|file| file.goes_on_with(range));
        if let Some(file) = known {
            if file.open.closed || range.start != file.open.durable {
                return Err(format!(
                    "its bytes begin at {}, and {} end at {}",
                    range.start, file.open.file, file.open.durable
                ));
            }
        } else {
            self.begin_file(range)?;
        }
        self.frontier.merge(&range.gtids);
        if let Some(span) = range.committed {
            self.committed_until = self.committed_until.max(Some(span.last));
        }
        let Some(FileState { open, .. }) = self.files.last_mut() else {
            return Err("it has no file".into());
        };
        open.durable = range.end;
        // Whatever was quiet before, now something came.
        self.quiet_until = None;
        open.closed = range.closed;
        if u32::try_from(range.end).is_ok() {
            open.boundary = range.end;
        }
        if range.last_group.is_some() {
            open.last_group.clone_from(&range.last_group);
        }
        Ok(())
    }

    fn begin_file(&mut self, range: &LogRange) -> Result<(), String> {
        let Some(opening) = range.opening.clone().filter(|_| range.start == 0) else {
            return Err(format!("{} does not begin at its beginning", range.file));
        };
        // The first file of all begins somewhere: nothing before it was ever promised.
        let first = self.frontier.is_empty();
        if !first && !opening.previous.is_within(&self.frontier) {
            return Err("transactions are missing before it, and no gap tells of them".into());
        }
        self.frontier.merge(&opening.previous);
        // A file that is wholly in segments has nothing more to say.
        self.files.retain(|file| !file.is_in_segments());
        self.files.push(FileState {
            open: OpenFile {
                server: range.server.clone(),
                file: range.file.clone(),
                created: range.created,
                segmented: 0,
                durable: 0,
                closed: false,
                boundary: 4,
                opening,
                last_group: None,
                tails: Vec::new(),
            },
            tails: Vec::new(),
        });
        Ok(())
    }

    fn segment(&mut self, number: u64, segment: &SegmentEntry) -> Result<(), String> {
        let range = &segment.range;
        let at = self.files.iter().position(|file| file.goes_on_with(range));
        let durable = at.map_or(0, |at| self.files[at].open.durable);
        let newest = at.is_none_or(|at| at + 1 == self.files.len());
        if range.end > durable {
            if !newest {
                return Err("it lengthens a file that is not the newest".into());
            }
            let behind = LogRange { start: durable, ..range.clone() };
            self.extend(&behind)?;
        } else if range.closed && newest {
            // The tails had all bytes before the server closed the file.
            if let Some(file) = self.files.last_mut().filter(|file| file.open.durable == range.end)
            {
                file.open.closed = true;
            }
        }
        let file = self
            .files
            .iter_mut()
            .find(|file| belongs(&file.open, range))
            .ok_or("it is of a file that is not being read")?;
        if range.start != file.open.segmented || range.end <= range.start {
            return Err(format!(
                "it begins at {}, and the segments of {} end at {}",
                range.start, range.file, file.open.segmented
            ));
        }
        let covered: Vec<_> = file.tails.iter().filter(|t| t.range.end <= range.end).collect();
        let bytes = match &segment.data {
            SegmentData::Object { sealed, .. } => sealed.bytes,
            SegmentData::Tails(promoted) => {
                let whole = covered.iter().map(|t| t.number).collect::<Vec<_>>();
                if *promoted != runs(&whole)
                    || covered.first().is_none_or(|t| t.range.start != range.start)
                    || covered.last().is_none_or(|t| t.range.end != range.end)
                {
                    return Err("it promotes other tails than those of its range".into());
                }
                covered.iter().fold(0, |sum: u64, tail| sum.saturating_add(tail.bytes))
            }
        };
        let first_record = covered.first().map_or(number, |tail| tail.number);
        file.tails.retain(|tail| tail.range.end > range.end);
        file.open.segmented = range.end;
        file.open.tails = numbers(&file.tails);
        self.segments.push(SegmentSummary { number, first_record, range: range.clone(), bytes });
        // The file being read stays, for whoever resumes in it.
        let newest = self.files.len().saturating_sub(1);
        let mut at = 0;
        self.files.retain(|file| {
            at += 1;
            at > newest || !file.is_in_segments()
        });
        Ok(())
    }

    /// The checkpoint that would follow; nothing while nobody owns the log.
    #[must_use]
    pub fn checkpoint_entry(&self) -> Option<CheckpointEntry> {
        Some(CheckpointEntry {
            previous_checkpoint: self.checkpoint,
            epoch_record: self.owner.as_ref()?.record,
            frontier: self.frontier.clone(),
            committed_until: self.committed_until,
            quiet_until: self.quiet_until,
            segments: self.segments.clone(),
            notes: self.notes.clone(),
            files: self.files.iter().map(|file| file.open.clone()).collect(),
        })
    }

    /// The state behind a checkpoint. `owner` is from its epoch record, `tails` are those that
    /// its files name.
    ///
    /// # Errors
    /// When the tails are not the bytes between the end of the segments and the durable end.
    pub fn resume(
        head: ChainHead,
        checkpoint: &CheckpointEntry,
        owner: Owner,
        mut tails: Vec<TailRef>,
    ) -> Result<Self, String> {
        let mut files = Vec::new();
        for open in &checkpoint.files {
            let of = |tail: &TailRef| belongs(open, &tail.range);
            let (mine, others): (Vec<_>, _) = std::mem::take(&mut tails).into_iter().partition(of);
            tails = others;
            let mut covered = open.segmented;
            for TailRef { range, .. } in &mine {
                if range.start > covered || range.end <= covered {
                    break;
                }
                covered = range.end;
            }
            if covered != open.durable {
                return Err(format!(
                    "{} is durable up to {} in it, and its tails end at {covered}",
                    open.file, open.durable
                ));
            }
            files.push(FileState { open: open.clone(), tails: mine });
        }
        if let Some(stray) = tails.first() {
            return Err(format!("none of its files has tail {}", stray.number));
        }
        Ok(Self {
            head,
            owner: Some(owner),
            frontier: checkpoint.frontier.clone(),
            committed_until: checkpoint.committed_until,
            quiet_until: checkpoint.quiet_until,
            files,
            segments: Vec::new(),
            notes: Vec::new(),
            released: false,
            checkpoint: head.sha256,
        })
    }
}

fn belongs(open: &OpenFile, range: &LogRange) -> bool {
    (&open.server, &open.file, open.created) == (&range.server, &range.file, range.created)
}

fn numbers(tails: &[TailRef]) -> Vec<(u64, u64)> {
    runs(&tails.iter().map(|tail| tail.number).collect::<Vec<_>>())
}

/// Ascending numbers as first and last of each run of neighbours.
pub(super) fn runs(numbers: &[u64]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}
