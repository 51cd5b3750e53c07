//! Facts in, sentences out: a fault is told of by its own control, and by no other.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    format::{EngineRecord, Manifest, SourceRecord},
    jobs::{
        keys::status::{KekStatus, KeyStatus, Only},
        report::{
            document::{ActCount, ConnectionUse, Identity, LossRow, RestoreRow, Status, VerifyRow},
            facts::{
                AccessFact, BackupFact, KeyFact, LockFact, LogFacts, Mark, Period, SealedFact,
                Trail,
            },
        },
    },
    model::{
        AccessKind, AttemptId, ClusterUuid, Connection, DekId, EngineKind, LockMode, Peer,
        ProofKind, Protection, Retention, RunId, Sha256Digest, Timestamp, TlsFacts,
        TransportSecurity,
    },
    pipeline::{ChainHead, Finding},
};

const SINCE: &str = "2026-06-01T00:00:00Z";
const MIDDLE: &str = "2026-09-01T00:00:00Z";
const NOW: &str = "2026-12-01T00:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn hash() -> Sha256Digest {
    Sha256Digest([7; 32])
}

fn run() -> RunId {
    RunId::from_bytes([3; 16])
}

fn mark(when: &str) -> Mark {
    Mark { at: at(when), run: run(), evidence: Evidence::new("shop/audit/1", hash()) }
}

fn backup(id: &str, finished: &str) -> BackupFact {
    let manifest = Manifest {
        version: 1,
        backup_id: id.parse().unwrap(),
        attempt: AttemptId::from_bytes([1; 16]),
        cluster_uuid: ClusterUuid::from_bytes([2; 16]),
        run_id: run(),
        dek_id: DekId::from_bytes([4; 16]),
        started_at: at(finished),
        finished_at: at(finished),
        engine: EngineRecord { kind: EngineKind::Xtrabackup, version: None, to_lsn: None },
        base: None,
        source: SourceRecord {
            kind: "local".into(),
            database_transport: TransportSecurity::Local,
            stream_transport: TransportSecurity::Local,
        },
        server: None,
        proof: ProofKind::Exit,
        files: 1,
        bytes_read: 1,
        payload_bytes: 1,
        bytes_stored: 1,
        volumes: Vec::new(),
        lock: None,
        connections: Vec::new(),
        tool_version: "test".into(),
    };
    BackupFact { object: format!("shop/backups/{id}/manifest.json"), sha256: hash(), manifest }
}

fn identity(who: &str, role: &'static str, action: &str) -> Identity {
    Identity {
        who: who.into(),
        hosts: Vec::new(),
        hosts_total: 0,
        role,
        signer: "s".into(),
        actions: BTreeMap::from([(action.to_owned(), 1)]),
        first_at: at(MIDDLE),
        last_at: at(MIDDLE),
    }
}

fn tls() -> Connection {
    let tls = TlsFacts { version: "1.3".into(), cipher: "TLS13_AES_256_GCM_SHA384".into() };
    Connection { tls: Some(tls), ..Connection::new(Peer::Store, TransportSecurity::TlsVerified) }
}

fn used(connection: Connection) -> (ConnectionUse, Evidence) {
    let used = ConnectionUse { connection, acts: 3, last_at: at(MIDDLE), last_run: run() };
    (used, Evidence::new("shop/audit/3", hash()))
}

fn restored() -> RestoreRow {
    RestoreRow {
        at: at(MIDDLE),
        action: "restore-ended".into(),
        target: "latest".into(),
        backup_id: Some("old".into()),
        proven: true,
        expected: None,
        actual: None,
        failure: None,
        who: "user restore".into(),
        record: 9,
    }
}

fn kek() -> KekStatus {
    KekStatus {
        kek: "vault:transit/shop".into(),
        kek_version: Some("2".into()),
        deks: 2,
        only: Only::default(),
        superseded: 0,
        oldest_wrap: at(SINCE),
        newest_wrap: at(MIDDLE),
        age_days: 183,
        in_use: true,
    }
}

fn access(kind: AccessKind) -> AccessFact {
    AccessFact { kind, principal: None, acts: 3, last: mark(MIDDLE) }
}

fn lock(is_audit: bool) -> LockFact {
    let retention = Retention { mode: LockMode::Compliance, until: at("2029-01-01T00:00:00Z") };
    LockFact {
        object: "shop/audit/1".into(),
        sha256: None,
        is_audit,
        protection: Ok(Protection { retention: Some(retention), legal_hold: false }),
    }
}

fn trail() -> Trail {
    let committed = |id: &str| (id.to_owned(), (hash(), Evidence::new("shop/audit/2", hash())));
    let verified = VerifyRow {
        at: at(MIDDLE),
        subject: "all".into(),
        mode: "full".into(),
        result: "ok".into(),
        failure: None,
        who: "user verify".into(),
        record: 8,
    };
    Trail {
        head: ChainHead { number: 9, sha256: hash() },
        records: 9,
        findings: Vec::new(),
        more_findings: 0,
        asked: true,
        contains: true,
        first: Some(mark("2025-01-01T00:00:00Z")),
        last: Some(mark(MIDDLE)),
        committed: [committed("old"), committed("new")].into(),
        epochs: BTreeSet::from([1]),
        losses: BTreeSet::from([5]),
        rewraps: BTreeSet::new(),
        acts: vec![ActCount { action: "backup-committed".into(), outcome: None, count: 9 }],
        identities: vec![
            identity("user backup", "backup", "backup-committed"),
            identity("user restore", "read", "restore-ended"),
        ],
        connections: vec![used(tls())],
        accesses: vec![access(AccessKind::WebIdentity)],
        nameless: Vec::new(),
        restores: vec![restored()],
        proven: Some((mark(MIDDLE), restored())),
        verifications: vec![(verified, mark(MIDDLE))],
        rewrapped: None,
        rewrap_failed: None,
        configurations: Vec::new(),
        open: Vec::new(),
    }
}

/// A cluster of which everything is shown.
fn clean() -> Facts {
    let key = KeyFact {
        dek: DekId::from_bytes([4; 16]),
        object: "shop/keys/4/1.json".into(),
        sha256: hash(),
        generation: 1,
        created_at: at(SINCE),
        run: run(),
        wraps: vec![("vault:transit/shop".into(), "vault-transit".into())],
    };
    let log = LogFacts {
        head: ChainHead { number: 7, sha256: hash() },
        archived_until: Some(at(NOW)),
        epochs: vec![(1, Evidence::new("shop/log/1", hash()), at(MIDDLE))],
        longest: Some((run(), 24.0)),
        gaps: Vec::new(),
        forks: Vec::new(),
        points: Vec::new(),
    };
    let sealed = SealedFact { object: "shop/vol-00000".into(), sha256: hash(), wrong: None };
    Facts {
        period: Period { since: at(SINCE), until: at(NOW), now: at(NOW) },
        created_at: at("2025-01-01T00:00:00Z"),
        backups: vec![backup("new", MIDDLE), backup("old", "2026-05-01T00:00:00Z")],
        unbelieved: Vec::new(),
        sealed: vec![sealed],
        sealed_total: 1,
        keys: vec![key],
        key_status: KeyStatus {
            version: 1,
            status: "ok",
            at: at(NOW),
            deks: 1,
            deks_with_one_kek: 0,
            keks: vec![kek()],
            warnings: Vec::new(),
            findings: Vec::new(),
        },
        trail: trail(),
        log: Some(Ok(log)),
        locks: vec![lock(true), lock(false)],
    }
}

/// The controls with this status.
fn with(facts: &Facts, status: Status) -> Vec<&'static str> {
    judge(facts).iter().filter(|c| c.status == status).map(|c| c.id).collect()
}

#[track_caller]
fn only(facts: &Facts, fails: &[&str], not_shown: &[&str]) {
    let told = (with(facts, Status::Fails), with(facts, Status::NotShown));
    assert_eq!(told, (fails.to_vec(), not_shown.to_vec()), "{:#?}", judge(facts));
}

/// A control, and what is done to the facts.
type Planted = (&'static str, fn(&mut Facts));

#[test]
fn what_is_shown_holds() {
    only(&clean(), &[], &[]);
}

#[test]
fn each_fault_is_told_of_by_its_own_control() {
    let faults: Vec<Planted> = vec![
        ("3.5", |f| f.sealed[0].wrong = Some("no sealed object".into())),
        ("3.7", |f| f.key_status.keks[0].age_days = 366),
        ("3.7", |f| f.trail.rewrap_failed = Some((mark(MIDDLE), "why".into()))),
        ("4.2", |f| {
            f.trail
                .connections
                .push(used(Connection::new(Peer::Database, TransportSecurity::Plain)));
        }),
        ("4.2", |f| {
            let connection = Connection::new(Peer::Kms, TransportSecurity::TlsUnverified);
            f.trail.connections.push(used(connection));
        }),
        ("7", |f| f.trail.nameless.push(mark(MIDDLE))),
        ("8.6", |f| f.trail.accesses.push(access(AccessKind::Static))),
        ("10.2", |f| drop(f.trail.committed.remove("new"))),
        ("10.2", |f| f.trail.epochs.clear()),
        ("10.3", |f| {
            let why = "it does not follow the record before it".into();
            f.trail.findings.push(Finding { object: "shop/audit/5".into(), chunk: None, why });
            // The history is then not shown either, by the rule below.
            f.trail.first = Some(mark("2025-01-01T00:00:00Z"));
        }),
        ("12.10", |f| {
            f.trail.restores.clear();
            f.trail.proven = None;
        }),
        ("12.10", |f| f.trail.verifications[0].0.result = "damaged".into()),
        ("12.10", |f| {
            let Some(Ok(log)) = &mut f.log else { panic!("no log") };
            log.gaps.push(LossRow {
                at: at(MIDDLE),
                record: 5,
                object: "shop/log/5".into(),
                sha256: Some(hash()),
                server: "s".into(),
                transactions: 3,
                which: "1-3".into(),
            });
        }),
    ];
    for (control, plant) in faults {
        let mut facts = clean();
        plant(&mut facts);
        assert_eq!(with(&facts, Status::Fails), [control], "{:#?}", judge(&facts));
    }
}

#[test]
fn without_evidence_nothing_holds() {
    let missing: Vec<Planted> = vec![
        ("3.5", |f| f.sealed.clear()),
        ("3.6", |f| f.keys[0].wraps[0].0 = "file:aa".into()),
        ("4.2", |f| f.trail.connections.clear()),
        ("4.2", |f| {
            let connection = Connection::new(Peer::Database, TransportSecurity::Unknown);
            f.trail.connections.push(used(connection));
        }),
        ("7", |f| f.trail.identities[1].who = "user backup".into()),
        ("8.6", |f| f.trail.accesses.clear()),
        ("10.2", |f| f.trail.acts.clear()),
        ("10.3", |f| (f.trail.asked, f.trail.contains) = (false, false)),
        ("10.3", |f| f.locks[0].protection = Ok(Protection::default())),
        ("12.10", |f| f.trail.verifications.clear()),
    ];
    for (control, take) in missing {
        let mut facts = clean();
        take(&mut facts);
        only(&facts, &[], &[control]);
    }
}

#[test]
fn history_counts_from_its_first_record_unless_a_lock_promises_the_rest() {
    let mut young = clean();
    young.trail.first = Some(mark(MIDDLE));
    only(&young, &[], &[]);
    young.locks[0].protection = Ok(Protection::default());
    only(&young, &[], &["10.3", "10.5"]);
    let mut cut = clean();
    let why = "it is missing".into();
    cut.trail.findings.push(Finding { object: "shop/audit/1".into(), chunk: None, why });
    assert_eq!(with(&cut, Status::Fails), ["10.3", "10.5"]);
}

#[test]
fn a_restore_that_nobody_could_make_is_not_missed() {
    let mut fresh = clean();
    fresh.backups = vec![backup("new", MIDDLE)];
    fresh.trail.restores.clear();
    fresh.trail.proven = None;
    only(&fresh, &[], &["12.10"]);
}
