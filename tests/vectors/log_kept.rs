//! Logs of which a part was forgotten, as their horizon says; and horizons that say nothing.

use std::collections::BTreeSet;

use backstay::{
    crypto::RunKey,
    format::{
        EpochReason::{First, Silence},
        HorizonRecord, Role, RunRecord, layout,
    },
    model::{Flavor::Mariadb, SegmentId},
};
use serde_json::Value;

use crate::{
    forge::header,
    log_script::{
        FIRST, SECOND, Step, Who, at, epoch, heartbeat, position, promote, range, segment, tail,
        written,
    },
    repositories::{SIGNER, Stored, name, run_record, signed},
};

/// Decides what is forgotten.
const PRUNER: Who = Who { id: 0xd1, role: Role::Prune };
/// Copies a log.
const COPIER: Who = Who { id: 0xc1, role: Role::Copy };

/// Changes what is stored.
type Raw = (&'static str, &'static str, fn(&mut Stored));

fn log(number: u64) -> String {
    layout::log(&name(), number)
}

fn forget(stored: &mut Stored, number: u64) {
    assert!(stored.remove(&log(number)).is_some(), "there is no record {number}");
}

/// Says how far the log is forgotten.
fn horizon(
    stored: &mut Stored,
    who: Who,
    number: u64,
    (begins, thinned): (u64, u64),
    edit: fn(&mut Value),
) {
    let signer = RunKey::from_seed(&SIGNER).unwrap();
    let run = run_record(who.run(), who.dek_id(), &who.key());
    let dek_id = run.dek_id.filter(|_| who.role.seals());
    let run = RunRecord { role: who.role, dek_id, ..run };
    stored.insert(layout::run(&name(), who.run()), signed(&run, &signer, |_| {}));
    let record = HorizonRecord {
        version: 1,
        cluster_uuid: header(0).cluster,
        number,
        run_id: who.run(),
        at: at(4000),
        begins,
        thinned,
    };
    let object = layout::horizon(&name(), number);
    stored.insert(object, signed(&record, &who.key(), edit));
}

/// Three checkpoints, two runs; the middle one of three files lies on both sides of the first.
fn long() -> Vec<Step> {
    let s = "id-11";
    let (one, two, three) = ("bin.000001", "bin.000002", "bin.000003");
    let beats = |steps: &mut Vec<Step>, who, of, until, (file, end)| {
        while steps.len() < until {
            let second = u32::try_from(steps.len()).unwrap();
            steps.push(heartbeat(who, of, s, Some(position(file, end)), Some(second)));
        }
    };
    let mut steps = vec![
        epoch(FIRST, 1, First, (s, Mariadb), None),
        tail(FIRST, 1, 0, range(s, one, 0..700)).opens("").holds(3, "0-11-3", (1, 2)),
        segment(FIRST, 1, 1, range(s, one, 0..700)).opens("").holds(3, "0-11-3", (1, 2)).closes(),
        tail(FIRST, 1, 2, range(s, two, 0..400)).opens("0-11-3"),
        segment(FIRST, 1, 3, range(s, two, 0..400)).opens("0-11-3"),
    ];
    beats(&mut steps, FIRST, 1, 1023, (two, 400));
    // 1024
    steps.push(Step::checkpoint(FIRST, 1));
    steps.push(tail(FIRST, 1, 4, range(s, two, 400..900)).holds(2, "0-11-5", (5, 6)).closes());
    steps.push(segment(FIRST, 1, 5, range(s, two, 400..900)).holds(2, "0-11-5", (5, 6)).closes());
    steps.push(tail(FIRST, 1, 6, range(s, three, 0..500)).opens("0-11-5"));
    // 1028
    steps.push(epoch(SECOND, 2, Silence, (s, Mariadb), Some(position(three, 500))));
    steps.push(promote(SECOND, 2, &[(1027, 1027)], range(s, three, 0..500)).opens("0-11-5"));
    steps.push(tail(SECOND, 2, 0, range(s, three, 500..800)).holds(1, "0-11-6", (7, 7)));
    beats(&mut steps, SECOND, 2, 2047, (three, 800));
    // 2048
    steps.push(Step::checkpoint(SECOND, 2));
    steps.push(segment(SECOND, 2, 1, range(s, three, 500..800)).holds(1, "0-11-6", (7, 7)));
    steps.push(tail(SECOND, 2, 2, range(s, three, 800..1000)).holds(1, "0-11-7", (8, 8)));
    beats(&mut steps, SECOND, 2, 3071, (three, 1000));
    // 3072
    steps.push(Step::checkpoint(SECOND, 2));
    beats(&mut steps, SECOND, 2, 3073, (three, 1000));
    steps.push(tail(SECOND, 2, 3, range(s, three, 1000..1200)).holds(1, "0-11-8", (9, 9)));
    steps
}

/// What is left of the long log: behind its first checkpoint what its others name, and the rest.
pub(crate) fn kept() -> Stored {
    let named = BTreeSet::from([1026, 1027, 1028, 1029, 2048, 2049, 2050]);
    let mut stored = written(&long());
    (1..3072).filter(|n| !named.contains(n)).for_each(|n| forget(&mut stored, n));
    // The segments of those that are forgotten are, too.
    let ids = [SegmentId::from_bytes([1; 16]), SegmentId::from_bytes([3; 16])];
    let is_first = |key: &str| ids.iter().any(|id| key.ends_with(&format!("-{id}")));
    stored.retain(|key, _| !key.contains("/bin.00000") || !is_first(key) || key.contains("0003/"));
    horizon(&mut stored, PRUNER, 1, (1024, 3072), |_| {});
    stored
}

/// What can be missing of it.
pub(crate) fn of_long() -> Vec<Raw> {
    vec![
        ("good-kept", "what the checkpoints name is there", |_| {}),
        ("good-kept-twice", "an older horizon is there, too", |s| {
            horizon(s, PRUNER, 2, (1024, 3072), |_| {});
            horizon(s, PRUNER, 1, (0, 2048), |_| {});
        }),
        ("good-kept-junk", "a newer horizon is not believed", |s| {
            horizon(s, PRUNER, 2, (2048, 3072), |v| v["extra"] = true.into());
        }),
        ("good-kept-numbers", "horizons have holes in their numbers", |s| {
            horizon(s, COPIER, 9, (1024, 3072), |_| {});
        }),
        ("bad-kept-segment", "a segment that a checkpoint names is gone", |s| forget(s, 1026)),
        ("bad-kept-promoted", "a tail that a segment is made of is gone", |s| forget(s, 1027)),
        ("bad-kept-epoch", "the claim that the checkpoints name is gone", |s| forget(s, 1028)),
        ("bad-kept-checkpoint", "a checkpoint between is gone", |s| forget(s, 2048)),
        ("bad-kept-tail", "a tail that the last checkpoint names is gone", |s| forget(s, 2050)),
        ("bad-kept-last", "the horizon's checkpoint is gone", |s| forget(s, 3072)),
        ("bad-kept-rest", "a record behind the horizon is gone", |s| forget(s, 3073)),
    ]
}

/// Horizons of a log of which nothing, or more than they say, is gone.
pub(crate) fn of_large() -> Vec<Raw> {
    vec![
        ("good-horizon", "nothing has been removed yet", |s| {
            horizon(s, PRUNER, 1, (0, 2048), |_| {});
        }),
        ("good-horizon-thinned", "nobody needs the others", |s| {
            horizon(s, PRUNER, 1, (0, 2048), |_| {});
            thin(s);
        }),
        ("good-horizon-waits", "a copy will go on; this far it has no hole", |s| {
            horizon(s, COPIER, 1, (0, 4096), |_| {});
        }),
        ("unfinished-copy", "what a copy has brought of records further on", |s| {
            horizon(s, COPIER, 1, (0, 4096), |_| {});
            forget(s, 2051);
        }),
        ("unfinished-copy-nothing", "a copy that has brought nothing that can be read", |s| {
            horizon(s, COPIER, 1, (0, 4096), |_| {});
            forget(s, 1);
        }),
        ("bad-horizon-missing", "nobody says that they may be gone", thin),
        ("bad-horizon-role", "by a run that archives", |s| {
            horizon(s, FIRST, 1, (0, 2048), |_| {});
            thin(s);
        }),
        ("bad-horizon-newer", "version 2, rightly signed", |s| {
            horizon(s, PRUNER, 1, (0, 2048), |v| v["version"] = 2.into());
            thin(s);
        }),
        ("bad-horizon-number", "its number is not its name", |s| {
            horizon(s, PRUNER, 1, (0, 2048), |v| v["number"] = 2.into());
            thin(s);
        }),
        ("bad-horizon-uneven", "its numbers are not those of checkpoints", |s| {
            horizon(s, PRUNER, 1, (0, 2047), |_| {});
            thin(s);
        }),
        ("bad-horizon-backwards", "it begins behind its end", |s| {
            horizon(s, PRUNER, 1, (2048, 2048), |_| {});
            thin(s);
        }),
        ("bad-horizon-other-cluster", "of another cluster, rightly signed", |s| {
            horizon(s, PRUNER, 1, (0, 2048), |v| v["cluster_uuid"] = "09".repeat(16).into());
            thin(s);
        }),
        ("bad-horizon-flip", "a bit of it", |s| {
            horizon(s, PRUNER, 1, (0, 2048), |_| {});
            s.get_mut(&layout::horizon(&name(), 1)).unwrap()[120] ^= 1;
            thin(s);
        }),
    ]
}

/// Removes what no checkpoint of the large log names.
fn thin(stored: &mut Stored) {
    let named = [1, 4, 6, 7, 1024, 1025, 1026];
    (1..2048).filter(|n| !named.contains(n)).for_each(|n| forget(stored, n));
}
