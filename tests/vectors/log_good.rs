//! Logs in which everything is as it should be.

use backstay::{
    format::{
        EpochReason::{First, Released, Server, Silence},
        LogEntry,
    },
    model::Flavor::{Mariadb, Mysql},
};

use crate::log_script::{
    A, B, FIRST, SECOND, Step, branches, epoch, fork, gap, heartbeat, position, promote, range,
    segment, tail,
};

/// Says that its writer ends.
pub(crate) fn released(mut step: Step) -> Step {
    if let LogEntry::Heartbeat(beat) = step.entry() {
        beat.released = true;
    }
    step
}

/// Every kind of record but the checkpoint, two servers, two runs, four epochs, two histories.
pub(crate) fn small() -> Vec<Step> {
    let (one, two, five) = ("binlog.000001", "binlog.000002", "binlog.000005");
    let g = |text: &str| text.replace('A', A).replace('B', B);
    let mut cut = range(A, one, 700..1700);
    cut.cut = true;
    vec![
        // 1
        epoch(FIRST, 1, First, (A, Mysql), None),
        tail(FIRST, 1, 0, range(A, one, 0..700)).opens("").holds(3, &g("A:1-3"), (10, 11)),
        tail(FIRST, 1, 1, cut).holds(1, &g("A:4"), (12, 12)),
        tail(FIRST, 1, 3, range(A, one, 1700..4200)).holds(4, &g("A:5-8"), (13, 14)),
        // 5: supersedes the three
        segment(FIRST, 1, 2, range(A, one, 0..4200)).opens("").holds(8, &g("A:1-8"), (10, 14)),
        tail(FIRST, 1, 4, range(A, one, 4200..4900)).holds(1, &g("A:9"), (15, 15)).closes(),
        tail(FIRST, 1, 6, range(A, two, 0..300)).opens(&g("A:1-9")),
        segment(FIRST, 1, 5, range(A, one, 4200..4900)).holds(1, &g("A:9"), (15, 15)).closes(),
        heartbeat(FIRST, 1, A, Some(position(two, 300)), Some(20)),
        // 10: a successor; the first one does not know yet
        epoch(SECOND, 2, Silence, (A, Mysql), Some(position(two, 300))),
        tail(FIRST, 1, 7, range(A, two, 300..600)).holds(1, &g("A:10"), (21, 21)),
        promote(SECOND, 2, &[(7, 7)], range(A, two, 0..300)).opens(&g("A:1-9")),
        tail(SECOND, 2, 0, range(A, two, 300..800)).holds(2, &g("A:10-11"), (21, 22)),
        epoch(SECOND, 3, Server, (B, Mysql), None),
        // 15
        promote(SECOND, 3, &[(13, 13)], range(A, two, 300..800)).holds(2, &g("A:10-11"), (21, 22)),
        fork(SECOND, 3, &g("A:1-9")),
        gap(SECOND, 3, B, five, &g("A:1-9,B:1-4")),
        tail(SECOND, 3, 1, range(B, five, 0..500)).opens(&g("A:1-9,B:1-4")),
        // Longer than the tails.
        segment(SECOND, 3, 2, range(B, five, 0..1500)).opens(&g("A:1-9,B:1-4")).holds(
            1,
            &g("B:5"),
            (31, 31),
        ),
        // 20: without tails
        segment(SECOND, 3, 3, range(B, five, 1500..5000)).holds(5, &g("B:6-10"), (32, 39)),
        released(heartbeat(SECOND, 3, B, Some(position(five, 5000)), None)),
        // Back to the first server, in a history of its own; its file is read again.
        branches(epoch(FIRST, 4, Released, (A, Mysql), None), &g("A:1-9")),
        tail(FIRST, 4, 8, range(A, one, 0..900)).opens("").holds(3, &g("A:1-3"), (10, 11)),
        // The segment ends inside a tail, which therefore stays.
        tail(FIRST, 4, 9, range(A, one, 900..2000)).holds(2, &g("A:4-5"), (12, 13)),
        // 25
        segment(FIRST, 4, 10, range(A, one, 0..1500)).opens("").holds(4, &g("A:1-4"), (10, 12)),
        heartbeat(FIRST, 4, A, Some(position(one, 2000)), Some(45)),
    ]
}

/// Two checkpoints: one by the owner, one by whoever claims the log next.
pub(crate) fn large() -> Vec<Step> {
    let (s, t) = ("id-11", "id-12");
    let (one, two) = ("bin.000001", "bin.000002");
    let mut steps = vec![
        epoch(FIRST, 1, First, (s, Mariadb), None),
        tail(FIRST, 1, 0, range(s, one, 0..700)).opens("").holds(3, "0-11-3", (1, 2)),
        tail(FIRST, 1, 1, range(s, one, 700..900)).holds(1, "0-12-4", (3, 3)),
        segment(FIRST, 1, 2, range(s, one, 0..900)).opens("").holds(4, "0-11-3,0-12-4", (1, 3)),
        tail(FIRST, 1, 3, range(s, one, 900..1100)).holds(1, "0-11-5", (4, 4)).closes(),
        tail(FIRST, 1, 4, range(s, two, 0..400)).opens("0-12-4,0-11-5"),
        tail(FIRST, 1, 5, range(s, two, 400..900)).holds(2, "0-11-6,7-11-1", (5, 6)),
    ];
    while steps.len() < 1023 {
        let second = u32::try_from(steps.len()).unwrap();
        steps.push(heartbeat(FIRST, 1, s, Some(position(two, 900)), Some(second)));
    }
    steps.push(Step::checkpoint(FIRST, 1));
    steps.push(segment(FIRST, 1, 6, range(s, one, 900..1100)).holds(1, "0-11-5", (4, 4)).closes());
    steps.push(tail(FIRST, 1, 7, range(s, two, 900..1000)).holds(1, "0-11-7", (7, 7)));
    while steps.len() < 2046 {
        let second = u32::try_from(steps.len()).unwrap();
        steps.push(heartbeat(FIRST, 1, s, Some(position(two, 1000)), Some(second)));
    }
    steps.push(released(heartbeat(FIRST, 1, s, Some(position(two, 1000)), None)));
    // 2048
    steps.push(Step::checkpoint(SECOND, 1));
    steps.push(epoch(SECOND, 2, Released, (t, Mariadb), None));
    steps.push(
        promote(SECOND, 2, &[(6, 7), (1026, 1026)], range(s, two, 0..1000))
            .opens("0-12-4,0-11-5")
            .holds(3, "0-11-7,7-11-1", (5, 7)),
    );
    steps.push(tail(SECOND, 2, 0, range(t, one, 0..600)).opens("0-11-7,7-11-1,0-12-4"));
    steps.push(heartbeat(SECOND, 2, t, Some(position(one, 600)), Some(2052)));
    steps
}
