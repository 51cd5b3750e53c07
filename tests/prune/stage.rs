//! A cluster in memory: backups that open, and a log whose bytes open, at any time one likes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::Cursor,
    sync::{Arc, Mutex},
    time::Duration,
};

use backstay::{
    crypto::{
        kms::file::FileKms,
        signer::{Trust, file::FileSigner},
    },
    format::{
        BaseRecord, CHECKPOINT_EVERY, EngineRecord, LogEntry, LogRange, LogRecord, Manifest, Role,
        RunIdentity, SegmentData, SegmentEntry, SourceRecord, TailEntry, layout,
    },
    jobs::{
        JobError, Witness, hold, keys,
        prune::{self, Pruned, plan::Policy},
        verify::{self, Verified},
    },
    model::{
        Age, AttemptId, BackupId, BinlogPosition, DekId, EngineKind, Flavor, ProofKind, RunId,
        ServerFacts, Sha256Digest, Timestamp, TransportSecurity,
    },
    pipeline::{
        Accept, Found, Inspect, Level, Objects, OnBad, PipelineError, Progress, Repository, Run,
        RunRequest, SealRequest, Standing, StoredObject,
        audit::{Act, append},
        budget::Budget,
        log::{
            Archive, Base, LogState, RangeOpener, SegmentSealer, TailSealer, checkpoint,
            read_archive,
        },
        marked_backup, open_objects, seal_stream,
    },
    store::{self, Keep, Key, Store, StoreOptions},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};

use crate::{archiver::Archiver, fuse::Fuse};

pub(crate) const CLUSTER: &str = "shop";
/// Where every backup ends, and every increment begins.
const LSN: u64 = 4711;

pub(crate) struct Stage {
    dir: tempfile::TempDir,
    pub(crate) fuse: Arc<Fuse>,
    runs: HashMap<RunId, Arc<Run>>,
    /// The log as it was written.
    pub(crate) state: LogState,
    pub(crate) contents: BTreeMap<BackupId, Vec<u8>>,
    /// What the next backup stands on.
    pub(crate) stand_on: Option<BackupId>,
    /// What each increment stands on.
    pub(crate) bases: BTreeMap<BackupId, BackupId>,
}

struct Unwatched;

impl Inspect for Unwatched {
    fn inspect(&mut self, _: &[u8]) -> Result<(), PipelineError> {
        Ok(())
    }
}

/// Keeps what comes out.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Accept for Kept {
    fn accept(&mut self, plain: &[u8]) -> Result<(), PipelineError> {
        self.0.lock().unwrap().extend_from_slice(plain);
        Ok(())
    }
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let store = store::open("memory:", &StoreOptions::default()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        keys::new(&dir.path().join("kek"), keys::Kind::default()).unwrap();
        Self {
            dir,
            fuse: Arc::new(Fuse::new(store)),
            runs: HashMap::new(),
            state: LogState::default(),
            contents: BTreeMap::new(),
            stand_on: None,
            bases: BTreeMap::new(),
        }
    }

    /// A reader without memory of what it read before.
    pub(crate) fn repository(&self) -> Arc<Repository> {
        let trust = Trust::read(&self.dir.path().join("kek.trust")).unwrap();
        let store: Arc<dyn Store> = Arc::clone(&self.fuse) as _;
        Arc::new(Repository::new(store, CLUSTER.parse().unwrap(), trust))
    }

    pub(crate) fn kek(&self) -> FileKms {
        FileKms::open(&self.dir.path().join("kek")).unwrap()
    }

    pub(crate) fn signer(&self) -> FileSigner {
        FileSigner::open(&self.dir.path().join("kek.signer")).unwrap()
    }

    pub(crate) async fn run(&self, role: Role, started_at: Timestamp) -> Arc<Run> {
        let request = RunRequest {
            kms: &self.kek(),
            also: &[],
            signer: &self.signer(),
            role,
            identity: RunIdentity::default(),
            started_at,
        };
        Arc::new(Run::begin(self.repository(), &request).await.unwrap())
    }

    /// Seals volumes as a backup does, and commits nothing.
    pub(crate) async fn attempt(
        &self,
        id: &BackupId,
        content: Vec<u8>,
        at: Timestamp,
    ) -> (Arc<Run>, Manifest) {
        let run = self.run(Role::Backup, at).await;
        let attempt = AttemptId::from_bytes(*run.id.as_bytes());
        let (cluster, name) = (run.repository.cluster().clone(), id.clone());
        let seal = SealRequest {
            cluster: run.cluster,
            run: run.id,
            dek_id: run.dek_id,
            dek: run.dek.clone(),
            keep: Box::new(Keep::default),
            volume_key: Box::new(move |n| Ok(key(&layout::volume(&cluster, &name, attempt, n)))),
            level: Level::Fixed(1),
            budget: Budget::here(),
            progress: Arc::new(Progress::default()),
            chunks_per_volume: 1,
        };
        let store = Arc::clone(run.repository.store());
        let sealed = seal_stream(store, Cursor::new(content), Unwatched, seal).await.unwrap();
        let manifest = Manifest {
            version: 1,
            backup_id: id.clone(),
            attempt,
            cluster_uuid: run.cluster,
            run_id: run.id,
            dek_id: run.dek_id,
            started_at: at,
            finished_at: at,
            engine: EngineRecord {
                kind: EngineKind::MariadbBackup,
                version: None,
                to_lsn: Some(LSN),
            },
            base: None,
            source: SourceRecord {
                kind: "local".into(),
                database_transport: TransportSecurity::Local,
                stream_transport: TransportSecurity::Local,
            },
            server: None,
            proof: ProofKind::Exit,
            files: 1,
            bytes_read: sealed.bytes_read,
            payload_bytes: sealed.bytes_read,
            bytes_stored: sealed.volumes.iter().map(|v| v.bytes).sum(),
            volumes: sealed.volumes,
            connections: Vec::new(),
            lock: None,
            tool_version: "0".into(),
        };
        (run, manifest)
    }

    /// A complete backup; an increment when something was said to stand on.
    pub(crate) async fn backup(&mut self, id: &str, at: Timestamp, base: Option<(&Base, Flavor)>) {
        let id: BackupId = id.parse().unwrap();
        let content = format!("rows of {id}, ").repeat(50).into_bytes();
        let (run, mut manifest) = self.attempt(&id, content.clone(), at).await;
        if let Some((base, flavor)) = base {
            manifest.server = Some(facts(base, flavor));
            (manifest.started_at, manifest.finished_at) = (base.started_at, base.finished_at);
        }
        if let Some(below) = self.stand_on.take() {
            manifest.base = Some(self.base_of(&below).await);
            self.bases.insert(id.clone(), below);
        }
        self.commit(&run, &manifest).await;
        self.contents.insert(id, content);
    }

    /// A backup as increments name it.
    pub(crate) async fn base_of(&self, id: &BackupId) -> BaseRecord {
        let found = self.repository().manifest(id).await.unwrap().unwrap();
        BaseRecord { backup_id: id.clone(), manifest_sha256: found.sha256, from_lsn: LSN }
    }

    pub(crate) async fn commit(&self, run: &Run, manifest: &Manifest) {
        let stored = run.sign(manifest).unwrap();
        let sha256 = Sha256Digest(Sha256::digest(&stored).into());
        let object = layout::manifest(run.repository.cluster(), &manifest.backup_id);
        self.fuse.create(&key(&object), stored).await.unwrap();
        let act = Act::new("backup-committed", manifest.backup_id.as_str());
        append(run, &act.record(sha256).succeeded()).await.unwrap();
    }

    /// Writes the records of an archiver that are not written yet, with bytes that open.
    pub(crate) async fn write_log(&mut self, archiver: &Archiver) {
        let written = usize::try_from(self.state.head.number).unwrap();
        for record in &archiver.records[written..] {
            let run = match self.runs.get(&record.run_id) {
                Some(run) => Arc::clone(run),
                None => self.run(Role::Archive, record.at).await,
            };
            self.runs.insert(record.run_id, Arc::clone(&run));
            let mut body = Bytes::new();
            let entry = match &record.entry {
                LogEntry::Checkpoint(_) => {
                    LogEntry::Checkpoint(self.state.checkpoint_entry().unwrap())
                }
                LogEntry::Tail(tail) => {
                    let mut sealer = TailSealer::new(&run).unwrap();
                    sealer.write(&plain(&tail.range)).unwrap();
                    let (bytes, sealed) = sealer.finish().unwrap();
                    body = bytes;
                    LogEntry::Tail(TailEntry { range: tail.range.clone(), sealed })
                }
                LogEntry::Segment(SegmentEntry { range, data: SegmentData::Object { .. } }) => {
                    let data = self.segment(&run, range).await;
                    LogEntry::Segment(SegmentEntry { range: range.clone(), data })
                }
                other => other.clone(),
            };
            let record = LogRecord {
                cluster_uuid: run.cluster,
                previous: self.state.head.sha256,
                run_id: run.id,
                entry,
                ..record.clone()
            };
            let line = run.sign(&record).unwrap();
            let sha256 = Sha256Digest(Sha256::digest(&line).into());
            self.state.apply(&record, sha256).unwrap();
            let mut stored = BytesMut::from(&line[..]);
            stored.put(body);
            let object = layout::log(run.repository.cluster(), record.number);
            self.fuse.create(&key(&object), stored.freeze()).await.unwrap();
        }
    }

    pub(crate) async fn segment(&self, run: &Arc<Run>, range: &LogRange) -> SegmentData {
        let mut sealer = SegmentSealer::new(run, &range.server, &range.file, range.start).unwrap();
        sealer.write(&plain(range)).await.unwrap();
        sealer.finish().await.unwrap()
    }

    pub(crate) async fn prune(
        &self,
        policy: Policy,
        grace: Age,
        now: Timestamp,
    ) -> Result<Pruned, JobError> {
        prune::run(&prune::Request {
            repository: self.repository(),
            signer: Box::new(self.signer()),
            identity: RunIdentity::default(),
            policy,
            grace,
            exit_of: |_| (1, "unexpected"),
            now: Some(now),
            progress: Arc::new(Progress::default()),
        })
        .await
    }

    pub(crate) fn holding(&self, id: &str) -> hold::Request {
        hold::Request {
            repository: self.repository(),
            signer: Box::new(self.signer()),
            identity: RunIdentity::default(),
            id: id.parse().unwrap(),
            reason: "an auditor asked".into(),
        }
    }

    /// The complete backups and what was decided about them, oldest first.
    pub(crate) async fn listed(&self) -> BTreeMap<BackupId, (Found<Manifest>, Standing)> {
        let repository = self.repository();
        let marks = repository.backup_marks().await.unwrap();
        let backups = repository.backups().await.unwrap().into_iter();
        let known = backups.map(|(id, found)| {
            let found = found.unwrap();
            let standing = marks.get(&id).map(|marks| marks.standing(&marked_backup(&found)));
            (id, (found, standing.unwrap_or_default()))
        });
        known.collect()
    }

    /// Every listed backup opens, and holds what was put into it.
    pub(crate) async fn all_listed_open(&self) {
        let repository = self.repository();
        for (id, (found, _)) in self.listed().await {
            let manifest = found.record;
            let volume = |v| {
                let name = layout::volume(repository.cluster(), &id, manifest.attempt, 0);
                StoredObject::volume(key(&name), v)
            };
            let request = Objects {
                cluster: manifest.cluster_uuid,
                run: manifest.run_id,
                dek_id: manifest.dek_id,
                dek: repository.dek(manifest.dek_id, &self.kek()).await.unwrap(),
                objects: manifest.volumes.iter().map(volume).collect(),
                budget: Budget::here(),
                progress: Arc::new(Progress::default()),
            };
            let kept = Kept::default();
            let store = Arc::clone(repository.store());
            open_objects(store, request, kept.clone(), OnBad::Stop).await.unwrap();
            assert_eq!(kept.0.lock().unwrap().as_slice(), self.contents[&id], "{id}");
        }
    }

    /// Opens what these records of the log hold.
    pub(crate) async fn open_log(&self, numbers: impl IntoIterator<Item = u64>) {
        let (repository, kek) = (self.repository(), self.kek());
        let opener = RangeOpener::new(&repository, &kek, Arc::new(Progress::default()));
        for number in numbers {
            opener.open(number, Kept::default()).await.unwrap();
        }
    }

    /// `verify --quick`.
    pub(crate) async fn verified(&self) -> Verified {
        let request = verify::Request {
            id: None,
            quick: true,
            kms: None,
            at_least: None,
            witness: &Witness::none("a test"),
            progress: Arc::new(Progress::default()),
        };
        verify::run(&self.repository(), &request).await.unwrap()
    }

    /// Whatever is wrong, in words.
    pub(crate) async fn problems(&self) -> Vec<String> {
        let verified = self.verified().await;
        let log = verified.log.into_iter().flat_map(|log| log.findings);
        let backups = verified.backups.into_iter().flat_map(|backup| backup.findings);
        let all = verified.findings.into_iter().chain(log).chain(backups);
        all.map(|problem| format!("{}: {}", problem.object, problem.why)).collect()
    }

    pub(crate) async fn objects(&self) -> Vec<String> {
        let listed = self.fuse.list("", None).map_ok(|info| info.key.to_string());
        listed.try_collect().await.unwrap()
    }

    /// The objects that nothing needs: what a prune should have removed.
    pub(crate) async fn unneeded(&self) -> Vec<String> {
        let repository = self.repository();
        let cluster = repository.cluster();
        let listed = self.listed().await;
        let archive = read_archive(&repository).await.unwrap();
        let (log, sealed) = needed_of_log(&repository, &archive).await;
        let mut deks: BTreeSet<DekId> = listed.values().map(|(m, _)| m.record.dek_id).collect();
        for run in sealed {
            deks.extend(repository.run(run).await.unwrap().dek_id);
        }
        let mut needed: BTreeSet<String> = log;
        for (id, (found, _)) in &listed {
            needed.insert(layout::manifest(cluster, id));
            for volume in &found.record.volumes {
                needed.insert(layout::volume(cluster, id, found.record.attempt, volume.sequence));
            }
        }
        needed.insert(layout::cluster(cluster));
        let horizons = repository.horizon().await.unwrap();
        needed.insert(layout::horizon(cluster, horizons.number));
        let is_needed = |name: &String| {
            let part = name.strip_prefix(&format!("{cluster}/")).unwrap();
            needed.contains(name)
                // The chain, whoever signed it, and runs that were given up.
                || part.starts_with("audit/")
                || part.starts_with("runs/")
                || part.starts_with("marks/runs/")
                || deks.iter().any(|dek| part.starts_with(&format!("keys/{dek}/")))
                || listed.keys().any(|id| part.starts_with(&format!("marks/backups/{id}/")))
        };
        self.objects().await.into_iter().filter(|name| !is_needed(name)).collect()
    }
}

/// The names of records and segments that reading needs, and the runs that have sealed something.
async fn needed_of_log(
    repository: &Repository,
    archive: &Archive,
) -> (BTreeSet<String>, BTreeSet<RunId>) {
    let cluster = repository.cluster();
    let horizon = archive.horizon;
    let mut numbers: BTreeSet<u64> = (horizon.thinned + 1..=archive.state.head.number).collect();
    numbers.extend((horizon.begins + 1..=horizon.thinned).filter(|n| n % CHECKPOINT_EVERY == 0));
    numbers.extend(archive.notes.iter().map(|note| note.number));
    if horizon.thinned > 0 {
        let last = checkpoint(repository, horizon.thinned).await.unwrap().record;
        let LogEntry::Checkpoint(entry) = last.entry else { unreachable!() };
        let tails = entry.files.iter().flat_map(|file| &file.tails);
        numbers.extend(tails.flat_map(|&(first, last)| first..=last));
    }
    let (mut names, mut runs) = (BTreeSet::new(), BTreeSet::new());
    runs.extend(archive.notes.iter().map(|note| note.run_id));
    for segment in &archive.segments {
        numbers.insert(segment.number);
        let found = backstay::pipeline::log::record(repository, segment.number).await.unwrap();
        let LogEntry::Segment(entry) = found.record.entry else { unreachable!() };
        runs.insert(found.record.run_id);
        match entry.data {
            SegmentData::Object { id, .. } => {
                let r = &entry.range;
                names.insert(layout::segment(cluster, &r.server, &r.file, r.start, id));
            }
            SegmentData::Tails(tails) => {
                for number in tails.iter().flat_map(|&(first, last)| first..=last) {
                    numbers.insert(number);
                    let tail = backstay::pipeline::log::record(repository, number).await.unwrap();
                    runs.insert(tail.record.run_id);
                }
            }
        }
    }
    names.extend(numbers.into_iter().map(|number| layout::log(cluster, number)));
    (names, runs)
}

fn plain(range: &LogRange) -> Vec<u8> {
    vec![b'x'; usize::try_from(range.end - range.start).unwrap()]
}

fn facts(base: &Base, flavor: Flavor) -> ServerFacts {
    let name = base.place.as_ref().map(|place| place.server.to_string());
    let id = name.as_ref().and_then(|name| name.strip_prefix("id-")?.parse().ok());
    ServerFacts {
        flavor,
        version: match flavor {
            Flavor::Mysql => "9.7.0".parse().unwrap(),
            Flavor::Mariadb => "10.11.14-MariaDB".parse().unwrap(),
        },
        server_uuid: name.filter(|_| flavor == Flavor::Mysql),
        server_id: id.unwrap_or(99),
        position: base
            .place
            .as_ref()
            .map(|place| BinlogPosition { file: place.file.to_string(), position: place.offset }),
        up_since: None,
        innodb_position: None,
        innodb_at_least: None,
        gtid_set: base.gtids.as_ref().map(backstay::model::GtidState::position),
        gtid_exact: base.exact,
        is_replica: false,
        lower_case_table_names: None,
        page_size: 16384,
        data_bytes: 0,
        options: BTreeMap::new(),
    }
}

/// A month from now: whatever is stored now is old by then.
pub(crate) fn later() -> Timestamp {
    Timestamp::now().plus(Duration::from_hours(24 * 30))
}

pub(crate) fn hours(count: u64) -> Duration {
    Duration::from_hours(count)
}
