//! Writing files so that they appear whole, durably, and only where nothing is.

use std::{
    fs::File,
    os::{fd::OwnedFd, unix::fs::FileExt},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, linkat, openat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::{
    super::{
        Key, StoreErrorKind,
        backend::{Fault, Parts},
    },
    blocking,
    fault::fault,
    tree::{self, TEMPORARY, Tree},
};

/// A file that is being written, beside the place where it will appear.
#[derive(Debug)]
pub(super) struct Temporary {
    folder: OwnedFd,
    file: File,
    working_name: String,
    name: String,
}

pub(super) fn put_new(tree: &Tree, key: &Key, body: &Bytes) -> Result<(), Fault> {
    let temporary = Temporary::begin(tree, key)?;
    let written = temporary
        .file
        .write_all_at(body, 0)
        .map_err(fault)
        .and_then(|()| temporary.publish(body.len() as u64));
    if written.is_err() {
        // The first error is the one to tell; what cannot be removed is swept later.
        let _ = temporary.remove();
    }
    written
}

impl Temporary {
    pub(super) fn begin(tree: &Tree, key: &Key) -> Result<Self, Fault> {
        let (folders, name) = tree::split(key);
        let folder = tree.folder(folders, true)?;
        let unique = getrandom::u64()
            .map_err(|error| Fault::new(StoreErrorKind::Other, error.to_string()))?;
        let working_name = format!("{name}{TEMPORARY}{unique:016x}");
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = openat(&folder, working_name.as_str(), flags, mode).map_err(fault)?.into();
        Ok(Self { folder, file, working_name, name: name.to_owned() })
    }

    /// Flushes the bytes, gives them their name, flushes the name.
    fn publish(&self, size: u64) -> Result<(), Fault> {
        let written = self.file.metadata().map_err(fault)?.len();
        if written != size {
            let text = format!("{written} bytes were written where {size} were sent");
            return Err(Fault::new(StoreErrorKind::Corrupt, text));
        }
        self.file.sync_all().map_err(fault)?;
        let (from, to) = (self.working_name.as_str(), self.name.as_str());
        match linkat(&self.folder, from, &self.folder, to, AtFlags::empty()) {
            Ok(()) => self.remove()?,
            // Some network and user-space file systems have no hard links.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
                renameat_with(&self.folder, from, &self.folder, to, RenameFlags::NOREPLACE)
                    .map_err(|error| match error {
                        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => unsupported(error),
                        error => fault(error),
                    })?;
            }
            Err(error) => return Err(fault(error)),
        }
        // It is there, but may not be after a loss of power.
        tree::flush(&self.folder).map_err(|f| Fault { kind: StoreErrorKind::Unclear, ..f })
    }

    fn remove(&self) -> Result<(), Fault> {
        match unlinkat(&self.folder, self.working_name.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(fault(error)),
        }
    }
}

fn unsupported(error: Errno) -> Fault {
    Fault::new(StoreErrorKind::Unsupported, error.to_string())
        .hint("this file system can neither link nor rename without overwriting; use another one")
}

/// An upload into a temporary file, each part at its own offset.
pub(super) struct LocalParts {
    temporary: Arc<Temporary>,
    part_size: u64,
}

impl LocalParts {
    pub(super) fn new(temporary: Temporary, part_size: usize) -> Self {
        Self { temporary: Arc::new(temporary), part_size: part_size as u64 }
    }
}

#[async_trait]
impl Parts for LocalParts {
    async fn part(&self, number: u32, body: Bytes) -> Result<(), Fault> {
        let (temporary, offset) = (Arc::clone(&self.temporary), u64::from(number) * self.part_size);
        let write = move || {
            temporary.file.write_all_at(&body, offset).map_err(fault)?;
            // Several parts are on their way, so the disk works while the next ones are made, and
            // does not have to do all of it at the end.
            temporary.file.sync_data().map_err(fault)
        };
        blocking(write).await
    }

    async fn complete(&self, _parts: u32, size: u64) -> Result<(), Fault> {
        let temporary = Arc::clone(&self.temporary);
        blocking(move || temporary.publish(size)).await
    }

    async fn abort(&self) -> Result<(), Fault> {
        let temporary = Arc::clone(&self.temporary);
        blocking(move || temporary.remove()).await
    }
}
