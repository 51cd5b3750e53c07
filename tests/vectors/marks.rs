//! What may be said of a backup that is to go, or to stay.

use backstay::{
    crypto::RunKey,
    format::{MarkKind, MarkRecord, MarkSubject, MarkedBackup, MarkedRun, Role, RunRecord, layout},
    model::{AttemptId, RunId},
};
use serde_json::Value;

use crate::{
    forge::header,
    repositories::{Bad, SIGNER, Stored, backup, hash, name, run_record, signed},
};

/// How a mark is written, after it has been built rightly.
type Written = (MarkKind, fn(&mut Value));

/// A run that prunes, rightly vouched for.
const RUN: [u8; 16] = [0xd1; 16];

fn key() -> RunKey {
    RunKey::from_seed(&[0xd2; 32]).unwrap()
}

fn plainly(_: &mut Value) {}

/// A repository with these marks of its backup, by a run of this role.
fn with(base: &Stored, role: Role, marks: &[Written]) -> Stored {
    let (c, id, key) = (name(), header(0), key());
    let signer = RunKey::from_seed(&SIGNER).unwrap();
    let run = RunId::from_bytes(RUN);
    let record = RunRecord { role, dek_id: None, ..run_record(run, id.dek, &key) };
    let mut stored = base.clone();
    stored.insert(layout::run(&c, run), signed(&record, &signer, |_| {}));
    let subject = MarkSubject::Backup(MarkedBackup {
        backup_id: backup(),
        manifest_sha256: hash(&base[&layout::manifest(&c, &backup())]),
        attempt: AttemptId::from_bytes([0xaa; 16]),
        dek_id: id.dek,
    });
    for (number, (kind, edit)) in (1..).zip(marks) {
        let mark = MarkRecord {
            version: 1,
            cluster_uuid: id.cluster,
            subject: subject.clone(),
            number,
            run_id: run,
            at: "2026-11-21T20:43:17Z".parse().unwrap(),
            kind: *kind,
            reason: "as the policy says".into(),
        };
        stored.insert(layout::mark(&c, &subject, number), signed(&mark, &key, edit));
    }
    stored
}

/// The same, for a run that was marked.
fn of_a_run(base: &Stored) -> Stored {
    let mut stored = with(base, Role::Prune, &[]);
    let subject = MarkSubject::Run(MarkedRun { run_id: header(0).run });
    let mark = MarkRecord {
        version: 1,
        cluster_uuid: header(0).cluster,
        subject: subject.clone(),
        number: 1,
        run_id: RunId::from_bytes(RUN),
        at: "2026-11-21T20:43:17Z".parse().unwrap(),
        kind: MarkKind::Tombstone,
        reason: String::new(),
    };
    stored.insert(layout::mark(&name(), &subject, 1), signed(&mark, &key(), |_| {}));
    stored
}

pub(crate) fn cases(base: &Stored) -> Vec<Bad> {
    use MarkKind::{Hold, Revoke, Sweep, Tombstone, Unhold};
    let said = |marks: &[Written]| with(base, Role::Prune, marks);
    let mut cases = Vec::new();
    let mut push = |name: &str, why, stored| cases.push((name.to_owned(), why, stored));
    push("good-mark-hold", "it is held", said(&[(Hold, plainly)]));
    push("good-mark-unhold", "it was held", said(&[(Hold, plainly), (Unhold, plainly)]));
    push("good-mark-tombstone", "it will be removed", said(&[(Tombstone, plainly)]));
    push("good-mark-sweep", "it is being removed", said(&[(Tombstone, plainly), (Sweep, plainly)]));
    push(
        "good-mark-saved",
        "a hold came before the sweep",
        said(&[(Tombstone, plainly), (Hold, plainly), (Sweep, plainly)]),
    );
    push(
        "good-mark-revoke",
        "a sweep was taken back",
        said(&[(Tombstone, plainly), (Sweep, plainly), (Revoke, plainly)]),
    );
    push(
        "good-mark-another",
        "the tombstone is of another backup that had its name",
        said(&[(Tombstone, |v| {
            v["subject"]["backup"]["manifest_sha256"] = "09".repeat(32).into();
        })]),
    );
    push("good-mark-run", "its run has a tombstone, which says nothing of it", of_a_run(base));
    let second = |edit| said(&[(Tombstone, plainly), (Sweep, edit)]);
    push("bad-mark-newer", "version 2, rightly signed", second(|v| v["version"] = 2.into()));
    push("bad-mark-version-0", "version 0, rightly signed", second(|v| v["version"] = 0.into()));
    push("bad-mark-unknown-field", "a field more", second(|v| v["extra"] = true.into()));
    push("bad-mark-kind", "a kind that there is not", second(|v| v["kind"] = "burn".into()));
    push("bad-mark-number", "its number is not its name", second(|v| v["number"] = 3.into()));
    push(
        "bad-mark-elsewhere",
        "of another backup than its name says",
        second(|v| v["subject"]["backup"]["backup_id"] = "b2".into()),
    );
    push(
        "bad-mark-both",
        "of a backup and of a run",
        second(|v| v["subject"]["run"] = serde_json::json!({"run_id": "09".repeat(16)})),
    );
    push(
        "bad-mark-other-cluster",
        "of another cluster, rightly signed",
        second(|v| v["cluster_uuid"] = "09".repeat(16).into()),
    );
    push(
        "bad-mark-read",
        "by a run that only reads",
        with(base, Role::Read, &[(Tombstone, plainly), (Sweep, plainly)]),
    );
    push(
        "bad-mark-copy",
        "by a run that copies",
        with(base, Role::Copy, &[(Tombstone, plainly), (Sweep, plainly)]),
    );
    push("bad-mark-backup", "by the backup's own run", {
        let mut stored = said(&[]);
        let by = RunKey::from_seed(&[0xa2; 32]).unwrap();
        let subject = MarkSubject::Backup(MarkedBackup {
            backup_id: backup(),
            manifest_sha256: hash(&base[&layout::manifest(&name(), &backup())]),
            attempt: AttemptId::from_bytes([0xaa; 16]),
            dek_id: header(0).dek,
        });
        let mark = MarkRecord {
            version: 1,
            cluster_uuid: header(0).cluster,
            subject: subject.clone(),
            number: 1,
            run_id: header(0).run,
            at: "2026-11-21T20:43:17Z".parse().unwrap(),
            kind: Tombstone,
            reason: String::new(),
        };
        stored.insert(layout::mark(&name(), &subject, 1), signed(&mark, &by, |_| {}));
        stored
    });
    push("bad-mark-flip", "a bit of the sweep", {
        let mut stored = said(&[(Tombstone, plainly), (Sweep, plainly)]);
        let sweep =
            stored.keys().find(|key| key.ends_with("/00000002.json") && key.contains("/marks/"));
        let sweep = sweep.unwrap().clone();
        stored.get_mut(&sweep).unwrap()[150] ^= 1;
        stored
    });
    cases
}
