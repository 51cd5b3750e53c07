//! What the archiver tells the audit chain. The log comes first: while the store is away the acts
//! wait, and are written when it is back.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;

use super::{Request, session::Ended};
use crate::{
    format::{
        EpochReason,
        audit::{ArchiveDetails, Details, action},
    },
    jobs::{JobError, connections, failure},
    model::{Connection, ServerName},
    pipeline::{
        ChainHead, PipelineError, Repository, Run,
        audit::{self, Act, Settings, append},
        log::LogWriter,
    },
};

/// How often the end of the chain is looked for: others append to it, too.
const LOOK: Duration = Duration::from_mins(1);
/// How long that may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Acts on their way to the audit chain.
pub(super) struct Ledger<'a> {
    request: &'a Request,
    waiting: Mutex<VecDeque<(Arc<Run>, Act)>>,
    looked: Mutex<Option<Instant>>,
}

/// An epoch, for the acts in it.
#[derive(Debug, Clone)]
pub(super) struct Epoch {
    run: Arc<Run>,
    number: u64,
    server: ServerName,
    /// The record that claims it.
    claim: ChainHead,
    /// How the server was reached.
    connection: Connection,
}

impl Epoch {
    pub(super) fn claimed(
        run: &Arc<Run>,
        writer: &LogWriter,
        server: &ServerName,
        connection: &Connection,
    ) -> Self {
        Self {
            run: Arc::clone(run),
            number: writer.epoch(),
            server: server.clone(),
            claim: writer.state().head,
            connection: connection.clone(),
        }
    }

    fn act(&self, action: &str, record: ChainHead) -> (Act, ArchiveDetails) {
        let details = ArchiveDetails {
            epoch: self.number,
            record: record.number,
            reason: None,
            transactions: None,
        };
        (Act::new(action, self.server.as_str()).record(record.sha256), details)
    }
}

impl<'a> Ledger<'a> {
    pub(super) fn new(request: &'a Request) -> Self {
        Self { request, waiting: Mutex::default(), looked: Mutex::default() }
    }

    /// Begins an epoch: what the archiver is set up with, and that it owns the log.
    pub(super) async fn begun(&self, epoch: &Epoch, reason: EpochReason) {
        let (act, details) = epoch.act(action::ARCHIVE_BEGUN, epoch.claim);
        let details = ArchiveDetails { reason: Some(word(reason)), ..details };
        let configuration = match audit::seen(&epoch.run, "archive", &self.settings()).await {
            Ok(digest) => digest,
            Err(error) => {
                self.failed_to_write(&error);
                self.settings().digest()
            }
        };
        self.tell(epoch, act.configuration(configuration), details).await;
    }

    /// The epoch is over.
    pub(super) async fn over(&self, epoch: &Epoch, ended: &Result<Ended, JobError>) {
        match ended {
            Ok(Ended::Done { log, status }) => self.ended(epoch, log.head, status).await,
            Ok(Ended::Again { log, reason, .. }) => {
                self.ended(epoch, log.head, &word(*reason)).await;
            }
            Err(error) => self.failed(epoch, error).await,
        }
    }

    /// The job is done, or another epoch begins.
    async fn ended(&self, epoch: &Epoch, head: ChainHead, why: &str) {
        let (act, details) = epoch.act(action::ARCHIVE_ENDED, head);
        let details = ArchiveDetails { reason: Some(why.to_owned()), ..details };
        self.tell(epoch, act.connections(self.connections(epoch)).succeeded(), details).await;
    }

    /// It is over, and not as it should be.
    async fn failed(&self, epoch: &Epoch, error: &JobError) {
        let (act, details) = epoch.act(action::ARCHIVE_FAILED, epoch.claim);
        let act = act.connections(self.connections(epoch));
        self.tell(epoch, act.failed(failure(self.request.exit_of, error)), details).await;
    }

    /// A gap or a fork, which this record of the log tells of.
    pub(super) async fn note(
        &self,
        epoch: &Epoch,
        action: &str,
        record: ChainHead,
        transactions: u64,
    ) {
        let (act, details) = epoch.act(action, record);
        let details = ArchiveDetails { transactions: Some(transactions), ..details };
        self.tell(epoch, act, details).await;
    }

    async fn tell(&self, epoch: &Epoch, act: Act, details: ArchiveDetails) {
        let act = act.details(Details::Archive(details));
        self.waiting().push_back((Arc::clone(&epoch.run), act));
        self.write().await;
    }

    /// Writes what waits, in order, as far as the store takes it.
    pub(super) async fn write(&self) {
        loop {
            let Some((run, act)) = self.waiting().front().cloned() else { return };
            match append(&run, &act).await {
                Ok(head) => {
                    self.request.status.audit(head.number);
                    self.waiting().pop_front();
                }
                Err(error) => return self.failed_to_write(&error),
            }
        }
    }

    /// Whether the end of the chain should be looked for now.
    pub(super) fn look_is_due(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.is_none_or(|at| at.elapsed() >= LOOK);
        if due {
            *looked = Some(Instant::now());
        }
        due
    }

    /// The end of the chain was seen there.
    pub(super) fn seen(&self, number: Option<u64>) {
        if let Some(number) = number {
            self.request.status.audit(number);
        }
    }

    /// The archive is what matters: it goes on, and everybody is told.
    fn failed_to_write(&self, error: &PipelineError) {
        self.request.status.error("audit");
        tracing::error!(%error, "the audit chain could not be written; trying again");
    }

    fn settings(&self) -> Settings {
        let request = self.request;
        let keks = request.also.iter().map(|kms| kms.name()).collect::<Vec<_>>().join(", ");
        Settings::default()
            .with("repository", Some(request.repository.url()))
            .with("kek", Some(request.kms.name()))
            .with("also_kek", Some(keks).filter(|keks| !keks.is_empty()))
            .with("signer", Some(request.signer.id()))
            .with("rpo_milliseconds", Some(request.rpo.as_millis()))
            .with("purge_archived_seconds", request.purge_archived.map(|age| age.as_secs()))
    }

    fn connections(&self, epoch: &Epoch) -> Vec<Connection> {
        let request = self.request;
        let keks: Vec<_> =
            [&request.kms].into_iter().chain(&request.also).map(|kms| &**kms).collect();
        let mut made = connections(&request.repository, &keks, Some(&*request.signer));
        made.insert(0, epoch.connection.clone());
        made
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(Arc<Run>, Act)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The word for it, as the log has it.
fn word(reason: EpochReason) -> String {
    let word = serde_json::to_value(reason).ok();
    word.and_then(|word| word.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

/// Where the chain ends. It is asked beside everything else: no byte waits for it.
pub(super) fn look(repository: Arc<Repository>) -> BoxFuture<'static, Option<u64>> {
    Box::pin(async move {
        match tokio::time::timeout(LIMIT, audit::head(&repository)).await.ok()? {
            Ok(head) => Some(head.number),
            Err(error) => {
                tracing::debug!(%error, "the end of the audit chain was not seen");
                None
            }
        }
    })
}
