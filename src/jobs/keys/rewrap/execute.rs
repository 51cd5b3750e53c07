//! The work: each DEK unwrapped, wrapped, and written down again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::{Failed, FailedKind, NO_CURE, Request, Rewrapped, plan};
use crate::{
    crypto::{
        self, Dek,
        kms::{KeyContext, Kms, KmsError},
    },
    format::{
        Role,
        audit::{Details, RewrapDetails, action},
    },
    jobs::{JobError, connections, failure},
    model::{ClusterUuid, DekId, Sha256Digest, Timestamp, WrappedDek},
    pipeline::{
        Author, Introduction, NewestKey, PipelineError,
        audit::{Act, Settings, append, seen},
        purpose,
    },
    store::{StoreError, StoreErrorKind},
};

/// DEKs in work at once: a KMS is far away, and limits its rate.
const PARALLEL: usize = 16;
/// How often to look again at a DEK when another run was quicker.
const RACES: u32 = 16;

/// Rewraps the DEKs of a cluster.
///
/// # Errors
/// When nothing could be begun: no such cluster, a KEK that does not do what it must, a signer or
/// a store that fails. What befell single DEKs is in the result.
pub async fn run(request: Request) -> Result<Rewrapped, JobError> {
    let Some(cluster) = request.repository.uuid().await? else {
        return Err(JobError::target(
            format!("{} is no cluster", request.repository.url()),
            "check --repo and --cluster",
        ));
    };
    if request.drop.iter().any(|name| name == request.to.name()) {
        return Err(JobError::usage(
            format!("--drop {} is the KEK that --to names", request.to.name()),
            "name the KEK that shall go: `backstay keys status` lists them",
        ));
    }
    let started_at = Timestamp::now();
    let (wanted, to_opens) = probe(&*request.to, cluster).await?;
    if !to_opens && !request.drop.is_empty() {
        return Err(JobError::preflight(
            format!("{} was not seen to open what it wraps", request.to.name()),
            "--drop needs a --to that can unwrap, so that no DEK is left without a KEK that opens it: \
             give the file with the private half, or the right to decrypt",
        ));
    }
    let work = Work {
        request: &request,
        cluster,
        started_at,
        wanted,
        author: OnceCell::new(),
        tally: Mutex::default(),
        gave_up: AtomicBool::new(false),
    };
    let ended = work.all().await;
    work.report(to_opens, ended).await
}

/// Wraps a key that protects nothing: does the KEK wrap, which version does that, and does the KEK
/// open it again? The last of these may be somebody else's right.
async fn probe(to: &dyn Kms, cluster: ClusterUuid) -> Result<(plan::Wanted, bool), PipelineError> {
    let context = KeyContext {
        cluster,
        dek: DekId::from_bytes(crypto::random()?),
        // As `doctor` does: rights may be bound to it.
        purpose: purpose(Role::Backup),
    };
    let key = Dek::generate()?;
    let wrapped = to.wrap(&context, &key).await?;
    let opens = match to.unwrap(&context, &wrapped).await {
        Ok(opened) if opened.commitment(&[0; 16]) == key.commitment(&[0; 16]) => true,
        Ok(_) => return Err(KmsError::Refused { kek: to.name().to_owned() }.into()),
        Err(error) => {
            tracing::info!(%error, "the new KEK wraps; that it opens was not seen");
            false
        }
    };
    Ok((plan::Wanted { kek: wrapped.kek, version: wrapped.kek_version }, opens))
}

/// What has been done so far.
#[derive(Debug, Default)]
struct Tally {
    rewrapped: u64,
    already: u64,
    dropped: u64,
    not_tried: u64,
    failed: Vec<Failed>,
    written: BTreeMap<String, Sha256Digest>,
    /// What would befall every other DEK, too.
    fatal: Option<PipelineError>,
}

/// What became of one DEK.
enum Done {
    Already,
    Rewrapped,
    Dropped,
    NothingToDrop,
}

struct Work<'a> {
    request: &'a Request,
    cluster: ClusterUuid,
    started_at: Timestamp,
    wanted: plan::Wanted,
    author: OnceCell<Author>,
    tally: Mutex<Tally>,
    gave_up: AtomicBool,
}

impl Work<'_> {
    /// Every DEK, and those that were made meanwhile. Returns how many there are.
    async fn all(&self) -> Result<u64, PipelineError> {
        let (repository, progress) = (&self.request.repository, &self.request.progress);
        let mut seen: BTreeSet<DekId> = BTreeSet::new();
        loop {
            let mut deks = repository.deks().await?;
            deks.retain(|dek, _| !seen.contains(dek));
            if deks.is_empty() {
                break;
            }
            seen.extend(deks.keys());
            progress.expect_items("keys", seen.len() as u64);
            let each = deks.into_iter().map(|(dek, names)| self.one(dek, Some(names)));
            stream::iter(each).buffer_unordered(PARALLEL).collect::<()>().await;
        }
        let whole = {
            let tally = self.tally();
            tally.failed.is_empty() && tally.not_tried == 0
        };
        if whole && !self.request.drop.is_empty() {
            let each = seen.iter().map(|dek| self.one(*dek, None));
            stream::iter(each).buffer_unordered(PARALLEL).collect::<()>().await;
        }
        Ok(seen.len() as u64)
    }

    /// One DEK: wrapped when the names of its records are given, else rid of wraps.
    async fn one(&self, dek: DekId, names: Option<Vec<String>>) {
        if self.gave_up.load(Ordering::Relaxed) || self.request.progress.is_stopped() {
            self.tally().not_tried += 1;
            return;
        }
        let done = match names {
            Some(names) => self.wrap(dek, names).await,
            None => self.rid(dek).await,
        };
        self.request.progress.add_item();
        match done {
            Ok(Done::Already) => self.tally().already += 1,
            Ok(Done::Rewrapped) => self.tally().rewrapped += 1,
            Ok(Done::Dropped) => self.tally().dropped += 1,
            Ok(Done::NothingToDrop) => {}
            Err(error) => self.failed(dek, error),
        }
    }

    /// Adds the wrap that is wanted, where it is missing.
    async fn wrap(&self, dek: DekId, names: Vec<String>) -> Result<Done, PipelineError> {
        let Request { repository, from, to, .. } = self.request;
        let mut newest = repository.newest_key_of(dek, names).await?;
        for _ in 0..RACES {
            if self.wanted.is_among(&newest.record.wraps) {
                return Ok(Done::Already);
            }
            let key = newest.unwrap(&**from).await?;
            let wrapped = to.wrap(&newest.context(), &key).await?;
            drop(key);
            let wraps = plan::with(&newest.record.wraps, wrapped);
            if self.write(&newest, wraps).await? {
                return Ok(Done::Rewrapped);
            }
            newest = repository.newest_key(dek).await?;
        }
        Err(raced(&newest))
    }

    /// Takes away the wraps that are not wanted any more, once the one that is has proven itself.
    async fn rid(&self, dek: DekId) -> Result<Done, PipelineError> {
        let Request { repository, to, .. } = self.request;
        let mut newest = repository.newest_key(dek).await?;
        for _ in 0..RACES {
            let Some(wraps) = plan::without(&newest.record.wraps, &self.request.drop) else {
                return Ok(Done::NothingToDrop);
            };
            drop(newest.unwrap(&**to).await?);
            if self.write(&newest, wraps).await? {
                return Ok(Done::Dropped);
            }
            newest = repository.newest_key(dek).await?;
        }
        Err(raced(&newest))
    }

    /// Writes the next generation; false when another run was quicker.
    async fn write(
        &self,
        newest: &NewestKey,
        wraps: Vec<WrappedDek>,
    ) -> Result<bool, PipelineError> {
        let author = self.author.get_or_try_init(|| self.begin()).await?;
        let Some((name, sha256)) = newest.supersede(author, wraps).await? else {
            return Ok(false);
        };
        self.tally().written.insert(name, sha256);
        Ok(true)
    }

    /// The run begins when there is something to write. The audit chain hears of it first: a run
    /// that is killed leaves records, and no word of how many.
    async fn begin(&self) -> Result<Author, PipelineError> {
        let by = Introduction {
            signer: &*self.request.signer,
            identity: self.request.identity.clone(),
            started_at: self.started_at,
        };
        let repository = Arc::clone(&self.request.repository);
        let author = Author::begin(repository, self.cluster, Role::Rewrap, by).await?;
        let Request { repository, from, to, drop, signer, .. } = self.request;
        let settings = Settings::default()
            .with("repository", Some(repository.url()))
            .with("kek", Some(from.name()))
            .with("signer", Some(signer.id()));
        let configuration = seen(&author, "rewrap", &settings).await?;
        let details = RewrapDetails {
            from: from.name().to_owned(),
            drop: drop.clone(),
            ..RewrapDetails::default()
        };
        let begun = Act::new(action::REWRAP_BEGUN, to.name())
            .by(&author)
            .configuration(configuration)
            .details(Details::Rewrap(details));
        append(&author, &begun).await?;
        Ok(author)
    }

    /// How it ended, for the audit chain.
    fn ended(&self, tally: &Tally, outcome: &Result<u64, JobError>) -> Act {
        let Request { repository, from, to, drop, signer, exit_of, .. } = self.request;
        let mut list = Sha256::new();
        for (name, sha256) in &tally.written {
            list.update(format!("{sha256}  {name}\n"));
        }
        let details = RewrapDetails {
            from: from.name().to_owned(),
            drop: drop.clone(),
            rewrapped: Some(tally.rewrapped),
            dropped: Some(tally.dropped),
            left: Some(tally.failed.len() as u64 + tally.not_tried),
        };
        let act = Act::new(action::REWRAP_ENDED, to.name())
            .record(Sha256Digest(list.finalize().into()))
            .connections(connections(repository, &[&**from, &**to], Some(&**signer)))
            .details(Details::Rewrap(details));
        match outcome {
            Err(error) => act.failed(failure(*exit_of, error)),
            Ok(_) => match self.left(tally) {
                Some(error) => act.failed(failure(*exit_of, &error)),
                None => act.succeeded(),
            },
        }
    }

    /// Why some DEKs are not as they should be, by the worst of it; nothing when all are.
    fn left(&self, tally: &Tally) -> Option<JobError> {
        let left = tally.failed.len() as u64 + tally.not_tried;
        let what = format!("{left} DEKs were not rewrapped");
        if left == 0 {
            return None;
        }
        if self.request.progress.is_stopped() {
            return Some(PipelineError::Stopped.into());
        }
        let worst = tally.failed.iter().map(|failed| failed.kind).max();
        Some(match worst {
            Some(FailedKind::Integrity) => JobError::integrity(what, "run `backstay verify`"),
            Some(FailedKind::OtherKek) => JobError::preflight(what, "give another --kek"),
            Some(FailedKind::Unavailable) | None => {
                let url = self.request.repository.url();
                let error = StoreError::new(StoreErrorKind::Unavailable, "rewrap", url, what);
                PipelineError::from(error).into()
            }
        })
    }

    fn failed(&self, dek: DekId, error: PipelineError) {
        let is_away = match &error {
            PipelineError::Kms(KmsError::Service(error)) => error.fault.is_passing(),
            PipelineError::Store(_) => true,
            _ => false,
        };
        let kind = match &error {
            PipelineError::Kms(KmsError::OtherKek { .. }) => FailedKind::OtherKek,
            PipelineError::Kms(KmsError::Refused { .. }) | PipelineError::Integrity { .. } => {
                FailedKind::Integrity
            }
            _ if is_away => {
                // It has been tried for long enough; the other DEKs wait for the next run.
                self.gave_up.store(true, Ordering::Relaxed);
                FailedKind::Unavailable
            }
            _ => {
                self.gave_up.store(true, Ordering::Relaxed);
                self.tally().fatal.get_or_insert(error);
                return;
            }
        };
        tracing::error!(%dek, %error, "a DEK could not be rewrapped");
        self.tally().failed.push(Failed { dek_id: dek, kind, why: error.to_string() });
    }

    async fn report(
        self,
        to_opens: bool,
        ended: Result<u64, PipelineError>,
    ) -> Result<Rewrapped, JobError> {
        let mut tally = std::mem::take(&mut *self.tally());
        let outcome = match (tally.fatal.take(), ended) {
            (Some(error), _) | (None, Err(error)) => Err(JobError::from(error)),
            (None, Ok(deks)) => Ok(deks),
        };
        if outcome.is_err() || self.left(&tally).is_some() {
            // What came to nothing is an act, too.
            if let Err(error) = self.author.get_or_try_init(|| self.begin()).await {
                self.ended(&tally, &outcome).log(Err(&error.to_string()));
            }
        }
        let audit_head = match self.author.get() {
            None => None,
            Some(author) => {
                let appended = append(author, &self.ended(&tally, &outcome)).await;
                match (appended, &outcome) {
                    (Ok(head), _) => Some(head.to_string()),
                    // It is told already, and what failed first is what somebody has to know.
                    (Err(_), Err(_)) => None,
                    (Err(error), Ok(_)) => return Err(error.into()),
                }
            }
        };
        let deks = outcome?;
        tally.failed.sort_by_key(|failed| failed.dek_id);
        let whole = tally.failed.is_empty() && tally.not_tried == 0;
        Ok(Rewrapped {
            version: 1,
            status: match (whole, self.request.progress.is_stopped()) {
                (true, _) => "complete",
                (false, true) => "stopped",
                (false, false) => "incomplete",
            },
            from: self.request.from.name().to_owned(),
            to: self.wanted.kek,
            to_version: self.wanted.version,
            to_opens,
            deks,
            rewrapped: tally.rewrapped,
            already: tally.already,
            dropped: tally.dropped,
            failed: tally.failed,
            not_tried: tally.not_tried,
            run_id: self.author.get().map(|author| author.id),
            elapsed_seconds: Timestamp::now().seconds_since(self.started_at),
            audit_head,
            warning: NO_CURE,
        })
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn raced(newest: &NewestKey) -> PipelineError {
    PipelineError::integrity(
        &newest.object,
        format!("other runs wrote the next generation {RACES} times"),
    )
}
