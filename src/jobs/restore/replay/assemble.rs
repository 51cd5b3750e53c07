//! From the pieces of a way to relay logs: whole transactions, each once, in order.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufWriter, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use super::{
    super::plan::{PieceRule, Selection, Verdict},
    source::Source,
};
use crate::{
    format::LogRange,
    jobs::JobError,
    model::Flavor,
    mysql::{
        MysqlError,
        replication::{
            Captured, Definition, EventChange, EventEnd, Meaning, RelayRole, TemporaryTables,
            event_change, has_checksums, is_of_a_start, relay_head, relay_name,
        },
    },
    pipeline::{Accept, PipelineError},
};

/// Bytes that no statement about an event of the scheduler has.
const LONG: usize = 1 << 20;
/// A batch becomes so many times as large as others before it ends within a session that has
/// temporary tables. They are lost then; the session may not need them any more.
const HELD: u64 = 4;
/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

/// Relay logs that are applied in one go.
#[derive(Debug, Default)]
pub(in crate::jobs::restore) struct Batch {
    /// The folder that holds them.
    pub(in crate::jobs::restore) folder: PathBuf,
    /// Their sizes, in order; `relay_name` names them.
    pub(in crate::jobs::restore) sizes: Vec<u64>,
    /// Transactions in them.
    pub(in crate::jobs::restore) transactions: u64,
    /// What they do to events of the event scheduler, in order.
    pub(in crate::jobs::restore) events: Vec<EventChange>,
    /// The servers that wrote them. The applier passes over what bears its own id.
    pub(in crate::jobs::restore) servers: BTreeSet<u32>,
}

impl Batch {
    /// Bytes in all of them.
    pub(in crate::jobs::restore) fn bytes(&self) -> u64 {
        self.sizes.iter().sum()
    }

    /// Bytes in those before this one.
    pub(in crate::jobs::restore) fn bytes_before(&self, relay_log: &str) -> u64 {
        let names = (1..).map(relay_name);
        names.zip(&self.sizes).take_while(|(name, _)| name != relay_log).map(|(_, size)| size).sum()
    }
}

/// A relay log that is being written.
#[derive(Debug)]
struct Out {
    file: BufWriter<File>,
    path: PathBuf,
    /// Bytes written.
    at: u64,
    /// The end of the last transaction that stays.
    clean: u64,
    transactions: u64,
}

/// Writes relay logs; it is fed the plaintext of one piece after another.
#[derive(Debug)]
pub(in crate::jobs::restore) struct Assembler {
    flavor: Flavor,
    /// Batches are folders in it.
    folder: PathBuf,
    count: u32,
    source: Source,
    last: Option<LogRange>,
    rule: PieceRule,
    pub(in crate::jobs::restore) selection: Selection,
    /// Of the file that is being read.
    format_description: Vec<u8>,
    /// Whether a relay log has said already how the file begins.
    goes_on: bool,
    role: RelayRole,
    /// The `Query` event that is being read, unless it is too long to be about an event.
    query: Vec<u8>,
    out: Option<Out>,
    batch: Batch,
    /// What would be lost if the batch ended here.
    temporary: TemporaryTables,
}

impl Assembler {
    pub(in crate::jobs::restore) fn new(
        flavor: Flavor,
        folder: &Path,
        selection: Selection,
    ) -> Self {
        Self {
            flavor,
            folder: folder.to_owned(),
            count: 0,
            source: Source::default(),
            last: None,
            rule: PieceRule { record: 0, from: None, within: None },
            selection,
            format_description: Vec::new(),
            goes_on: false,
            role: RelayRole::Other,
            query: Vec::new(),
            out: None,
            batch: Batch::default(),
            temporary: TemporaryTables::default(),
        }
    }

    /// Whether this piece can only be read with the format description of its file.
    pub(in crate::jobs::restore) fn needs_head(&self, range: &LogRange) -> bool {
        range.start > 0 && !self.source.goes_on_with(self.last.as_ref(), range)
    }

    /// Begins a piece.
    pub(in crate::jobs::restore) fn begin(
        &mut self,
        rule: PieceRule,
        range: &LogRange,
        format_description: Option<Vec<u8>>,
    ) -> Result<(), JobError> {
        let goes_on = self.source.goes_on_with(self.last.as_ref(), range);
        if !goes_on {
            // What a crash left unfinished never happened.
            self.close_log()?;
            self.goes_on = format_description.is_some();
        }
        self.source.begin(range, goes_on, format_description.as_deref())?;
        if let Some(event) = format_description {
            self.format_description = event;
        }
        self.rule = rule;
        self.last = Some(range.clone());
        Ok(())
    }

    /// Whether the batch is large enough, and may end here: no transaction is open, and no
    /// temporary table, unless that has been so for long.
    pub(in crate::jobs::restore) fn may_end(&self, enough: u64) -> bool {
        let bytes = self.batch.bytes() + self.out.as_ref().map_or(0, |out| out.clean);
        let is_clean = self.out.as_ref().is_none_or(|out| out.at == out.clean);
        let is_held = !self.temporary.is_empty() && bytes < enough.saturating_mul(HELD);
        is_clean && bytes >= enough && !is_held
    }

    /// Ends the batch; nothing when no transaction is in it.
    pub(in crate::jobs::restore) fn seal(&mut self) -> Result<Option<Batch>, JobError> {
        self.close_log()?;
        self.goes_on = true;
        let batch = std::mem::take(&mut self.batch);
        Ok((!batch.sizes.is_empty()).then_some(batch))
    }

    fn close_log(&mut self) -> Result<(), JobError> {
        let Some(mut out) = self.out.take() else { return Ok(()) };
        out.cut().map_err(JobError::io("write", &out.path))?;
        let flushed = out.file.flush();
        flushed.map_err(JobError::io("write", &out.path))?;
        if out.transactions == 0 {
            return fs::remove_file(&out.path).map_err(JobError::io("remove", &out.path));
        }
        self.batch.sizes.push(out.clean);
        self.batch.transactions += out.transactions;
        Ok(())
    }

    fn open_log(&mut self) -> Result<&mut Out, std::io::Error> {
        if self.out.is_none() {
            if self.batch.folder.as_os_str().is_empty() {
                self.count += 1;
                self.batch.folder = self.folder.join(format!("relay-{}", self.count));
                fs::create_dir(&self.batch.folder)?;
            }
            let number = u32::try_from(self.batch.sizes.len() + 1).unwrap_or(u32::MAX);
            let path = self.batch.folder.join(relay_name(number));
            let mut file = BufWriter::with_capacity(BUFFER, File::create(&path)?);
            let head = relay_head(self.flavor, &self.format_description, self.goes_on);
            self.goes_on = true;
            file.write_all(&head)?;
            let at = head.len() as u64;
            self.out = Some(Out { file, path, at, clean: at, transactions: 0 });
        }
        self.out.as_mut().ok_or_else(|| std::io::ErrorKind::Other.into())
    }

    fn captured(&mut self, captured: Captured) -> Result<(), Failed> {
        match captured {
            Captured::Event { kind, .. } => {
                self.role = RelayRole::of(kind);
                self.query.clear();
                if self.role == RelayRole::FormatDescription {
                    self.format_description.clear();
                    self.goes_on = false;
                }
            }
            Captured::Bytes(bytes) if self.role == RelayRole::FormatDescription => {
                self.format_description.extend_from_slice(&bytes);
            }
            Captured::Bytes(bytes) => {
                if self.role == RelayRole::Statement && self.query.len() < LONG {
                    self.query.extend_from_slice(&bytes);
                }
                if self.role != RelayRole::Beside && !self.selection.done {
                    let out = self.open_log()?;
                    out.file.write_all(&bytes)?;
                    out.at += bytes.len() as u64;
                }
            }
            Captured::End(end) => self.ended(end)?,
            Captured::File { .. } | Captured::Heartbeat { .. } | Captured::Eof => {}
        }
        Ok(())
    }

    fn ended(&mut self, end: EventEnd) -> Result<(), Failed> {
        if let Meaning::Incident { message } = end.meaning {
            let what = format!("the server may have lost events here: {message}");
            return Err(MysqlError::unsupported(what, "nothing behind it can be replayed").into());
        }
        if self.role == RelayRole::FormatDescription && is_of_a_start(&self.format_description) {
            self.temporary.clear();
        }
        let definition = (self.role == RelayRole::Statement)
            .then(|| Definition::read(&self.query, has_checksums(&self.format_description)))
            .flatten();
        if let Some(definition) = &definition {
            // Within transactions, too; and what is left out at worst makes a batch longer.
            self.temporary.follow(definition);
        }
        let outside = matches!(self.role, RelayRole::FormatDescription | RelayRole::Beside);
        if end.in_group || outside {
            return Ok(());
        }
        let verdict = match &end.group {
            Some(group) => {
                let Some(gtid) = &group.gtid else {
                    let what = format!("replaying the transaction at byte {}", group.begin);
                    return Err(MysqlError::unsupported(what, "it has no GTID").into());
                };
                self.selection.judge(&self.rule, gtid, group)
            }
            None => Verdict::Leave,
        };
        let Some(out) = &mut self.out else { return Ok(()) };
        if verdict == Verdict::Take {
            self.batch.servers.insert(end.server_id);
            out.clean = out.at;
            out.transactions += 1;
            self.batch.events.extend(definition.as_ref().and_then(event_change));
            return Ok(());
        }
        Ok(out.cut()?)
    }
}

impl Out {
    /// Takes back what does not stay.
    fn cut(&mut self) -> Result<(), std::io::Error> {
        if self.at > self.clean {
            self.file.flush()?;
            self.file.get_ref().set_len(self.clean)?;
            self.file.seek(SeekFrom::Start(self.clean))?;
            self.at = self.clean;
        }
        Ok(())
    }
}

/// Why assembling failed.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Mysql(#[from] MysqlError),
    #[error("write a relay log: {0}")]
    Io(#[from] std::io::Error),
}

impl Accept for Assembler {
    fn accept(&mut self, plain: &[u8]) -> Result<(), PipelineError> {
        let mut source = std::mem::take(&mut self.source);
        let fed = source.feed(plain, |captured| self.captured(captured));
        self.source = source;
        fed.map_err(|failed| PipelineError::Accept(Box::new(failed)))
    }
}
