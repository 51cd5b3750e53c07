//! A record that was deleted can be created again, and there is one truth all the same: whoever
//! wrote the second one finds out.

use std::sync::Arc;

use backstay::{
    crypto::{
        kms::{Kms, file::FileKms},
        signer::{Trust, file::FileSigner},
    },
    format::{EpochEntry, EpochReason, HeartbeatEntry, LogEntry, LogServer, Role, RunIdentity},
    model::{Flavor, HistoryId, Sha256Digest, Timestamp},
    pipeline::{
        PipelineError, Repository, Run, RunRequest,
        audit::{self, Act},
        log::{LogState, LogWriter, tip},
    },
    store::{StoreOptions, open},
};

use crate::{
    home::Home,
    locked,
    minio::{Minio, REGION},
    stage,
};

/// One who writes by the library, with a memory of its own.
async fn run(home: &Home, bucket: &str, role: Role) -> Arc<Run> {
    let minio = Minio::shared();
    let options = StoreOptions {
        endpoint: Some(minio.endpoint()),
        region: Some(REGION.to_owned()),
        credentials_file: Some(minio.credentials_file()),
        ..StoreOptions::default()
    };
    let store = open(&format!("s3://{bucket}/p"), &options).await.unwrap();
    let trust = Trust::read(&home.path("kek.trust")).unwrap();
    let repository = Arc::new(Repository::new(store, "c".parse().unwrap(), trust));
    let (kms, signer) = (
        FileKms::open(&home.path("kek")).unwrap(),
        FileSigner::open(&home.path("kek.signer")).unwrap(),
    );
    let also: Vec<Box<dyn Kms>> = Vec::new();
    let begin = RunRequest {
        kms: &kms,
        also: &also,
        signer: &signer,
        role,
        identity: RunIdentity::default(),
        started_at: Timestamp::now(),
    };
    Arc::new(Run::begin(repository, &begin).await.unwrap())
}

fn claim(reason: EpochReason) -> EpochEntry {
    let server = LogServer {
        name: "id-11".parse().unwrap(),
        flavor: Flavor::Mariadb,
        version: "10.11.6-MariaDB".parse().unwrap(),
        server_id: 11,
    };
    let history = HistoryId::from_bytes([7; 16]);
    EpochEntry { reason, server, history, parent: None, resumes: None, connections: Vec::new() }
}

async fn claimed(run: &Arc<Run>, log: LogState, reason: EpochReason) -> LogWriter {
    LogWriter::claim(Arc::clone(run), log, claim(reason), false).await.unwrap()
}

fn heartbeat() -> LogEntry {
    let server = "id-11".parse().unwrap();
    let (position, quiet_until, released) = (None, None, false);
    LogEntry::Heartbeat(HeartbeatEntry { server, position, quiet_until, released })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archiver_from_whom_a_claim_was_hidden_finds_out() {
    let (bucket, client) = ("hidden-log", Minio::shared().client());
    let home = stage::home(bucket).await;
    // Twice, since the log has to go on behind it.
    for _ in 0..2 {
        let old = run(&home, bucket, Role::Archive).await;
        let log = tip(&old.repository).await.unwrap();
        let mut owner = claimed(&old, log, EpochReason::Takeover).await;
        let known = owner.append(heartbeat(), None).await.unwrap();

        // Another one claims the log, and somebody deletes that claim before the owner sees it.
        let new = run(&home, bucket, Role::Archive).await;
        let log = tip(&new.repository).await.unwrap();
        let mut taken = claimed(&new, log, EpochReason::Takeover).await;
        assert_eq!(taken.state().head.number, known + 1);
        locked::hide(&client, bucket, &format!("p/c/log/{:020}", known + 1)).await;

        // The store lets the owner write the same number again, and the owner finds out before it
        // writes the next one.
        for _ in 0..2 {
            let found = owner.append(heartbeat(), None).await.unwrap_err();
            assert!(matches!(found, PipelineError::Integrity { .. }), "{found}");
            for word in [&format!("{:020}", known + 1), "had deleted", &new.id.to_string()] {
                assert!(found.to_string().contains(word), "{found}");
            }
        }
        assert!(owner.settle().await.is_err());
        // Everyone else reads the claim, and who made it goes on.
        let log = tip(&run(&home, bucket, Role::Archive).await.repository).await.unwrap();
        assert_eq!((log.head.number, log.owner.unwrap().run), (known + 1, new.id));
        assert_eq!(taken.append(heartbeat(), None).await.unwrap(), known + 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_record_is_seen_by_whoever_writes_next() {
    let (bucket, client) = ("hidden-records", Minio::shared().client());
    let home = stage::home(bucket).await;
    // The record of the cluster: a second run must not found another one.
    let first = run(&home, bucket, Role::Backup).await;
    locked::hide(&client, bucket, "p/c/cluster.json").await;
    let second = run(&home, bucket, Role::Backup).await;
    assert_eq!(second.cluster, first.cluster);
    // The audit chain: its head is hidden, and the next record follows it.
    let tested = |subject: &str| Act::new("tested", subject).record(Sha256Digest([1; 32]));
    let head = audit::append(&first, &tested("one")).await.unwrap();
    locked::hide(&client, bucket, &format!("p/c/audit/{:020}", head.number)).await;
    let next = audit::append(&second, &tested("two")).await.unwrap();
    assert_eq!((head.number, next.number), (1, 2));
    let nobody = |_: &_, _: &_| -> Result<(), PipelineError> { Ok(()) };
    let chain = audit::scan(&second.repository, 0, Some(head), nobody).await.unwrap();
    assert_eq!((chain.records, chain.head), (2, next));
    assert!(chain.contains && chain.findings.is_empty(), "{chain:?}");
    // A manifest: the backup is complete.
    stage::feed(&home, "one", &[]).expect(0);
    locked::hide(&client, bucket, "p/c/backups/one/manifest.json").await;
    let again = stage::feed(&home, "one", &[]).expect(0).json();
    assert_eq!(again["status"], "already-complete", "{again}");
}
