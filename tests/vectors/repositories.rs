//! Builds the repositories of the examples: a good one, and every change that makes it bad.

use std::collections::BTreeMap;

use backstay::{
    crypto::{Dek, RunKey},
    format::{
        AuditRecord, BaseRecord, ClusterRecord, DrillRecord, DrillStatus, EngineRecord, Envelope,
        KeyRecord, LockRecord, Manifest, Payload, Role, RunIdentity, RunLock, RunRecord,
        SourceRecord, audit::Outcome, layout,
    },
    model::{
        AccessKind, AttemptId, BackupId, ClusterName, Connection, DekId, EngineKind, LockMode,
        Peer, ProofKind, RunId, Sha256Digest, Timestamp, TlsFacts, TransportSecurity, WrappedDek,
    },
};
use sha2::{Digest as _, Sha256};

use crate::{
    forge::{DEK, Object, header, plaintext},
    marks,
};

/// The seed of the signer that readers trust.
pub(crate) const SIGNER: [u8; 32] = [0x51; 32];
const CLUSTER: &str = "prod";
const BACKUP: &str = "b1";

pub(crate) type Stored = BTreeMap<String, Vec<u8>>;

pub(crate) fn name() -> ClusterName {
    CLUSTER.parse().unwrap()
}

pub(crate) fn backup() -> BackupId {
    BACKUP.parse().unwrap()
}

fn at() -> Timestamp {
    "2026-11-20T20:43:17Z".parse().unwrap()
}

fn run_key() -> RunKey {
    RunKey::from_seed(&[0xa2; 32]).unwrap()
}

/// A record, changed as JSON by `edit`, signed by `key`.
pub(crate) fn signed<P: Payload>(
    document: &P,
    key: &RunKey,
    edit: impl FnOnce(&mut serde_json::Value),
) -> Vec<u8> {
    let mut json = serde_json::to_value(document).unwrap();
    edit(&mut json);
    let payload = serde_json::to_vec(&json).unwrap();
    let mut pae = format!("DSSEv1 {} {} {} ", P::TYPE.len(), P::TYPE, payload.len()).into_bytes();
    pae.extend_from_slice(&payload);
    let keyid =
        if P::TYPE == RunRecord::TYPE { "signer" } else { json["run_id"].as_str().unwrap() };
    Envelope::seal::<P>(&payload, keyid, &key.sign(&pae)).unwrap()
}

pub(crate) fn hash(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest(Sha256::digest(bytes).into())
}

pub(crate) fn run_record(id: RunId, dek: DekId, key: &RunKey) -> RunRecord {
    RunRecord {
        version: 1,
        run_id: id,
        cluster_uuid: header(0).cluster,
        role: Role::Backup,
        public_key: Sha256Digest(key.public_key()),
        dek_id: Some(dek),
        started_at: at(),
        identity: RunIdentity { host: Some("db-0".into()), ..RunIdentity::default() },
        lock: None,
        tool_version: "0.1.0".into(),
    }
}

fn key_record(wrap: &WrappedDek, generation: u32) -> KeyRecord {
    let good = header(0);
    KeyRecord {
        version: 1,
        cluster_uuid: good.cluster,
        dek_id: good.dek,
        generation,
        run_id: good.run,
        created_at: at(),
        commitment: Sha256Digest(Dek::from_bytes(DEK).commitment(good.dek.as_bytes())),
        wraps: vec![wrap.clone()],
    }
}

fn manifest() -> (Manifest, Object) {
    let good = header(0);
    let object = Object::seal(&good, &plaintext(3000));
    let volume = object.record(0);
    let manifest = Manifest {
        version: 1,
        backup_id: backup(),
        attempt: AttemptId::from_bytes([0xaa; 16]),
        cluster_uuid: good.cluster,
        run_id: good.run,
        dek_id: good.dek,
        started_at: at(),
        finished_at: at(),
        engine: EngineRecord { kind: EngineKind::MariadbBackup, version: None, to_lsn: Some(7) },
        base: None,
        source: SourceRecord {
            kind: "stdin".into(),
            database_transport: TransportSecurity::Unknown,
            stream_transport: TransportSecurity::Local,
        },
        server: None,
        proof: ProofKind::Framing,
        files: 1,
        bytes_read: volume.plain_bytes,
        payload_bytes: 2900,
        bytes_stored: volume.bytes,
        volumes: vec![volume],
        connections: Vec::new(),
        lock: None,
        tool_version: "0.1.0".into(),
    };
    (manifest, object)
}

pub(crate) fn good(wrap: &WrappedDek) -> Stored {
    let id = header(0);
    good_of(wrap, &run_record(id.run, id.dek, &run_key()), &manifest().0)
}

/// The same, of another run record or manifest.
fn good_of(wrap: &WrappedDek, run: &RunRecord, manifest: &Manifest) -> Stored {
    let (c, id, key) = (name(), header(0), run_key());
    let signer = RunKey::from_seed(&SIGNER).unwrap();
    let cluster =
        ClusterRecord { version: 1, cluster_uuid: id.cluster, run_id: id.run, created_at: at() };
    let (_, object) = self::manifest();
    let volume = layout::volume(&c, &manifest.backup_id, manifest.attempt, 0);
    let sealed = signed(manifest, &key, |_| {});
    let mut previous = Sha256Digest([0; 32]);
    let mut stored: Stored = (1..=2)
        .map(|number| {
            let audit = audit(number, previous, hash(&sealed));
            let bytes = signed(&audit, &key, |_| {});
            previous = hash(&bytes);
            (layout::audit(&c, number), bytes)
        })
        .collect();
    stored.insert(layout::cluster(&c), signed(&cluster, &key, |_| {}));
    stored.insert(layout::run(&c, id.run), signed(run, &signer, |_| {}));
    stored.insert(layout::key(&c, id.dek, 1), signed(&key_record(wrap, 1), &key, |_| {}));
    stored.insert(layout::manifest(&c, &manifest.backup_id), sealed);
    stored.insert(volume, object.bytes());
    stored
}

fn audit(number: u64, previous: Sha256Digest, record: Sha256Digest) -> AuditRecord {
    AuditRecord {
        version: 1,
        cluster_uuid: header(0).cluster,
        number,
        previous,
        run_id: header(0).run,
        at: at(),
        action: "backup-committed".into(),
        subject: BACKUP.into(),
        record_sha256: Some(record),
        outcome: None,
        failure: None,
        configuration: None,
        connections: Vec::new(),
        details: None,
    }
}

fn with(base: &Stored, key: String, bytes: Vec<u8>) -> Stored {
    let mut stored = base.clone();
    stored.insert(key, bytes);
    stored
}

/// A name, what is wrong, and everything that is stored.
pub(crate) type Bad = (String, &'static str, Stored);

/// A kind of edit, what is wrong with it, and the edit.
type Edit = (&'static str, &'static str, fn(&mut serde_json::Value));

/// Everything bad that is said by changing one record of a good repository.
#[expect(clippy::too_many_lines, reason = "it is a list")]
pub(crate) fn bad(base: &Stored, wrap: &WrappedDek) -> Vec<Bad> {
    let (c, id, key) = (name(), header(0), run_key());
    let signer = RunKey::from_seed(&SIGNER).unwrap();
    let stranger = RunKey::from_seed(&[0x99; 32]).unwrap();
    let (manifest, _) = manifest();
    let cluster =
        ClusterRecord { version: 1, cluster_uuid: id.cluster, run_id: id.run, created_at: at() };
    let run = run_record(id.run, id.dek, &key);
    let second =
        audit(2, hash(&base[&layout::audit(&c, 1)]), hash(&base[&layout::manifest(&c, &backup())]));
    let names = [
        layout::cluster(&c),
        layout::run(&c, id.run),
        layout::key(&c, id.dek, 1),
        layout::manifest(&c, &backup()),
        layout::audit(&c, 2),
    ];
    let mut cases = Vec::new();
    let edits: [Edit; 4] = [
        ("newer", "version 2, rightly signed", |v| v["version"] = 2.into()),
        ("version-0", "version 0, rightly signed", |v| v["version"] = 0.into()),
        ("unknown-field", "a field more, rightly signed", |v| v["extra"] = true.into()),
        ("other-cluster", "of another cluster, rightly signed", |v| {
            v["cluster_uuid"] = "09".repeat(16).into();
        }),
    ];
    for (kind, object) in ["cluster", "run", "key", "manifest", "audit"].into_iter().zip(&names) {
        let mut push = |what: &str, why, bytes| {
            cases.push((format!("bad-{kind}-{what}"), why, with(base, object.clone(), bytes)));
        };
        let sign =
            |by_run: &RunKey, by_signer: &RunKey, edit: fn(&mut serde_json::Value)| match kind {
                "cluster" => signed(&cluster, by_run, edit),
                "run" => signed(&run, by_signer, edit),
                "key" => signed(&key_record(wrap, 1), by_run, edit),
                "manifest" => signed(&manifest, by_run, edit),
                _ => signed(&second, by_run, edit),
            };
        for (what, why, edit) in edits {
            push(what, why, sign(&key, &signer, edit));
        }
        push(
            "stranger",
            "signed by a key that nobody vouches for",
            sign(&stranger, &stranger, |_| {}),
        );
        let mut flipped = base[object].clone();
        let at = flipped.windows(9).position(|w| w == b"\"payload\"").unwrap() + 60;
        flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
        push("flip", "a character of the payload", flipped);
        let text = String::from_utf8(base[object].clone()).unwrap();
        let spaced = text.replacen(',', ", ", 1).into_bytes();
        push("spaced", "white space that no writer puts there", spaced);
        let renamed = text.replacen("\"keyid\":\"", "\"keyid\":\"x", 1).into_bytes();
        push("keyid", "another key is named than signed it", renamed);
        let at = text.find("\"sig\":\"").unwrap() + 12;
        let mut resigned = base[object].clone();
        resigned[at] = if resigned[at] == b'A' { b'B' } else { b'A' };
        push("signature", "a character of the signature", resigned);
        let cut = base[object][..base[object].len() - 2].to_vec();
        push("cut", "its end is missing", cut);
        push(
            "type",
            "an envelope of another type",
            base[&names[usize::from(kind == "cluster")]].clone(),
        );
        let mut gone = base.clone();
        // The last record of a chain is missed by nobody who does not keep a head; the first is.
        let first = layout::audit(&c, 1);
        gone.remove(if kind == "audit" { &first } else { object });
        cases.push((format!("bad-{kind}-missing"), "it is not there", gone));
    }
    let mut elsewhere = manifest.clone();
    elsewhere.backup_id = "b2".parse().unwrap();
    let mut sums = manifest.clone();
    sums.bytes_read += 1;
    let mut wraps_round = manifest.clone();
    wraps_round.volumes.push(wraps_round.volumes[0].clone());
    wraps_round.volumes[1].sequence = 1;
    wraps_round.volumes[1].plain_bytes = u64::MAX;
    for (what, why, bad) in [
        ("elsewhere", "of backup b2", elsewhere),
        ("sums", "its sums are wrong", sums),
        ("wraps-round", "its sum exceeds 64 bits", wraps_round),
    ] {
        cases.push((
            format!("bad-manifest-{what}"),
            why,
            with(base, names[3].clone(), signed(&bad, &key, |_| {})),
        ));
    }
    cases.push((
        "bad-audit-link".into(),
        "it follows another record",
        with(base, names[4].clone(), signed(&audit(2, hash(b"x"), hash(b"y")), &key, |_| {})),
    ));
    cases.push((
        "bad-key-generation".into(),
        "generation 2 under the name of 1",
        with(base, names[2].clone(), signed(&key_record(wrap, 2), &key, |_| {})),
    ));
    let mut changed = wrap.clone();
    changed.ciphertext[40] ^= 1;
    cases.push((
        "bad-key-wrap".into(),
        "a bit of the wrap",
        with(base, names[2].clone(), signed(&key_record(&changed, 1), &key, |_| {})),
    ));
    let mut other = key_record(wrap, 1);
    other.commitment = hash(b"another key");
    cases.push((
        "bad-key-commitment".into(),
        "commits to another key",
        with(base, names[2].clone(), signed(&other, &key, |_| {})),
    ));
    cases.extend(usurpers(base, wrap));
    cases.extend(rewrapping(base, wrap));
    cases.extend(told(base, wrap));
    cases.extend(reading(base, wrap));
    cases.extend(locked(base));
    cases.extend(marks::cases(base));
    cases.extend(increments(base));
    cases.extend(drills(base));
    cases
}

/// A run that says as whom it wrote, and a manifest that says over which connections.
fn told(base: &Stored, wrap: &WrappedDek) -> Vec<Bad> {
    let (c, id, key) = (name(), header(0), run_key());
    let signer = RunKey::from_seed(&SIGNER).unwrap();
    let mut run = run_record(id.run, id.dek, &key);
    run.identity = RunIdentity {
        host: Some("node-7".into()),
        user: Some("backstay".into()),
        pod: Some("backup-7".into()),
        namespace: Some("shop".into()),
        principal: Some("arn:aws:sts::123456789012:assumed-role/backup/backstay-backup-7".into()),
        access: Some(AccessKind::WebIdentity),
    };
    let (mut manifest, _) = manifest();
    let tls = |version: &str, cipher: &str| {
        Some(TlsFacts { version: version.into(), cipher: cipher.into() })
    };
    manifest.connections = vec![
        Connection {
            to: Peer::Store,
            security: TransportSecurity::TlsVerified,
            tls: tls("1.3", "TLS_AES_256_GCM_SHA384"),
        },
        Connection::new(Peer::Kms, TransportSecurity::Local),
        Connection::new(Peer::Signer, TransportSecurity::Plain),
        Connection {
            to: Peer::Database,
            security: TransportSecurity::TlsUnverified,
            tls: tls("1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        },
        Connection::new(Peer::Source, TransportSecurity::TlsVerified),
    ];
    let (run_name, manifest_name) = (layout::run(&c, id.run), layout::manifest(&c, &backup()));
    let of_run = |edit: fn(&mut serde_json::Value)| {
        with(base, run_name.clone(), signed(&run, &signer, edit))
    };
    let of_manifest = |edit: fn(&mut serde_json::Value)| {
        with(base, manifest_name.clone(), signed(&manifest, &key, edit))
    };
    vec![
        (
            "good-identity".into(),
            "a run that says as whom it wrote, and a manifest that says over which connections",
            good_of(wrap, &run, &manifest),
        ),
        (
            "bad-run-access".into(),
            "credentials of a kind that there is not",
            of_run(|v| v["identity"]["access"] = "borrowed".into()),
        ),
        (
            "bad-run-identity-field".into(),
            "an identity with a field more",
            of_run(|v| v["identity"]["secret"] = "x".into()),
        ),
        (
            "bad-manifest-connection".into(),
            "a connection to a peer that there is not",
            of_manifest(|v| v["connections"][1]["to"] = "printer".into()),
        ),
        (
            "bad-manifest-connection-field".into(),
            "a connection with a field more",
            of_manifest(|v| v["connections"][0]["tls"]["key"] = "x".into()),
        ),
    ]
}

/// A second run, rightly vouched for, that says which key the first one's DEK is.
fn usurpers(base: &Stored, wrap: &WrappedDek) -> Vec<(String, &'static str, Stored)> {
    let (c, id) = (name(), header(0));
    let signer = RunKey::from_seed(&SIGNER).unwrap();
    let (other, other_key) =
        (RunId::from_bytes([0xb1; 16]), RunKey::from_seed(&[0xb2; 32]).unwrap());
    let record = run_record(other, DekId::from_bytes([0xb3; 16]), &other_key);
    let base = with(base, layout::run(&c, other), signed(&record, &signer, |_| {}));
    let mut second = key_record(wrap, 2);
    second.run_id = other;
    let rewrapped = with(&base, layout::key(&c, id.dek, 2), signed(&second, &other_key, |_| {}));
    second.commitment = hash(b"a key of its own");
    let usurped = with(&base, layout::key(&c, id.dek, 2), signed(&second, &other_key, |_| {}));
    let mut first = key_record(wrap, 1);
    first.run_id = other;
    let first = with(&base, layout::key(&c, id.dek, 1), signed(&first, &other_key, |_| {}));
    vec![
        ("good-rewrapped".into(), "generation 2 by another run", rewrapped),
        ("bad-key-usurped".into(), "generation 2 commits to another key", usurped),
        ("bad-key-not-its-run".into(), "generation 1 by another run", first),
    ]
}

/// A run that only reads, rightly vouched for: it has no DEK, and writes audit records alone.
#[expect(clippy::too_many_lines, reason = "a list of examples")]
fn reading(base: &Stored, wrap: &WrappedDek) -> Vec<Bad> {
    let (c, id, key) = (name(), header(0), run_key());
    let signer = RunKey::from_seed(&SIGNER).unwrap();
    let (run, run_key) = (RunId::from_bytes([0xc7; 16]), RunKey::from_seed(&[0xc8; 32]).unwrap());
    let record = RunRecord { role: Role::Read, dek_id: None, ..run_record(run, id.dek, &run_key) };
    let base = with(base, layout::run(&c, run), signed(&record, &signer, |_| {}));
    let last = || hash(&base[&layout::audit(&c, 2)]);
    // Two records behind the good ones: an act begins, and ends as `edit` has it.
    let acts = |action: &str, edit: fn(&mut serde_json::Value)| {
        let begun = AuditRecord {
            action: format!("{action}-begun"),
            subject: "latest".into(),
            run_id: run,
            configuration: Some(hash(b"kek=k\n")),
            ..audit(3, last(), hash(b"the run's record"))
        };
        let begun = signed(&begun, &run_key, |_| {});
        let ended = AuditRecord {
            action: format!("{action}-ended"),
            subject: "latest".into(),
            run_id: run,
            record_sha256: None,
            outcome: Some(Outcome::Success),
            connections: vec![
                Connection {
                    tls: Some(TlsFacts {
                        version: "1.3".into(),
                        cipher: "TLS13_AES_256_GCM_SHA384".into(),
                    }),
                    ..Connection::new(Peer::Store, TransportSecurity::TlsVerified)
                },
                Connection::new(Peer::Database, TransportSecurity::Local),
            ],
            ..audit(4, hash(&begun), hash(b""))
        };
        let stored = with(&base, layout::audit(&c, 3), begun);
        with(&stored, layout::audit(&c, 4), signed(&ended, &run_key, edit))
    };
    let mut first = key_record(wrap, 1);
    first.run_id = run;
    let (mut manifest, _) = manifest();
    manifest.run_id = run;
    let by = |object: String, bytes| with(&base, object, bytes);
    let cluster =
        ClusterRecord { version: 1, cluster_uuid: id.cluster, run_id: run, created_at: at() };
    let dek = signed(&run_record(id.run, id.dek, &key), &signer, |v| v["role"] = "read".into());
    vec![
        (
            "good-audit-restore".into(),
            "a restore by a run that only reads, with all that can be said of it",
            acts("restore", |v| {
                v["details"] = serde_json::json!({
                    "backup_id": BACKUP, "datadir": "/var/lib/mysql", "status": "proven",
                    "expected": "0-1-5", "actual": "0-1-5", "equal": true, "transactions": 5
                });
            }),
        ),
        (
            "good-audit-newer".into(),
            "an action that nobody knows yet, with details of its own",
            acts("drill", |v| {
                v["details"] = serde_json::json!({"proof": {"equal": true, "of": ["a", 1]}});
            }),
        ),
        (
            "bad-audit-details".into(),
            "details that a restore does not have",
            acts("restore", |v| v["details"] = serde_json::json!({"table": "cards"})),
        ),
        (
            "bad-audit-details-list".into(),
            "details that are no object",
            acts("drill", |v| v["details"] = serde_json::json!([1])),
        ),
        (
            "bad-audit-outcome".into(),
            "an outcome that there is not",
            acts("restore", |v| v["outcome"] = "perhaps".into()),
        ),
        (
            "bad-audit-failure".into(),
            "a failure that says nothing of why",
            acts("restore", |v| v["outcome"] = "failure".into()),
        ),
        (
            "bad-audit-success".into(),
            "a success that says why it failed",
            acts("restore", |v| {
                v["failure"] =
                    serde_json::json!({"exit_code": 6, "kind": "integrity", "error": "e"});
            }),
        ),
        (
            "bad-audit-connection".into(),
            "a connection to nobody that there is",
            acts("restore", |v| v["connections"][0]["to"] = "moon".into()),
        ),
        (
            "bad-key-first-read".into(),
            "generation 1 by a run that only reads",
            by(layout::key(&c, id.dek, 1), signed(&first, &run_key, |_| {})),
        ),
        (
            "bad-manifest-read".into(),
            "a manifest by a run that only reads",
            by(layout::manifest(&c, &backup()), signed(&manifest, &run_key, |_| {})),
        ),
        (
            "bad-cluster-read".into(),
            "a cluster record by a run that only reads",
            by(layout::cluster(&c), signed(&cluster, &run_key, |_| {})),
        ),
        (
            "bad-run-read-dek".into(),
            "a run that only reads, and names a DEK",
            by(layout::run(&c, id.run), dek),
        ),
    ]
}

/// What a lock is told by.
fn locked(base: &Stored) -> Vec<Bad> {
    let (c, id, key) = (name(), header(0), run_key());
    let signer = RunKey::from_seed(&SIGNER).unwrap();
    let of_run = |edit: fn(&mut serde_json::Value)| {
        let lock = RunLock {
            mode: LockMode::Compliance,
            data_seconds: 3_024_000,
            key_seconds: 3_628_800,
            evidence_seconds: 34_560_000,
            legal_hold: false,
        };
        let record = RunRecord { lock: Some(lock), ..run_record(id.run, id.dek, &key) };
        with(base, layout::run(&c, id.run), signed(&record, &signer, edit))
    };
    let of_manifest = |base: &Stored, edit: fn(&mut serde_json::Value)| {
        let (mut manifest, _) = manifest();
        let until = "2026-12-25T20:43:17Z".parse().unwrap();
        manifest.lock = Some(LockRecord { mode: LockMode::Governance, until, legal_hold: true });
        with(base, layout::manifest(&c, &backup()), signed(&manifest, &key, edit))
    };
    vec![
        (
            "good-locked".into(),
            "a run and a manifest with locks",
            of_manifest(&of_run(|_| ()), |_| ()),
        ),
        (
            "bad-run-lock".into(),
            "a lock for no told time",
            of_run(|v| drop(v["lock"].as_object_mut().unwrap().remove("data_seconds"))),
        ),
        (
            "bad-manifest-lock".into(),
            "a lock of another mode",
            of_manifest(base, |v| v["lock"]["mode"] = "forever".into()),
        ),
    ]
}

/// A run that rewraps, rightly vouched for: it has no DEK, and writes further generations alone.
fn rewrapping(base: &Stored, wrap: &WrappedDek) -> Vec<Bad> {
    let (c, id, key) = (name(), header(0), run_key());
    let signer = RunKey::from_seed(&SIGNER).unwrap();
    let (run, run_key) = (RunId::from_bytes([0xc5; 16]), RunKey::from_seed(&[0xc6; 32]).unwrap());
    let record =
        RunRecord { role: Role::Rewrap, dek_id: None, ..run_record(run, id.dek, &run_key) };
    let base = with(base, layout::run(&c, run), signed(&record, &signer, |_| {}));
    let recipients = |generation| {
        let mut record = key_record(wrap, generation);
        let other = WrappedDek {
            kek: format!("file:{}", "0e".repeat(16)),
            kek_version: Some("3".into()),
            algorithm: "of-another-provider".into(),
            ciphertext: vec![0xee; 48],
        };
        record.wraps.insert(0, other);
        record.run_id = run;
        record
    };
    let by = |generation| {
        let record = signed(&recipients(generation), &run_key, |_| {});
        with(&base, layout::key(&c, id.dek, generation), record)
    };
    let (mut manifest, _) = manifest();
    manifest.run_id = run;
    let manifest =
        with(&base, layout::manifest(&c, &backup()), signed(&manifest, &run_key, |_| {}));
    let own = |edit: fn(&mut serde_json::Value)| {
        let record = signed(&run_record(id.run, id.dek, &key), &signer, edit);
        with(&base, layout::run(&c, id.run), record)
    };
    vec![
        ("good-recipients".into(), "generation 7 by a run that rewraps, for two KEKs", by(7)),
        ("bad-key-first-rewrap".into(), "generation 1 by a run that rewraps", by(1)),
        ("bad-manifest-rewrap".into(), "a manifest by a run that rewraps", manifest),
        (
            "bad-run-rewrap-dek".into(),
            "a run that rewraps, and names a DEK",
            own(|v| v["role"] = "rewrap".into()),
        ),
        (
            "bad-run-no-dek".into(),
            "a run of role backup that names no DEK",
            own(|v| drop(v.as_object_mut().unwrap().remove("dek_id"))),
        ),
    ]
}

/// `b1` as an increment on `b0`.
fn increments(base: &Stored) -> Vec<Bad> {
    let (c, key) = (name(), run_key());
    let (increment, _) = manifest();
    let full = Manifest { backup_id: "b0".parse().unwrap(), ..increment.clone() };
    let stands_on = |full: &Manifest, edit: fn(&mut BaseRecord)| {
        let stored = signed(full, &key, |_| {});
        let mut link = BaseRecord {
            backup_id: full.backup_id.clone(),
            manifest_sha256: hash(&stored),
            from_lsn: full.engine.to_lsn.unwrap_or_default(),
        };
        edit(&mut link);
        let increment = Manifest { base: Some(link), ..increment.clone() };
        let all = with(base, layout::manifest(&c, &full.backup_id), stored);
        with(&all, layout::manifest(&c, &backup()), signed(&increment, &key, |_| {}))
    };
    let mut other_engine = full.clone();
    other_engine.engine.kind = EngineKind::Xtrabackup;
    let mut nowhere = full.clone();
    nowhere.engine.to_lsn = None;
    vec![
        ("good-increment".into(), "an increment and its base", stands_on(&full, |_| {})),
        ("bad-increment-base".into(), "its base is not there", {
            let mut gone = stands_on(&full, |_| {});
            gone.remove(&layout::manifest(&c, &full.backup_id));
            gone
        }),
        (
            "bad-increment-digest".into(),
            "another manifest than it was made on",
            stands_on(&full, |link| link.manifest_sha256 = hash(b"x")),
        ),
        (
            "bad-increment-lsn".into(),
            "it does not begin where its base ends",
            stands_on(&full, |link| link.from_lsn += 1),
        ),
        ("bad-increment-no-lsn".into(), "its base has no end", stands_on(&nowhere, |_| {})),
        (
            "bad-increment-engine".into(),
            "its base is of another engine",
            stands_on(&other_engine, |_| {}),
        ),
    ]
}

/// A run that drills, rightly vouched for, and its record.
fn drills(base: &Stored) -> Vec<Bad> {
    let (c, id, key) = (name(), header(0), run_key());
    let signer = RunKey::from_seed(&SIGNER).unwrap();
    let (run, by) = (RunId::from_bytes([0xe5; 16]), RunKey::from_seed(&[0xe6; 32]).unwrap());
    let record = RunRecord { role: Role::Drill, dek_id: None, ..run_record(run, id.dek, &by) };
    let base = with(base, layout::run(&c, run), signed(&record, &signer, |_| {}));
    let drill = DrillRecord {
        version: 1,
        drill_id: "20261121T171230Z-0d0d0d0d".parse().unwrap(),
        cluster_uuid: id.cluster,
        run_id: run,
        started_at: at(),
        finished_at: at(),
        status: DrillStatus::Unproven,
        failures: Vec::new(),
        target: "latest".into(),
        seed: Some(7),
        recovery: None,
        tables: None,
        assertions: None,
        tool_version: "0.1.0".into(),
    };
    let object = layout::drill(&c, &drill.drill_id);
    let mut by_backup = drill.clone();
    by_backup.run_id = id.run;
    let elsewhere = layout::drill(&c, &"20261121T171230Z-0e0e0e0e".parse().unwrap());
    let put = |object: &String, bytes| with(&base, object.clone(), bytes);
    vec![
        ("good-drill".into(), "a drill", put(&object, signed(&drill, &by, |_| {}))),
        (
            "bad-drill-role".into(),
            "by a run of role backup",
            put(&object, signed(&by_backup, &key, |_| {})),
        ),
        (
            "bad-drill-elsewhere".into(),
            "under another name",
            put(&elsewhere, signed(&drill, &by, |_| {})),
        ),
        (
            "bad-drill-status".into(),
            "a status that there is not",
            put(&object, signed(&drill, &by, |v| v["status"] = "fine".into())),
        ),
        (
            "bad-drill-newer".into(),
            "version 2, rightly signed",
            put(&object, signed(&drill, &by, |v| v["version"] = 2.into())),
        ),
    ]
}
