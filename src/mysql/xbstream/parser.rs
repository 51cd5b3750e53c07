//! The incremental parser: any split of the input, no payload copied or kept.

use super::{
    Dialect, XbstreamError,
    chunk::{FIXED, Kind, MAGIC, MAX_PATH, MAX_SPARSE, check_path, normal, u32_at, u64_at},
};

/// What a parsed stream is told to. Paths are relative, checked, and without a leading `./`.
pub(super) trait Sink {
    /// A chunk of `path` begins at `offset` of the file.
    fn begin(&mut self, path: &[u8], offset: u64, rewrite: bool) -> Result<(), Problem>;
    /// Bytes that follow the last ones of the current file.
    fn data(&mut self, bytes: &[u8]) -> Result<(), Problem>;
    /// Leaves a hole of this many bytes in the current file.
    fn skip(&mut self, bytes: u64) -> Result<(), Problem>;

    /// The file is complete.
    fn end(&mut self, path: &[u8]) -> Result<(), Problem>;
    /// The next bytes of `path` go to `offset`.
    fn seek(&mut self, path: &[u8], offset: u64, rewrite: bool) -> Result<(), Problem>;
    /// A complete file gets another name.
    fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), Problem>;
    /// A complete file is taken back.
    fn remove(&mut self, path: &[u8]) -> Result<(), Problem>;
}

/// A sink's refusal; the parser adds where.
pub(super) enum Problem {
    Rule(String),
    Error(XbstreamError),
}

impl From<&str> for Problem {
    fn from(why: &str) -> Self {
        Self::Rule(why.to_owned())
    }
}

impl From<String> for Problem {
    fn from(why: String) -> Self {
        Self::Rule(why)
    }
}

/// What the parser waits for. `head` collects what is needed, a few hundred bytes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fixed,
    Path { kind: Kind, path: usize },
    NewPath { path: usize, new: usize },
    Map { entries: u32, length: u64, crc: u32 },
    Payload { left: u64, crc: u32, keep: bool },
    Failed,
}

#[derive(Debug)]
pub(super) struct Parser {
    dialect: Dialect,
    state: State,
    head: Vec<u8>,
    /// Runs of (hole, bytes) of the current sparse chunk, the next one last.
    runs: Vec<(u32, u32)>,
    run_left: u64,
    crc: crc32fast::Hasher,
    path: Vec<u8>,
    at: u64,
    chunk_at: u64,
}

impl Parser {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            state: State::Fixed,
            head: Vec::with_capacity(FIXED + MAX_PATH + 24),
            runs: Vec::new(),
            run_left: 0,
            crc: crc32fast::Hasher::new(),
            path: Vec::new(),
            at: 0,
            chunk_at: 0,
        }
    }

    /// Bytes taken so far.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn feed(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<(), XbstreamError> {
        let fed = self.run(bytes, sink);
        if fed.is_err() {
            self.state = State::Failed;
        }
        fed
    }

    /// The stream is at its end: it must not be inside a chunk.
    pub(super) fn finish(&self) -> Result<(), XbstreamError> {
        match self.state {
            State::Fixed if self.head.is_empty() => Ok(()),
            State::Failed => Err(XbstreamError::Failed),
            // A short text at the very end is not a chunk that was cut.
            State::Fixed => self.check_magic().and_then(|()| Err(self.cut())),
            _ => Err(self.cut()),
        }
    }

    fn run(&mut self, mut bytes: &[u8], sink: &mut impl Sink) -> Result<(), XbstreamError> {
        while !bytes.is_empty() {
            match self.state {
                State::Failed => return Err(XbstreamError::Failed),
                State::Payload { left, crc, keep } => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let (now, rest) = bytes.split_at(take);
                    self.crc.update(now);
                    if keep {
                        self.deliver(now, sink)?;
                    }
                    self.at += now.len() as u64;
                    bytes = rest;
                    let left = left - now.len() as u64;
                    self.state = State::Payload { left, crc, keep };
                    if left == 0 {
                        self.end_payload(crc, keep, sink)?;
                    }
                }
                _ => {
                    let want = self.want();
                    let take = want.saturating_sub(self.head.len()).min(bytes.len());
                    let (now, rest) = bytes.split_at(take);
                    self.head.extend_from_slice(now);
                    self.at += now.len() as u64;
                    bytes = rest;
                    if self.head.len() == want {
                        self.step(sink)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Length that `head` must reach before the next step.
    fn want(&self) -> usize {
        match self.state {
            State::Path { kind, path } => FIXED + path + kind.fields(),
            State::NewPath { path, new } => FIXED + path + 4 + new,
            State::Map { .. } => 8,
            State::Fixed | State::Payload { .. } | State::Failed => FIXED,
        }
    }

    fn step(&mut self, sink: &mut impl Sink) -> Result<(), XbstreamError> {
        match self.state {
            State::Fixed => self.fixed(),
            State::Path { kind, path } => self.head_read(kind, path, sink),
            State::NewPath { path, .. } => {
                let to = self.head.split_off(FIXED + path + 4);
                check_path(&to).map_err(|why| self.wrong(format!("the new name: {why}")))?;
                sink.rename(normal(&self.path), normal(&to)).map_err(|p| self.refused(p))?;
                self.next();
                Ok(())
            }
            State::Map { entries, length, crc } => self.map_entry(entries, length, crc, sink),
            State::Payload { .. } | State::Failed => Ok(()),
        }
    }

    fn fixed(&mut self) -> Result<(), XbstreamError> {
        self.chunk_at = self.at - FIXED as u64;
        self.path.clear();
        self.check_magic()?;
        let path = u32_at(&self.head, 10) as usize;
        if path == 0 || path > MAX_PATH {
            return Err(self.wrong(format!("a path of {path} bytes")));
        }
        let kind =
            Kind::read(self.dialect, self.head[8], self.head[9]).map_err(|why| self.wrong(why))?;
        self.state = State::Path { kind, path };
        Ok(())
    }

    fn head_read(
        &mut self,
        kind: Kind,
        path: usize,
        sink: &mut impl Sink,
    ) -> Result<(), XbstreamError> {
        self.path.clear();
        self.path.extend_from_slice(&self.head[FIXED..FIXED + path]);
        check_path(&self.path).map_err(|why| self.wrong(why.to_owned()))?;
        let at = FIXED + path;
        let told = match kind {
            Kind::Payload { rewrite } => {
                let (length, offset) = (u64_at(&self.head, at), u64_at(&self.head, at + 8));
                let crc = u32_at(&self.head, at + 16);
                let told = sink.begin(normal(&self.path), offset, rewrite);
                self.carry(told, length, offset)?;
                self.run_left = length;
                return self.payload(length, crc, true, sink);
            }
            Kind::Ignorable => {
                let length = u64_at(&self.head, at);
                let crc = u32_at(&self.head, at + 16);
                self.carry(Ok(()), length, 0)?;
                return self.payload(length, crc, false, sink);
            }
            Kind::Sparse => return self.sparse(at, sink),
            Kind::Rename => {
                let new = u32_at(&self.head, at) as usize;
                if new == 0 || new > MAX_PATH {
                    return Err(self.wrong(format!("a new path of {new} bytes")));
                }
                self.state = State::NewPath { path, new };
                return Ok(());
            }
            Kind::End => sink.end(normal(&self.path)),
            Kind::Remove => sink.remove(normal(&self.path)),
            Kind::Seek { rewrite } => {
                sink.seek(normal(&self.path), u64_at(&self.head, at), rewrite)
            }
        };
        told.map_err(|p| self.refused(p))?;
        self.next();
        Ok(())
    }

    /// Begins a chunk that carries bytes, or refuses it.
    fn carry(
        &mut self,
        told: Result<(), Problem>,
        length: u64,
        offset: u64,
    ) -> Result<(), XbstreamError> {
        told.map_err(|p| self.refused(p))?;
        if offset.checked_add(length).is_none_or(|end| end > i64::MAX.unsigned_abs()) {
            return Err(self.wrong(format!("{length} bytes at {offset} are too many")));
        }
        self.crc = crc32fast::Hasher::new();
        self.runs.clear();
        self.run_left = 0;
        Ok(())
    }

    fn payload(
        &mut self,
        length: u64,
        crc: u32,
        keep: bool,
        sink: &mut impl Sink,
    ) -> Result<(), XbstreamError> {
        self.state = State::Payload { left: length, crc, keep };
        if length == 0 { self.end_payload(crc, keep, sink) } else { Ok(()) }
    }

    fn sparse(&mut self, at: usize, sink: &mut impl Sink) -> Result<(), XbstreamError> {
        let (entries, length) = (u32_at(&self.head, at), u64_at(&self.head, at + 4));
        let (offset, crc) = (u64_at(&self.head, at + 12), u32_at(&self.head, at + 20));
        if entries > MAX_SPARSE {
            return Err(self.wrong(format!("a sparse map of {entries} entries")));
        }
        let told = sink.begin(normal(&self.path), offset, false);
        self.carry(told, length, offset)?;
        self.head.clear();
        if entries == 0 {
            return self.map_done(length, crc, sink);
        }
        self.state = State::Map { entries, length, crc };
        Ok(())
    }

    fn map_entry(
        &mut self,
        entries: u32,
        length: u64,
        crc: u32,
        sink: &mut impl Sink,
    ) -> Result<(), XbstreamError> {
        self.crc.update(&self.head);
        self.runs.push((u32_at(&self.head, 0), u32_at(&self.head, 4)));
        self.head.clear();
        if entries > 1 {
            self.state = State::Map { entries: entries - 1, length, crc };
            return Ok(());
        }
        self.map_done(length, crc, sink)
    }

    fn map_done(
        &mut self,
        length: u64,
        crc: u32,
        sink: &mut impl Sink,
    ) -> Result<(), XbstreamError> {
        let mapped: u64 = self.runs.iter().map(|&(_, bytes)| u64::from(bytes)).sum();
        if mapped != length {
            return Err(self.wrong(format!("its map covers {mapped} of {length} bytes")));
        }
        self.runs.reverse();
        self.payload(length, crc, true, sink)
    }

    /// Hands payload on, with the holes that a sparse map puts between.
    fn deliver(&mut self, mut bytes: &[u8], sink: &mut impl Sink) -> Result<(), XbstreamError> {
        while !bytes.is_empty() {
            self.open_run(sink)?;
            let take = usize::try_from(self.run_left).unwrap_or(usize::MAX).min(bytes.len());
            let (now, rest) = bytes.split_at(take);
            sink.data(now).map_err(|p| self.refused(p))?;
            self.run_left -= now.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Moves on to the next run that holds bytes; at the end of the map, to its end.
    fn open_run(&mut self, sink: &mut impl Sink) -> Result<(), XbstreamError> {
        while self.run_left == 0 {
            let Some((hole, bytes)) = self.runs.pop() else { return Ok(()) };
            sink.skip(u64::from(hole)).map_err(|p| self.refused(p))?;
            self.run_left = u64::from(bytes);
        }
        Ok(())
    }

    fn end_payload(
        &mut self,
        expected: u32,
        keep: bool,
        sink: &mut impl Sink,
    ) -> Result<(), XbstreamError> {
        if keep {
            self.open_run(sink)?; // holes after the last byte
        }
        let actual = std::mem::take(&mut self.crc).finalize();
        if actual != expected {
            let (at, path) = (self.chunk_at, self.name());
            return Err(XbstreamError::Checksum { at, path, expected, actual });
        }
        self.next();
        Ok(())
    }

    fn next(&mut self) {
        self.head.clear();
        self.path.clear();
        self.state = State::Fixed;
    }

    fn check_magic(&self) -> Result<(), XbstreamError> {
        let begins = &self.head[..self.head.len().min(8)];
        if MAGIC.starts_with(begins) {
            return Ok(());
        }
        let at = self.at - self.head.len() as u64;
        Err(XbstreamError::NoChunk { at, found: self.head.escape_ascii().to_string() })
    }

    fn name(&self) -> String {
        self.path.escape_ascii().to_string()
    }

    fn wrong(&self, why: String) -> XbstreamError {
        XbstreamError::Malformed { at: self.chunk_at, path: self.name(), why }
    }

    fn refused(&self, problem: Problem) -> XbstreamError {
        match problem {
            Problem::Rule(why) => self.wrong(why),
            Problem::Error(error) => error,
        }
    }

    fn cut(&self) -> XbstreamError {
        XbstreamError::Cut { at: self.at, path: self.name() }
    }
}
