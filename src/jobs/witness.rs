//! What a job does is recorded: before it begins, and when it has ended.
//!
//! A job that writes has a run of its own, and appends to the audit chain with that. One that only
//! reads begins a run for nothing else; where it cannot, it does its work all the same and says that
//! nobody recorded it, unless it was told that it must be recorded.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::JobError;
use crate::{
    crypto::{kms::Kms, signer::Signer},
    format::{
        RunIdentity,
        audit::{Details, Failure},
    },
    model::{Connection, Sha256Digest, Timestamp},
    pipeline::{
        Author, ChainHead, Introduction, PipelineError, Repository,
        audit::{self, Act, Settings},
    },
};

/// How long a job that need not be recorded waits for the record: someone may need a restore now.
const PATIENCE: Duration = Duration::from_secs(30);

/// The exit code of a failed job, and the word for it. `cli` has the table.
pub type ExitOf = fn(&JobError) -> (u8, &'static str);

/// A failed job, as it is recorded.
#[must_use]
pub fn failure(exit_of: ExitOf, error: &JobError) -> Failure {
    let (exit_code, kind) = exit_of(error);
    Failure { exit_code, kind: kind.to_owned(), error: error.to_string() }
}

/// The connections that were made to store, KEKs and signer, each once.
pub(super) fn connections(
    repository: &Repository,
    keks: &[&dyn Kms],
    signer: Option<&dyn Signer>,
) -> Vec<Connection> {
    let store = [repository.store().connection()];
    let keks = keks.iter().map(|kms| kms.connection());
    let mut made: Vec<Connection> = Vec::new();
    for connection in store.into_iter().chain(keks).chain(signer.map(Signer::connection)) {
        if !made.contains(&connection) {
            made.push(connection);
        }
    }
    made
}

/// Who records what readers do.
#[derive(Debug)]
pub struct Witness {
    signer: Result<Box<dyn Signer>, String>,
    identity: RunIdentity,
    required: bool,
    exit_of: ExitOf,
}

/// Whether an act was recorded, as results have it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Recorded {
    /// `recorded` or `not-recorded`.
    pub audit: &'static str,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_why: Option<String>,
    /// The head of the audit chain: keep it, and give it as `--at-least` later.
    pub audit_head: Option<String>,
}

/// An act that is about to begin.
#[derive(Debug)]
pub(super) struct Intent<'a> {
    /// The job: the first word of its actions.
    pub(super) job: &'static str,
    /// On what.
    pub(super) subject: String,
    /// What is known of it.
    pub(super) details: Details,
    /// What opens the keys.
    pub(super) kms: Option<&'a dyn Kms>,
    /// What else it is set up with.
    pub(super) settings: Settings,
    /// Whether a record says that it begins; one may be enough, behind it.
    pub(super) is_announced: bool,
}

/// An act that has begun.
#[derive(Debug)]
pub(super) struct Begun<'a> {
    witness: &'a Witness,
    repository: Arc<Repository>,
    job: &'static str,
    subject: String,
    kms: Option<&'a dyn Kms>,
    author: Result<Author, String>,
}

/// How an act ended that came to an end.
#[derive(Debug)]
pub(super) struct Ended {
    /// What it rests on.
    pub(super) record: Option<Sha256Digest>,
    /// What there is to say of it.
    pub(super) details: Details,
    /// What it found that makes the command fail.
    pub(super) failed: Option<JobError>,
}

impl Witness {
    /// One that signs with this signer, if there is one; else it says why not.
    #[must_use]
    pub fn new(
        signer: Result<Box<dyn Signer>, String>,
        identity: RunIdentity,
        required: bool,
        exit_of: ExitOf,
    ) -> Self {
        Self { signer, identity, required, exit_of }
    }

    /// One that records nothing, for this reason.
    #[must_use]
    pub fn none(why: &str) -> Self {
        let exit_of = |_: &JobError| (1, "unexpected");
        Self::new(Err(why.to_owned()), RunIdentity::default(), false, exit_of)
    }

    /// Whether nothing may begin that is not recorded.
    pub(super) fn is_required(&self) -> bool {
        self.required
    }

    /// How failures are told.
    pub(super) fn exit_of(&self) -> ExitOf {
        self.exit_of
    }

    /// Records that an act begins.
    ///
    /// # Errors
    /// When it must be recorded, and cannot be.
    pub(super) async fn begin<'a>(
        &'a self,
        repository: &Arc<Repository>,
        intent: Intent<'a>,
    ) -> Result<Begun<'a>, JobError> {
        let begin = self.introduce(repository, &intent);
        let author = match (self.required, tokio::time::timeout(PATIENCE, begin).await) {
            (_, Ok(author)) => author,
            (_, Err(_)) => Err(format!("it took longer than {PATIENCE:?}")),
        };
        if let (true, Err(why)) = (self.required, &author) {
            return Err(JobError::preflight(
                format!("`{}` cannot be recorded in the audit chain: {why}", intent.job),
                "give a --signer that --trust believes, and the right to create objects below runs/ and \
                 audit/; or leave out --audit required",
            ));
        }
        if let (Err(why), true) = (&author, intent.is_announced) {
            let act = Act::new(format!("{}-begun", intent.job), &intent.subject);
            act.details(intent.details.clone()).log(Err(why));
        }
        let Intent { job, subject, kms, .. } = intent;
        let repository = Arc::clone(repository);
        Ok(Begun { witness: self, repository, job, subject, kms, author })
    }

    async fn introduce(
        &self,
        repository: &Arc<Repository>,
        intent: &Intent<'_>,
    ) -> Result<Author, String> {
        let signer = self.signer.as_ref().map_err(Clone::clone)?;
        let told = |error: PipelineError| error.to_string();
        let Some(cluster) = repository.uuid().await.map_err(told)? else {
            return Err("there is no such cluster yet".into());
        };
        let by = Introduction {
            signer: &**signer,
            identity: self.identity.clone(),
            started_at: Timestamp::now(),
        };
        let author = Author::reading(Arc::clone(repository), cluster, by).await.map_err(told)?;
        if !intent.is_announced {
            return Ok(author);
        }
        let settings = intent
            .settings
            .clone()
            .with("repository", Some(repository.url()))
            .with("kek", intent.kms.map(Kms::name))
            .with("signer", Some(signer.id()));
        let configuration = audit::seen(&author, intent.job, &settings).await.map_err(told)?;
        let act = Act::new(format!("{}-begun", intent.job), &intent.subject)
            .by(&author)
            .configuration(configuration)
            .details(intent.details.clone());
        audit::append(&author, &act).await.map_err(told)?;
        Ok(author)
    }
}

impl Begun<'_> {
    /// Records how it ended. What was done is done: when it cannot be recorded that is told, and no error.
    pub(super) async fn end<R>(
        self,
        outcome: &Result<R, JobError>,
        ended: impl FnOnce(&R) -> Ended,
    ) -> Recorded {
        let exit_of = self.witness.exit_of;
        let act = match outcome {
            Ok(result) => {
                let Ended { record, details, failed } = ended(result);
                let act = Act::new(format!("{}-ended", self.job), &self.subject).details(details);
                let act = record.into_iter().fold(act, Act::record);
                match failed {
                    Some(error) => act.failed(failure(exit_of, &error)),
                    None => act.succeeded(),
                }
            }
            Err(error) => Act::new(format!("{}-failed", self.job), &self.subject)
                .failed(failure(exit_of, error)),
        };
        let signer = self.witness.signer.as_ref().ok().map(|signer| &**signer);
        let keks: Vec<_> = self.kms.into_iter().collect();
        self.record(act.connections(connections(&self.repository, &keks, signer))).await
    }

    /// Records an act that ends what has begun.
    pub(super) async fn record(&self, act: Act) -> Recorded {
        let author = match &self.author {
            Ok(author) => author,
            Err(why) => {
                act.log(Err(why));
                return self.unrecorded(why.clone()).await;
            }
        };
        match tokio::time::timeout(PATIENCE, audit::append(author, &act)).await {
            Ok(Ok(head)) => {
                Recorded { audit: "recorded", audit_why: None, audit_head: Some(head.to_string()) }
            }
            Ok(Err(error)) => self.unrecorded(format!("its end: {error}")).await,
            Err(_) => {
                let why = format!("its end: it took longer than {PATIENCE:?}");
                act.log(Err(&why));
                self.unrecorded(why).await
            }
        }
    }

    async fn unrecorded(&self, why: String) -> Recorded {
        let head = tokio::time::timeout(PATIENCE, audit::head(&self.repository)).await;
        let head = head.ok().and_then(Result::ok).map(|head: ChainHead| head.to_string());
        Recorded { audit: "not-recorded", audit_why: Some(why), audit_head: head }
    }
}
