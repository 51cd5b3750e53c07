//! Every way for a log to be bad, and a few to be good.

use backstay::{
    format::{EpochReason, LogEntry, SegmentData, layout},
    model::{Flavor::Mysql, WrappedDek},
};

use crate::{
    log_good::{large, small},
    log_kept,
    log_script::{
        A, B, BACKUP, FIRST, SECOND, STRANGER, Step, at, beside, epoch, heartbeat, position, range,
        segment, tail, written,
    },
    repositories::{Stored, name},
};

/// An example: how it differs from its base.
pub(crate) struct Bad {
    pub(crate) name: String,
    pub(crate) why: &'static str,
    pub(crate) base: &'static str,
    pub(crate) up_to: Option<u64>,
    pub(crate) change: Change,
}

/// Changes what is stored; a wrap of the first run's DEK for another purpose comes with it.
type Change = Box<dyn Fn(&mut Stored, &WrappedDek)>;

/// Changes what is written, before it is numbered, chained and signed.
type Script = (&'static str, &'static str, fn(&mut Vec<Step>));
/// Changes what is stored.
type Raw = (&'static str, &'static str, fn(&mut Stored));

const ONE: &str = "binlog.000001";
const TWO: &str = "binlog.000002";

pub(crate) fn cases() -> Vec<Bad> {
    let of = |base, name: &str, why, up_to, change| Bad {
        name: name.to_owned(),
        why,
        base,
        up_to,
        change,
    };
    let mut cases = Vec::new();
    for (name, why, edit) in
        envelopes().into_iter().chain(owners()).chain(ranges()).chain(segments()).chain(others())
    {
        let change = move |stored: &mut Stored, _: &WrappedDek| {
            let mut steps = small();
            edit(&mut steps);
            stored.retain(|key, _| !key.contains("/log/") && !key.contains("/segments/"));
            stored.extend(written(&steps));
        };
        cases.push(of("small", name, why, None, Box::new(change)));
    }
    for (name, why, edit) in raw() {
        let change = move |stored: &mut Stored, _: &WrappedDek| edit(stored);
        cases.push(of("small", name, why, None, Box::new(change)));
    }
    let usurp = |stored: &mut Stored, wrap: &WrappedDek| {
        let key = layout::key(&name(), FIRST.dek_id(), 1);
        let changed = beside(|_| wrap.clone()).remove(&key);
        stored.insert(key, changed.unwrap());
    };
    let why = "its DEK is wrapped for a backup: the context has another purpose";
    cases.push(of("small", "bad-key-purpose", why, None, Box::new(usurp)));
    for (name, why, up_to, edit) in checkpoints() {
        let change = move |stored: &mut Stored, _: &WrappedDek| {
            let mut steps = large();
            edit(&mut steps);
            let up_to = usize::try_from(up_to.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
            steps.truncate(up_to);
            let is_there: Vec<String> = stored.keys().cloned().collect();
            let new = written(&steps);
            stored.extend(new.into_iter().filter(|(key, _)| is_there.contains(key)));
        };
        cases.push(of("large", name, why, up_to, Box::new(change)));
    }
    for (name, why, edit) in forgotten().into_iter().chain(log_kept::of_large()) {
        let change = move |stored: &mut Stored, _: &WrappedDek| edit(stored);
        cases.push(of("large", name, why, None, Box::new(change)));
    }
    for (name, why, edit) in log_kept::of_long() {
        let change = move |stored: &mut Stored, _: &WrappedDek| edit(stored);
        cases.push(of("long", name, why, None, Box::new(change)));
    }
    cases
}

/// Keeps the records up to number `n`, and gives the last one.
fn up_to(steps: &mut Vec<Step>, n: usize) -> &mut Step {
    steps.truncate(n);
    steps.last_mut().unwrap()
}

fn envelopes() -> Vec<Script> {
    vec![
        ("good-small", "every kind of record but the checkpoint", |_| {}),
        ("good-empty", "no record at all", |s| s.clear()),
        ("bad-chain", "it follows another record", |s| {
            up_to(s, 7).edit = |v| v["previous"] = "09".repeat(32).into();
        }),
        ("bad-chain-first", "the first record follows one", |s| {
            up_to(s, 1).edit = |v| v["previous"] = "09".repeat(32).into();
        }),
        ("bad-number", "its number is not its name", |s| {
            up_to(s, 7).edit = |v| v["number"] = 8.into();
        }),
        ("bad-newer", "version 2, rightly signed", |s| {
            up_to(s, 7).edit = |v| v["version"] = 2.into();
        }),
        ("bad-version-0", "version 0, rightly signed", |s| {
            up_to(s, 7).edit = |v| v["version"] = 0.into();
        }),
        ("bad-other-cluster", "of another cluster, rightly signed", |s| {
            up_to(s, 7).edit = |v| v["cluster_uuid"] = "09".repeat(16).into();
        }),
        ("bad-unknown-field", "a field more", |s| {
            up_to(s, 9).edit = |v| v["extra"] = true.into();
        }),
        ("bad-unknown-field-entry", "a field more in its entry", |s| {
            up_to(s, 9).edit = |v| v["entry"]["extra"] = true.into();
        }),
        ("bad-unknown-field-position", "a field more in a position", |s| {
            up_to(s, 9).edit = |v| v["entry"]["position"]["extra"] = true.into();
        }),
        ("bad-unknown-field-range", "a field more in a range", |s| {
            up_to(s, 7).edit = |v| v["entry"]["range"]["extra"] = true.into();
        }),
        ("bad-unknown-field-segment", "a field more in a segment's object", |s| {
            up_to(s, 5).edit = |v| v["entry"]["data"]["object"]["extra"] = true.into();
        }),
        ("bad-segment-both", "an object and tails in one segment", |s| {
            up_to(s, 5).edit = |v| v["entry"]["data"]["tails"] = serde_json::json!([[2, 4]]);
        }),
        ("good-connections", "an epoch record that says over which connections", |s| {
            up_to(s, 1).edit = |v| {
                v["entry"]["connections"] = serde_json::json!([
                    {"to": "store", "security": "tls-verified",
                     "tls": {"version": "1.3", "cipher": "TLS_AES_256_GCM_SHA384"}},
                    {"to": "database", "security": "local"},
                ]);
            };
        }),
        ("bad-connections", "a connection that is protected in a way that there is not", |s| {
            up_to(s, 1).edit = |v| {
                v["entry"]["connections"] =
                    serde_json::json!([{"to": "store", "security": "hopefully"}]);
            };
        }),
        ("bad-kind", "an entry of a kind that there is not", |s| {
            up_to(s, 9).edit = |v| v["entry"]["kind"] = "pulse".into();
        }),
        ("bad-server-name", "a server's name that leads out of its folder", |s| {
            up_to(s, 7).edit = |v| v["entry"]["range"]["server"] = "../a".into();
        }),
        ("bad-gtids", "no GTID state", |s| {
            up_to(s, 7).edit = |v| v["entry"]["range"]["gtids"] = "A:1-3".into();
        }),
        ("bad-role", "by a run that makes backups", |s| up_to(s, 7).who = BACKUP),
        ("bad-run", "by a run that has no record", |s| up_to(s, 7).who = STRANGER),
        ("bad-body-missing", "a tail without its bytes", |s| up_to(s, 7).body.clear()),
        ("bad-body-short", "a byte of a tail is missing", |s| up_to(s, 7).body.truncate(200)),
        ("bad-body-long", "a byte behind a tail", |s| up_to(s, 7).body.push(0)),
        ("bad-body-beside", "a byte behind a heartbeat", |s| up_to(s, 9).body.push(0)),
    ]
}

fn owners() -> Vec<Script> {
    vec![
        ("bad-first", "the first record is no claim", |s| drop(s.remove(0))),
        ("bad-epoch-skipped", "epoch 3 after epoch 1", |s| up_to(s, 10).epoch = 3),
        ("bad-epoch-repeated", "epoch 1 is claimed again", |s| up_to(s, 10).epoch = 1),
        ("bad-epoch-future", "a tail of epoch 2 in epoch 1", |s| up_to(s, 7).epoch = 2),
        ("bad-owner", "a tail by another run than the epoch's", |s| up_to(s, 7).who = SECOND),
        ("bad-owner-fenced", "the first run signs in the second one's epoch", |s| {
            up_to(s, 11).epoch = 2;
        }),
        ("bad-void-believed", "it goes on behind the bytes of a void record", |s| {
            s.truncate(11);
            s.push(tail(SECOND, 2, 0, range(A, TWO, 600..700)));
        }),
        ("good-void-epoch", "a claim of an epoch that is over", |s| {
            s.truncate(10);
            s.push(epoch(FIRST, 1, EpochReason::Takeover, (B, Mysql), None));
        }),
        ("bad-resumes-elsewhere", "it resumes where nothing ended", |s| {
            let LogEntry::Epoch(claim) = up_to(s, 10).entry() else { unreachable!() };
            claim.resumes = Some(position(TWO, 299));
        }),
        ("bad-resumes-server", "it resumes in a file of another server", |s| {
            let LogEntry::Epoch(claim) = up_to(s, 10).entry() else { unreachable!() };
            claim.server.name = B.parse().unwrap();
        }),
        ("bad-checkpoint-early", "a checkpoint under number 10", |s| {
            s.truncate(9);
            s.push(Step::checkpoint(FIRST, 1));
        }),
    ]
}

fn ranges() -> Vec<Script> {
    vec![
        ("bad-tail-hole", "it begins 100 bytes late", |s| {
            up_to(s, 3);
            s[2] = tail(FIRST, 1, 1, range(A, ONE, 800..1700));
        }),
        ("bad-tail-overlap", "it begins 100 bytes early", |s| {
            up_to(s, 3);
            s[2] = tail(FIRST, 1, 1, range(A, ONE, 600..1700));
        }),
        ("bad-tail-dropped", "a tail is left out, and all is chained as if it had not been", |s| {
            up_to(s, 4);
            s.remove(2);
        }),
        ("bad-tail-empty", "it has no bytes", |s| {
            let range = up_to(s, 3).range();
            range.end = range.start;
        }),
        ("bad-tail-backwards", "it ends before it begins", |s| up_to(s, 3).range().end = 699),
        ("bad-tail-other-server", "of another server than the epoch's", |s| {
            up_to(s, 3).range().server = B.parse().unwrap();
        }),
        ("bad-tail-other-created", "of a file of the same name, created later", |s| {
            up_to(s, 3).range().created = at(8);
        }),
        ("bad-file-late", "a file does not begin at its beginning", |s| {
            up_to(s, 6);
            s.push(tail(FIRST, 1, 6, range(A, TWO, 4..300)).opens(&format!("{A}:1-9")));
        }),
        ("bad-file-unopened", "a file begins without saying with what", |s| {
            up_to(s, 7).range().opening = None;
        }),
        ("bad-closed", "bytes behind the end of a closed file", |s| {
            up_to(s, 6);
            s.push(tail(FIRST, 1, 6, range(A, ONE, 4900..5000)));
        }),
        ("bad-gap-unnoted", "transactions are missing before a file", |s| {
            up_to(s, 18);
            s.remove(16);
        }),
        ("bad-gap-other", "the gap that is noted is another one", |s| {
            up_to(s, 18);
            let LogEntry::Gap(gap) = s[16].entry() else { unreachable!() };
            gap.resumes_at = format!("{A}:1-9,{B}:1-3").parse().unwrap();
        }),
    ]
}

fn segments() -> Vec<Script> {
    vec![
        ("bad-segment-again", "bytes that are in a segment already", |s| {
            up_to(s, 7);
            let again = segment(FIRST, 1, 5, range(A, TWO, 0..300)).opens(&format!("{A}:1-9"));
            s.push(again.clone());
            s.push(tail(FIRST, 1, 8, range(A, TWO, 300..400)));
            s.push(again);
        }),
        ("good-segment-copy", "a file that is wholly in segments is read again", |s| {
            up_to(s, 7);
            let again = segment(FIRST, 1, 5, range(A, TWO, 0..300)).opens(&format!("{A}:1-9"));
            s.push(again.clone());
            s.push(again);
        }),
        ("bad-segment-overlap", "it begins inside the segment before it", |s| {
            up_to(s, 7);
            s.push(segment(FIRST, 1, 5, range(A, ONE, 4100..4900)).closes());
        }),
        ("bad-segment-hole", "it begins behind the end of the segment before it", |s| {
            up_to(s, 7);
            s.push(segment(FIRST, 1, 5, range(A, ONE, 4300..4900)).closes());
        }),
        ("bad-segment-unknown", "of a file that nobody reads", |s| {
            up_to(s, 7);
            s.push(segment(FIRST, 1, 5, range(A, "binlog.000009", 300..400)));
        }),
        ("bad-segment-older", "it lengthens a file that is not the newest", |s| {
            up_to(s, 7);
            s.push(segment(FIRST, 1, 5, range(A, ONE, 4200..5000)).closes());
        }),
        ("bad-segment-promotes-less", "a tail of its range is left out", |s| {
            up_to(s, 5).entry();
            let LogEntry::Segment(segment) = s[4].entry() else { unreachable!() };
            segment.data = SegmentData::Tails(vec![(2, 3)]);
        }),
        ("bad-segment-promotes-more", "a tail of another file, too", |s| {
            let LogEntry::Segment(segment) = up_to(s, 12).entry() else { unreachable!() };
            segment.data = SegmentData::Tails(vec![(6, 7)]);
        }),
        ("bad-segment-promotes-void", "the void tail, too", |s| {
            let LogEntry::Segment(segment) = up_to(s, 12).entry() else { unreachable!() };
            segment.data = SegmentData::Tails(vec![(7, 7), (11, 11)]);
        }),
        ("bad-segment-promotes-part", "it ends inside the last of its tails", |s| {
            let LogEntry::Segment(segment) = up_to(s, 12).entry() else { unreachable!() };
            segment.range.end = 299;
        }),
        ("bad-segment-runs", "neighbours are not one run", |s| {
            let LogEntry::Segment(segment) = up_to(s, 5).entry() else { unreachable!() };
            segment.data = SegmentData::Tails(vec![(2, 3), (4, 4)]);
        }),
        ("good-segment-promotes", "three tails stay for good", |s| {
            let LogEntry::Segment(segment) = up_to(s, 5).entry() else { unreachable!() };
            segment.data = SegmentData::Tails(vec![(2, 4)]);
        }),
    ]
}

fn others() -> Vec<Script> {
    vec![
        ("bad-fork-adds", "a fork's frontier has what was not archived", |s| {
            let LogEntry::Fork(fork) = up_to(s, 16).entry() else { unreachable!() };
            fork.frontier = format!("{A}:1-12").parse().unwrap();
        }),
        ("bad-quiet-elsewhere", "it tells of quiet at another place than the end", |s| {
            up_to(s, 8);
            s.push(heartbeat(FIRST, 1, A, Some(position(TWO, 299)), Some(20)));
        }),
        ("bad-quiet-nowhere", "it tells of quiet at no place", |s| {
            up_to(s, 8);
            s.push(heartbeat(FIRST, 1, A, None, Some(20)));
        }),
        ("bad-overlap", "a tail and the segment before it differ where they overlap", |s| {
            // A segment of other bytes, rightly sealed and signed, under the name of this one.
            let data = |step: &mut Step| match step.entry() {
                LogEntry::Segment(segment) => segment.data.clone(),
                _ => unreachable!(),
            };
            let mut other = segment(FIRST, 4, 10, range(A, TWO, 0..1500));
            let (SegmentData::Object { id, .. }, SegmentData::Object { sealed, .. }) =
                (data(&mut s[24]), data(&mut other))
            else {
                unreachable!()
            };
            s[24].object = s[24].object.take().map(|(key, _)| (key, other.object.unwrap().1));
            let LogEntry::Segment(segment) = s[24].entry() else { unreachable!() };
            segment.data = SegmentData::Object { id, sealed };
        }),
    ]
}

fn log(number: u64) -> String {
    layout::log(&name(), number)
}

/// Where the envelope of a record ends.
fn line(stored: &Stored, number: u64) -> usize {
    stored[&log(number)].iter().position(|byte| *byte == b'\n').unwrap() + 1
}

fn flip(stored: &mut Stored, key: &str, at: usize) {
    stored.get_mut(key).unwrap()[at] ^= 1;
}

fn segment_key(stored: &Stored, word: &str) -> String {
    stored.keys().find(|key| key.contains("/segments/") && key.contains(word)).unwrap().clone()
}

fn raw() -> Vec<Raw> {
    vec![
        ("bad-hole", "a record is missing", |s| drop(s.remove(&log(9)))),
        ("bad-hole-first", "the first record is missing", |s| drop(s.remove(&log(1)))),
        ("good-last-missing", "a shorter log is a log: only who kept a head can tell", |s| {
            s.remove(&log(26));
        }),
        ("bad-moved", "record 7 in the place of record 8", |s| {
            let seven = s[&log(7)].clone();
            s.insert(log(8), seven);
        }),
        ("bad-envelope-flip", "a bit of the payload", |s| flip(s, &log(7), 100)),
        ("bad-signature", "a bit of the signature", |s| {
            let at = line(s, 7) - 30;
            flip(s, &log(7), at);
        }),
        ("bad-spaced", "white space that no writer puts there", |s| {
            let text = s.get_mut(&log(9)).unwrap();
            let comma = text.iter().position(|byte| *byte == b',').unwrap();
            text.insert(comma + 1, b' ');
        }),
        ("bad-no-envelope", "the line feed is missing", |s| {
            let end = line(s, 9);
            s.get_mut(&log(9)).unwrap().truncate(end - 1);
        }),
        ("bad-body-flip", "a bit of a tail's bytes", |s| {
            let at = line(s, 24) + 150;
            flip(s, &log(24), at);
        }),
        ("bad-body-other", "the bytes of another tail of the same length", |s| {
            // Both are as long as they are: those of record 7 are shortened to fit.
            let (seven, eighteen) = (line(s, 13), line(s, 24));
            let other = s[&log(13)][seven..].to_vec();
            let mine = s.get_mut(&log(24)).unwrap();
            let length = mine.len() - eighteen;
            mine.truncate(eighteen);
            mine.extend(other.iter().cycle().take(length));
        }),
        ("bad-segment-missing", "the object of a segment is not there", |s| {
            let key = segment_key(s, TWO.trim_end_matches('2'));
            s.remove(&key);
        }),
        ("bad-segment-flip", "a bit of a segment", |s| {
            let key = segment_key(s, "binlog.000005");
            flip(s, &key, 150);
        }),
        ("bad-segment-swapped", "two segments changed places", |s| {
            let (a, b) = (segment_key(s, "/00000000000000000000-"), segment_key(s, "-05"));
            let held = s[&a].clone();
            let other = s[&b].clone();
            s.insert(a, other);
            s.insert(b, held);
        }),
        ("good-beside", "what is not named like a record is none", |s| {
            s.insert(format!("{}x", log(27)), b"x".to_vec());
            s.insert(format!("{}/log/probe", name()), b"x".to_vec());
        }),
    ]
}

/// What happens to the large log, whose first checkpoint is 1,024 and whose second is 2,048.
type OfLarge = (&'static str, &'static str, Option<u64>, fn(&mut Vec<Step>));

fn checkpoints() -> Vec<OfLarge> {
    vec![
        ("good-large", "two checkpoints, two servers of MariaDB", None, |_| {}),
        ("good-checkpoint-last", "it ends with a checkpoint", Some(2048), |_| {}),
        ("bad-checkpoint-missing", "no checkpoint under number 2,048", Some(2048), |s| {
            s[2047] = heartbeat(FIRST, 1, "id-11", None, None);
        }),
        ("bad-checkpoint-epoch", "of an epoch that has not begun", Some(2048), |s| {
            s[2047].epoch = 2;
        }),
        ("bad-checkpoint-void", "of an epoch that is over", Some(1024), |s| {
            s[1023].epoch = 0;
        }),
        ("bad-checkpoint-role", "by a run that makes backups", Some(2048), |s| {
            s[2047].who = BACKUP;
        }),
        ("bad-checkpoint-frontier", "it says that more is durable", Some(1024), |s| {
            s[1023].edit = |v| v["entry"]["frontier"] = "0-12-4,0-11-9,7-11-1".into();
        }),
        ("bad-checkpoint-last-server", "another server wrote last", Some(1024), |s| {
            s[1023].edit = |v| v["entry"]["frontier"] = "0-11-6,0-12-4,7-11-1".into();
        }),
        ("bad-checkpoint-committed", "another last commit", Some(1024), |s| {
            s[1023].edit = |v| v["entry"]["committed_until"] = "2026-11-20T20:00:07Z".into();
        }),
        ("bad-checkpoint-quiet", "it forgets up to when nothing happened", Some(1024), |s| {
            s[1023].edit = |v| {
                v["entry"].as_object_mut().unwrap().remove("quiet_until");
            };
        }),
        ("bad-checkpoint-segments", "it leaves a segment out", Some(1024), |s| {
            s[1023].edit = |v| v["entry"]["segments"] = serde_json::json!([]);
        }),
        ("bad-checkpoint-segment", "a segment is closed in it", Some(1024), |s| {
            s[1023].edit = |v| v["entry"]["segments"][0]["range"]["closed"] = true.into();
        }),
        ("bad-checkpoint-notes", "it leaves a note out", Some(1024), |s| {
            s[1023].edit = |v| v["entry"]["notes"] = serde_json::json!([]);
        }),
        ("bad-checkpoint-files", "it leaves a file out", Some(1024), |s| {
            s[1023].edit = |v| drop(v["entry"]["files"].as_array_mut().unwrap().remove(0));
        }),
        ("bad-checkpoint-durable", "it makes a file longer", Some(1024), |s| {
            s[1023].edit = |v| v["entry"]["files"][1]["durable"] = 901.into();
        }),
        ("bad-checkpoint-tails", "it leaves a tail out", Some(1024), |s| {
            s[1023].edit = |v| v["entry"]["files"][1]["tails"] = serde_json::json!([[6, 6]]);
        }),
        ("bad-checkpoint-no-tail", "it takes a heartbeat for a tail", Some(1024), |s| {
            s[1023].edit = |v| v["entry"]["files"][1]["tails"] = serde_json::json!([[6, 8]]);
        }),
        ("bad-checkpoint-owner", "its epoch record is none", Some(1024), |s| {
            s[1023].edit = |v| v["entry"]["epoch_record"] = 2.into();
        }),
        ("bad-checkpoint-previous", "it follows another checkpoint", Some(2048), |s| {
            s[2047].edit = |v| v["entry"]["previous_checkpoint"] = "09".repeat(32).into();
        }),
        ("bad-checkpoint-previous-first", "the first one follows one", Some(1024), |s| {
            s[1023].edit = |v| v["entry"]["previous_checkpoint"] = "09".repeat(32).into();
        }),
        (
            "good-checkpoint-spelled",
            "the same states and instants, spelled otherwise",
            Some(1024),
            |s| {
                s[1023].edit = |v| {
                    v["entry"]["frontier"] = "7-11-1,0-12-4,0-11-6".into();
                    v["entry"]["committed_until"] = "2026-11-20T21:00:06.000000+01:00".into();
                };
            },
        ),
    ]
}

fn forgotten() -> Vec<Raw> {
    vec![
        (
            "forgotten-beginning",
            "older records are gone, all but the claim, a segment's and tails",
            |s| (2..1024).filter(|n| !matches!(n, 4 | 6 | 7)).for_each(|n| drop(s.remove(&log(n)))),
        ),
        ("bad-hole-behind-checkpoint", "a record behind the last checkpoint is gone", |s| {
            s.remove(&log(2050));
        }),
        ("bad-hole-checkpoint", "the last checkpoint is gone", |s| drop(s.remove(&log(2048)))),
        ("bad-hole-first-checkpoint", "the first checkpoint is gone", |s| {
            s.remove(&log(1024));
        }),
        ("bad-hole-tail", "a tail that the checkpoint names is gone", |s| {
            s.remove(&log(1026));
        }),
        ("bad-hole-owner", "the claim that the checkpoint names is gone", |s| {
            s.remove(&log(1));
            (1025..=2052).for_each(|n| drop(s.remove(&log(n))));
        }),
    ]
}
