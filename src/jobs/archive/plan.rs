//! Where to read on: decided from the log and from what the server says, and from nothing else.

use crate::{
    format::{ForkEntry, GapEntry, LogServer},
    model::{BinlogName, GtidState, ServerName},
    pipeline::log::LogState,
};

/// A binlog file as its server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedFile {
    pub(super) name: BinlogName,
    pub(super) bytes: u64,
}

/// What a server says of itself.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) server: LogServer,
    /// Its files, oldest first.
    pub(super) files: Vec<ListedFile>,
    /// What was before its newest files, the newest first: as many as are needed to find one that
    /// begins within the frontier, or all.
    pub(super) previous: Vec<(BinlogName, GtidState)>,
    /// Everything that it has.
    pub(super) executed: GtidState,
}

/// Where to read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    /// In the file that was being read; what is there is compared first.
    Resume,
    /// At the beginning of this file.
    Begin {
        file: BinlogName,
        /// Archived transactions that this server does not have.
        fork: Option<ForkEntry>,
        /// Transactions that it does not have any more.
        gap: Option<GapEntry>,
    },
    /// Nowhere: a person has to decide.
    Refuse(Refusal),
}

/// Why a server's binary log does not continue the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// `RESET BINARY LOGS AND GTIDS` (`RESET MASTER`).
    Reset,
    /// It lost transactions that are archived, and gives their names to others.
    Crashed,
    /// It has other data: rebuilt, or not of this cluster.
    Stranger,
}

/// A server that does not continue the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) why: Why,
    pub(super) server: ServerName,
    /// The archived transactions that it does not have.
    pub(super) missing: String,
}

impl Refusal {
    /// One plain sentence.
    pub(super) fn sentence(&self) -> String {
        let Self { why, server, missing } = self;
        match why {
            Why::Reset => format!(
                "the binary log of server {server} was reset: it no longer has {missing}, which are archived, and will give their names to other transactions"
            ),
            Why::Crashed => format!(
                "server {server} has lost {missing}, which are archived, as after a crash without sync_binlog = 1, and will give their names to other transactions"
            ),
            Why::Stranger => format!(
                "server {server} has nothing of what is archived ({missing}): it was rebuilt, or belongs to another cluster"
            ),
        }
    }
}

pub(super) fn start(log: &LogState, seen: &Seen) -> Start {
    let name = &seen.server.name;
    let refuse = |why, missing: &str| {
        Start::Refuse(Refusal { why, server: name.clone(), missing: shortened(missing) })
    };
    let Some(owner) = &log.owner else {
        return Start::Begin { file: oldest(seen), fork: None, gap: None };
    };
    let same = owner.server.name == *name;
    let lost = log.frontier.missing_from(&seen.executed);
    if let Some(lost) = &lost {
        let strange = !log.frontier.meets(&seen.executed);
        let begins_anew = seen
            .previous
            .last()
            .is_some_and(|(file, previous)| *file == oldest(seen) && previous.is_empty());
        if strange && !same {
            return refuse(Why::Stranger, &lost.text);
        }
        if same || reuses(&lost.text, &seen.server) {
            let reset = same && (strange || (begins_anew && !is_listed(log, seen)));
            return refuse(if reset { Why::Reset } else { Why::Crashed }, &lost.text);
        }
    }
    // What was read last may be of a server before this one, and files have the same names everywhere.
    if same && let Some(current) = log.current().filter(|file| file.open.server == *name) {
        let open = &current.open;
        let at = seen.files.iter().position(|file| file.name == open.file);
        if let Some(at) = at {
            let last = at + 1 == seen.files.len();
            if seen.files[at].bytes < open.durable {
                return refuse(Why::Crashed, "bytes that are archived");
            }
            if !open.closed || last {
                return Start::Resume;
            }
            if lost.is_none() {
                let file = seen.files[at + 1].name.clone();
                return Start::Begin { file, fork: None, gap: None };
            }
        }
    }
    let fork = lost.map(|lost| ForkEntry {
        left: owner.server.name.clone(),
        taken: name.clone(),
        forked: lost.text,
        transactions: lost.count,
        frontier: log.frontier.shared_with(&seen.executed),
    });
    let frontier = fork.as_ref().map_or(&log.frontier, |fork| &fork.frontier);
    let begin = seen.previous.iter().find(|(_, previous)| previous.is_within(frontier));
    if let Some((file, _)) = begin {
        return Start::Begin { file: file.clone(), fork, gap: None };
    }
    let gap = seen.previous.last().and_then(|(file, previous)| {
        let missing = previous.missing_from(frontier)?;
        Some(GapEntry {
            server: name.clone(),
            file: file.clone(),
            missing: missing.text,
            transactions: missing.count,
            after: log.committed_until,
            resumes_at: previous.clone(),
        })
    });
    Start::Begin { file: oldest(seen), fork, gap }
}

fn oldest(seen: &Seen) -> BinlogName {
    // A server whose binary log is on has a file; the preflight has seen to that.
    seen.files[0].name.clone()
}

fn is_listed(log: &LogState, seen: &Seen) -> bool {
    log.current().is_some_and(|file| seen.files.iter().any(|listed| listed.name == file.open.file))
}

/// Whether the server itself would name new transactions like the lost ones.
fn reuses(lost: &str, server: &LogServer) -> bool {
    let own = match server.flavor {
        crate::model::Flavor::Mysql => server.name.to_string(),
        crate::model::Flavor::Mariadb => server.server_id.to_string(),
    };
    // A list of lost transactions has the notation of a state, but for MariaDB's `…`.
    let plain = lost.split(',').map(|part| part.split('…').next().unwrap_or(part));
    let plain = plain.collect::<Vec<_>>().join(",");
    plain.parse::<GtidState>().is_ok_and(|lost| lost.names_source(&own))
}

/// Long sets are for the record, not for a sentence.
fn shortened(text: &str) -> String {
    const ENOUGH: usize = 300;
    match text.char_indices().nth(ENOUGH) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
