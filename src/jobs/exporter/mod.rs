//! `exporter`: what the repository says of its clusters, for Prometheus. The Jobs are gone when they
//! would be asked, so the repository is.
//!
//! Everything stored is immutable, so each object is read once, and a round asks whether anything came
//! since: two requests for a cluster in which nothing did. No right to decrypt is needed.

mod cluster;
mod state;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use tokio::time::Instant;

use cluster::Cluster;
pub use state::{ArchiveSeen, BackupSeen, Faults, KekSeen, Seen, State, Told, WindowSeen};

use super::JobError;
use crate::{
    crypto::signer::Trust,
    model::{ClusterName, Timestamp},
    pipeline::{PipelineError, Progress, Repository},
    store::Store,
};

/// Clusters that are looked at at once.
const PARALLEL: usize = 8;
/// How long a look at one cluster may take: one that hangs must not keep the others waiting.
const PATIENCE: Duration = Duration::from_mins(5);

/// What to look at, and how often.
#[derive(Debug)]
pub struct Request {
    /// The repository.
    pub store: Arc<dyn Store>,
    /// Whom to believe.
    pub trust: Trust,
    /// The clusters; all folders of the repository when none are named.
    pub clusters: Vec<ClusterName>,
    /// How often.
    pub interval: Duration,
    /// How often everything is listed, though nothing seems to have come.
    pub list_every: Duration,
    /// Told to whoever asks.
    pub state: Arc<State>,
    /// Where to be told to stop.
    pub progress: Arc<Progress>,
}

/// What was looked at.
#[derive(Debug, serde::Serialize)]
pub struct Exported {
    /// Version of this object.
    pub version: u32,
    /// `stopped`.
    pub status: &'static str,
    /// Clusters at the end.
    pub clusters: usize,
    /// Rounds over all of them.
    pub rounds: u64,
}

/// Looks until told to stop. Nothing that is wrong in the repository ends it.
///
/// # Errors
/// None today; what is wrong with a cluster is told in its metrics.
pub async fn run(request: Request) -> Result<Exported, JobError> {
    let mut exporter = Exporter::new(&request);
    while !request.progress.is_stopped() {
        let next = Instant::now() + request.interval;
        tokio::select! {
            () = exporter.round() => {}
            () = request.progress.stopped() => break,
        }
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = request.progress.stopped() => break,
        }
    }
    Ok(Exported {
        version: 1,
        status: "stopped",
        clusters: exporter.clusters.len(),
        rounds: exporter.rounds,
    })
}

/// What is known between the rounds.
#[derive(Debug)]
pub struct Exporter<'a> {
    request: &'a Request,
    clusters: BTreeMap<ClusterName, Cluster>,
    found_at: Option<Instant>,
    rounds: u64,
}

impl<'a> Exporter<'a> {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(request: &'a Request) -> Self {
        Self { request, clusters: BTreeMap::new(), found_at: None, rounds: 0 }
    }

    /// Looks at every cluster once.
    pub async fn round(&mut self) {
        let begun = Instant::now();
        if let Err(error) = self.find().await {
            tracing::error!(%error, "cannot list the clusters");
            self.request.state.not_listed();
        }
        let (state, list_every) = (&self.request.state, self.request.list_every);
        stream::iter(self.clusters.values_mut())
            .for_each_concurrent(PARALLEL, |cluster| async move {
                let name = cluster.name().clone();
                match tokio::time::timeout(PATIENCE, cluster.look(list_every)).await {
                    Ok(Ok(())) => state.looked(&name, cluster.seen(Timestamp::now())),
                    Ok(Err(error)) => {
                        tracing::error!(cluster = %name, %error, "cannot look at a cluster");
                        state.failed(&name, kind_of(&error));
                    }
                    Err(_) => {
                        tracing::error!(cluster = %name, "no answer in {PATIENCE:?}");
                        state.failed(&name, "timeout");
                    }
                }
            })
            .await;
        self.rounds += 1;
        self.request.state.round(begun.elapsed());
    }

    /// Which clusters there are.
    async fn find(&mut self) -> Result<(), PipelineError> {
        let names = if self.request.clusters.is_empty() {
            if self.found_at.is_some_and(|at| at.elapsed() < self.request.list_every) {
                return Ok(());
            }
            let folders = self.request.store.list_folders("").await?;
            folders.iter().filter_map(|folder| folder.parse().ok()).collect()
        } else {
            self.request.clusters.clone()
        };
        self.found_at = Some(Instant::now());
        self.clusters.retain(|name, _| names.contains(name));
        self.request.state.keep(&names);
        for name in names {
            let (store, trust) = (Arc::clone(&self.request.store), self.request.trust.clone());
            let new = || Cluster::new(Repository::new(store, name.clone(), trust));
            self.clusters.entry(name.clone()).or_insert_with(new);
        }
        Ok(())
    }
}

fn kind_of(error: &PipelineError) -> &'static str {
    match error {
        PipelineError::Integrity { .. } => "integrity",
        PipelineError::Store(_) => "store",
        _ => "other",
    }
}
