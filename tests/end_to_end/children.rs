//! Processes below a process, as /proc tells.

use std::{collections::BTreeSet, fs, path::PathBuf};

/// A process, told from a later one with the same number by when it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) pid: i32,
    parent: i32,
    began: u64,
    pub(crate) command: String,
}

impl Seen {
    fn look(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        if fields[0] == "Z" {
            return None;
        }
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some(Self {
            pid,
            parent: fields[1].parse().ok()?,
            began: fields[19].parse().ok()?,
            command: String::from_utf8_lossy(&command).replace('\0', " "),
        })
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&self) -> bool {
        Self::look(self.pid).is_some_and(|now| now.began == self.began)
    }

    pub(crate) fn kill(&self) {
        if self.is_alive() {
            signal(self.pid, rustix::process::Signal::KILL);
        }
    }

    /// Its environment.
    pub(crate) fn environment(&self) -> Vec<u8> {
        fs::read(PathBuf::from(format!("/proc/{}/environ", self.pid))).unwrap_or_default()
    }
}

/// Signals a process that this test has started, or a descendant of one.
pub(crate) fn signal(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    // It may have ended by itself a moment ago.
    let _ = rustix::process::kill_process(pid, signal);
}

/// All descendants of a process.
pub(crate) fn below(root: i32) -> Vec<Seen> {
    let all: Vec<Seen> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Seen::look)
        .collect();
    let (mut family, mut found) = (BTreeSet::from([root]), Vec::new());
    loop {
        let before = found.len();
        for seen in &all {
            if family.contains(&seen.parent) && family.insert(seen.pid) {
                found.push(seen.clone());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}
