//! Folders of our own for what is not to stay.

use std::{
    fs::{self, File},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use super::JobError;
use crate::{crypto, pipeline::PipelineError};

/// What their names begin with; twelve random hexadecimal digits follow.
const PREFIX: &str = "backstay-";
/// How often to make another folder when one was taken away at once.
const RACES: u32 = 8;
/// How often to try to remove a folder into which a killed child may still be writing.
const TRIES: u32 = 40;
/// How long to wait in between.
const PAUSE: Duration = Duration::from_millis(50);

/// A folder that only we can enter, removed with everything in it when this is dropped. One that a
/// killed job has left behind is removed by the next job that makes one beside it.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    /// Held while it is in use: a folder that nobody holds was left by a job that was killed.
    _held: File,
}

impl Scratch {
    /// A new folder below `parent`, or below the system's temporary folder.
    pub(super) fn new(parent: Option<&Path>) -> Result<Self, JobError> {
        let parent = Self::parent(parent);
        remove_left_behind(&parent);
        for _ in 0..RACES {
            let random: [u8; 6] = crypto::random().map_err(PipelineError::from)?;
            let path = parent.join(format!("{PREFIX}{}", hex::encode(random)));
            fs::DirBuilder::new().mode(0o700).create(&path).map_err(|cause| {
                JobError::preflight(
                    format!("create the scratch folder {}: {cause}", path.display()),
                    "give a writable folder by --scratch or TMPDIR",
                )
            })?;
            // Between the two steps another job may take it for one that was left behind.
            if let Some(held) = hold(&path) {
                return Ok(Self { path, _held: held });
            }
        }
        Err(JobError::preflight(
            format!("no folder in {} can be locked", parent.display()),
            "give a folder of a file system with locks by --scratch or TMPDIR",
        ))
    }

    /// Where a new one would be.
    pub(super) fn parent(given: Option<&Path>) -> PathBuf {
        let parent = given.map_or_else(std::env::temp_dir, Path::to_owned);
        // A server takes a relative path to be below its own data directory.
        std::path::absolute(&parent).unwrap_or(parent)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of disk that everything in it takes.
    pub(super) fn disk_bytes(&self) -> Result<u64, JobError> {
        let (mut bytes, mut folders) = (0, vec![self.path.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(JobError::io("list", &folder))? {
                let entry = entry.map_err(JobError::io("list", &folder))?;
                let about = entry.metadata().map_err(JobError::io("look at", &entry.path()))?;
                bytes += about.blocks() * 512;
                if about.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        Ok(bytes)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not remove the scratch folder");
        }
    }
}

/// Removes a folder and everything in it. A child that was killed a moment ago may have made a
/// file meanwhile.
fn remove(path: &Path) -> std::io::Result<()> {
    for _ in 1..TRIES {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
                std::thread::sleep(PAUSE);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            done => return done,
        }
    }
    fs::remove_dir_all(path)
}

/// Takes a folder for this process; nothing when another one has it, or has removed it.
fn hold(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    flock(&held, FlockOperation::NonBlockingLockExclusive).ok()?;
    let is_there = fs::symlink_metadata(path).ok()?.ino() == held.metadata().ok()?.ino();
    is_there.then_some(held)
}

/// Removes the folders of jobs that were killed before they could: SIGKILL leaves no time. What
/// belongs to others, or is in use, is left alone.
fn remove_left_behind(parent: &Path) {
    let Ok(list) = fs::read_dir(parent) else { return };
    for path in list.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let random = name.strip_prefix(PREFIX).unwrap_or_default();
        if random.len() != 12 || !random.bytes().all(|b| b.is_ascii_hexdigit()) {
            continue;
        }
        if hold(&path).is_some_and(|_held| remove(&path).is_ok()) {
            tracing::info!(path = %path.display(), "removed a scratch folder that a killed job had left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_job_left_behind_is_removed_and_what_is_in_use_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let dead = parent.path().join("backstay-00112233aabb");
        fs::create_dir_all(dead.join("data")).unwrap();
        fs::write(dead.join("data/ibdata1"), "rows").unwrap();
        let others = [parent.path().join("backstay-notes"), parent.path().join("data")];
        for path in &others {
            fs::create_dir(path).unwrap();
        }
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "").unwrap();
        let link = parent.path().join("backstay-00112233aabc");
        std::os::unix::fs::symlink(outside.path(), &link).unwrap();
        let alive = Scratch::new(Some(parent.path())).unwrap();
        assert!(!dead.exists());
        let second = Scratch::new(Some(parent.path())).unwrap();
        assert!(alive.path().exists() && second.path().exists());
        assert!(others.iter().all(|path| path.exists()));
        assert!(outside.path().join("kept").exists(), "links are not followed");
        let (first, second) = (alive.path().to_owned(), drop(second));
        drop(alive);
        assert_eq!((first.exists(), second), (false, ()));
    }
}
