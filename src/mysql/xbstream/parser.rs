//! The incremental parser: any split of the input, no payload copied or kept.

mod sparse;

use super::{
    Dialect, XbstreamError,
    chunk::{FIXED, Kind, MAGIC, MAX_PATH, check_path, normal, u32_at, u64_at},
    runs::Runs,
    sink::{Problem, Sink},
};

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
    runs: Runs,
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
            runs: Runs::default(),
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
                        self.runs.deliver(now, sink).map_err(|p| self.refused(p))?;
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
                self.runs = Runs::solid(length);
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
            Kind::Folder => {
                let (expected, actual) = (u32_at(&self.head, at), crc32fast::hash(&self.path));
                if expected != actual {
                    let (at, path) = (self.chunk_at, self.name());
                    return Err(XbstreamError::Checksum { at, path, expected, actual });
                }
                sink.folder(normal(&self.path))
            }
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
        self.runs = Runs::default();
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

    fn end_payload(
        &mut self,
        expected: u32,
        keep: bool,
        sink: &mut impl Sink,
    ) -> Result<(), XbstreamError> {
        if keep {
            // Holes after the last byte.
            self.runs.advance(sink).map_err(|p| self.refused(p))?;
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
