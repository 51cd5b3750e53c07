//! What probes and Prometheus ask a running archiver.
//!
//! `/metrics` is the text format 0.0.4 ("Exposition formats", Prometheus documentation).

use std::{fmt::Write as _, net::SocketAddr, sync::Arc};

use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    jobs::{
        JobError,
        archive::{Condition, Snapshot, Status},
    },
    model::Timestamp,
};

/// The buckets of the latency histogram, in seconds.
const BUCKETS: [f64; 10] = [0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0];

/// Answers at this address until the task is aborted.
pub(super) async fn start(
    address: SocketAddr,
    status: Arc<Status>,
) -> Result<JoinHandle<()>, JobError> {
    let (metrics_of, ready_of) = (Arc::clone(&status), status);
    let app = Router::new()
        // The archiver's loop and this server share one thread: whoever is answered knows that it turns.
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { ready(&ready_of.read()) }))
        .route(
            "/metrics",
            get(move || async move {
                super::exposition::response(text(&metrics_of.read(), Timestamp::now()))
            }),
        );
    answer(address, "--listen", app).await
}

/// Answers at this address, which this flag gave, until the task is aborted.
pub(super) async fn answer(
    address: SocketAddr,
    flag: &str,
    app: Router,
) -> Result<JoinHandle<()>, JobError> {
    let listener = TcpListener::bind(address).await.map_err(|e| JobError::Usage {
        what: format!("listen on {address}: {e}"),
        hint: format!("give {flag} a free address, such as 0.0.0.0:9405"),
    })?;
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "metrics and probes are no longer answered");
        }
    }))
}

fn ready(now: &Snapshot) -> impl IntoResponse + use<> {
    let code =
        if now.condition.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("{}\n", now.condition.name()))
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows nothing but floats")]
#[expect(clippy::too_many_lines, reason = "a list, a line or two for each metric")]
fn text(now: &Snapshot, clock: Timestamp) -> String {
    let mut out = String::new();
    let mut one = |name: &str, kind: &str, help: &str, value: f64| {
        let name = format!("backstay_archive_{name}");
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    };
    let seconds = |at: Option<Timestamp>| at.map_or(0.0, |at| at.as_microseconds() as f64 / 1e6);
    one(
        "lag_seconds",
        "gauge",
        "How far what is durable is behind the server.",
        now.lag_seconds(clock),
    );
    one(
        "lag_transactions",
        "gauge",
        "Transactions captured and not durable yet.",
        now.lag_transactions as f64,
    );
    one(
        "lag_bytes",
        "gauge",
        "Bytes of the server's log behind what is durable, at the last look.",
        now.lag_bytes as f64,
    );
    one(
        "captured_bytes_total",
        "counter",
        "Bytes read from the server.",
        now.captured_bytes as f64,
    );
    one(
        "captured_transactions_total",
        "counter",
        "Transactions read from the server.",
        now.captured_transactions as f64,
    );
    one("records_total", "counter", "Records written to the log.", now.records as f64);
    one("record_bytes_total", "counter", "Bytes of these records.", now.record_bytes as f64);
    one("segments_total", "counter", "Segments written.", now.segments as f64);
    one("segment_bytes_total", "counter", "Bytes of these segments.", now.segment_bytes as f64);
    one(
        "last_record_timestamp_seconds",
        "gauge",
        "When the last record became durable, by this machine's clock.",
        seconds(now.last_record_at),
    );
    one(
        "last_commit_timestamp_seconds",
        "gauge",
        "The latest commit that is durable, by the server's clock.",
        seconds(now.committed_until),
    );
    one(
        "quiet_until_timestamp_seconds",
        "gauge",
        "Up to when it is known that nothing more was committed, by the server's clock.",
        seconds(now.quiet_until),
    );
    one(
        "gaps_total",
        "counter",
        "Gaps found: transactions purged before they were archived.",
        now.gaps as f64,
    );
    one(
        "forks_total",
        "counter",
        "Forks found: archived transactions that a new primary lacks.",
        now.forks as f64,
    );
    one("epoch", "gauge", "The epoch that this archiver owns; 0 for none.", now.epoch as f64);
    one("log_number", "gauge", "The number of the log's last record.", now.log_number as f64);

    // Of the cluster, not of this archiver.
    let (name, number) = ("backstay_audit_head_number", now.audit_number);
    let _ = writeln!(
        out,
        "# HELP {name} The number of the audit chain's last record, as far as it was seen.\n# TYPE {name} gauge\n{name} {number}"
    );
    let _ = writeln!(
        out,
        "# HELP backstay_archive_condition What the archiver is doing: 1 for the present one.\n# TYPE backstay_archive_condition gauge"
    );
    for condition in Condition::ALL {
        let is = u8::from(condition == now.condition);
        let _ =
            writeln!(out, "backstay_archive_condition{{condition=\"{}\"}} {is}", condition.name());
    }
    let _ = writeln!(
        out,
        "# HELP backstay_archive_errors_total Errors that were overcome.\n# TYPE backstay_archive_errors_total counter"
    );
    for (kind, count) in &now.errors {
        let _ = writeln!(out, "backstay_archive_errors_total{{kind=\"{kind}\"}} {count}");
    }
    let name = "backstay_archive_commit_to_durable_seconds";
    let _ = writeln!(
        out,
        "# HELP {name} From a commit, by the server's clock, until it was durable.\n# TYPE {name} histogram"
    );
    for bucket in BUCKETS {
        let _ = writeln!(out, "{name}_bucket{{le=\"{bucket}\"}} {}", now.latency.within(bucket));
    }
    let (count, sum) = (now.latency.count(), now.latency.sum());
    let _ = writeln!(
        out,
        "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}"
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_has_a_type_and_there_is_one_condition() {
        let now = Snapshot { condition: Condition::Lagging, lag_bytes: 7, ..Snapshot::default() };
        let text = text(&now, Timestamp::now());
        let types: Vec<&str> =
            text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let name = name.split('{').next().unwrap();
            let of = |kind: &&str| {
                name == *kind
                    || name
                        .strip_prefix(*kind)
                        .is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest))
            };
            assert!(types.iter().any(of), "{line}");
            value.parse::<f64>().unwrap();
        }
        assert!(text.contains("backstay_archive_lag_bytes 7\n"));
        let on: Vec<&str> =
            text.lines().filter(|l| l.contains("_condition{") && l.ends_with(" 1")).collect();
        assert_eq!(on, ["backstay_archive_condition{condition=\"lagging\"} 1"]);
    }
}
