//! Files below one folder, reached without following a symbolic link.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::FileExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

use super::{SyncPolicy, XbstreamError, ledger::Opened};

#[derive(Debug)]
pub(super) struct Folder {
    root: OwnedFd,
    path: PathBuf,
    sync: SyncPolicy,
    files: HashMap<Vec<u8>, File>,
    current: Vec<u8>,
    /// The folder used last, and its descriptor: files come folder by folder.
    last: Option<(Vec<u8>, OwnedFd)>,
    /// Folders to be synced at the end.
    touched: BTreeSet<Vec<u8>>,
}

impl Folder {
    pub(super) fn open(path: &Path, sync: SyncPolicy) -> Result<Self, XbstreamError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| XbstreamError::Write { path: path.to_owned(), source: e.into() })?;
        Ok(Self {
            root,
            path: path.to_owned(),
            sync,
            files: HashMap::new(),
            current: Vec::new(),
            last: None,
            touched: BTreeSet::new(),
        })
    }

    /// Makes `path` the current file, creating it when it is new.
    pub(super) fn open_file(&mut self, path: &[u8], opened: Opened) -> Result<(), XbstreamError> {
        if opened != Opened::Already {
            let file = self.create(path, opened).map_err(|e| self.failed(path, e))?;
            self.files.insert(path.to_vec(), file);
        }
        self.current.clear();
        self.current.extend_from_slice(path);
        Ok(())
    }

    pub(super) fn write(&mut self, bytes: &[u8], at: u64) -> Result<(), XbstreamError> {
        let written = match self.files.get(&self.current) {
            Some(file) => file.write_all_at(bytes, at),
            None => Err(io::Error::other("it is not open")),
        };
        written.map_err(|e| self.failed(&self.current, e))
    }

    pub(super) fn close(&mut self, path: &[u8], size: u64) -> Result<(), XbstreamError> {
        let Some(file) = self.files.remove(path) else { return Ok(()) };
        let closed = file.metadata().and_then(|meta| {
            if meta.len() < size {
                file.set_len(size)?; // it ends with a hole
            }
            if self.sync == SyncPolicy::EachFile { file.sync_data() } else { Ok(()) }
        });
        closed.map_err(|e| self.failed(path, e))
    }

    pub(super) fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), XbstreamError> {
        let renamed = (|| {
            let (from_folder, from_name) = split(from);
            let (to_folder, to_name) = split(to);
            let source = self.enter(from_folder)?.try_clone_to_owned()?;
            let target = self.enter(to_folder)?;
            rustix::fs::renameat(
                source,
                OsStr::from_bytes(from_name),
                target,
                OsStr::from_bytes(to_name),
            )?;
            io::Result::Ok(())
        })();
        renamed.map_err(|e| self.failed(to, e))
    }

    pub(super) fn remove(&mut self, path: &[u8]) -> Result<(), XbstreamError> {
        let (folder, name) = split(path);
        let removed = self.enter(folder).and_then(|folder| unlink(folder, name));
        removed.map_err(|e| self.failed(path, e))
    }

    pub(super) fn sync(self) -> Result<(), XbstreamError> {
        let synced = match self.sync {
            SyncPolicy::Never => Ok(()),
            SyncPolicy::AtEnd => rustix::fs::syncfs(&self.root).map_err(io::Error::from),
            SyncPolicy::EachFile => self.touched.iter().try_for_each(|folder| {
                let folder = walk(self.root.as_fd(), folder)?;
                Ok(rustix::fs::fsync(folder)?)
            }),
        };
        synced.map_err(|source| XbstreamError::Write { path: self.path, source })
    }

    fn create(&mut self, path: &[u8], opened: Opened) -> io::Result<File> {
        let (folder, name) = split(path);
        let folder = self.enter(folder)?;
        if opened == Opened::Again {
            unlink(folder, name)?;
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(folder, OsStr::from_bytes(name), flags, Mode::from_raw_mode(0o640))?;
        Ok(File::from(fd))
    }

    fn enter(&mut self, folder: &[u8]) -> io::Result<BorrowedFd<'_>> {
        if self.last.as_ref().is_none_or(|(name, _)| name != folder) {
            let fd = walk(self.root.as_fd(), folder)?;
            if self.sync == SyncPolicy::EachFile {
                for (at, _) in folder.iter().enumerate().filter(|&(_, &b)| b == b'/') {
                    self.touched.insert(folder[..at].to_vec());
                }
                self.touched.insert(folder.to_vec());
                self.touched.insert(Vec::new());
            }
            self.last = Some((folder.to_vec(), fd));
        }
        Ok(self.last.as_ref().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd()))
    }

    fn failed(&self, path: &[u8], source: io::Error) -> XbstreamError {
        XbstreamError::Write { path: self.path.join(OsStr::from_bytes(path)), source }
    }
}

/// Opens a folder below `root`, part by part, making what is missing.
fn walk(root: BorrowedFd<'_>, folder: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = root.try_clone_to_owned()?;
    for part in folder.split(|&b| b == b'/').filter(|part| !part.is_empty()) {
        let part = OsStr::from_bytes(part);
        at = match rustix::fs::openat(&at, part, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&at, part, Mode::from_raw_mode(0o700))?;
                rustix::fs::openat(&at, part, flags, Mode::empty())?
            }
            opened => opened?,
        };
    }
    Ok(at)
}

fn unlink(folder: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(folder, OsStr::from_bytes(name), AtFlags::empty())?)
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}
