//! Where to read on: decided from the log and from what the server says, and from nothing else.

use crate::{
    format::{ForkEntry, GapEntry, LogServer, OpenFile},
    model::{BinlogName, Flavor, GtidState, ServerName, Timestamp},
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
    /// What it has and none of its files holds.
    pub(super) unlogged: GtidState,
    /// How the file begins that has the name of the one that was read last, if that was of this
    /// server.
    pub(super) known: Option<Beginning>,
    /// How its oldest file begins, if something of this server was read last.
    pub(super) beginning: Option<Beginning>,
}

/// What a file begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Beginning {
    /// The time stamp of its format description.
    pub(super) created: Timestamp,
    /// The transactions before it.
    pub(super) previous: GtidState,
}

/// Where to read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    /// In the file that was being read; what is there is compared first.
    Resume {
        /// Transactions that the server has and none of its files.
        gap: Option<GapEntry>,
    },
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
    /// That, or its data is new: MariaDB bears the same name then.
    Anew,
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
    /// The archived transactions that it does not have, if their names tell.
    pub(super) missing: Option<String>,
    /// The file that was read last.
    pub(super) file: Option<BinlogName>,
}

impl Refusal {
    /// One plain sentence.
    pub(super) fn sentence(&self) -> String {
        let Self { why, server, missing, file } = self;
        let what = match (missing, file) {
            (Some(missing), _) => format!("{missing}, which is archived"),
            (None, Some(file)) => format!("what is archived of its {file}"),
            (None, None) => "what is archived".to_owned(),
        };
        match why {
            Why::Reset => format!(
                "the binary log of server {server} was reset: it no longer has {what}, and gives the same names to other transactions"
            ),
            Why::Anew => format!(
                "the binary log of server {server} begins anew: it was reset, or the server was rebuilt; it no longer has {what}, and gives the same names to other transactions"
            ),
            Why::Crashed => format!(
                "server {server} has lost {what}, as after a crash without sync_binlog = 1 or with an older copy of its data, and gives the same names to other transactions"
            ),
            Why::Stranger => format!(
                "server {server} does not have {what}: it was rebuilt, or belongs to another cluster"
            ),
        }
    }
}

/// The file that was read last, if it is this server's.
pub(super) fn last_read<'a>(log: &'a LogState, server: &ServerName) -> Option<&'a OpenFile> {
    // Files have the same names on all servers.
    let open = log.current().map(|file| &file.open).filter(|open| open.server == *server)?;
    log.owner.as_ref().filter(|owner| owner.server.name == *server).map(|_| open)
}

pub(super) fn start(log: &LogState, seen: &Seen) -> Start {
    let name = &seen.server.name;
    let Some(owner) = &log.owner else {
        return Start::Begin { file: oldest(seen), fork: None, gap: None };
    };
    let executed = seen.executed.completed_from(&log.frontier);
    let lost = log.frontier.missing_from(&executed);
    let last_read = last_read(log, name);
    let refuse = |why| {
        Start::Refuse(Refusal {
            why,
            server: name.clone(),
            missing: lost.as_ref().map(|lost| shortened(&lost.text)),
            file: last_read.map(|open| open.file.clone()),
        })
    };
    // The same server is known by its files. What it says to have executed may be less for a
    // moment than what it has written: while it waits for replicas, say.
    if let Some(open) = last_read {
        match seen.files.iter().position(|file| file.name == open.file) {
            Some(at) => {
                let begins =
                    Beginning { created: open.created, previous: open.opening.previous.clone() };
                if seen.known.as_ref() != Some(&begins) {
                    return refuse(anew(log, seen));
                }
                if seen.files[at].bytes < open.durable {
                    return refuse(Why::Crashed);
                }
                if !open.closed || at + 1 == seen.files.len() {
                    let gap = gap_before(log, seen, None, &log.frontier);
                    return Start::Resume { gap };
                }
                let file = seen.files[at + 1].name.clone();
                let gap = gap_before(log, seen, Some(&file), &log.frontier);
                return Start::Begin { file, fork: None, gap };
            }
            // Files are purged from the oldest on: it should be there.
            None if !is_before(&open.file, &oldest(seen)) => return refuse(anew(log, seen)),
            None => {}
        }
    }
    if let Some(lost) = &lost {
        if !log.frontier.meets(&executed) {
            return refuse(Why::Stranger);
        }
        if last_read.is_some() || reuses(&lost.text, &seen.server) {
            return refuse(anew(log, seen));
        }
    }
    let left = log.current().map_or(&owner.server.name, |file| &file.open.server);
    let fork = lost.map(|lost| ForkEntry {
        left: left.clone(),
        taken: name.clone(),
        forked: lost.text,
        transactions: lost.count,
        frontier: log.frontier.shared_with(&executed),
    });
    let frontier = fork.as_ref().map_or(&log.frontier, |fork| &fork.frontier);
    let within = seen.previous.iter().find(|(_, previous)| previous.is_within(frontier));
    let file = within.map_or_else(|| oldest(seen), |(file, _)| file.clone());
    let gap = gap_before(log, seen, Some(&file), frontier);
    Start::Begin { file, fork, gap }
}

/// What the server has from before this file, or in no file at all, and the archive has not.
pub(super) fn gap_before(
    log: &LogState,
    seen: &Seen,
    file: Option<&BinlogName>,
    frontier: &GtidState,
) -> Option<GapEntry> {
    let mut before = seen.unlogged.clone();
    if let Some((_, previous)) = seen.previous.iter().find(|(name, _)| Some(name) == file) {
        before.merge(previous);
    }
    let missing = before.missing_from(frontier)?;
    Some(GapEntry {
        server: seen.server.name.clone(),
        file: file.cloned().unwrap_or_else(|| oldest(seen)),
        missing: missing.text,
        transactions: missing.count,
        after: log.committed_until,
        resumes_at: before,
    })
}

/// What became of a server whose binary log is another one: a new one, or less of the old one.
fn anew(log: &LogState, seen: &Seen) -> Why {
    let new = seen.beginning.as_ref().is_some_and(|beginning| {
        // It has whole seconds.
        let later = log.committed_until.is_none_or(|at| beginning.created.seconds_since(at) > -1.0);
        beginning.previous.is_empty() && later
    });
    match (new, seen.server.flavor) {
        (false, _) => Why::Crashed,
        (true, Flavor::Mysql) => Why::Reset,
        (true, Flavor::Mariadb) => Why::Anew,
    }
}

/// Whether one file of a server is older than another.
pub(super) fn is_before(a: &BinlogName, b: &BinlogName) -> bool {
    let parts = |name: &BinlogName| {
        let (base, number) = name.as_str().rsplit_once('.')?;
        Some((base.to_owned(), number.parse::<u64>().ok()?))
    };
    match (parts(a), parts(b)) {
        // Another base name: the server was told to begin another series.
        (Some((base, _)), Some((other, _))) if base != other => true,
        (Some((_, a)), Some((_, b))) => a < b,
        _ => a < b,
    }
}

fn oldest(seen: &Seen) -> BinlogName {
    // A server whose binary log is on has a file; the preflight has seen to that.
    seen.files[0].name.clone()
}

/// Whether the server itself would name new transactions like the lost ones.
fn reuses(lost: &str, server: &LogServer) -> bool {
    let own = match server.flavor {
        Flavor::Mysql => server.name.to_string(),
        Flavor::Mariadb => server.server_id.to_string(),
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
mod tests;
