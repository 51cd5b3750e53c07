//! Claims that meet a log which has grown since it was read: whoever wants to own it has to look
//! again, unless what came says nothing.

use std::sync::Arc;

use backstay::{
    crypto::{kms::file::FileKms, signer::file::FileSigner},
    format::{
        EpochEntry, EpochReason, HeartbeatEntry, LogEntry, LogRecord, LogServer, Payload as _,
        Role, RunIdentity, layout,
    },
    model::{Flavor, HistoryId, Timestamp},
    pipeline::{
        PipelineError, Run, RunRequest,
        log::{LogState, LogWriter, tip},
    },
    store::Key,
};

use crate::{home::Home, walk::repository};

async fn run(home: &Home) -> Arc<Run> {
    let kms = FileKms::open(&home.path("kek.pub")).unwrap();
    let signer = FileSigner::open(&home.path("kek.signer")).unwrap();
    let request = RunRequest {
        kms: &kms,
        also: &[],
        signer: &signer,
        role: Role::Archive,
        identity: RunIdentity::default(),
        started_at: Timestamp::now(),
    };
    Arc::new(Run::begin(Arc::new(repository(home, None).await), &request).await.unwrap())
}

fn claim(reason: EpochReason) -> EpochEntry {
    let server = LogServer {
        name: "id-1".parse().unwrap(),
        flavor: Flavor::Mariadb,
        version: "10.11.6-MariaDB".parse().unwrap(),
        server_id: 1,
    };
    let history = HistoryId::from_bytes([7; 16]);
    EpochEntry { reason, server, history, parent: None, resumes: None, connections: Vec::new() }
}

fn beat() -> LogEntry {
    LogEntry::Heartbeat(HeartbeatEntry {
        server: "id-1".parse().unwrap(),
        position: None,
        quiet_until: None,
        released: false,
    })
}

/// A claim by a run of its own, of a log that was read like this.
async fn claims(
    home: &Home,
    read: &LogState,
    insist: bool,
) -> Result<LogWriter, (PipelineError, LogState)> {
    LogWriter::claim(run(home).await, read.clone(), claim(EpochReason::Silence), insist).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_meets_a_living_owner_looks_again() {
    let home = Home::file();
    let empty = tip(&repository(&home, None).await).await.unwrap();
    let first = claim(EpochReason::First);
    let mut owner = LogWriter::claim(run(&home).await, empty.clone(), first, false).await.unwrap();
    // Two that saw no owner: the second finds the first.
    let (error, seen) = claims(&home, &empty, false).await.unwrap_err();
    assert!(matches!(error, PipelineError::Fenced { epoch: 1, .. }), "{error}");
    assert_eq!(seen, *owner.state());
    // The owner says something while it is being given up.
    owner.append(beat(), None).await.unwrap();
    let (error, grown) = claims(&home, &seen, false).await.unwrap_err();
    assert!(matches!(error, PipelineError::Unsettled), "{error}");
    assert_eq!(grown, *owner.state());
    // Nothing was written, and the owner goes on.
    assert_eq!(owner.append(beat(), None).await.unwrap(), 3);
    // Who insists claims it behind all that came.
    let mut second = claims(&home, &grown, true).await.unwrap();
    assert_eq!((second.epoch(), second.state().head.number), (2, 4));
    let fenced = owner.append(beat(), None).await.unwrap_err();
    assert!(matches!(fenced, PipelineError::Fenced { epoch: 2, .. }), "{fenced}");
    assert_eq!(second.append(beat(), None).await.unwrap(), 5);
}

/// What an owner writes that does not know yet that it has been fenced says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_passes_over_void_records() {
    let home = Home::file();
    let repository = repository(&home, None).await;
    let empty = tip(&repository).await.unwrap();
    let first = claim(EpochReason::First);
    let owner = LogWriter::claim(run(&home).await, empty, first, false).await.unwrap();
    let second = claims(&home, owner.state(), false).await.unwrap();
    let known = second.state().clone();
    // The first one's PUT was on its way while it was fenced, and lands behind the claim.
    let run = owner.run();
    let void = LogRecord {
        version: LogRecord::VERSION,
        cluster_uuid: run.cluster,
        number: known.head.number + 1,
        previous: known.head.sha256,
        run_id: run.id,
        epoch: 1,
        at: Timestamp::now(),
        entry: beat(),
    };
    let key = Key::new(layout::log(repository.cluster(), void.number)).unwrap();
    repository.store().create(&key, run.sign(&void).unwrap()).await.unwrap();
    let third = claims(&home, &known, false).await.unwrap();
    assert_eq!((third.epoch(), third.state().head.number), (3, known.head.number + 2));
    assert_eq!(tip(&repository).await.unwrap(), *third.state());
}
