//! `exporter` on the command line, and what Prometheus is told.

mod families;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, routing::get};
use clap::Args;

use families::{Sample, archive, backups, instant, keys, plain, recovery};

use super::{
    args::{Global, duration},
    exposition::{self, Exposition, Kind, count, seconds},
    listen,
    output::Text,
};
use crate::{
    jobs::{
        JobError,
        exporter::{self, Exported, Seen, State, Told},
    },
    model::ClusterName,
    pipeline::Progress,
};

/// Everything is listed so often, though nothing seems to have come.
const LIST_EVERY: Duration = Duration::from_mins(10);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backstay exporter --repo s3://backups/mysql --trust /etc/backstay/trust --listen 0.0.0.0:9407
  backstay exporter … --clusters shop,ledger --interval 5m

It needs to get and to list, and no key: neither a KEK nor a signer. docs/exporter.md has the metrics.")]
pub(super) struct ExporterArgs {
    /// Answer /metrics, /healthz and /readyz there
    #[arg(long, env = "BACKSTAY_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:9407")]
    listen: SocketAddr,
    /// The clusters, with commas between [default: --cluster, or every folder of the repository]
    #[arg(long, env = "BACKSTAY_CLUSTERS", value_name = "NAMES", value_delimiter = ',')]
    clusters: Vec<ClusterName>,
    /// How often the repository is looked at
    #[arg(
        long,
        env = "BACKSTAY_INTERVAL",
        value_name = "DURATION",
        default_value = "60s",
        value_parser = duration
    )]
    interval: Duration,
    /// How long recovering may take: told beside how long it would, for an alert
    #[arg(
        long,
        env = "BACKSTAY_RECOVERY_TARGET",
        value_name = "DURATION",
        value_parser = duration
    )]
    recovery_target: Option<Duration>,
}

pub(super) async fn run(
    global: &Global,
    args: ExporterArgs,
    progress: &Arc<Progress>,
) -> Result<Exported, JobError> {
    if args.interval < Duration::from_secs(1) {
        return Err(JobError::Usage {
            what: format!("--interval {:?} is too short", args.interval),
            hint: "give at least 1s: each round asks the store".into(),
        });
    }
    let state: Arc<State> = Arc::default();
    let request = exporter::Request {
        store: global.impatient_store().await?,
        trust: global.trusted()?,
        clusters: if args.clusters.is_empty() {
            global.cluster.iter().cloned().collect()
        } else {
            args.clusters
        },
        interval: args.interval,
        list_every: LIST_EVERY,
        state: Arc::clone(&state),
        progress: Arc::clone(progress),
    };
    let target = args.recovery_target;
    let (metrics_of, ready_of) = (Arc::clone(&state), state);
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { ready(&ready_of) }))
        .route(
            "/metrics",
            get(move || async move { exposition::response(text(&metrics_of, target)) }),
        );
    let answering = listen::answer(args.listen, "--listen", app).await?;
    let exported = exporter::run(request).await;
    answering.abort();
    exported
}

/// Ready once everything was looked at.
fn ready(state: &State) -> (StatusCode, &'static str) {
    match state.rounds() {
        (0, ..) => (StatusCode::SERVICE_UNAVAILABLE, "looking\n"),
        _ => (StatusCode::OK, "ready\n"),
    }
}

fn text(state: &State, recovery_target: Option<Duration>) -> String {
    let (rounds, last_round, not_listed) = state.rounds();
    let clusters = state.clusters();
    let mut out = Exposition::default();
    let one = |out: &mut Exposition, name: &str, kind, help: &str, value| {
        out.family(&format!("backstay_exporter_{name}"), kind, help).sample(&[], value);
    };
    one(&mut out, "rounds_total", Kind::Counter, "Rounds over all clusters.", count(rounds));
    one(
        &mut out,
        "round_seconds",
        Kind::Gauge,
        "How long the last one took.",
        last_round.as_secs_f64(),
    );
    one(
        &mut out,
        "list_errors_total",
        Kind::Counter,
        "How often the clusters could not be listed.",
        count(not_listed),
    );

    let mut family = |name: &str, kind: Kind, help: &str, of: &dyn Fn(&Told) -> Vec<Sample>| {
        let told: Vec<_> =
            clusters.iter().map(|(cluster, told)| (cluster.to_string(), of(told))).collect();
        if told.iter().all(|(_, samples)| samples.is_empty()) {
            return;
        }
        out.family(&format!("backstay_{name}"), kind, help);
        for (cluster, samples) in &told {
            for (labels, value) in samples {
                let mut all = vec![("cluster", cluster.as_str())];
                all.extend(labels.iter().map(|(name, text)| (*name, text.as_str())));
                out.sample(&all, *value);
            }
        }
    };
    family("cluster_up", Kind::Gauge, "Whether the last look at the cluster succeeded.", &|told| {
        plain(u8::from(told.up).into())
    });
    family(
        "cluster_looked_at_timestamp_seconds",
        Kind::Gauge,
        "When a look at the cluster last succeeded: what is told is of then.",
        &|told| instant(told.looked_at),
    );
    family("cluster_errors_total", Kind::Counter, "Looks at the cluster that failed.", &|told| {
        told.faults
            .iter()
            .map(|(kind, faults)| (vec![("kind", (*kind).to_owned())], count(*faults)))
            .collect()
    });
    let help = "How long recovering may take, as the exporter was told.";
    family("recovery_target_seconds", Kind::Gauge, help, &|_| {
        recovery_target.map_or_else(Vec::new, |most| plain(most.as_secs_f64()))
    });
    let seen = |of: fn(&Seen) -> Vec<Sample>| {
        move |told: &Told| told.seen.as_ref().map_or_else(Vec::new, of)
    };
    let mut gauge = |name: &str, help: &str, of: fn(&Seen) -> Vec<Sample>| {
        family(name, Kind::Gauge, help, &seen(of));
    };
    gauge("backups", "Backups by whether their manifest is believed.", |seen| {
        [("complete", seen.complete), ("damaged", seen.damaged)]
            .map(|(status, number)| (vec![("status", status.to_owned())], count(number)))
            .to_vec()
    });
    backups(&mut gauge);
    archive(&mut gauge);
    recovery(&mut gauge);
    gauge("audit_records", "Records of the audit chain.", |seen| plain(count(seen.audit_records)));
    gauge(
        "audit_broken",
        "Whether the audit chain ends at a record that does not follow.",
        |seen| plain(u8::from(seen.audit_broken).into()),
    );
    gauge(
        "last_act_timestamp_seconds",
        "When an act of this kind was last recorded in the audit chain.",
        |seen| {
            seen.acts
                .iter()
                .map(|(action, at)| (vec![("action", action.clone())], seconds(*at)))
                .collect()
        },
    );
    keys(&mut gauge);
    out.finish()
}

impl Text for Exported {
    fn text(&self) -> String {
        format!("Stopped after {} rounds over {} clusters.", self.rounds, self.clusters)
    }
}
