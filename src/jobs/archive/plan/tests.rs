//! Every way in which a server can, or cannot, continue an archive.

use super::*;
use crate::{
    format::{OpenFile, Opening},
    model::{Flavor, HistoryId, RunId, Sha256Digest, Timestamp},
    pipeline::log::{FileState, Owner},
};

const A: &str = "9a3225ed-e51b-11f1-86df-02fc00000001";
const B: &str = "9a3225ed-e51b-11f1-86df-02fc00000002";

fn state(text: &str) -> GtidState {
    text.parse().unwrap()
}

fn server(name: &str, id: u32) -> LogServer {
    let flavor = if name.starts_with("id-") { Flavor::Mariadb } else { Flavor::Mysql };
    LogServer {
        name: name.parse().unwrap(),
        flavor,
        version: "9.1.0".parse().unwrap(),
        server_id: id,
    }
}

/// The archive of a server up to a place in a file.
fn log(owner: LogServer, frontier: &str, file: &str, durable: u64, closed: bool) -> LogState {
    let open = OpenFile {
        server: owner.name.clone(),
        file: file.parse().unwrap(),
        created: Timestamp::from_microseconds(0).unwrap(),
        segmented: 0,
        durable,
        closed,
        boundary: durable,
        opening: Opening { previous: state(""), outline: Sha256Digest([0; 32]) },
        last_group: None,
        tails: Vec::new(),
    };
    let owner = Owner {
        epoch: 1,
        record: 1,
        run: RunId::from_bytes([1; 16]),
        server: owner,
        history: HistoryId::from_bytes([2; 16]),
    };
    LogState {
        owner: Some(owner),
        frontier: state(frontier),
        committed_until: Timestamp::from_microseconds(50_000_000),
        files: vec![FileState { open, tails: Vec::new() }],
        ..LogState::default()
    }
}

/// A server with these files, each with its size and what was before it.
fn seen(server: LogServer, executed: &str, files: &[(&str, u64, &str)]) -> Seen {
    Seen {
        server,
        files: files
            .iter()
            .map(|(name, bytes, _)| ListedFile { name: name.parse().unwrap(), bytes: *bytes })
            .collect(),
        previous: files
            .iter()
            .rev()
            .map(|(name, _, previous)| (name.parse().unwrap(), state(previous)))
            .collect(),
        executed: state(executed),
        unlogged: state(""),
        known: None,
        beginning: None,
    }
    .begun(0, 0)
}

impl Seen {
    /// The file that was read last and the oldest one, begun at these seconds.
    fn begun(self, known: i64, beginning: i64) -> Self {
        let at = |seconds: i64| Timestamp::from_microseconds(seconds * 1_000_000).unwrap();
        let oldest = self.previous.last().unwrap().1.clone();
        Self {
            known: Some(Beginning { created: at(known), previous: state("") }),
            beginning: Some(Beginning { created: at(beginning), previous: oldest }),
            ..self
        }
    }

    fn without(self, unlogged: &str) -> Self {
        Self { unlogged: state(unlogged), ..self }
    }
}

fn resumes() -> Start {
    Start::Resume { gap: None }
}

fn begins(file: &str) -> Start {
    Start::Begin { file: file.parse().unwrap(), fork: None, gap: None }
}

fn why(start: Start) -> Why {
    match start {
        Start::Refuse(refusal) => {
            assert!(!refusal.sentence().contains('\n'));
            refusal.why
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_archive_begins_with_the_oldest_file() {
    let files =
        [("b.7", 900, "A:1-5"), ("b.8", 100, "A:1-9")].map(|(f, b, p)| (f, b, p.replace('A', A)));
    let files: Vec<_> = files.iter().map(|(f, b, p)| (*f, *b, p.as_str())).collect();
    let seen = seen(server(A, 1), &format!("{A}:1-12"), &files);
    assert_eq!(start(&LogState::default(), &seen), begins("b.7"));
}

#[test]
fn the_same_server_goes_on_where_it_was() {
    let all = format!("{A}:1-20");
    let archived = format!("{A}:1-12");
    let files = [("b.1", 900, ""), ("b.2", 500, archived.as_str())];
    let server = || server(A, 1);
    // In the file, at its end before the server said so, and in the next one.
    assert_eq!(
        start(&log(server(), &archived, "b.1", 600, false), &seen(server(), &all, &files)),
        resumes()
    );
    assert_eq!(
        start(&log(server(), &archived, "b.1", 900, false), &seen(server(), &all, &files)),
        resumes()
    );
    assert_eq!(
        start(&log(server(), &archived, "b.1", 900, true), &seen(server(), &all, &files)),
        begins("b.2")
    );
    assert_eq!(
        start(&log(server(), &archived, "b.2", 500, true), &seen(server(), &all, &files)),
        resumes()
    );
}

#[test]
fn what_was_purged_is_a_gap_with_its_names() {
    let before = format!("{A}:1-50");
    let files = [("b.9", 900, before.as_str())];
    let seen = seen(server(A, 1), &format!("{A}:1-60"), &files);
    let Start::Begin { file, fork: None, gap: Some(gap) } =
        start(&log(server(A, 1), &format!("{A}:1-12"), "b.2", 600, false), &seen)
    else {
        panic!()
    };
    assert_eq!((file.as_str(), gap.missing, gap.transactions), ("b.9", format!("{A}:13-50"), 38));
    assert_eq!(gap.resumes_at, state(&before));
}

#[test]
fn a_promoted_replica_goes_on_from_the_newest_file_that_begins_within_the_archive() {
    let old = format!("{A}:1-5");
    let files = [("r.1", 900, ""), ("r.2", 900, old.as_str())];
    let seen = seen(server(B, 2), &format!("{A}:1-12,{B}:1-3"), &files);
    assert_eq!(
        start(&log(server(A, 1), &format!("{A}:1-12"), "b.2", 600, false), &seen),
        begins("r.2")
    );
}

#[test]
fn a_promoted_replica_that_lacks_transactions_is_a_fork() {
    let files = [("r.1", 900, "")];
    let seen = seen(server(B, 2), &format!("{A}:1-10,{B}:1-3"), &files);
    let Start::Begin { fork: Some(fork), gap: None, .. } =
        start(&log(server(A, 1), &format!("{A}:1-12"), "b.2", 600, false), &seen)
    else {
        panic!()
    };
    assert_eq!((fork.forked, fork.transactions), (format!("{A}:11-12"), 2));
    assert_eq!(fork.frontier, state(&format!("{A}:1-10")));
    // The same for MariaDB, whose servers share the numbers of a domain.
    let seen = super::tests::seen(server("id-2", 2), "0-1-10,0-2-14", &[("r.1", 900, "")]);
    let Start::Begin { fork: Some(fork), gap: None, .. } =
        start(&log(server("id-1", 1), "0-1-12", "b.2", 600, false), &seen)
    else {
        panic!()
    };
    assert_eq!((fork.forked.as_str(), fork.frontier), ("0-1-11…12", state("0-1-10")));
}

/// MariaDB, which then does not name the servers that wrote before; among them may be itself.
#[test]
fn a_promoted_copy_lacks_only_what_came_after_it() {
    let archive = log(server("id-42", 42), "0-31-5,0-41-22,0-42-30", "b.2", 600, false);
    let copy = seen(server("id-41", 41), "0-42-26", &[("r.1", 900, "")]);
    let Start::Begin { fork: Some(fork), gap: None, .. } = start(&archive, &copy) else { panic!() };
    assert_eq!((fork.forked.as_str(), fork.transactions), ("0-42-27…30", 4));
    assert_eq!(fork.frontier, state("0-31-5,0-41-22,0-42-26"));
    // A copy from before its own last transactions would give their names to others.
    let older = seen(server("id-41", 41), "0-31-5", &[("r.1", 900, "")]);
    assert_eq!(why(start(&archive, &older)), Why::Crashed);
}

#[test]
fn a_reset_server_is_refused() {
    let archived = format!("{A}:1-12");
    // With nothing yet, with new transactions under old names, and with more than before.
    for executed in [String::new(), format!("{A}:1-3"), format!("{A}:1-30")] {
        let seen = seen(server(A, 1), &executed, &[("b.1", 300, "")]).begun(60, 60);
        assert_eq!(why(start(&log(server(A, 1), &archived, "b.2", 600, false), &seen)), Why::Reset);
        // The file that was read last has the name of a new one.
        assert_eq!(why(start(&log(server(A, 1), &archived, "b.1", 100, false), &seen)), Why::Reset);
    }
    // MariaDB bears the same name when it was rebuilt.
    let seen = seen(server("id-1", 1), "", &[("b.1", 300, "")]).begun(60, 60);
    assert_eq!(why(start(&log(server("id-1", 1), "0-1-12", "b.2", 600, false), &seen)), Why::Anew);
}

#[test]
fn a_server_that_lost_what_is_archived_is_refused() {
    let archived = format!("{A}:1-12");
    let files = [("b.1", 900, ""), ("b.2", 300, ""), ("b.3", 100, "")];
    // It has used the names again, and its file is shorter, or another one.
    for executed in [format!("{A}:1-11"), format!("{A}:1-15")] {
        let lost = seen(server(A, 1), &executed, &files);
        assert_eq!(
            why(start(&log(server(A, 1), &archived, "b.2", 600, false), &lost)),
            Why::Crashed
        );
        let lost = seen(server(A, 1), &executed, &files).begun(60, 0);
        assert_eq!(
            why(start(&log(server(A, 1), &archived, "b.2", 300, false), &lost)),
            Why::Crashed
        );
        // Or it is not there, though older ones are.
        assert_eq!(
            why(start(&log(server(A, 1), &archived, "b.4", 300, false), &lost)),
            Why::Crashed
        );
    }
    // A former primary comes back from an old copy, behind a server of another name.
    let old = seen(server(A, 1), &format!("{A}:1-7"), &files);
    assert_eq!(why(start(&log(server(B, 2), &archived, "r.2", 600, false), &old)), Why::Crashed);
    let old = seen(server("id-1", 1), "0-1-7", &files);
    assert_eq!(
        why(start(&log(server("id-2", 2), "0-1-9,0-2-12", "r.2", 600, false), &old)),
        Why::Crashed
    );
}

#[test]
fn what_is_written_and_not_yet_executed_is_not_lost() {
    // A commit that waits for a replica's word is in the file, and in no set.
    let files = [("b.2", 700, "")];
    let waiting = seen(server(A, 1), &format!("{A}:1-11"), &files);
    let log = log(server(A, 1), &format!("{A}:1-12"), "b.2", 600, false);
    assert_eq!(start(&log, &waiting), resumes());
}

#[test]
fn a_claim_that_was_written_without_its_fork_is_made_good() {
    // The owner died between the two records: the log ends with a file of the server before.
    let mut log = log(server(A, 1), &format!("{A}:1-12"), "b.1", 600, false);
    log.owner.as_mut().unwrap().server = server(B, 2);
    let files = [("b.1", 900, "")];
    let seen = seen(server(B, 2), &format!("{A}:1-10,{B}:1-3"), &files);
    let Start::Begin { fork: Some(fork), gap: None, .. } = start(&log, &seen) else { panic!() };
    assert_eq!((fork.forked, fork.left.as_str()), (format!("{A}:11-12"), A));
}

#[test]
fn what_is_in_no_file_is_a_gap() {
    // A replica that was made from a copy: its first file begins with nothing before it.
    let files = [("r.1", 900, "")];
    let copied = seen(server(B, 2), &format!("{A}:1-20,{B}:1-3"), &files);
    let copied = copied.without(&format!("{A}:1-20"));
    let old = log(server(A, 1), &format!("{A}:1-12"), "b.2", 600, false);
    let Start::Begin { gap: Some(gap), fork: None, .. } = start(&old, &copied) else { panic!() };
    assert_eq!((gap.missing, gap.transactions), (format!("{A}:13-20"), 8));
    // `SET GLOBAL gtid_purged` on the server that is being read.
    let files = [("b.2", 900, "")];
    let given = seen(server(A, 1), &format!("{A}:1-12,{B}:1-3"), &files);
    let given = given.without(&format!("{B}:1-3"));
    let Start::Resume { gap: Some(gap) } = start(&old, &given) else { panic!() };
    assert_eq!((gap.missing, gap.transactions), (format!("{B}:1-3"), 3));
}

#[test]
fn a_stranger_is_refused() {
    let seen = seen(server(B, 2), &format!("{B}:1-100"), &[("b.1", 300, "")]);
    let refused = start(&log(server(A, 1), &format!("{A}:1-12"), "b.2", 600, false), &seen);
    assert_eq!(why(refused), Why::Stranger);
}
