//! A cluster with a chain, and ways to look at it.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use backstay::{
    crypto::{
        kms::file::FileKms,
        signer::{Trust, file::FileSigner},
    },
    format::{AuditRecord, Role, RunIdentity},
    jobs::{
        Witness,
        audit::{Audited, verify},
        keys,
    },
    model::Timestamp,
    pipeline::{
        Author, ChainHead, Introduction, PipelineError, Repository, Run, RunRequest,
        audit::{Act, append, scan},
    },
    store::{self, Keep, Key, ObjectInfo, Store, StoreError, StoreOptions, Upload},
};
use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use serde_json::Value;

use crate::{home::Home, synthetic::Synthetic};

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Arc<Counting>,
}

impl World {
    /// In memory, with a cluster and no act yet.
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        keys::new(&dir.path().join("kek"), keys::Kind::default()).unwrap();
        let inner = store::open("memory:", &StoreOptions::default()).await.unwrap();
        let world = Self { dir, store: Arc::new(Counting::new(inner)) };
        let kms = FileKms::open(&world.path("kek")).unwrap();
        let signer = world.signer();
        let request = RunRequest {
            kms: &kms,
            also: &[],
            signer: &signer,
            role: Role::Backup,
            identity: RunIdentity::default(),
            started_at: Timestamp::now(),
        };
        drop(Run::begin(world.repository(), &request).await.unwrap());
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn signer(&self) -> FileSigner {
        FileSigner::open(&self.path("kek.signer")).unwrap()
    }

    /// A reader without memory of what it read before.
    pub(crate) fn repository(&self) -> Arc<Repository> {
        let trust = Trust::read(&self.path("kek.trust")).unwrap();
        let store: Arc<dyn Store> = Arc::<Counting>::clone(&self.store);
        Arc::new(Repository::new(store, "shop".parse().unwrap(), trust))
    }

    /// A run that only reads.
    pub(crate) async fn author(&self) -> Author {
        let repository = self.repository();
        let cluster = repository.uuid().await.unwrap().unwrap();
        let signer = self.signer();
        let identity = RunIdentity { host: Some("db-0".into()), ..RunIdentity::default() };
        let by = Introduction { signer: &signer, identity, started_at: Timestamp::now() };
        Author::reading(repository, cluster, by).await.unwrap()
    }

    /// So many acts, by one run.
    pub(crate) async fn act(&self, count: u64) -> ChainHead {
        let author = self.author().await;
        let mut head = ChainHead::EMPTY;
        for n in 0..count {
            let act = Act::new("drill-ended", &format!("act {n}")).succeeded();
            head = append(&author, &act).await.unwrap();
        }
        head
    }

    pub(crate) fn object(number: u64) -> Key {
        Key::new(format!("shop/audit/{number:020}")).unwrap()
    }

    pub(crate) async fn get(&self, number: u64) -> Bytes {
        self.store.get(&Self::object(number), 1 << 20).await.unwrap()
    }

    /// Puts these bytes in the place of a record; none removes it.
    pub(crate) async fn put(&self, number: u64, bytes: Option<Bytes>) {
        let key = Self::object(number);
        self.store.delete(&key).await.unwrap();
        if let Some(bytes) = bytes {
            self.store.create(&key, bytes).await.unwrap();
        }
    }

    pub(crate) async fn verify(&self, at_least: Option<ChainHead>) -> Audited {
        verify(&self.repository(), at_least, &Witness::none("a test")).await.unwrap()
    }

    /// What `audit verify` finds, each as `NUMBER: WHY`.
    pub(crate) async fn findings(&self) -> Vec<String> {
        let name =
            |object: &str| object.rsplit('/').next().unwrap().trim_start_matches('0').to_owned();
        let found = self.verify(None).await.findings;
        found.iter().map(|p| format!("{}: {}", name(&p.object), p.why)).collect()
    }

    pub(crate) async fn records(&self) -> Vec<AuditRecord> {
        let mut records = Vec::new();
        scan(&self.repository(), 0, None, |found, _| {
            records.push(found.record.clone());
            Ok::<_, PipelineError>(())
        })
        .await
        .unwrap();
        records
    }
}

/// A store that counts what it is asked for, and can refuse to be written to.
#[derive(Debug)]
pub(crate) struct Counting {
    inner: Arc<dyn Store>,
    pub(crate) requests: AtomicU64,
    pub(crate) listed: Arc<AtomicU64>,
}

impl Counting {
    fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, requests: AtomicU64::new(0), listed: Arc::default() }
    }

    /// What was counted since the last time.
    pub(crate) fn counted(&self) -> (u64, u64) {
        (self.requests.swap(0, Ordering::Relaxed), self.listed.swap(0, Ordering::Relaxed))
    }

    fn count(&self) -> &dyn Store {
        self.requests.fetch_add(1, Ordering::Relaxed);
        &*self.inner
    }
}

#[async_trait]
impl Store for Counting {
    fn url(&self) -> &str {
        self.inner.url()
    }

    async fn create_kept(&self, key: &Key, body: Bytes, keep: &Keep) -> Result<(), StoreError> {
        self.count().create_kept(key, body, keep).await
    }

    async fn upload_kept(
        &self,
        key: &Key,
        part_size: usize,
        keep: &Keep,
    ) -> Result<Box<dyn Upload>, StoreError> {
        self.count().upload_kept(key, part_size, keep).await
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, StoreError> {
        self.count().get(key, limit).await
    }

    async fn get_range(&self, key: &Key, range: std::ops::Range<u64>) -> Result<Bytes, StoreError> {
        self.count().get_range(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        self.count().head(key).await
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'_, Result<ObjectInfo, StoreError>> {
        let listed = Arc::clone(&self.listed);
        let count = move |_: &Result<ObjectInfo, StoreError>| {
            listed.fetch_add(1, Ordering::Relaxed);
        };
        self.count().list(prefix, after).inspect(count).boxed()
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.count().list_folders(prefix).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.count().delete(key).await
    }

    async fn abort_uploads(&self, prefix: &str, before: Timestamp) -> Result<usize, StoreError> {
        self.count().abort_uploads(prefix, before).await
    }
}

/// A backup of a stream on standard input.
pub(crate) fn back_up(home: &Home, id: &str) -> Value {
    let mut command = home.command();
    command.args(["backup", "--source", "stdin", "--engine", "xtrabackup", "--id", id]);
    let mut child = piped(&mut command).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::copy(&mut Synthetic::new(5, 1 << 20, 2), &mut stdin).unwrap();
    drop(stdin);
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

fn piped(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped())
}

/// The chain as `audit export` prints it.
pub(crate) fn exported(home: &Home, more: &[&str]) -> Vec<Value> {
    let done = home.run(&[&["audit", "export"], more].concat()).expect(0);
    done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The actions, in the order of the chain.
pub(crate) fn actions(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["action"].as_str().unwrap()).collect()
}
