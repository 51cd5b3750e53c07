//! Cases that chance seldom makes (`tests/coverage` lets chance make the others).

use super::*;
use crate::{
    format::{
        CommitSpan, EpochEntry, EpochReason, ForkEntry, GapEntry, LogEntry, LogRecord, LogServer,
        Opening, SegmentSummary,
    },
    model::{ClusterUuid, Flavor, RunId, Sha256Digest},
    pipeline::{
        Horizon,
        log::{LogState, Owner},
    },
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_microseconds(1_700_000_000_000_000 + second * 1_000_000).unwrap()
}

fn state(text: &str) -> GtidState {
    text.parse().unwrap()
}

/// A range of `binlog.00000{file}` of server `id-1`.
fn range(file: u8, (start, end): (u64, u64), gtids: &str) -> LogRange {
    LogRange {
        server: "id-1".parse().unwrap(),
        file: format!("binlog.00000{file}").parse().unwrap(),
        created: at(i64::from(file)),
        start,
        end,
        transactions: u64::from(!gtids.is_empty()),
        gtids: state(gtids),
        committed: (!gtids.is_empty()).then(|| {
            let last = at(100 + i64::try_from(end).unwrap());
            CommitSpan { first: last, last }
        }),
        last_group: None,
        cut: false,
        opening: None,
        closed: false,
    }
}

fn opening(mut range: LogRange, previous: &str) -> LogRange {
    range.opening = Some(Opening { previous: state(previous), outline: Sha256Digest([0; 32]) });
    range
}

fn note(number: u64, entry: LogEntry) -> LogRecord {
    LogRecord {
        version: 1,
        cluster_uuid: ClusterUuid::from_bytes([1; 16]),
        number,
        previous: Sha256Digest([0; 32]),
        run_id: RunId::from_bytes([2; 16]),
        epoch: 1,
        at: at(0),
        entry,
    }
}

/// An archive of segments with these numbers, and notes behind the first epoch.
fn archive(segments: Vec<(u64, LogRange)>, more: Vec<LogRecord>) -> Archive {
    let server = LogServer {
        name: "id-1".parse().unwrap(),
        flavor: Flavor::Mariadb,
        version: "10.11.14-MariaDB".parse().unwrap(),
        server_id: 1,
    };
    let history = HistoryId::from_bytes([3; 16]);
    let owner = Owner {
        epoch: 1,
        record: 1,
        run: RunId::from_bytes([2; 16]),
        server: server.clone(),
        history,
    };
    let epoch = EpochEntry {
        reason: EpochReason::First,
        server,
        history,
        parent: None,
        resumes: None,
        connections: Vec::new(),
    };
    let notes = [note(1, LogEntry::Epoch(epoch))].into_iter().chain(more).collect();
    let segments = segments.into_iter();
    Archive {
        segments: segments
            .map(|(number, range)| SegmentSummary { number, first_record: number, range, bytes: 1 })
            .collect(),
        notes,
        state: LogState { owner: Some(owner), quiet_until: Some(at(900)), ..LogState::default() },
        horizon: Horizon::default(),
    }
}

fn base(gtids: &str) -> Base {
    Base {
        gtids: Some(GtidState::from(&state(gtids).position())),
        exact: true,
        place: None,
        started_at: at(500),
        finished_at: at(501),
    }
}

fn numbers(coverage: &Coverage<'_>) -> Vec<u64> {
    coverage.pieces.iter().map(|piece| piece.number).collect()
}

#[test]
fn nothing_crosses_a_gap_in_the_middle_of_a_file() {
    let gap = GapEntry {
        server: "id-1".parse().unwrap(),
        file: "binlog.000001".parse().unwrap(),
        missing: "0-7-11…14".into(),
        transactions: 4,
        after: None,
        resumes_at: state("0-7-10"),
    };
    let archive = archive(
        vec![
            (2, opening(range(1, (0, 100), "0-7-10"), "")),
            // One segment holds both sides of it.
            (4, range(1, (100, 200), "0-1-16")),
            (5, range(1, (200, 300), "0-1-17")),
        ],
        vec![note(3, LogEntry::Gap(gap))],
    );
    let lines = Lines::of(&archive).unwrap();
    let coverage = lines.walk(&base("0-7-9"));
    assert_eq!(numbers(&coverage), [2]);
    assert!(matches!(coverage.end, End::Gap { record: Some(3), .. }), "{:?}", coverage.end);
    assert_eq!(coverage.until(), Some(at(200)));
    let behind = lines.walk(&base("0-1-16"));
    assert_eq!((numbers(&behind), behind.end), (vec![5], End::Current));
}

#[test]
fn a_transaction_across_ranges_takes_all_of_them() {
    let mut ranges = vec![
        (2, opening(range(1, (0, 100), "0-1-1"), "")),
        (3, range(1, (100, 200), "")),
        (4, range(1, (200, 300), "")),
        (5, range(1, (300, 400), "0-1-2")),
    ];
    for (_, range) in &mut ranges[..3] {
        range.cut = true;
    }
    let archive = archive(ranges, Vec::new());
    let lines = Lines::of(&archive).unwrap();
    // The transaction begins behind the first, which is in the base, in the same range.
    assert_eq!(numbers(&lines.walk(&base("0-1-1"))), [2, 3, 4, 5]);
    assert!(numbers(&lines.walk(&base("0-1-2"))).is_empty());
    let place = Place {
        server: "id-1".parse().unwrap(),
        file: "binlog.000001".parse().unwrap(),
        offset: 50,
    };
    let inexact = Base { exact: false, place: Some(place), ..base("0-1-1") };
    let coverage = lines.walk(&inexact);
    assert_eq!((coverage.pieces[0].number, coverage.pieces[0].from), (2, 50));
    assert_eq!(coverage.pieces.last().unwrap().head, Some(2));
}

#[test]
fn quiet_counts_at_the_end_alone() {
    let archive = archive(
        vec![
            (2, opening(range(1, (0, 100), "0-1-10"), "")),
            (3, opening(range(2, (0, 100), "0-1-30"), "0-1-20")),
        ],
        Vec::new(),
    );
    let lines = Lines::of(&archive).unwrap();
    // No record tells of the gap, and yet it is one.
    let coverage = lines.walk(&base("0-1-5"));
    assert!(matches!(&coverage.end, End::Gap { record: None, missing, .. } if missing.count == 10));
    assert_eq!((coverage.until(), coverage.quiet_until), (Some(at(200)), None));
    let coverage = lines.walk(&base("0-1-20"));
    assert_eq!((coverage.until(), coverage.end), (Some(at(900)), End::Current));
}

#[test]
fn a_base_from_before_the_archive_is_told_what_it_lacks() {
    let archive = archive(vec![(2, opening(range(1, (0, 100), "0-1-30"), "0-1-20"))], Vec::new());
    let lines = Lines::of(&archive).unwrap();
    let End::NotArchived { missing } = lines.walk(&base("0-1-15")).end else { panic!() };
    assert_eq!(missing.unwrap().text, "0-1-16…20");
    let End::NotArchived { missing } = lines.walk(&base("5-1-15")).end else { panic!() };
    assert_eq!(missing, None, "it has nothing in common with what is archived");
}

#[test]
fn the_latest_commit_of_a_base_is_told_where_it_can_be() {
    let archive = archive(
        vec![(2, opening(range(1, (0, 100), "0-1-10"), "")), (3, range(1, (100, 200), "0-1-20"))],
        Vec::new(),
    );
    let lines = Lines::of(&archive).unwrap();
    assert_eq!(lines.walk(&base("0-1-10")).base_committed, Some(at(200)));
    // Which of the second range's is its last is not in the records.
    assert_eq!(lines.walk(&base("0-1-15")).base_committed, None);
    let ahead = lines.walk(&base("0-1-25"));
    assert_eq!((ahead.base_committed, ahead.end), (None, End::Current));
    assert_eq!(ahead.beyond.unwrap().text, "0-1-21…25");
}

#[test]
fn ranges_of_a_file_have_no_holes() {
    let holed = archive(
        vec![(2, opening(range(1, (0, 100), "0-1-10"), "")), (4, range(1, (150, 200), "0-1-20"))],
        Vec::new(),
    );
    assert_eq!(Lines::of(&holed).unwrap_err().number, 4);
    let headless = archive(
        vec![(2, opening(range(1, (0, 100), "0-1-10"), "")), (4, range(2, (150, 200), "0-1-20"))],
        Vec::new(),
    );
    assert!(Lines::of(&headless).unwrap_err().to_string().contains("not in the log"));
}

#[test]
fn an_archive_whose_beginning_was_forgotten_goes_on_with_the_next_file() {
    let archive = archive(
        vec![
            (5, range(1, (100, 200), "0-1-10")),
            (6, opening(range(2, (0, 100), "0-1-20"), "0-1-10")),
        ],
        Vec::new(),
    );
    let lines = Lines::of(&archive).unwrap();
    assert_eq!(numbers(&lines.walk(&base("0-1-10"))), [6]);
    assert_eq!(lines.walk(&base("0-1-5")).end, End::NotArchived { missing: None });
}

#[test]
fn of_a_log_that_was_pruned_several_files_may_have_lost_their_beginning() {
    let mut other = range(2, (300, 400), "0-1-30");
    other.server = "id-2".parse().unwrap();
    let mut pruned = archive(
        vec![
            (1025, range(1, (100, 200), "0-1-10")),
            (1026, other),
            (1027, opening(range(3, (0, 100), "0-1-40"), "0-1-30")),
        ],
        Vec::new(),
    );
    assert!(Lines::of(&pruned).unwrap_err().to_string().contains("not in the log"));
    pruned.horizon = Horizon { begins: 1024, thinned: 2048, pending: None };
    let lines = Lines::of(&pruned).unwrap();
    assert_eq!(numbers(&lines.walk(&base("0-1-30"))), [1027]);
    assert_eq!(lines.walk(&base("0-1-5")).end, End::NotArchived { missing: None });
}

#[test]
fn the_history_before_the_first_record_that_is_left_is_the_one_that_the_next_came_from() {
    let server = LogServer {
        name: "id-1".parse().unwrap(),
        flavor: Flavor::Mariadb,
        version: "10.11.14-MariaDB".parse().unwrap(),
        server_id: 1,
    };
    let (old, new) = (HistoryId::from_bytes([3; 16]), HistoryId::from_bytes([4; 16]));
    let epoch = |history, parent| EpochEntry {
        reason: EpochReason::Takeover,
        server: server.clone(),
        history,
        parent,
        resumes: None,
        connections: Vec::new(),
    };
    let fork = ForkEntry {
        left: "id-1".parse().unwrap(),
        taken: "id-1".parse().unwrap(),
        forked: "0-1-11".into(),
        transactions: 1,
        frontier: state("0-1-10"),
    };
    let branch = crate::format::Branch { history: old, at: state("0-1-10") };
    let mut pruned = archive(vec![(1030, opening(range(2, (0, 9), "0-1-12"), "0-1-10"))], vec![]);
    pruned.notes = vec![
        note(1029, LogEntry::Fork(fork)),
        note(3000, LogEntry::Epoch(epoch(new, Some(branch)))),
    ];
    pruned.state.owner.as_mut().unwrap().history = new;
    pruned.horizon = Horizon { begins: 1024, thinned: 2048, pending: None };
    let lines = Lines::of(&pruned).unwrap();
    assert!(lines.has(Line::History(old)) && lines.has(Line::History(new)));
}

#[test]
fn an_empty_log_covers_nothing() {
    let empty = Archive::default();
    let lines = Lines::of(&empty).unwrap();
    assert_eq!(lines.walk(&base("0-1-5")).end, End::NotArchived { missing: None });
}

#[test]
fn what_was_left_at_a_fork_is_reached_when_asked_for() {
    let fork = ForkEntry {
        left: "id-1".parse().unwrap(),
        taken: "id-2".parse().unwrap(),
        forked: "0-1-11…30".into(),
        transactions: 20,
        frontier: state("0-1-10"),
    };
    let mut taken = opening(range(1, (0, 100), "0-2-11"), "0-1-10");
    taken.server = "id-2".parse().unwrap();
    let archive = archive(
        vec![
            (2, opening(range(1, (0, 100), "0-1-10"), "")),
            (3, opening(range(2, (0, 100), "0-1-30"), "0-1-10")),
            (5, taken),
            // The first server comes back, and is read from its beginning.
            (6, opening(range(1, (0, 100), "0-1-10"), "")),
        ],
        vec![note(4, LogEntry::Fork(fork))],
    );
    let lines = Lines::of(&archive).unwrap();
    let place = Place {
        server: "id-1".parse().unwrap(),
        file: "binlog.000001".parse().unwrap(),
        offset: 50,
    };
    let base = Base { place: Some(place), ..base("0-1-5") };
    assert_eq!(numbers(&lines.walk(&base)), [2, 5]);
    let coverage = lines.along(&base, Line::Fork(4));
    assert_eq!((numbers(&coverage), &coverage.end), (vec![2, 3], &End::Fork { record: 4 }));
    assert!(Line::Fork(4).ends_with(&coverage.end) && !Line::Newest.ends_with(&coverage.end));
    assert!(lines.has(Line::Fork(4)) && !lines.has(Line::Fork(2)));
    let id = HistoryId::from_bytes([3; 16]);
    assert_eq!(numbers(&lines.along(&base, Line::History(id))), [2, 5]);
    assert!(!lines.has(Line::History(HistoryId::from_bytes([4; 16]))));
}
