//! The folders of a local repository, entered one by one and never through a link.

use std::{os::fd::OwnedFd, path::PathBuf, time::SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fsync, mkdirat, open, openat, statat};
use rustix::io::Errno;

use super::{
    super::{
        Key, ObjectInfo, StoreErrorKind,
        backend::{Fault, Stale},
    },
    fault::fault,
};
use crate::model::Timestamp;

/// Marks a name that is no key: a file that is still being written.
pub(super) const TEMPORARY: char = '~';

/// How many objects a step of a listing looks for.
const PAGE: usize = 1000;

#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) root: PathBuf,
}

/// The folders of a key, possibly none, and its name in the last one.
pub(super) fn split(key: &Key) -> (&str, &str) {
    key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()))
}

pub(super) fn timestamp(time: SystemTime) -> Option<Timestamp> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Timestamp::from_microseconds(i64::try_from(since.as_micros()).ok()?)
}

pub(super) fn flush(folder: &OwnedFd) -> Result<(), Fault> {
    fsync(folder).map_err(fault)
}

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Tree {
    /// Opens a folder, and makes it, durably, when asked to.
    pub(super) fn folder(&self, path: &str, make: bool) -> Result<OwnedFd, Fault> {
        let mut folder = self.root_folder(make)?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            folder = enter(&folder, name, make)?;
        }
        Ok(folder)
    }

    fn root_folder(&self, make: bool) -> Result<OwnedFd, Fault> {
        // Whoever configures a repository may reach it through a link; nothing below may be one.
        let flags = FOLDER.difference(OFlags::NOFOLLOW);
        match open(&self.root, flags, Mode::empty()) {
            Err(Errno::NOENT) if make => {}
            opened => return opened.map_err(fault),
        }
        let (Some(above), Some(name)) = (self.root.parent(), self.root.file_name()) else {
            return Err(fault(Errno::NOENT));
        };
        let above = open(above, flags, Mode::empty()).map_err(|error| {
            Fault { kind: StoreErrorKind::NoBucket, ..fault(error) }
                .hint("the folder above the repository has gone")
        })?;
        make_folder(&above, name)?;
        open(&self.root, flags, Mode::empty()).map_err(fault)
    }

    /// Names of folders directly below, if there is an object anywhere under them.
    pub(super) fn folders_with_objects(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        let mut found = Vec::new();
        for entry in self.entries(prefix)? {
            if let Some(name) = entry.strip_suffix('/') {
                let mut walk = Walk::new(self.clone(), format!("{prefix}{name}/"), None);
                if !walk.take(1)?.is_empty() {
                    found.push(name.to_owned());
                }
            }
        }
        Ok(found)
    }

    /// Temporary files below `prefix` that nobody has written to since `before`.
    pub(super) fn temporaries(&self, prefix: &str, before: Timestamp) -> Result<Vec<Stale>, Fault> {
        let (mut found, mut folders) = (Vec::new(), vec![prefix.to_owned()]);
        while let Some(path) = folders.pop() {
            for name in self.names(&path)? {
                if let Some(name) = name.strip_suffix('/') {
                    folders.push(format!("{path}{name}/"));
                } else if name.contains(TEMPORARY)
                    && self.info(&path, &name)?.is_some_and(|(_, m)| m.is_some_and(|m| m < before))
                {
                    found.push(Stale { object: path.clone(), id: name });
                }
            }
        }
        Ok(found)
    }

    /// What belongs to the repository in a folder, in the order of keys: folders end in `/`.
    fn entries(&self, path: &str) -> Result<Vec<String>, Fault> {
        let mut names = self.names(path)?;
        names.retain(|name| Key::new(name.strip_suffix('/').unwrap_or(name)).is_ok());
        names.sort_unstable();
        Ok(names)
    }

    fn names(&self, path: &str) -> Result<Vec<String>, Fault> {
        let folder = match self.folder(path, false) {
            Err(fault) if fault.kind == StoreErrorKind::NotFound => return Ok(Vec::new()),
            folder => folder?,
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let kind = match entry.file_type() {
                FileType::Unknown => statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
                kind => kind,
            };
            match kind {
                FileType::Directory if name != "." && name != ".." => {
                    names.push(format!("{name}/"));
                }
                FileType::RegularFile => names.push(name.to_owned()),
                _ => {}
            }
        }
        Ok(names)
    }

    /// Size and time of a file, unless it has gone in the meantime.
    fn info(&self, path: &str, name: &str) -> Result<Option<(u64, Option<Timestamp>)>, Fault> {
        let folder = self.folder(path, false)?;
        match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let seconds = stat.st_mtime;
                let micros = i64::try_from(stat.st_mtime_nsec).unwrap_or(0) / 1000;
                let modified = Timestamp::from_microseconds(seconds * 1_000_000 + micros);
                Ok(Some((u64::try_from(stat.st_size).unwrap_or(0), modified)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(fault(error)),
        }
    }
}

fn enter(folder: &OwnedFd, name: &str, make: bool) -> Result<OwnedFd, Fault> {
    match openat(folder, name, FOLDER, Mode::empty()) {
        Err(Errno::NOENT) if make => {}
        opened => return opened.map_err(fault),
    }
    make_folder(folder, name)?;
    openat(folder, name, FOLDER, Mode::empty()).map_err(fault)
}

fn make_folder(above: &OwnedFd, name: impl rustix::path::Arg) -> Result<(), Fault> {
    match mkdirat(above, name, Mode::RWXU) {
        // Another writer may have made it, and not have flushed it yet.
        Ok(()) | Err(Errno::EXIST) => flush(above),
        Err(error) => Err(fault(error)),
    }
}

/// A listing in progress: what is still to be visited, next one last.
#[derive(Debug)]
pub(super) struct Walk {
    tree: Tree,
    after: Option<Key>,
    pending: Vec<String>,
}

impl Walk {
    pub(super) fn new(tree: Tree, prefix: String, after: Option<Key>) -> Self {
        Self { tree, after, pending: vec![prefix] }
    }

    pub(super) fn page(&mut self) -> Result<Vec<ObjectInfo>, Fault> {
        self.take(PAGE)
    }

    fn take(&mut self, limit: usize) -> Result<Vec<ObjectInfo>, Fault> {
        let mut page = Vec::new();
        while page.len() < limit {
            let Some(path) = self.pending.pop() else { break };
            if path.is_empty() || path.ends_with('/') {
                let entries = self.tree.entries(&path)?;
                let wanted =
                    entries.into_iter().map(|e| format!("{path}{e}")).filter(|e| self.wants(e));
                let wanted: Vec<_> = wanted.collect();
                self.pending.extend(wanted.into_iter().rev());
            } else if let Ok(key) = Key::new(path) {
                let (folders, name) = split(&key);
                if let Some((size, modified)) = self.tree.info(folders, name)? {
                    page.push(ObjectInfo { key, size, modified });
                }
            }
        }
        Ok(page)
    }

    /// A folder is left out when everything in it lies before the beginning.
    fn wants(&self, entry: &str) -> bool {
        self.after.as_ref().is_none_or(|after| {
            let after = after.as_str();
            entry > after || (entry.ends_with('/') && after.starts_with(entry))
        })
    }
}
