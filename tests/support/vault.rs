//! A small repository in memory: two clusters, three backups of several volumes each.

use std::{
    collections::BTreeMap,
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use backstay::{
    crypto::{
        kms::{Kms, file::FileKms},
        signer::{Trust, file::FileSigner},
    },
    format::{EngineRecord, Manifest, Payload, Role, RunIdentity, SourceRecord, layout},
    jobs::{JobError, Witness, keys, restore::Chosen, verify},
    model::{AttemptId, BackupId, EngineKind, ProofKind, Timestamp, TransportSecurity},
    mysql::xbstream::{Dialect, Validator},
    pipeline::{
        Accept, ChainHead, Commit, Ending, Inspect, Level, PipelineError, Progress, Repository,
        Run, RunRequest, SealRequest,
        audit::{Act, append},
        budget::Budget,
        commit, seal_stream,
    },
    store::{Keep, Key, Store, StoreOptions},
};
use bytes::Bytes;
use futures::TryStreamExt;

use crate::synthetic::Synthetic;

struct Framing(Validator);

impl Inspect for Framing {
    fn inspect(&mut self, bytes: &[u8]) -> Result<(), PipelineError> {
        Ok(self.0.feed(bytes)?)
    }
}

/// Takes what a restore would write, and compares it with what was sealed.
struct Compare {
    rest: Bytes,
    wrong: Arc<AtomicBool>,
}

impl Accept for Compare {
    fn accept(&mut self, plain: &[u8]) -> Result<(), PipelineError> {
        if self.rest.starts_with(plain) {
            self.rest = self.rest.slice(plain.len()..);
        } else {
            self.wrong.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

pub(crate) struct Backup {
    pub(crate) cluster: &'static str,
    pub(crate) id: BackupId,
    pub(crate) run: String,
    pub(crate) dek: String,
    plain: Bytes,
}

pub(crate) struct Vault {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) backups: Vec<Backup>,
    pub(crate) head: ChainHead,
    kms: FileKms,
    trust: Trust,
    signer: FileSigner,
    _keys: tempfile::TempDir,
}

impl Vault {
    pub(crate) async fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = keys::new(&dir.path().join("kek"), keys::Kind::default()).unwrap();
        Self {
            store: backstay::store::open("memory:", &StoreOptions::default()).await.unwrap(),
            backups: Vec::new(),
            head: "0:0000000000000000000000000000000000000000000000000000000000000000"
                .parse()
                .unwrap(),
            kms: FileKms::open(&made.kek).unwrap(),
            trust: Trust::read(made.trust.as_ref().unwrap()).unwrap(),
            signer: FileSigner::open(made.signer.as_ref().unwrap()).unwrap(),
            _keys: dir,
        }
    }

    /// A reader without memory of what it read before.
    pub(crate) fn reader(&self, cluster: &str) -> Repository {
        Repository::new(Arc::clone(&self.store), cluster.parse().unwrap(), self.trust.clone())
    }

    pub(crate) async fn back_up(&mut self, cluster: &'static str, id: &str) {
        let id: BackupId = id.parse().unwrap();
        let mut plain = Vec::new();
        let seed = 7 + self.backups.len() as u64;
        Synthetic::new(seed, 9 << 20, 64).read_to_end(&mut plain).unwrap();
        let now = Timestamp::now();
        let begin = RunRequest {
            kms: &self.kms,
            also: &[],
            signer: &self.signer,
            role: Role::Backup,
            identity: RunIdentity::default(),
            started_at: now,
        };
        let run = Run::begin(Arc::new(self.reader(cluster)), &begin).await.unwrap();
        let attempt = AttemptId::from_bytes([9; 16]);
        let (name, backup) = (run.repository.cluster().clone(), id.clone());
        let request = SealRequest {
            cluster: run.cluster,
            run: run.id,
            dek_id: run.dek_id,
            dek: run.dek.clone(),
            volume_key: Box::new(move |n| {
                Ok(Key::new(layout::volume(&name, &backup, attempt, n)).unwrap())
            }),
            level: "1".parse::<Level>().unwrap(),
            keep: Box::new(Keep::default),
            budget: Budget::for_cores(2),
            progress: Arc::new(Progress::default()),
            chunks_per_volume: 2,
        };
        let framing = Framing(Validator::new(Dialect::Percona));
        let source = std::io::Cursor::new(plain.clone());
        let sealed = seal_stream(Arc::clone(&self.store), source, framing, request).await.unwrap();
        let manifest = Manifest {
            version: Manifest::VERSION,
            backup_id: id.clone(),
            attempt,
            cluster_uuid: run.cluster,
            run_id: run.id,
            dek_id: run.dek_id,
            started_at: now,
            finished_at: Timestamp::now(),
            engine: EngineRecord { kind: EngineKind::Xtrabackup, version: None, to_lsn: None },
            base: None,
            source: SourceRecord {
                kind: "stdin".into(),
                database_transport: TransportSecurity::Unknown,
                stream_transport: TransportSecurity::Local,
            },
            server: None,
            proof: ProofKind::Framing,
            files: 0,
            payload_bytes: 0,
            bytes_read: sealed.bytes_read,
            bytes_stored: sealed.volumes.iter().map(|v| v.bytes).sum(),
            volumes: sealed.volumes,
            connections: Vec::new(),
            lock: None,
            tool_version: "test".into(),
        };
        assert!(manifest.volumes.len() > 1);
        let stream = sealed.inspector.0.finish().unwrap();
        let done =
            commit(&run, Commit { manifest, stream, ending: Ending::Framing }).await.unwrap();
        let act = Act::new("backup-committed", id.as_str()).record(done.sha256).succeeded();
        self.head = append(&run, &act).await.unwrap();
        let (run, dek) = (run.id.to_string(), run.dek_id.to_string());
        self.backups.push(Backup { cluster, id, run, dek, plain: plain.into() });
    }

    pub(crate) async fn objects(&self) -> BTreeMap<Key, Bytes> {
        let listed: Vec<_> = self.store.list("", None).try_collect().await.unwrap();
        let mut found = BTreeMap::new();
        for info in listed {
            let bytes = self.store.get(&info.key, 1 << 30).await.unwrap();
            found.insert(info.key, bytes);
        }
        found
    }

    /// Puts these bytes in the place of an object; none removes it.
    pub(crate) async fn put(&self, key: &Key, bytes: Option<&Bytes>) {
        self.store.delete(key).await.unwrap();
        if let Some(bytes) = bytes {
            self.store.create(key, bytes.clone()).await.unwrap();
        }
    }

    /// Whether `verify` exits with 6.
    pub(crate) async fn is_damaged(&self, cluster: &str, at_least: Option<ChainHead>) -> bool {
        let repository = Arc::new(self.reader(cluster));
        let kms: &dyn Kms = &self.kms;
        let (progress, witness) = (Arc::new(Progress::default()), Witness::none("a test"));
        let request = verify::Request {
            id: None,
            quick: false,
            kms: Some(kms),
            at_least,
            witness: &witness,
            progress,
        };
        match verify::run(&repository, &request).await {
            Ok(verified) => verified.status == "damaged",
            Err(error) => {
                assert!(is_integrity(&error), "verify fails with another code than 6: {error}");
                true
            }
        }
    }

    /// Reads a backup as a restore does. True: all of it came, and was right. False: exit 6.
    pub(crate) async fn restores(&self, backup: &Backup) -> bool {
        let repository = self.reader(backup.cluster);
        let wrong = Arc::new(AtomicBool::new(false));
        let compare = Compare { rest: backup.plain.clone(), wrong: Arc::clone(&wrong) };
        let read = async {
            let chosen = Chosen::find(&repository, &self.kms, Some(&backup.id)).await?;
            chosen.read(&repository, compare, &Arc::new(Progress::default())).await
        };
        let read = read.await;
        assert!(!wrong.load(Ordering::Relaxed), "something wrong was released");
        match read {
            Ok(compare) => {
                assert!(compare.rest.is_empty(), "a part of the stream was not released");
                true
            }
            Err(error) => {
                assert!(is_integrity(&error), "restore fails with another code than 6: {error}");
                false
            }
        }
    }
}

/// What `cli` turns into exit code 6.
fn is_integrity(error: &JobError) -> bool {
    matches!(
        error,
        JobError::Integrity { .. } | JobError::Pipeline(PipelineError::Integrity { .. })
    )
}
