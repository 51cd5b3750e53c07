//! A chain of any length is verified in little memory. Its store makes each record as it is asked for,
//! so that it takes none itself.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex},
    time::Instant,
};

use async_trait::async_trait;
use backstay::{
    crypto::{RunKey, signer::Trust},
    format::{
        AuditRecord, ClusterRecord, Envelope, Payload, Role, RunIdentity, RunRecord,
        audit::Outcome, layout,
    },
    jobs::{Witness, audit::verify},
    model::{ClusterName, ClusterUuid, DekId, RunId, Sha256Digest, Timestamp},
    pipeline::Repository,
    store::{Keep, Key, ObjectInfo, Store, StoreError, StoreErrorKind, Upload},
};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use sha2::{Digest as _, Sha256};

/// Records that it can still give; they are asked for in their order, some at once.
const WINDOW: usize = 1_000;

/// Acts of two records each, and a run for every act.
#[derive(Debug)]
struct Endless {
    count: u64,
    signer: RunKey,
    made: Mutex<Made>,
}

#[derive(Debug)]
struct Made {
    next: u64,
    previous: Sha256Digest,
    lately: VecDeque<(u64, Bytes)>,
}

fn cluster() -> ClusterUuid {
    ClusterUuid::from_bytes([1; 16])
}

fn name() -> ClusterName {
    "shop".parse().unwrap()
}

fn at() -> Timestamp {
    "2026-11-20T20:43:17Z".parse().unwrap()
}

fn run_of(number: u64) -> (RunId, RunKey) {
    let act = number.div_ceil(2);
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&act.to_be_bytes());
    let mut id = [0xee; 16];
    id[..8].copy_from_slice(&act.to_be_bytes());
    (RunId::from_bytes(id), RunKey::from_seed(&seed).unwrap())
}

fn signed<P: Payload>(document: &P, keyid: &str, key: &RunKey) -> Bytes {
    let (payload, signed) = Envelope::prepare(document).unwrap();
    Envelope::seal::<P>(&payload, keyid, &key.sign(&signed)).unwrap().into()
}

impl Endless {
    fn new(count: u64) -> Self {
        let lately = VecDeque::new();
        let made = Mutex::new(Made { next: 1, previous: Sha256Digest([0; 32]), lately });
        Self { count, signer: RunKey::from_seed(&[0x51; 32]).unwrap(), made }
    }

    fn record(&self, number: u64) -> Bytes {
        let mut made = self.made.lock().unwrap();
        while made.next <= number {
            let n = made.next;
            let (run_id, key) = run_of(n);
            let ends = n.is_multiple_of(2);
            let record = AuditRecord {
                version: 1,
                cluster_uuid: cluster(),
                number: n,
                previous: made.previous,
                run_id,
                at: at(),
                action: if ends { "verify-ended" } else { "verify-begun" }.into(),
                subject: "all".into(),
                record_sha256: None,
                outcome: ends.then_some(Outcome::Success),
                failure: None,
                configuration: None,
                connections: Vec::new(),
                details: None,
            };
            let stored = signed(&record, &run_id.to_string(), &key);
            made.previous = Sha256Digest(Sha256::digest(&stored).into());
            made.next += 1;
            made.lately.push_back((n, stored));
            if made.lately.len() > WINDOW {
                made.lately.pop_front();
            }
        }
        let (first, _) = made.lately[0];
        made.lately[usize::try_from(number - first).unwrap()].1.clone()
    }

    fn run(&self, number: u64, id: RunId, role: Role) -> Bytes {
        let (_, key) = run_of(number);
        let record = RunRecord {
            version: 1,
            run_id: id,
            cluster_uuid: cluster(),
            role,
            public_key: Sha256Digest(key.public_key()),
            dek_id: role.seals().then(|| DekId::from_bytes([2; 16])),
            started_at: at(),
            identity: RunIdentity::default(),
            lock: None,
            tool_version: "test".into(),
        };
        signed(&record, "signer", &self.signer)
    }

    fn object(&self, key: &str) -> Option<Bytes> {
        let below = key.strip_prefix("shop/")?;
        if below == "cluster.json" {
            let (run_id, key) = run_of(0);
            let record =
                ClusterRecord { version: 1, cluster_uuid: cluster(), run_id, created_at: at() };
            return Some(signed(&record, &run_id.to_string(), &key));
        }
        if let Some(id) = below.strip_prefix("runs/").and_then(|n| n.strip_suffix(".json")) {
            let id: RunId = id.parse().ok()?;
            let act = u64::from_be_bytes(id.as_bytes()[..8].try_into().ok()?);
            let role = if act == 0 { Role::Backup } else { Role::Read };
            return Some(self.run(act * 2, id, role));
        }
        let number = below.strip_prefix("audit/")?.parse().ok()?;
        Some(self.record(number))
    }
}

fn unused() -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, "use", "the test", "nobody may write here")
}

#[async_trait]
impl Store for Endless {
    fn url(&self) -> &'static str {
        "endless:"
    }

    async fn get(&self, key: &Key, _: u64) -> Result<Bytes, StoreError> {
        let missing =
            || StoreError::new(StoreErrorKind::NotFound, "get", key.as_str(), "it is not there");
        self.object(key.as_str()).ok_or_else(missing)
    }

    fn list(&self, prefix: &str, _: Option<&Key>) -> BoxStream<'_, Result<ObjectInfo, StoreError>> {
        assert_eq!(prefix, "shop/audit/");
        let info = |number| ObjectInfo {
            key: Key::new(layout::audit(&name(), number)).unwrap(),
            size: 1,
            modified: None,
        };
        stream::iter((1..=self.count).map(move |number| Ok(info(number)))).boxed()
    }

    async fn create_kept(&self, _: &Key, _: Bytes, _: &Keep) -> Result<(), StoreError> {
        Err(unused())
    }

    async fn upload_kept(
        &self,
        _: &Key,
        _: usize,
        _: &Keep,
    ) -> Result<Box<dyn Upload>, StoreError> {
        Err(unused())
    }

    async fn get_range(&self, _: &Key, _: Range<u64>) -> Result<Bytes, StoreError> {
        Err(unused())
    }

    async fn head(&self, _: &Key) -> Result<ObjectInfo, StoreError> {
        Err(unused())
    }

    async fn list_folders(&self, _: &str) -> Result<Vec<String>, StoreError> {
        Err(unused())
    }

    async fn delete(&self, _: &Key) -> Result<(), StoreError> {
        Err(unused())
    }

    async fn abort_uploads(&self, _: &str, _: Timestamp) -> Result<usize, StoreError> {
        Err(unused())
    }
}

/// The memory of this process now, in KiB (proc(5)).
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

async fn verify_so_many(count: u64) {
    let endless = Endless::new(count);
    let trust = Trust::of("signer", endless.signer.public_key());
    let repository = Arc::new(Repository::new(Arc::new(endless), name(), trust));
    let verified = verify(&repository, None, &Witness::none("a test")).await.unwrap();
    assert_eq!((verified.status, verified.records), ("ok", count), "{:?}", verified.findings);
    assert_eq!(verified.without_end, []);
}

#[tokio::test]
async fn a_long_chain_takes_no_more_memory_than_a_short_one() {
    let soak = std::env::var_os("BACKSTAY_SOAK").is_some();
    let count = if soak { 1_000_000 } else { 20_000 };
    verify_so_many(5_000).await;
    let before = resident();
    let began = Instant::now();
    verify_so_many(count).await;
    let (took, grown) = (began.elapsed(), resident().saturating_sub(before));
    println!("{count} records: {took:.1?}, {grown} KiB more than for 5,000");
    assert!(grown < 16 << 10, "{grown} KiB more for {count} records than for 5,000");
}
