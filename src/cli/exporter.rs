//! `exporter`: what `window` tells, for Prometheus, again and again.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, routing::get};
use clap::Args;

use super::{
    args::{Global, duration},
    listen,
};
use crate::{
    format::DrillStatus,
    jobs::{JobError, window},
    model::Timestamp,
    pipeline::{PipelineError, Progress},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  backstay exporter --trust /etc/backstay/kek.trust --listen 0.0.0.0:9406 --recovery-target 30m

It needs Get and List on the store, and no key. When the store cannot be read it goes on telling what
it knows, and backstay_exporter_last_success_timestamp_seconds grows old. It ends with exit 9 when it
is stopped.")]
pub(super) struct ExporterArgs {
    /// Answer /metrics and /healthz there
    #[arg(long, env = "BACKSTAY_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:9406")]
    listen: SocketAddr,
    /// How often to look at the repository
    #[arg(
        long,
        env = "BACKSTAY_EVERY",
        value_name = "DURATION",
        default_value = "1m",
        value_parser = duration
    )]
    every: Duration,
    /// How long recovering may take: told beside how long it would, for an alert
    #[arg(
        long,
        env = "BACKSTAY_RECOVERY_TARGET",
        value_name = "DURATION",
        value_parser = duration
    )]
    recovery_target: Option<Duration>,
}

/// What is known.
#[derive(Debug, Default)]
struct Known {
    windows: Option<window::Windows>,
    looked_at: Option<Timestamp>,
    errors: u64,
    target: Option<Duration>,
}

pub(super) async fn run(
    global: &Global,
    args: &ExporterArgs,
    progress: &Arc<Progress>,
) -> Result<ExitCode, JobError> {
    let repository = global.impatient_repository().await?;
    let known = Arc::new(Mutex::new(Known { target: args.recovery_target, ..Known::default() }));
    let told = Arc::clone(&known);
    let metrics = move || {
        let text = text(&told.lock().unwrap_or_else(PoisonError::into_inner));
        async { ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], text) }
    };
    let app =
        Router::new().route("/healthz", get(|| async { "ok\n" })).route("/metrics", get(metrics));
    let listening = listen::serve(args.listen, app).await?;
    while !progress.is_stopped() {
        let looked = window::run(&repository).await;
        {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            match looked {
                Ok(windows) => {
                    (known.windows, known.looked_at) = (Some(windows), Some(Timestamp::now()));
                }
                Err(error) => {
                    known.errors += 1;
                    tracing::error!(%error, "the repository cannot be looked at; it is tried again");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(args.every) => {}
            () = progress.stopped() => {}
        }
    }
    listening.abort();
    Err(PipelineError::Stopped.into())
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows nothing but floats")]
fn text(known: &Known) -> String {
    let mut out = String::new();
    let mut head = |name: &str, kind: &str, help: &str, samples: &[(&str, f64)]| {
        let name = format!("backstay_{name}");
        if samples.is_empty() {
            return;
        }
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let stamp = |at: Timestamp| at.as_microseconds() as f64 / 1e6;
    let errors = ("", known.errors as f64);
    head("exporter_errors_total", "counter", "Looks at the repository that failed.", &[errors]);
    let looked: Vec<_> = known.looked_at.map(|at| ("", stamp(at))).into_iter().collect();
    let name = "exporter_last_success_timestamp_seconds";
    head(name, "gauge", "When the repository was last looked at.", &looked);
    let target: Vec<_> = known.target.map(|most| ("", most.as_secs_f64())).into_iter().collect();
    head("recovery_target_seconds", "gauge", "How long recovering may take.", &target);
    let Some(windows) = &known.windows else { return out };
    if let Some(recovery) = &windows.recovery {
        let name = "recovery_expected_seconds";
        head(
            name,
            "gauge",
            "How long recovering to the latest point would take.",
            &[("", recovery.seconds)],
        );
        head(
            "recovery_expected_phase_seconds",
            "gauge",
            "The same, by its steps.",
            &[
                ("{phase=\"fetch\"}", recovery.fetch_seconds),
                ("{phase=\"prepare\"}", recovery.prepare_seconds),
                ("{phase=\"replay\"}", recovery.replay_seconds),
                ("{phase=\"start\"}", recovery.start_seconds),
            ],
        );
        let drills = ("", recovery.measured_by as f64);
        let help = "Drills that this is measured by; 0 when it is assumed.";
        head("recovery_measured_by_drills", "gauge", help, &[drills]);
    }
    if let Some(drill) = &windows.last_drill {
        let help = "When the last drill ended.";
        head("drill_last_timestamp_seconds", "gauge", help, &[("", stamp(drill.finished_at))]);
        let proven = f64::from(u8::from(drill.status == DrillStatus::Proven));
        head("drill_last_proven", "gauge", "Whether it was proven.", &[("", proven)]);
    }
    let complete = || windows.windows.iter().filter(|window| window.status == "complete");
    let latest: Vec<_> =
        complete().filter_map(|w| w.latest).max().map(|at| ("", stamp(at))).into_iter().collect();
    let help = "The latest instant that can be recovered.";
    head("window_latest_timestamp_seconds", "gauge", help, &latest);
    let damaged = windows.windows.len() - complete().count();
    let counts = [
        ("{status=\"complete\"}", complete().count() as f64),
        ("{status=\"damaged\"}", damaged as f64),
    ];
    head("backups", "gauge", "Backups by their manifests.", &counts);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_told() {
        let known = Known { errors: 3, target: Some(Duration::from_secs(90)), ..Known::default() };
        let text = text(&known);
        assert!(text.contains("\nbackstay_exporter_errors_total 3\n"), "{text}");
        assert!(text.contains("\nbackstay_recovery_target_seconds 90\n"), "{text}");
        assert!(!text.contains("expected") && !text.contains("last_success"), "{text}");
    }
}
