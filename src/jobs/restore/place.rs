//! The data directory: claimed, filled, and given to its owner. Everything happens inside it,
//! since it is often a mount of its own.

use std::{
    fs::{self, File},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::{
    jobs::JobError,
    model::{BackupId, ByteSize},
};

/// The folder of our own inside the data directory; while it is there, the restore is unfinished.
const OURS: &str = ".backstay-restore";
/// What mkfs leaves in the root of a fresh volume.
const LOST_AND_FOUND: &str = "lost+found";

/// Files of the source that a new server must not take over: its identity, and its binlogs
/// and relay logs, which belong to another history.
const IDENTITY: [&str; 4] = ["auto.cnf", "master.info", "relay-log.info", "multi-master.info"];

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    version: u32,
    backup_id: BackupId,
}

/// A data directory that is ours alone.
#[derive(Debug)]
pub(super) struct Place {
    datadir: PathBuf,
    ours: PathBuf,
    stage: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes an empty folder, or our own unfinished work, which is cleared away. It will
    /// hold `payload` bytes, and may need no more than `most`.
    pub(super) fn claim(
        datadir: &Path,
        backup: &BackupId,
        payload: u64,
        most: Option<u64>,
    ) -> Result<Self, JobError> {
        let (needed, most) = (ByteSize(needed_bytes(payload)), most.map(ByteSize));
        if let Some(most) = most.filter(|most| needed > *most) {
            return Err(JobError::preflight(
                format!("this restore needs {needed} of disk, and {most} are allowed"),
                "raise --max-disk; nothing was changed",
            ));
        }
        let created = !datadir.exists();
        if created {
            fs::DirBuilder::new()
                .mode(0o750)
                .create(datadir)
                .map_err(JobError::io("create the data directory", datadir))?;
        }
        let names = names(datadir)?;
        let ours = datadir.join(OURS);
        let unfinished = names.iter().any(|name| name == OURS);
        if !unfinished && let Some(name) = names.iter().find(|name| *name != LOST_AND_FOUND) {
            return Err(JobError::preflight(
                format!("{} is not empty: it holds {name}", datadir.display()),
                "restore into an empty folder, or move the old data away first; nothing was changed",
            ));
        }
        let hint = "give it a larger volume; nothing was changed";
        check_space(datadir, payload, "this restore", hint)?;
        if !unfinished {
            fs::DirBuilder::new()
                .mode(0o700)
                .create(&ours)
                .map_err(JobError::io("create", &ours))?;
        }
        let lock = File::open(&ours).map_err(JobError::io("open", &ours))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            JobError::preflight(
                format!("another restore is at work in {}", datadir.display()),
                "wait for it, or stop it",
            )
        })?;
        if unfinished {
            tracing::info!(datadir = %datadir.display(), "clearing away what an unfinished restore has left");
            for name in names.iter().filter(|name| *name != OURS && *name != LOST_AND_FOUND) {
                remove(&datadir.join(name))?;
            }
            for name in self::names(&ours)? {
                remove(&ours.join(name))?;
            }
        }
        let marker = Marker { version: 1, backup_id: backup.clone() };
        let text = serde_json::to_vec(&marker).unwrap_or_default();
        let path = ours.join("marker.json");
        fs::write(&path, text).map_err(JobError::io("write", &path))?;
        sync(&ours)?;
        sync(datadir)?;
        let stage = ours.join("stage");
        fs::DirBuilder::new().mode(0o750).create(&stage).map_err(JobError::io("create", &stage))?;
        Ok(Self { datadir: datadir.to_owned(), ours, stage, _lock: lock })
    }

    /// Where the stream is extracted and prepared.
    pub(super) fn stage(&self) -> &Path {
        &self.stage
    }

    /// An empty folder for an increment; what was there is taken away.
    pub(super) fn increment(&self) -> Result<PathBuf, JobError> {
        let folder = self.ours.join("increment");
        if folder.exists() {
            remove(&folder)?;
        }
        fs::DirBuilder::new()
            .mode(0o750)
            .create(&folder)
            .map_err(JobError::io("create", &folder))?;
        Ok(folder)
    }

    /// Where a replay puts its relay logs together.
    pub(super) fn work(&self) -> Result<PathBuf, JobError> {
        let work = self.ours.join("replay");
        fs::DirBuilder::new().mode(0o700).create(&work).map_err(JobError::io("create", &work))?;
        Ok(work)
    }

    /// Moves the prepared files into the data directory and leaves the source's identity behind.
    pub(super) fn move_in(&self) -> Result<(), JobError> {
        for name in names(&self.stage)? {
            let from = self.stage.join(&name);
            if is_left_behind(&name, &from) {
                remove(&from)?;
                continue;
            }
            let to = self.datadir.join(&name);
            fs::rename(&from, &to).map_err(JobError::io("move into the data directory", &from))?;
        }
        remove(&self.stage)
    }

    /// Sees everything to the disk, and takes our own folder away: the restore is done.
    pub(super) fn finish(self) -> Result<(), JobError> {
        // The temporary server has given the data an identity; the next one shall have its own.
        for name in IDENTITY {
            let path = self.datadir.join(name);
            if path.symlink_metadata().is_ok() {
                remove(&path)?;
            }
        }
        let folder = File::open(&self.datadir).map_err(JobError::io("open", &self.datadir))?;
        rustix::fs::syncfs(&folder).map_err(|e| JobError::io("sync", &self.datadir)(e.into()))?;
        remove(&self.ours)?;
        sync(&self.datadir)
    }
}

/// Whether a file of the stream is not part of a data directory of one's own.
fn is_left_behind(name: &str, path: &Path) -> bool {
    let engine_file = name.starts_with("xtrabackup_")
        || name.starts_with("mariadb_backup_")
        || name == "backup-my.cnf"
        || name == crate::mysql::xbstream::CLONE_INFO;
    let identity = IDENTITY.contains(&name);
    engine_file || identity || (path.is_file() && is_binlog(name, path))
}

/// Whether a file is a binary or relay log (magic `fe 62 69 6e`, or `fd 62 69 6e` when
/// encrypted), or an index of such files.
fn is_binlog(name: &str, path: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    let log = read.is_ok() && (magic == *b"\xfebin" || magic == *b"\xfdbin");
    let index = Path::new(name).extension().is_some_and(|e| e == "index")
        && fs::read_to_string(path).is_ok_and(|text| text.lines().all(|line| line.contains('.')));
    log || index
}

/// Extracting needs the files' bytes; preparing and the server's own start need some more.
pub(in crate::jobs) fn needed_bytes(payload: u64) -> u64 {
    payload.saturating_add(payload / 20).saturating_add(256 << 20)
}

/// Free bytes where this folder is, or will be.
pub(in crate::jobs) fn free_bytes(folder: &Path) -> Result<u64, JobError> {
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    let stat = rustix::fs::statvfs(there)
        .map_err(|e| JobError::io("ask for the free space of", there)(e.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Refuses a folder without room for this payload; `whose` needs it, and `hint` says what to do.
pub(in crate::jobs) fn check_space(
    folder: &Path,
    payload: u64,
    whose: &str,
    hint: &str,
) -> Result<(), JobError> {
    let (free, needed) = (ByteSize(free_bytes(folder)?), ByteSize(needed_bytes(payload)));
    if free < needed {
        let folder = folder.display();
        let what = format!("{folder} has {free} free, and {whose} needs {needed}");
        return Err(JobError::preflight(what, hint));
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>, JobError> {
    let list = fs::read_dir(folder).map_err(JobError::io("list", folder))?;
    list.map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()
        .map_err(JobError::io("list", folder))
}

fn remove(path: &Path) -> Result<(), JobError> {
    let meta = path.symlink_metadata().map_err(JobError::io("look at", path))?;
    let removed = if meta.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(JobError::io("remove", path))
}

fn sync(folder: &Path) -> Result<(), JobError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(JobError::io("sync", folder))
}

/// Who owns the files.
#[derive(Debug, Clone)]
pub(in crate::jobs) struct Owner(Option<(u32, u32, String)>);

impl Owner {
    /// The owner that was asked for; `mysql` when we are root and there is such a user.
    pub(in crate::jobs) fn find(wanted: Option<&str>) -> Result<Self, JobError> {
        let root = rustix::process::geteuid().is_root();
        let (wanted, required) = match wanted {
            Some(text) => (text, true),
            None if root => ("mysql", false),
            None => return Ok(Self(None)),
        };
        let (user, group) = wanted.split_once(':').map_or((wanted, None), |(u, g)| (u, Some(g)));
        let unknown = |what: &str, name: &str| {
            JobError::usage(
                format!("there is no {what} `{name}` on this host"),
                "check --owner USER[:GROUP]",
            )
        };
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let found = entry(&passwd, user)
            .and_then(|f| Some((f.get(2)?.parse().ok()?, f.get(3)?.parse().ok()?)));
        let numeric = user.parse::<u32>().ok().map(|id| (id, id));
        let Some((uid, mut gid)) = found.or(numeric) else {
            return if required { Err(unknown("user", user)) } else { Ok(Self(None)) };
        };
        if let Some(group) = group {
            let groups = fs::read_to_string("/etc/group").unwrap_or_default();
            let found = entry(&groups, group).and_then(|f| f.get(2)?.parse().ok());
            gid = found.or_else(|| group.parse().ok()).ok_or_else(|| unknown("group", group))?;
        }
        if !root && uid != rustix::process::geteuid().as_raw() {
            return Err(JobError::preflight(
                format!("only root can give files to {user}"),
                "leave --owner out, or run as that user",
            ));
        }
        Ok(Self(Some((uid, gid, user.to_owned()))))
    }

    /// The name that the temporary server should run as, when it is not ours.
    pub(in crate::jobs) fn user(&self) -> Option<&str> {
        self.0.as_ref().map(|(_, _, user)| user.as_str())
    }

    /// Its numbers.
    pub(in crate::jobs) fn ids(&self) -> Option<(u32, u32)> {
        self.0.as_ref().map(|(uid, gid, _)| (*uid, *gid))
    }

    /// Gives the folder and everything in it to the owner; symbolic links are not followed.
    pub(in crate::jobs) fn give(&self, folder: &Path) -> Result<(), JobError> {
        let Some((uid, gid, _)) = &self.0 else { return Ok(()) };
        let io = |path: &Path| JobError::io("change the owner of", path);
        std::os::unix::fs::lchown(folder, Some(*uid), Some(*gid)).map_err(io(folder))?;
        for name in names(folder)? {
            let path = folder.join(name);
            let meta = path.symlink_metadata().map_err(io(&path))?;
            if meta.is_dir() {
                self.give(&path)?;
            } else if meta.uid() != *uid || meta.gid() != *gid {
                std::os::unix::fs::lchown(&path, Some(*uid), Some(*gid)).map_err(io(&path))?;
            }
        }
        Ok(())
    }
}

/// The fields of the line of `/etc/passwd` or `/etc/group` that is for `name`.
fn entry<'a>(table: &'a str, name: &str) -> Option<Vec<&'a str>> {
    table
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name))
}
