//! `exporter` on the command line, and what Prometheus is told.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, routing::get};
use clap::Args;

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
    model::{ClusterName, Timestamp},
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
    let (metrics_of, ready_of) = (Arc::clone(&state), state);
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { ready(&ready_of) }))
        .route("/metrics", get(move || async move { exposition::response(text(&metrics_of)) }));
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

/// A sample of a cluster: its further labels, and its value.
type Sample = (Vec<(&'static str, String)>, f64);

fn text(state: &State) -> String {
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

/// What adds a family.
type Gauge<'a> = &'a mut dyn FnMut(&str, &str, fn(&Seen) -> Vec<Sample>);

fn backups(gauge: Gauge<'_>) {
    gauge("last_backup_timestamp_seconds", "When the newest complete backup was stored.", |seen| {
        instant(seen.newest.as_ref().map(|b| b.finished_at))
    });
    gauge("last_backup_duration_seconds", "How long its job took.", |seen| {
        seen.newest
            .as_ref()
            .map_or_else(Vec::new, |b| plain(b.finished_at.seconds_since(b.started_at)))
    });
    gauge("last_backup_read_bytes", "Bytes of its stream.", |seen| {
        seen.newest.as_ref().map_or_else(Vec::new, |b| plain(count(b.bytes_read)))
    });
    gauge("last_backup_stored_bytes", "Bytes of it in the repository.", |seen| {
        seen.newest.as_ref().map_or_else(Vec::new, |b| plain(count(b.bytes_stored)))
    });
    gauge("last_backup_info", "Its id, engine and proof; always 1.", |seen| {
        seen.newest.as_ref().map_or_else(Vec::new, |b| {
            let labels = vec![
                ("backup_id", b.id.to_string()),
                ("engine", b.engine.to_string()),
                ("proof", b.proof.to_string()),
            ];
            vec![(labels, 1.0)]
        })
    });
    gauge(
        "recovery_window_earliest_timestamp_seconds",
        "From when on every instant up to the latest can be restored.",
        |seen| instant(seen.window.map(|w| w.earliest)),
    );
    gauge(
        "recovery_window_latest_timestamp_seconds",
        "The latest instant that can be restored.",
        |seen| instant(seen.window.map(|w| w.latest)),
    );
}

fn archive(gauge: Gauge<'_>) {
    gauge(
        "archived_until_timestamp_seconds",
        "Everything committed until then is archived, by the server's clock.",
        |seen| instant(seen.archive.as_ref().and_then(|a| a.archived_until)),
    );
    gauge(
        "archive_last_record_timestamp_seconds",
        "When the archiver last wrote to the log.",
        |seen| instant(seen.archive.as_ref().and_then(|a| a.last_record_at)),
    );
    gauge("archive_released", "Whether the last archiver has ended as it was told.", |seen| {
        archived(seen, |a| u8::from(a.released).into())
    });
    gauge("archive_epoch_number", "The epoch of the log.", |seen| {
        archived(seen, |a| count(a.epoch))
    });
    gauge("archive_gaps", "Gaps: transactions purged before they were archived.", |seen| {
        archived(seen, |a| count(a.gaps))
    });
    gauge("archive_gap_transactions", "Transactions lost in gaps, at most.", |seen| {
        archived(seen, |a| count(a.gap_transactions))
    });
    gauge("archive_forks", "Forks: archived transactions that a new primary never had.", |seen| {
        archived(seen, |a| count(a.forks))
    });
    gauge("archive_damaged", "Whether records of the log contradict one another.", |seen| {
        archived(seen, |a| u8::from(!a.in_order).into())
    });
}

fn archived(seen: &Seen, of: fn(&exporter::ArchiveSeen) -> f64) -> Vec<Sample> {
    seen.archive.as_ref().map_or_else(Vec::new, |archive| plain(of(archive)))
}

fn keys(gauge: Gauge<'_>) {
    gauge("deks", "Data keys that have a believed record.", |seen| plain(count(seen.deks)));
    gauge("deks_with_one_kek", "Data keys that one KEK alone opens.", |seen| {
        plain(count(seen.deks_with_one_kek))
    });
    gauge("kek_deks", "Data keys that this KEK opens.", |seen| kek(seen, |k| count(k.deks)));
    gauge("kek_in_use", "Whether this KEK wraps the newest data key.", |seen| {
        kek(seen, |k| u8::from(k.in_use).into())
    });
    gauge(
        "kek_oldest_wrap_timestamp_seconds",
        "When this KEK wrapped for the first time: its age counts from then.",
        |seen| kek(seen, |k| seconds(k.oldest_wrap)),
    );
    gauge("kek_newest_wrap_timestamp_seconds", "When this KEK wrapped last.", |seen| {
        kek(seen, |k| seconds(k.newest_wrap))
    });
}

fn plain(value: f64) -> Vec<Sample> {
    vec![(Vec::new(), value)]
}

fn instant(at: Option<Timestamp>) -> Vec<Sample> {
    at.map_or_else(Vec::new, |at| plain(seconds(at)))
}

fn kek(seen: &Seen, of: fn(&exporter::KekSeen) -> f64) -> Vec<Sample> {
    seen.keks
        .iter()
        .map(|k| {
            let version = k.version.clone().unwrap_or_default();
            (vec![("kek", k.kek.clone()), ("version", version)], of(k))
        })
        .collect()
}

impl Text for Exported {
    fn text(&self) -> String {
        format!("Stopped after {} rounds over {} clusters.", self.rounds, self.clusters)
    }
}
