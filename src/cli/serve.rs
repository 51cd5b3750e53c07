//! `serve` on the command line, and what Prometheus is told of it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{Router, routing::get};
use clap::Args;

use super::{
    args::{Engine, MysqlArgs},
    exposition::{self, Exposition, Kind, count, seconds},
    listen,
    output::Text,
};
use crate::{
    jobs::{
        JobError,
        serve::{
            self, AllowedClient, Endpoint, Outcome, Refusal, Served, Snapshot, Status, TlsFiles,
        },
    },
    model::ByteSize,
    pipeline::Progress,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backstay serve --mysql-socket /run/mysqld/mysqld.sock --mysql-user backup --mysql-password-file /run/secrets/pw \\
      --tls-cert /tls/tls.crt --tls-key /tls/tls.key --client-ca /tls/ca.crt \\
      --allow-client backup.shop.svc --allow-client spiffe://cluster.local/ns/shop/sa/backup
  backstay backup --source https://db-0.db:8443 --source-ca ca.crt --source-cert tls.crt --source-key tls.key

GET /backstay/v1/backup is for `backstay backup` and ends with the engine's verdict; GET /cluster/backup is a
plain xbstream, for replicas and for tools that know a manager. One backup runs at a time. A client that goes
away ends its engine. The certificates are read again when they change. SIGTERM ends everything. No flag of the
repository or of keys is needed here: the agent has neither.")]
pub(super) struct ServeArgs {
    #[command(flatten)]
    mysql: MysqlArgs,
    /// What makes the backups
    #[arg(long, env = "BACKSTAY_ENGINE", value_name = "ENGINE", default_value = "auto")]
    engine: Engine,
    /// The server's data directory [default: what the server says]
    #[arg(long, env = "BACKSTAY_DATADIR", value_name = "FOLDER")]
    datadir: Option<PathBuf>,
    /// Folder for the engine's small files, and for a whole clone with --engine clone
    #[arg(long, env = "BACKSTAY_SCRATCH", value_name = "FOLDER")]
    scratch: Option<PathBuf>,
    /// Where to stream from
    #[arg(
        long,
        env = "BACKSTAY_SERVE_LISTEN",
        value_name = "ADDR",
        default_value = "0.0.0.0:8443",
        help_heading = "Clients"
    )]
    listen: SocketAddr,
    /// The agent's certificate with its chain, PEM
    #[arg(long, env = "BACKSTAY_TLS_CERT", value_name = "FILE", help_heading = "Clients")]
    tls_cert: PathBuf,
    /// The certificate's key, PEM
    #[arg(long, env = "BACKSTAY_TLS_KEY", value_name = "FILE", help_heading = "Clients")]
    tls_key: PathBuf,
    /// The CAs that sign the clients' certificates, PEM
    #[arg(long, env = "BACKSTAY_CLIENT_CA", value_name = "FILE", help_heading = "Clients")]
    client_ca: PathBuf,
    /// A client that may take backups, by a name in its certificate: a DNS name, a URI, or CN=NAME; can
    /// be given several times, in the variable with commas between
    #[arg(
        long,
        env = "BACKSTAY_ALLOW_CLIENT",
        value_name = "NAME",
        required = true,
        value_delimiter = ',',
        help_heading = "Clients"
    )]
    allow_client: Vec<AllowedClient>,
    /// The most that is read and sent in a second, such as 200MiB [default: no limit]
    #[arg(long, env = "BACKSTAY_RATE_LIMIT", value_name = "SIZE")]
    rate_limit: Option<ByteSize>,
    /// Answer /metrics and /healthz there, without TLS, such as 0.0.0.0:9406
    #[arg(long, env = "BACKSTAY_LISTEN_METRICS", value_name = "ADDR")]
    listen_metrics: Option<SocketAddr>,
}

pub(super) async fn run(args: ServeArgs, progress: &Arc<Progress>) -> Result<Served, JobError> {
    if args.rate_limit.is_some_and(|limit| limit.0 < 64 << 10) {
        return Err(JobError::Usage {
            what: "--rate-limit is less than 64 KiB".into(),
            hint: "a limit is in bytes a second, with a unit: 200MiB".into(),
        });
    }
    let connect = args.mysql.required()?;
    let status: Arc<Status> = Arc::default();
    let answering = match args.listen_metrics {
        Some(address) => {
            let of = Arc::clone(&status);
            let app = Router::new().route("/healthz", get(|| async { "ok\n" })).route(
                "/metrics",
                get(move || async move { exposition::response(text(&of.read())) }),
            );
            Some(listen::answer(address, "--listen-metrics", app).await?)
        }
        None => None,
    };
    let served = serve::run(serve::Request {
        connect,
        engine: args.engine.kind(),
        datadir: args.datadir,
        scratch: args.scratch,
        listen: args.listen,
        tls: TlsFiles { certificate: args.tls_cert, key: args.tls_key, client_ca: args.client_ca },
        allowed: args.allow_client,
        rate_limit: args.rate_limit,
        stall: serve::STALL,
        status,
        progress: Arc::clone(progress),
    })
    .await;
    if let Some(answering) = answering {
        answering.abort();
    }
    served
}

fn text(now: &Snapshot) -> String {
    let mut out = Exposition::default();
    out.family(
        "backstay_serve_streams_total",
        Kind::Counter,
        "Backups that were asked for, and how they ended.",
    );
    for endpoint in [Endpoint::Verdict, Endpoint::Manager] {
        for outcome in Outcome::ALL {
            let ended = now.streams.get(&(endpoint, outcome)).copied().unwrap_or_default();
            out.sample(&[("path", endpoint.path()), ("outcome", outcome.name())], count(ended));
        }
    }
    out.family(
        "backstay_serve_streams_running",
        Kind::Gauge,
        "Backups that are being streamed: 0 or 1.",
    );
    out.sample(&[], count(now.running));
    out.family("backstay_serve_sent_bytes_total", Kind::Counter, "Bytes of backups sent.");
    out.sample(&[], count(now.bytes));
    out.family(
        "backstay_serve_refused_total",
        Kind::Counter,
        "Clients that were sent away, and why.",
    );
    for refusal in Refusal::ALL {
        let sent_away = now.refused.get(&refusal).copied().unwrap_or_default();
        out.sample(&[("reason", refusal.name())], count(sent_away));
    }
    out.family(
        "backstay_serve_certificates_refused_total",
        Kind::Counter,
        "New certificates that were not right: the ones from before are used on.",
    );
    out.sample(&[], count(now.certificates_refused));
    for (name, help, at) in [
        (
            "backstay_serve_last_complete_timestamp_seconds",
            "When the last backup ended well.",
            now.last_complete_at,
        ),
        (
            "backstay_serve_certificate_loaded_timestamp_seconds",
            "When the present certificate was read.",
            now.certificate_loaded_at,
        ),
        (
            "backstay_serve_certificate_expiry_timestamp_seconds",
            "Until when the present certificate is valid.",
            now.certificate_expires_at,
        ),
    ] {
        if let Some(at) = at {
            out.family(name, Kind::Gauge, help).sample(&[], seconds(at));
        }
    }
    out.finish()
}

impl Text for Served {
    fn text(&self) -> String {
        format!(
            "Stopped. {} backups were streamed to their end, {} were not; {} in all.",
            self.complete,
            self.incomplete,
            ByteSize(self.bytes)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn what_prometheus_is_told_is_well_formed() {
        let mut now =
            Snapshot { bytes: 7, last_complete_at: Some(Timestamp::now()), ..Snapshot::default() };
        now.streams.insert((Endpoint::Verdict, Outcome::Abandoned), 3);
        now.refused.insert(Refusal::Busy, 2);
        let text = text(&now);
        exposition::check(&text);
        for line in [
            "backstay_serve_streams_total{path=\"/backstay/v1/backup\",outcome=\"abandoned\"} 3",
            "backstay_serve_refused_total{reason=\"busy\"} 2",
            "backstay_serve_sent_bytes_total 7",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
