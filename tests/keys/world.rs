//! A cluster with many DEKs, and the keys around it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use backstay::{
    crypto::{
        Dek, Fault, ServiceError,
        kms::{KeyContext, Kms, KmsError, file::FileKms},
        signer::{Trust, file::FileSigner},
    },
    format::{KeyRecord, Role, RunIdentity},
    jobs::{
        JobError, Witness,
        keys::{
            self,
            rewrap::{self, Rewrapped},
            status::{self, KeyStatus},
        },
        verify::{self, Verified},
    },
    model::{DekId, Timestamp, WrappedDek},
    pipeline::{Author, Introduction, Progress, Repository, Run, RunRequest},
    store::{self, Key, Store, StoreOptions},
};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

pub(crate) const CLUSTER: &str = "shop";

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Arc<dyn Store>,
}

impl World {
    /// In memory.
    pub(crate) async fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap(), "memory:").await
    }

    /// On the disk, where the program can reach it.
    pub(crate) async fn on_disk() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("file://{}", dir.path().join("repo").display());
        Self::of(dir, &url).await
    }

    async fn of(dir: tempfile::TempDir, url: &str) -> Self {
        let store = store::open(url, &StoreOptions::default()).await.unwrap();
        keys::new(&dir.path().join("kek"), keys::Kind::default()).unwrap();
        keys::new(&dir.path().join("stranger"), keys::Kind::default()).unwrap();
        let world = Self { dir, store };
        for name in ["new", "other", "safe"] {
            let kind = keys::Kind { kek_only: true, symmetric: name == "other" };
            keys::new(&world.path(name), kind).unwrap();
        }
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn kek(&self, name: &str) -> Box<dyn Kms> {
        Box::new(FileKms::open(&self.path(name)).unwrap())
    }

    pub(crate) fn name_of(&self, kek: &str) -> String {
        self.kek(kek).name().to_owned()
    }

    pub(crate) fn signer(&self, whose: &str) -> FileSigner {
        FileSigner::open(&self.path(&format!("{whose}.signer"))).unwrap()
    }

    /// A reader without memory of what it read before.
    pub(crate) fn repository(&self) -> Arc<Repository> {
        let trust = Trust::read(&self.path("kek.trust")).unwrap();
        Arc::new(Repository::new(Arc::clone(&self.store), CLUSTER.parse().unwrap(), trust))
    }

    /// Runs begin, and each makes a DEK.
    pub(crate) async fn make_deks(&self, count: usize, kek: &str, also: &[&str]) {
        let (kms, signer) = (self.kek(kek), self.signer("kek"));
        let also: Vec<_> = also.iter().map(|name| self.kek(name)).collect();
        let begin = |n: usize| {
            let request = RunRequest {
                kms: &*kms,
                also: &also,
                signer: &signer,
                role: if n.is_multiple_of(2) { Role::Backup } else { Role::Archive },
                identity: RunIdentity::default(),
                started_at: Timestamp::now(),
            };
            let repository = self.repository();
            async move { drop(Run::begin(repository, &request).await.unwrap()) }
        };
        // The first one makes the cluster.
        begin(0).await;
        stream::iter(1..count).map(begin).buffer_unordered(16).collect::<()>().await;
    }

    pub(crate) fn request(&self, from: Box<dyn Kms>, to: &str, drop: &[&str]) -> rewrap::Request {
        rewrap::Request {
            repository: self.repository(),
            from,
            to: self.kek(to),
            drop: drop.iter().map(|name| self.name_of(name)).collect(),
            signer: Box::new(self.signer("kek")),
            identity: RunIdentity::default(),
            exit_of: |_| (1, "unexpected"),
            progress: Arc::new(Progress::default()),
        }
    }

    pub(crate) async fn rewrap(
        &self,
        from: &str,
        to: &str,
        drop: &[&str],
    ) -> Result<Rewrapped, JobError> {
        rewrap::run(self.request(self.kek(from), to, drop)).await
    }

    pub(crate) async fn deks(&self) -> Vec<DekId> {
        self.repository().deks().await.unwrap().into_keys().collect()
    }

    /// How many DEKs this KEK opens, as a restore does, each to what its record commits to.
    pub(crate) async fn opens(&self, kek: &str) -> usize {
        let (kms, repository) = (self.kek(kek), self.repository());
        let open = |dek| {
            let (kms, repository) = (&kms, &repository);
            async move { usize::from(repository.dek(dek, &**kms).await.is_ok()) }
        };
        let opened = stream::iter(self.deks().await).map(open).buffer_unordered(16);
        opened.fold(0, |sum, one| async move { sum + one }).await
    }

    pub(crate) async fn status(&self) -> KeyStatus {
        status::run(&self.repository()).await.unwrap()
    }

    /// `verify --quick`, which needs no KEK.
    pub(crate) async fn verify(&self) -> Verified {
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

    /// A run that rewraps, vouched for by somebody.
    pub(crate) async fn author(&self, whose: &str) -> Author {
        let cluster = self.repository().uuid().await.unwrap().unwrap();
        // Whoever signs believes itself.
        let trust = Trust::read(&self.path(&format!("{whose}.trust"))).unwrap();
        let (store, name) = (Arc::clone(&self.store), CLUSTER.parse().unwrap());
        let repository = Arc::new(Repository::new(store, name, trust));
        let signer = self.signer(whose);
        let by = Introduction {
            signer: &signer,
            identity: RunIdentity::default(),
            started_at: Timestamp::now(),
        };
        Author::begin(repository, cluster, Role::Rewrap, by).await.unwrap()
    }

    pub(crate) fn key_object(dek: DekId, generation: u32) -> Key {
        Key::new(format!("{CLUSTER}/keys/{dek}/{generation:08}.json")).unwrap()
    }

    pub(crate) async fn put(&self, key: &Key, bytes: Bytes) {
        self.store.delete(key).await.unwrap();
        self.store.create(key, bytes).await.unwrap();
    }

    pub(crate) async fn get(&self, key: &Key) -> Bytes {
        self.store.get(key, 1 << 20).await.unwrap()
    }

    /// The record that counts.
    pub(crate) async fn newest(&self, dek: DekId) -> KeyRecord {
        self.repository().newest_key(dek).await.unwrap().record
    }

    pub(crate) async fn objects(&self) -> usize {
        let listed: Vec<_> = self.store.list("", None).try_collect().await.unwrap();
        listed.len()
    }
}

/// A KEK that is reached so many times, and then no more.
#[derive(Debug)]
pub(crate) struct Failing {
    pub(crate) inner: Box<dyn Kms>,
    pub(crate) left: AtomicUsize,
}

#[async_trait]
impl Kms for Failing {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn wrap(&self, context: &KeyContext, dek: &Dek) -> Result<WrappedDek, KmsError> {
        self.inner.wrap(context, dek).await
    }

    async fn unwrap(&self, context: &KeyContext, wrapped: &WrappedDek) -> Result<Dek, KmsError> {
        let left =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if left.is_err() {
            return Err(KmsError::Service(ServiceError {
                fault: Fault::Unreachable,
                operation: "unwrap a DEK",
                key: self.name().to_owned(),
                why: "it is down".to_owned(),
                hint: "try again".to_owned(),
            }));
        }
        self.inner.unwrap(context, wrapped).await
    }
}
