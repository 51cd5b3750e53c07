//! The log, walked record by record, and what its bytes say: who owned it when, and which tokens
//! it holds under which names. The bytes are read here by hand, not by what is tested.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use backstay::{
    crypto::{kms::file::FileKms, signer::Trust},
    format::{EpochEntry, ForkEntry, GapEntry, LogEntry, LogRange, LogRecord},
    model::{Flavor, HistoryId, RunId},
    pipeline::{
        Progress, Repository,
        log::{LogState, RangeOpener, read_archive, record, refresh},
    },
    store::{self, StoreOptions},
};

use crate::{
    home::Home,
    minio::{Minio, REGION},
    reassembled::Taken,
};

/// A file of a server, when it was begun, and in which history: names come again after a reset,
/// within a second when the server is quick.
pub(crate) type FileName = (HistoryId, String, String, i64);

/// What the log says.
pub(crate) struct Walked {
    pub(crate) records: Vec<LogRecord>,
    pub(crate) state: LogState,
    pub(crate) epochs: Vec<EpochEntry>,
    pub(crate) gaps: Vec<GapEntry>,
    pub(crate) forks: Vec<ForkEntry>,
    /// Records that were written by owners that had been fenced.
    pub(crate) void: usize,
    pub(crate) files: BTreeMap<FileName, Vec<u8>>,
    /// Token → the names of the transactions that bear it.
    pub(crate) tokens: BTreeMap<String, BTreeSet<String>>,
}

/// The cluster of a home, as a reader with all rights sees it.
pub(crate) async fn repository(home: &Home, minio: Option<&Minio>) -> Repository {
    let at = home.flags.iter().position(|flag| flag == "--repo").unwrap();
    let options = match minio {
        Some(minio) => StoreOptions {
            endpoint: Some(minio.endpoint()),
            region: Some(REGION.to_owned()),
            credentials_file: Some(minio.credentials_file()),
            ..StoreOptions::default()
        },
        None => StoreOptions::default(),
    };
    let store = store::open(&home.flags[at + 1], &options).await.unwrap();
    let trust = Trust::read(&home.path("kek.trust")).unwrap();
    Repository::new(store, "c".parse().unwrap(), trust)
}

/// Reads everything, and checks what must hold of any log: it folds from its first record on to
/// what a reader of checkpoints sees, each record is of the one owner of its time, and bytes that
/// were archived twice were archived alike.
pub(crate) async fn walk(home: &Home, minio: Option<&Minio>) -> Walked {
    let repository = repository(home, minio).await;
    let mut state = LogState::default();
    let count = refresh(&repository, &mut state).await.unwrap();
    assert_eq!(count, state.head.number);
    let archive = read_archive(&repository).await.unwrap();
    assert_eq!(archive.state.head, state.head);
    assert_eq!(archive.state.files, state.files);
    assert_eq!(archive.state.frontier, state.frontier);
    let mut walked = Walked {
        records: Vec::new(),
        state,
        epochs: Vec::new(),
        gaps: Vec::new(),
        forks: Vec::new(),
        void: 0,
        files: BTreeMap::new(),
        tokens: BTreeMap::new(),
    };
    let mut owner: Option<(u64, RunId)> = None;
    for number in 1..=count {
        let found = record(&repository, number).await.unwrap().record;
        walked.take(&found, &mut owner);
        walked.records.push(found);
    }
    let notes: Vec<u64> = archive.notes.iter().map(|note| note.number).collect();
    let expected = walked.records.iter().filter(|record| {
        matches!(record.entry, LogEntry::Epoch(_) | LogEntry::Gap(_) | LogEntry::Fork(_))
    });
    assert_eq!(notes, expected.map(|record| record.number).collect::<Vec<_>>());
    let kms = FileKms::open(&home.path("kek")).unwrap();
    let opener = RangeOpener::new(&repository, &kms, Arc::new(Progress::default()));
    let histories: Vec<(u64, HistoryId)> = walked
        .records
        .iter()
        .filter_map(|record| match &record.entry {
            LogEntry::Epoch(epoch) => Some((record.number, epoch.history)),
            _ => None,
        })
        .collect();
    let segments = archive.segments.iter();
    let segments = segments.map(|segment| (segment.number, segment.first_record, &segment.range));
    let tails = archive.state.files.iter().flat_map(|file| &file.tails);
    let tails = tails.map(|tail| (tail.number, tail.number, &tail.range));
    for (number, first, range) in segments.chain(tails) {
        let bytes = opener.open(number, Taken::default()).await.unwrap().0;
        let begun = histories.partition_point(|(epoch, _)| *epoch < first);
        walked.bytes(histories[begun - 1].1, range, &bytes);
    }
    let files = std::mem::take(&mut walked.files);
    for (name, bytes) in &files {
        for (gtid, token) in groups(bytes, flavor(&walked.state), name) {
            walked.tokens.entry(token).or_default().insert(gtid);
        }
    }
    walked.files = files;
    walked
}

fn flavor(state: &LogState) -> Flavor {
    state.owner.as_ref().map_or(Flavor::Mysql, |owner| owner.server.flavor)
}

impl Walked {
    fn take(&mut self, found: &LogRecord, owner: &mut Option<(u64, RunId)>) {
        let epoch = owner.map_or(0, |(epoch, _)| epoch);
        match &found.entry {
            LogEntry::Checkpoint(_) => return,
            LogEntry::Epoch(entry) if found.epoch == epoch + 1 => {
                *owner = Some((found.epoch, found.run_id));
                self.epochs.push(entry.clone());
                return;
            }
            _ if found.epoch < epoch => {
                self.void += 1;
                return;
            }
            LogEntry::Gap(gap) => self.gaps.push(gap.clone()),
            LogEntry::Fork(fork) => self.forks.push(fork.clone()),
            _ => {}
        }
        assert_eq!(*owner, Some((found.epoch, found.run_id)), "{found:?} is nobody's");
    }

    fn bytes(&mut self, history: HistoryId, range: &LogRange, bytes: &[u8]) {
        assert_eq!(bytes.len() as u64, range.end - range.start);
        let name = (
            history,
            range.server.to_string(),
            range.file.to_string(),
            range.created.as_microseconds() / 1_000_000,
        );
        let file = self.files.entry(name).or_default();
        let start = usize::try_from(range.start).unwrap();
        assert!(start <= file.len(), "{} {start}: {} bytes before it", range.file, file.len());
        let known = &file[start..file.len().min(start + bytes.len())];
        assert!(bytes.starts_with(known), "{} {start}: it was archived differently", range.file);
        let add = bytes[known.len()..].to_vec();
        file.extend(add);
    }

    /// The names of all forked transactions, as the records tell.
    fn is_forked(&self, gtid: &str) -> bool {
        self.forks.iter().any(|fork| names(&fork.forked, gtid))
    }

    /// Compares the archive with what the final primary has: nothing of that is missing, no gap is
    /// told of, and what is told of as forked is what is archived and not there.
    #[track_caller]
    pub(crate) fn covers(&self, tokens: &[String]) -> usize {
        assert_eq!(self.gaps, [], "nothing was purged");
        let there: BTreeSet<&str> = tokens.iter().map(String::as_str).collect();
        let missing: Vec<_> =
            there.iter().filter(|token| !self.tokens.contains_key(**token)).collect();
        assert!(missing.is_empty(), "not archived: {missing:?}\n{}", self.notes());
        let forked = self.tokens.iter().filter(|(token, _)| !there.contains(token.as_str()));
        let forked: BTreeMap<_, _> = forked.collect();
        for (token, gtids) in &forked {
            for gtid in *gtids {
                assert!(
                    self.is_forked(gtid),
                    "{token} ({gtid}) is a fork that nobody tells of\n{}",
                    self.notes()
                );
            }
        }
        // A name may come again: a server that was rebuilt gives it to another transaction.
        let names_of = |token: &str| self.tokens.get(token).into_iter().flatten();
        let lost: BTreeSet<_> = forked.keys().flat_map(|token| names_of(token)).collect();
        for gtid in there.iter().flat_map(|token| names_of(token)) {
            let told = self.is_forked(gtid) && !lost.contains(gtid);
            assert!(!told, "{gtid} is there, and told of as forked\n{}", self.notes());
        }
        for fork in &self.forks {
            let told = forked.values().flat_map(|gtids| gtids.iter());
            let count = told.filter(|gtid| names(&fork.forked, gtid)).count();
            println!("fork of {} ({}): {count} tokens", fork.forked, fork.transactions);
            assert!(count > 0, "{fork:?} is no fork\n{}", self.notes());
        }
        forked.len()
    }

    /// Everything but bytes and signs of life, for people.
    pub(crate) fn notes(&self) -> String {
        let notes = self.records.iter().filter_map(|record| match &record.entry {
            LogEntry::Epoch(epoch) => Some(format!(
                "{} epoch {} {:?} {} resumes {:?} parent {:?}\n",
                record.number,
                record.epoch,
                epoch.reason,
                epoch.server.name,
                epoch.resumes,
                epoch.parent
            )),
            LogEntry::Gap(gap) => Some(format!("{} {gap:?}\n", record.number)),
            LogEntry::Fork(fork) => Some(format!("{} {fork:?}\n", record.number)),
            LogEntry::Tail(tail) if tail.range.opening.is_some() => Some(format!(
                "{} begins {} of {}: {:?}\n",
                record.number, tail.range.file, tail.range.server, tail.range.opening
            )),
            _ => None,
        });
        notes.collect()
    }
}

/// Whether a list of transactions, as gap and fork records have it, holds this one.
pub(crate) fn names(list: &str, gtid: &str) -> bool {
    list.split(',').any(|part| {
        if let Some((uuid, number)) = gtid.split_once(':') {
            let number: u64 = number.parse().unwrap();
            part.trim().strip_prefix(uuid).is_some_and(|rest| {
                rest.split(':').filter(|interval| !interval.is_empty()).any(|interval| {
                    let (first, last) = interval.split_once('-').unwrap_or((interval, interval));
                    (first.parse().unwrap()..=last.parse::<u64>().unwrap()).contains(&number)
                })
            })
        } else {
            let (source, number) = gtid.rsplit_once('-').unwrap();
            let number: u64 = number.parse().unwrap();
            let (listed, interval) = part.trim().rsplit_once('-').unwrap();
            let (first, last) = interval.split_once('…').unwrap_or((interval, interval));
            listed == source
                && (first.parse().unwrap()..=last.parse::<u64>().unwrap()).contains(&number)
        }
    })
}

/// Every (name of a transaction, token in it) of a file.
fn groups(file: &[u8], flavor: Flavor, name: &FileName) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let (mut at, mut gtid) = (4, String::new());
    while at + 19 <= file.len() {
        let header = &file[at..at + 19];
        let number = |from: usize| u32::from_le_bytes(header[from..from + 4].try_into().unwrap());
        let length = number(9) as usize;
        assert!(length >= 19 && at + length <= file.len(), "{name:?}: an event is cut at {at}");
        let body = &file[at + 19..at + length];
        let long = |from: usize| u64::from_le_bytes(body[from..from + 8].try_into().unwrap());
        match (flavor, header[4]) {
            (Flavor::Mariadb, 162) => {
                let domain = u32::from_le_bytes(body[8..12].try_into().unwrap());
                gtid = format!("{domain}-{}-{}", number(5), long(0));
            }
            (Flavor::Mysql, 33) => {
                let hex = hex::encode(&body[1..17]);
                let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
                gtid = format!("{}:{}", parts.join("-"), long(17));
            }
            _ => found.extend(tokens(body).map(|token| (gtid.clone(), token))),
        }
        at += length;
    }
    found
}

fn tokens(body: &[u8]) -> impl Iterator<Item = String> {
    let begin = b"<tok-";
    let starts =
        (0..body.len().saturating_sub(begin.len())).filter(|&at| body[at..].starts_with(begin));
    starts.filter_map(|at| {
        let end = body[at..].iter().take(40).position(|byte| *byte == b'>')?;
        Some(String::from_utf8_lossy(&body[at..=at + end]).into_owned())
    })
}
