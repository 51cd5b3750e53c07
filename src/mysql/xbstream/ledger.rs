//! The books of a stream: which files are open, which are complete, and whether
//! the engine came to its end.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::RandomState},
    hash::BuildHasher as _,
};

use super::{
    Dialect, XbstreamError,
    last_files::{self, INFO_LIMIT, kept, watched},
    sink::Problem,
};

/// Files open at one time that are accepted. Engines have a few more than their threads.
const MAX_OPEN: usize = 4096;
/// Files that are accepted: each takes about 16 bytes of memory here.
const MAX_FILES: usize = 1 << 24;

/// Proof that a stream was whole: every chunk well formed and its checksum right, every
/// file closed, the engine's last files present. Only the validator and the extractor make it.
#[derive(Debug)]
pub struct WholeStream {
    dialect: Dialect,
    files: u64,
    payload_bytes: u64,
    stream_bytes: u64,
    infos: BTreeMap<String, Vec<u8>>,
}

impl WholeStream {
    /// Whose stream it was.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Complete files in it.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.files
    }

    /// Bytes of file contents, without holes and without framing.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Bytes of the stream.
    #[must_use]
    pub fn stream_bytes(&self) -> u64 {
        self.stream_bytes
    }

    /// The contents of an information file at the root, such as `xtrabackup_info`, when it
    /// was there, not larger than [`INFO_LIMIT`], and not compressed (`.qp` and the like).
    #[must_use]
    pub fn info(&self, name: &str) -> Option<&[u8]> {
        self.infos.get(name).map(Vec::as_slice)
    }

    /// All information files, by name.
    pub fn infos(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.infos.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }
}

/// How a chunk's file came to be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opened {
    Already,
    New,
    /// It replaces a complete one.
    Again,
}

#[derive(Debug, Default)]
struct OpenFile {
    offset: u64,
    size: u64,
    capture: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    dialect: Dialect,
    open: HashMap<Vec<u8>, OpenFile>,
    current: Vec<u8>,
    /// Hashes stand for the names of complete files, which may be millions. Two names with one
    /// hash (about 1 in 10⁷ for a million files) would refuse a good stream, never pass a bad one.
    complete: HashSet<u64>,
    /// Hashes of the folders that files lie in: nothing can be a file and a folder.
    folders: HashSet<u64>,
    hasher: RandomState,
    files: u64,
    payload_bytes: u64,
    sizes: BTreeMap<&'static str, u64>,
    infos: BTreeMap<String, Vec<u8>>,
}

impl Ledger {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            open: HashMap::new(),
            current: Vec::new(),
            complete: HashSet::new(),
            folders: HashSet::new(),
            hasher: RandomState::new(),
            files: 0,
            payload_bytes: 0,
            sizes: BTreeMap::new(),
            infos: BTreeMap::new(),
        }
    }

    fn hash(&self, path: &[u8]) -> u64 {
        self.hasher.hash_one(path)
    }

    fn open(&mut self, path: &[u8], rewrite: bool) -> Result<Opened, Problem> {
        self.current.clear();
        self.current.extend_from_slice(path);
        if self.open.contains_key(path) {
            return Ok(Opened::Already);
        }
        if self.open.len() >= MAX_OPEN {
            return Err(format!("more than {MAX_OPEN} files are open at once").into());
        }
        let hash = self.hash(path);
        let again = self.complete.contains(&hash);
        if again && !rewrite {
            return Err("its file was complete before".into());
        }
        if again {
            self.forget(path);
        } else {
            self.place(path, hash)?;
        }
        let capture = watched(path).filter(|name| kept(name)).map(|_| Vec::new());
        self.open.insert(path.to_vec(), OpenFile { capture, ..OpenFile::default() });
        Ok(if again { Opened::Again } else { Opened::New })
    }

    /// Refuses a path that could not be extracted beside the others.
    fn place(&mut self, path: &[u8], hash: u64) -> Result<(), Problem> {
        if self.folders.contains(&hash) {
            return Err("its path is that of a folder".into());
        }
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let folder = &path[..at];
            let hash = self.hash(folder);
            if self.folders.contains(&hash) {
                continue;
            }
            if self.open.contains_key(folder) || self.complete.contains(&hash) {
                return Err("a folder in its path is a file".into());
            }
            self.folders.insert(hash);
        }
        Ok(())
    }

    fn forget(&mut self, path: &[u8]) {
        if self.complete.remove(&self.hash(path)) {
            self.files = self.files.saturating_sub(1);
        }
        if let Some(name) = watched(path) {
            self.sizes.remove(name);
            self.infos.remove(name);
        }
    }

    pub(super) fn begin(
        &mut self,
        path: &[u8],
        offset: u64,
        rewrite: bool,
    ) -> Result<Opened, Problem> {
        let opened = self.open(path, rewrite)?;
        let expected = self.open.get(path).map_or(0, |file| file.offset);
        if offset != expected {
            return Err(format!(
                "it is for byte {offset} of its file where {expected} must follow"
            )
            .into());
        }
        Ok(opened)
    }

    /// Where the bytes go in the current file.
    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<u64, Problem> {
        let file = self.open.get_mut(&self.current).ok_or("no file is open")?;
        let at = file.offset;
        file.offset = at.checked_add(bytes.len() as u64).ok_or("its file is too long")?;
        file.size = file.size.max(file.offset);
        self.payload_bytes += bytes.len() as u64;
        if let Some(capture) = &mut file.capture {
            // Information files are written from front to back, without holes.
            if capture.len() as u64 == at && capture.len() + bytes.len() <= INFO_LIMIT {
                capture.extend_from_slice(bytes);
            } else {
                file.capture = None;
            }
        }
        Ok(at)
    }

    pub(super) fn skip(&mut self, bytes: u64) -> Result<(), Problem> {
        let file = self.open.get_mut(&self.current).ok_or("no file is open")?;
        file.offset = file
            .offset
            .checked_add(bytes)
            .filter(|&end| i64::try_from(end).is_ok())
            .ok_or("its file is too long")?;
        file.size = file.size.max(file.offset);
        Ok(())
    }

    pub(super) fn seek(
        &mut self,
        path: &[u8],
        offset: u64,
        rewrite: bool,
    ) -> Result<Opened, Problem> {
        if i64::try_from(offset).is_err() {
            return Err("it seeks beyond the largest file".into());
        }
        let opened = self.open(path, rewrite)?;
        if let Some(file) = self.open.get_mut(path) {
            file.offset = offset;
        }
        Ok(opened)
    }

    /// How the file came to be open, and its length.
    pub(super) fn end(&mut self, path: &[u8]) -> Result<(Opened, u64), Problem> {
        let opened = self.open(path, false)?;
        let file = self.open.remove(path).unwrap_or_default();
        let hash = self.hash(path);
        if self.complete.len() >= MAX_FILES || !self.complete.insert(hash) {
            return Err(
                format!("it ends the same file twice, or one of more than {MAX_FILES}").into()
            );
        }
        self.files += 1;
        if let Some(name) = watched(path) {
            self.sizes.insert(name, file.size);
            // A compressed one would not be what its name says.
            if let Some(bytes) = file.capture.filter(|_| path == name.as_bytes()) {
                self.infos.insert(name.to_owned(), bytes);
            }
        }
        Ok((opened, file.size))
    }

    /// Whether there is anything to rename: MariaDB renames and removes files that
    /// never were in the stream, when a table came and went during the backup.
    pub(super) fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<bool, Problem> {
        if self.open.contains_key(from) || self.open.contains_key(to) {
            return Err("it renames a file that is still open".into());
        }
        if !self.complete.contains(&self.hash(from)) {
            return Ok(false);
        }
        if watched(from).is_some() || watched(to).is_some() {
            return Err("it renames one of the engine's own files".into());
        }
        self.forget(from);
        self.forget(to);
        self.complete.insert(self.hash(to));
        self.files += 1;
        Ok(true)
    }

    pub(super) fn remove(&mut self, path: &[u8]) -> Result<bool, Problem> {
        if self.open.contains_key(path) {
            return Err("it removes a file that is still open".into());
        }
        let known = self.complete.contains(&self.hash(path));
        self.forget(path);
        Ok(known)
    }

    pub(super) fn close(self, stream_bytes: u64) -> Result<WholeStream, XbstreamError> {
        if let Some(path) = self.open.keys().min() {
            return Err(XbstreamError::Open {
                at: stream_bytes,
                count: self.open.len(),
                example: path.escape_ascii().to_string(),
            });
        }
        if let Some(missing) = last_files::missing(self.dialect, &self.sizes, &self.infos) {
            return Err(XbstreamError::NotFinished {
                at: stream_bytes,
                files: self.files,
                missing,
            });
        }
        Ok(WholeStream {
            dialect: self.dialect,
            files: self.files,
            payload_bytes: self.payload_bytes,
            stream_bytes,
            infos: self.infos,
        })
    }
}
