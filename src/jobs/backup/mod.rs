//! `backup`: a stream, sealed and stored, and committed only with proof that it was whole.

mod clone;
pub(super) mod facts;
mod https;
mod increment;
mod local;
pub(super) mod source;

use std::{path::PathBuf, sync::Arc};

use serde::Serialize;

pub(super) use clone::check as check_clone;
pub use https::HttpsSource;
pub use increment::Incremental;
use increment::Kind;
pub(super) use local::{find as find_engine, kind_for as engine_for};
use source::Stream;

use super::{
    ExitOf, JobError, Position, failure,
    identity::{self, Need},
};
use crate::{
    crypto::{self, kms::Kms, signer::Signer},
    format::{
        AuditRecord, EngineRecord, LockRecord, Manifest, Payload, Role, RunIdentity, SourceRecord,
        audit::{BackupDetails, Details, action},
        layout,
    },
    model::{
        AttemptId, BackupId, ClusterUuid, Connection, EngineKind, Peer, ProofKind, Timestamp,
        TransportSecurity,
    },
    mysql::{
        ConnectOptions,
        xbstream::{Dialect, Validator, WholeStream},
    },
    pipeline::{
        Class, Commit, Committed, Found, Inspect, Level, PipelineError, Progress, Repository, Run,
        RunRequest, SealRequest, Sealed, Vouched,
        audit::{Act, Settings, append, scan, seen},
        budget::{Budget, CHUNKS_PER_VOLUME},
        commit, key, marked_run, seal_stream,
    },
};

/// No attempt that is alive leaves an upload untouched for a day.
const ABANDONED_MICROSECONDS: i64 = 24 * 3600 * 1_000_000;

/// Where the stream comes from.
#[derive(Debug)]
pub enum Source {
    /// An engine that we run beside the server.
    Local {
        /// How to reach the server.
        connect: ConnectOptions,
        /// The engine; chosen by the server's version when none is named.
        engine: Option<EngineKind>,
        /// The data directory, when it is mounted elsewhere than the server says.
        datadir: Option<PathBuf>,
        /// A folder for the engine's own files.
        scratch: Option<PathBuf>,
        /// Take what changed alone, where that can be.
        incremental: Option<Incremental>,
    },
    /// Standard input.
    Stdin {
        /// What wrote it.
        engine: EngineKind,
    },
    /// A server that streams over HTTPS.
    Https {
        /// Where, and how to trust it.
        source: HttpsSource,
        /// What runs behind it, which our own agent says itself.
        engine: Option<EngineKind>,
    },
}

impl Source {
    /// The word for it in records.
    fn kind(&self) -> &'static str {
        match self {
            Self::Local { .. } => "local",
            Self::Stdin { .. } => "stdin",
            Self::Https { .. } => "https",
        }
    }
}

/// What to back up, and where to.
#[derive(Debug)]
pub struct Request {
    /// The repository.
    pub repository: Arc<Repository>,
    /// Wraps the DEK.
    pub kms: Box<dyn Kms>,
    /// Wrap it, too: any one of them opens the backup.
    pub also: Vec<Box<dyn Kms>>,
    /// Vouches for the run.
    pub signer: Box<dyn Signer>,
    /// Who runs this.
    pub identity: RunIdentity,
    /// The backup's name; a time stamp when none is given.
    pub id: Option<BackupId>,
    /// Where the stream comes from.
    pub source: Source,
    /// How hard to compress.
    pub level: Level,
    /// How a failure is recorded.
    pub exit_of: ExitOf,
    /// Where to count, and where to be told to stop.
    pub progress: Arc<Progress>,
}

/// What was backed up.
#[derive(Debug, Clone, Serialize)]
pub struct BackupResult {
    /// Version of this object.
    pub version: u32,
    /// The backup.
    pub backup_id: BackupId,
    /// `complete`, or `already-complete` when an earlier run has made it.
    pub status: &'static str,
    /// What made it.
    pub engine: EngineKind,
    /// The backup that it stands on; nothing for a full one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<BackupId>,
    /// Why it is a full one, when an increment was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_because: Option<String>,
    /// The server's flavor.
    pub flavor: Option<crate::model::Flavor>,
    /// The server's version.
    pub server_version: Option<String>,
    /// When the job began.
    pub started_at: Timestamp,
    /// When it was stored.
    pub finished_at: Timestamp,
    /// Bytes of the stream.
    pub bytes_read: u64,
    /// Bytes in the repository.
    pub bytes_stored: u64,
    /// `exit`, `verdict`, or `framing`, which is unproven until a restore has proven it.
    pub proof: ProofKind,
    /// The exact set of transactions.
    pub gtid_set: Option<String>,
    /// The binlog position.
    #[serde(flatten)]
    pub position: Position,
    /// How the connection to the database was protected.
    pub tls: TransportSecurity,
    /// The connections that were used, and how each was protected.
    pub connections: Vec<Connection>,
    /// Where it is.
    pub location: String,
    /// The KEK that wraps its key.
    pub kek: String,
    /// The KEKs that wrap it, too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also_keks: Vec<String>,
    /// The cluster, as a trust file can pin it.
    pub cluster_uuid: ClusterUuid,
    /// Its lock; nothing when none was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockRecord>,
    /// The head of the audit chain: keep it, and give it as `--at-least` later.
    pub audit_head: String,
}

/// The validator of the framing, in the pipeline.
struct Framing(Validator);

impl Inspect for Framing {
    fn inspect(&mut self, bytes: &[u8]) -> Result<(), PipelineError> {
        Ok(self.0.feed(bytes)?)
    }
}

/// Takes a backup.
///
/// # Errors
/// See [`JobError`]. Nothing is listed, and uploads have been aborted, whenever this fails.
pub async fn run(request: Request) -> Result<BackupResult, JobError> {
    let started_at = Timestamp::now();
    let id = match &request.id {
        Some(id) => id.clone(),
        None => BackupId::fresh(started_at, crypto::random().map_err(PipelineError::from)?),
    };
    identity::check(&request.repository, Need::Backup).await?;
    if let Some(found) = complete(&request.repository, &id).await? {
        return already_complete(&request, found, started_at).await;
    }
    let mut prepared = source::prepare(&request.source, &request.progress).await?;
    let kind = prepared.kind(&request).await?;
    let run = begin(&request, started_at).await?;
    begun(&request, &run, &id, prepared.engine()).await?;
    let mut used = Vec::new();
    let attempt = Attempt { started_at, kind: &kind };
    let taken = take(&request, &run, &id, &attempt, prepared, &mut used).await;
    for connection in connections(&request) {
        if !used.contains(&connection) {
            used.push(connection);
        }
    }
    let act = match &taken {
        Ok(Taken::Committed(committed)) => {
            Act::new(action::BACKUP_COMMITTED, id.as_str()).record(committed.sha256).succeeded()
        }
        // Another attempt at this very backup was quicker: it exists, and ours awaits `prune`.
        Ok(Taken::Elsewhere(found)) => {
            Act::new(action::BACKUP_ENDED, id.as_str()).record(found.sha256).succeeded()
        }
        Err(error) => Act::new(action::BACKUP_FAILED, id.as_str())
            .by(&run)
            .failed(failure(request.exit_of, error)),
    };
    let appended = append(&run, &act.connections(used)).await;
    match taken? {
        Taken::Committed(Committed { manifest, .. }) => {
            let head = appended?.to_string();
            increment::look_again(&request.repository, &manifest).await?;
            let mut result = result(&request, "complete", manifest, head);
            if let Kind::FullBecause(why) = kind {
                result.full_because = Some(why);
            }
            Ok(result)
        }
        Taken::Elsewhere(found) => already_complete(&request, found, started_at).await,
    }
}

/// Records that a backup begins.
async fn begun(
    request: &Request,
    run: &Run,
    id: &BackupId,
    engine: Option<EngineKind>,
) -> Result<(), PipelineError> {
    let source = request.source.kind();
    // The agent chooses where nobody has.
    let engine = engine.map_or_else(|| "agent".to_owned(), |engine| engine.to_string());
    let keks = request.also.iter().map(|kms| kms.name()).collect::<Vec<_>>().join(", ");
    let settings = Settings::default()
        .with("repository", Some(request.repository.url()))
        .with("engine", Some(&engine))
        .with("source", Some(source))
        .with("kek", Some(request.kms.name()))
        .with("also_kek", Some(keks).filter(|keks| !keks.is_empty()))
        .with("signer", Some(request.signer.id()));
    let configuration = seen(run, "backup", &settings).await?;
    let details = BackupDetails { engine, source: source.to_owned() };
    let act = Act::new(action::BACKUP_BEGUN, id.as_str())
        .by(run)
        .configuration(configuration)
        .details(Details::Backup(details));
    append(run, &act).await?;
    Ok(())
}

/// The connections to everything but the database.
fn connections(request: &Request) -> Vec<Connection> {
    let keks: Vec<_> = [&request.kms].into_iter().chain(&request.also).map(|kms| &**kms).collect();
    super::connections(&request.repository, &keks, Some(&*request.signer))
}

/// What came of an attempt.
enum Taken {
    /// It is committed.
    Committed(Committed),
    /// Another attempt was quicker, and this is its manifest.
    Elsewhere(Found<Manifest>),
}

/// What an attempt is.
struct Attempt<'a> {
    started_at: Timestamp,
    kind: &'a Kind,
}

/// Takes the stream, seals it, and commits. What connections it used is told in any case.
async fn take(
    request: &Request,
    run: &Run,
    id: &BackupId,
    &Attempt { started_at, kind }: &Attempt<'_>,
    prepared: source::Prepared,
    used: &mut Vec<Connection>,
) -> Result<Taken, JobError> {
    let attempt = AttemptId::from_bytes(crypto::random().map_err(PipelineError::from)?);
    tracing::info!(backup_id = %id, %attempt, "backup begins");
    let stream = prepared.open(&request.progress).await?;
    tracing::info!(backup_id = %id, engine = %stream.engine(), "the stream begins");
    let keep = run.repository.keep(Class::Data);
    let (sealed, end) = transfer(request, run, id, attempt, stream).await?;
    let first = layout::volume(run.repository.cluster(), id, attempt, 0);
    run.repository.must_be_locked(&first, &keep).await?;
    // How another program reached the server is not known, and that is told, too.
    let unknown = || Connection::new(Peer::Database, TransportSecurity::Unknown);
    used.push(end.database.clone().unwrap_or_else(unknown));
    used.extend(end.stream_connection.clone());
    for connection in connections(request) {
        if !used.contains(&connection) {
            used.push(connection);
        }
    }
    let whole = sealed.inspector;
    facts::must_be(kind.base(), &whole)?;
    let finished_at = Timestamp::now();
    let server = facts::complete(&end, &whole).await?;
    let manifest = Manifest {
        version: Manifest::VERSION,
        backup_id: id.clone(),
        attempt,
        cluster_uuid: run.cluster,
        run_id: run.id,
        dek_id: run.dek_id,
        started_at,
        finished_at,
        engine: EngineRecord {
            kind: end.engine,
            version: end.engine_version.clone(),
            to_lsn: facts::to_lsn(&whole),
        },
        base: kind.base().cloned(),
        source: SourceRecord {
            kind: end.source.to_owned(),
            database_transport: end.database_transport(),
            stream_transport: end.stream_transport,
        },
        server: Some(server),
        // What the proofs say is filled in by the commit, which takes them.
        proof: ProofKind::Framing,
        files: 0,
        payload_bytes: 0,
        bytes_read: sealed.bytes_read,
        bytes_stored: sealed.volumes.iter().map(|v| v.bytes).sum(),
        volumes: sealed.volumes,
        connections: identity::known(used.iter().cloned()),
        // Each was locked from when its upload began, so none for less.
        lock: keep.protection.retention.map(|retention| LockRecord {
            mode: retention.mode,
            until: retention.until,
            legal_hold: keep.protection.legal_hold,
        }),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    must_be_wanted(&run).await?;
    // A base that went meanwhile leaves nothing to commit on.
    let bases = request.repository.bases(&manifest).await?;
    request.repository.lock_bases(&bases).await?;
    let committing = Commit { manifest, stream: whole, ending: end.ending };
    match commit(run, committing).await {
        Err(error @ PipelineError::Taken { .. }) => {
            match complete(&request.repository, id).await? {
                Some(found) => Ok(Taken::Elsewhere(found)),
                None => Err(error.into()),
            }
        }
        committed => Ok(Taken::Committed(committed?)),
    }
}

/// Moves the stream into the repository, and proves that it was whole.
async fn transfer(
    request: &Request,
    run: &Run,
    id: &BackupId,
    attempt: AttemptId,
    mut stream: Stream,
) -> Result<(Sealed<WholeStream>, source::End), JobError> {
    let (cluster, backup) = (run.repository.cluster().clone(), id.clone());
    let seal = SealRequest {
        cluster: run.cluster,
        run: run.id,
        dek_id: run.dek_id,
        dek: run.dek.clone(),
        volume_key: Box::new(move |sequence| {
            key(&layout::volume(&cluster, &backup, attempt, sequence))
        }),
        keep: Box::new({
            let repository = Arc::clone(&run.repository);
            move || repository.keep_bulk()
        }),
        level: request.level,
        budget: Budget::here(),
        progress: Arc::clone(&request.progress),
        chunks_per_volume: CHUNKS_PER_VOLUME,
    };
    let inspector = Framing(Validator::new(Dialect::of(stream.engine())));
    let store = Arc::clone(run.repository.store());
    let reader = stream.take_reader();
    let sealing = seal_stream(store, reader, inspector, seal);
    tokio::pin!(sealing);
    let sealed = tokio::select! {
        sealed = &mut sealing => sealed,
        () = request.progress.stopped() => {
            stream.interrupt();
            sealing.await
        }
    };
    match sealed {
        Ok(sealed) => {
            // The engine's own verdict first: it knows best why its stream is short.
            let end = stream.end().await?;
            let whole = sealed.inspector.0.finish().map_err(PipelineError::from)?;
            let Sealed { volumes, bytes_read, .. } = sealed;
            Ok((Sealed { volumes, bytes_read, inspector: whole }, end))
        }
        Err(error) => Err(stream.fail(error.into()).await),
    }
}

async fn begin(request: &Request, started_at: Timestamp) -> Result<Run, JobError> {
    let begin = RunRequest {
        kms: &*request.kms,
        also: &request.also,
        signer: &*request.signer,
        role: Role::Backup,
        identity: request.identity.clone(),
        started_at,
    };
    let run = Run::begin(Arc::clone(&request.repository), &begin).await?;
    abort_abandoned(&run, started_at).await;
    Ok(run)
}

/// Gives back what attempts that were killed long ago have left half uploaded. A writer may
/// lack the right to, and its backup does not depend on it.
async fn abort_abandoned(run: &Run, now: Timestamp) {
    let Some(before) = Timestamp::from_microseconds(now.as_microseconds() - ABANDONED_MICROSECONDS)
    else {
        return;
    };
    let prefix = layout::backups(run.repository.cluster());
    match run.repository.store().abort_uploads(&prefix, before).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "aborted uploads that earlier attempts had abandoned"),
        Err(error) => tracing::debug!(%error, "cannot abort abandoned uploads; `prune` will"),
    }
}

/// The manifest under this id, when there is one that we believe.
async fn complete(
    repository: &Repository,
    id: &BackupId,
) -> Result<Option<Found<Manifest>>, JobError> {
    match repository.manifest(id).await {
        Err(PipelineError::Integrity { object, why }) => Err(PipelineError::Taken {
            id: id.to_string(),
            why: format!("{object} is there and is not believed: {why}"),
        }
        .into()),
        Ok(Some(found)) => match repository.standing(&found).await?.condemned() {
            None => Ok(Some(found)),
            Some(mark) => Err(PipelineError::Taken {
                id: id.to_string(),
                why: format!(
                    "it has had a tombstone since {}, and will be removed: `backstay hold` keeps it",
                    mark.at
                ),
            }
            .into()),
        },
        other => Ok(other?),
    }
}

/// A run that stood still for days may have been given up, and its volumes removed: it must not
/// commit them. `prune` gives its tombstone a time of grace, and looks for a manifest after that.
async fn must_be_wanted(run: &Run) -> Result<(), JobError> {
    let subject = marked_run(run.id);
    match run.repository.marks_of(&subject).await?.standing(&subject).condemned() {
        None => Ok(()),
        Some(mark) => Err(PipelineError::GivenUp { run: run.id, since: mark.at }.into()),
    }
}

/// The backup exists. An earlier run may have died between the commit and the audit: make up for it.
async fn already_complete(
    request: &Request,
    found: Found<Manifest>,
    started_at: Timestamp,
) -> Result<BackupResult, JobError> {
    let mut audited = false;
    let look = |record: &Found<AuditRecord>, _: &Vouched| -> Result<(), PipelineError> {
        let record = &record.record;
        audited |=
            record.action == action::BACKUP_COMMITTED && record.record_sha256 == Some(found.sha256);
        Ok(())
    };
    let mut head = scan(&request.repository, 0, None, look).await?.head;
    if !audited {
        let run = begin(request, started_at).await?;
        let act = Act::new(action::BACKUP_COMMITTED, found.record.backup_id.as_str());
        let act = act.record(found.sha256).connections(connections(request)).succeeded();
        head = append(&run, &act).await?;
    }
    Ok(result(request, "already-complete", found.record, head.to_string()))
}

fn result(
    request: &Request,
    status: &'static str,
    manifest: Manifest,
    audit_head: String,
) -> BackupResult {
    let server = manifest.server;
    BackupResult {
        version: 1,
        location: format!("{}/backups/{}", request.repository.url(), manifest.backup_id),
        backup_id: manifest.backup_id,
        status,
        engine: manifest.engine.kind,
        flavor: server.as_ref().map(|s| s.flavor),
        server_version: server.as_ref().map(|s| s.version.text.clone()),
        started_at: manifest.started_at,
        finished_at: manifest.finished_at,
        bytes_read: manifest.bytes_read,
        bytes_stored: manifest.bytes_stored,
        proof: manifest.proof,
        gtid_set: server.as_ref().and_then(|s| s.gtid_set.as_ref()).map(ToString::to_string),
        position: server.and_then(|s| s.position).into(),
        tls: manifest.source.database_transport,
        connections: manifest.connections,
        cluster_uuid: manifest.cluster_uuid,
        lock: manifest.lock,
        kek: request.kms.name().to_owned(),
        base: manifest.base.map(|base| base.backup_id),
        full_because: None,
        also_keks: request.also.iter().map(|kms| kms.name().to_owned()).collect(),
        audit_head,
    }
}
