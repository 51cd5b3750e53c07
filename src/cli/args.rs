//! The command line. Its names are a contract; `tests/goldens` freezes every help page.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{
    audit::AuditCommand,
    copy::CopyArgs,
    doctor::DoctorArgs,
    drill::DrillArgs,
    exporter::ExporterArgs,
    find::FindArgs,
    keys::KeysCommand,
    lock::LockArgs,
    prune::{HoldArgs, PruneArgs, UnholdArgs},
    report::ReportArgs,
    serve::ServeArgs,
};
use crate::{
    model::{BackupId, ClusterName, Gtid, GtidState, HistoryId, Timestamp},
    pipeline::{ChainHead, Level},
    store::{ServerEncryption, StorageClass},
};

/// MySQL and MariaDB backups for Kubernetes: streamed, sealed, committed only with proof.
#[derive(Debug, Parser)]
#[command(name = "backstay", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "\
Exit codes: 0 done and proven; 1 unexpected; 2 usage; 3 preflight; 4 source; 5 store or KMS;
6 integrity; 7 target not reachable; 8 fenced or id taken; 9 stopped by a signal.
1, 4, 5 and 9 are worth a retry.

Example, from nothing to a restored server:
  backstay keys new --kek file:/etc/backstay/kek
  export BACKSTAY_REPO=s3://backups/mysql BACKSTAY_CLUSTER=shop BACKSTAY_KEK=file:/etc/backstay/kek
  backstay doctor  --mysql-socket /run/mysqld/mysqld.sock --mysql-user backup --mysql-password-file /run/secrets/pw
  backstay backup  --mysql-socket /run/mysqld/mysqld.sock --mysql-user backup --mysql-password-file /run/secrets/pw
  backstay list
  backstay restore --datadir /var/lib/mysql")]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Sentences and tables.
    Text,
    /// One JSON document.
    Json,
    /// A page to print; `report` alone has one.
    #[value(hide = true)]
    Html,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Repository and keys")]
pub(super) struct Global {
    /// Where backups live: s3://BUCKET/PREFIX, gs://…, az://CONTAINER/PREFIX, file:///PATH
    #[arg(long, global = true, env = "BACKSTAY_REPO", value_name = "URL", hide_env_values = true)]
    pub(super) repo: Option<String>,
    /// The cluster's name in the repository
    #[arg(long, global = true, env = "BACKSTAY_CLUSTER", value_name = "NAME")]
    pub(super) cluster: Option<ClusterName>,
    /// The key encryption key: file:/PATH (its public half, /PATH.pub, is enough to write),
    /// vault:MOUNT/KEY, aws-kms:ARN, gcp-kms:projects/…/cryptoKeys/KEY, or azure-kv:https://VAULT/keys/KEY
    #[arg(long, global = true, env = "BACKSTAY_KEK", value_name = "URI")]
    pub(super) kek: Option<String>,
    /// What signs a run's records: file:/PATH, vault:MOUNT/KEY, aws-kms:ARN, or
    /// gcp-kms:projects/…/cryptoKeyVersions/N [default: /PATH.signer beside a file: KEK]
    #[arg(long, global = true, env = "BACKSTAY_SIGNER", value_name = "URI")]
    pub(super) signer: Option<String>,
    /// Which signers to believe [default: /PATH.trust beside a file: KEK]
    #[arg(long, global = true, env = "BACKSTAY_TRUST", value_name = "FILE")]
    pub(super) trust: Option<PathBuf>,
    /// Refuse a repository whose audit chain does not contain this head, as an earlier run printed it
    #[arg(long, global = true, env = "BACKSTAY_AT_LEAST", value_name = "NUMBER:HASH")]
    pub(super) at_least: Option<ChainHead>,
    /// text for people, json for one document on standard output
    #[arg(
        long,
        global = true,
        env = "BACKSTAY_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub(super) format: Format,
    /// Tell in this file how far the command is, every second, as JSON; for whoever watches it from
    /// outside
    #[arg(long, global = true, env = "BACKSTAY_PROGRESS_FILE", value_name = "FILE")]
    pub(super) progress_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) store: StoreArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Object store")]
pub(super) struct StoreArgs {
    /// Another endpoint than the provider's own, such as http://127.0.0.1:9000
    #[arg(long, global = true, env = "BACKSTAY_STORE_ENDPOINT", value_name = "URL")]
    pub(super) store_endpoint: Option<String>,
    /// The bucket's region [default: what the environment says]
    #[arg(long, global = true, env = "BACKSTAY_STORE_REGION", value_name = "REGION")]
    pub(super) store_region: Option<String>,
    /// Whether the bucket stands in the path and not in the host name [default: true with --store-endpoint]
    #[arg(long, global = true, env = "BACKSTAY_STORE_PATH_STYLE", value_name = "BOOL")]
    pub(super) store_path_style: Option<bool>,
    /// A private CA to verify the store's certificate with, PEM
    #[arg(long, global = true, env = "BACKSTAY_STORE_CA", value_name = "FILE")]
    pub(super) store_ca: Option<PathBuf>,
    /// Credentials in a file, and none from the environment: for s3:// a shared credentials file (its
    /// profile `default`), for gs:// a service account's key, for az:// lines NAME = VALUE
    #[arg(long, global = true, env = "BACKSTAY_STORE_CREDENTIALS", value_name = "FILE")]
    pub(super) store_credentials: Option<PathBuf>,
    /// Take an http:// endpoint that is another machine than this one: names, sizes and signatures
    /// of requests are then there to be read, and answers to be changed
    #[arg(long, global = true, env = "BACKSTAY_ALLOW_PLAINTEXT_STORE")]
    pub(super) allow_plaintext_store: bool,
    /// The store's own encryption, beside ours: AES256, aws:kms, or aws:kms:KEY; S3 only
    #[arg(long, global = true, env = "BACKSTAY_STORE_SSE", value_name = "SSE")]
    pub(super) store_sse: Option<ServerEncryption>,
    /// The storage class of volumes and segments, one that can be read at once, such as
    /// STANDARD_IA; records stay in the standard one; S3 only
    #[arg(long, global = true, env = "BACKSTAY_STORE_CLASS", value_name = "CLASS")]
    pub(super) store_class: Option<StorageClass>,
    #[command(flatten)]
    pub(super) lock: LockArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Take a base backup: engine → zstd → AES-256-GCM → object store, committed only when proven whole
    Backup(Box<BackupArgs>),
    /// Archive the primary's binary logs: every byte, at most a second behind, without gaps
    Archive(Box<ArchiveArgs>),
    /// Restore to any point into an empty data directory, and prove it by starting a server on it
    Restore(RestoreArgs),
    /// List the complete backups of a cluster, newest first
    List,
    /// Show everything that the manifest of a backup says
    Show(ShowArgs),
    /// Tell from when until when each backup can be restored, and what stands in the way
    Window,
    /// Find the transactions that dropped, emptied or changed a table, and how to restore to just before
    Find(FindArgs),
    /// Recover a point for real beside everything, look at what comes out, keep the evidence, clear away
    Drill(Box<DrillArgs>),
    /// Check that everything stored is as it was written: every chunk, every hash, the audit chain
    Verify(VerifyArgs),
    /// Remove the backups and binary logs that no rule keeps any more: tombstones, a time of grace, a second look
    Prune(PruneArgs),
    /// Copy backups and binary logs into a second repository, verified on the way, without a key
    Copy(Box<CopyArgs>),
    /// Keep a backup, whatever the rules say; a tombstone that it has is taken away
    Hold(HoldArgs),
    /// Let a backup go again that was held
    Unhold(UnholdArgs),
    /// Check from here whether backups and restores would work, and say what to do
    Doctor(Box<DoctorArgs>),
    /// Stream backups from beside the database over mutual TLS, to clients known by name; holds no key
    Serve(Box<ServeArgs>),
    /// Tell Prometheus what the repository says of its clusters: age, window, gaps, keys; needs no key
    Exporter(ExporterArgs),
    /// Make local keys and trust files, wrap every backup's key for another KEK, tell which KEK opens what
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Verify and export the audit trail: who did what, when, on what, and how it ended
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Report what the repository shows of each control that an auditor asks for, and what it does not
    Report(Box<ReportArgs>),
    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  backstay completions bash > /etc/bash_completion.d/backstay"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    #[command(after_help = "Example:\n  backstay man /usr/local/share/man/man1")]
    Man {
        /// The folder
        folder: PathBuf,
    },
}

/// For whoever only reads.
#[derive(Debug, Args)]
#[command(next_help_heading = "Audit trail")]
pub(super) struct WitnessArgs {
    /// auto: record what is done in the audit chain when --signer and the store allow it, and say so
    /// when they do not; required: begin nothing that cannot be recorded
    #[arg(long, env = "BACKSTAY_AUDIT", value_name = "WHEN", default_value = "auto")]
    pub(super) audit: WitnessMode,
}

/// Whether what is done must be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum WitnessMode {
    /// When it can be
    Auto,
    /// Else nothing begins (exit 3)
    Required,
}

/// For whoever makes DEKs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Repository and keys")]
pub(super) struct AlsoArgs {
    /// Another KEK that can open what is sealed now, such as the public half of a break-glass key
    /// whose private half lies in a safe, file:/PATH.pub, or one in another key service; can be given
    /// several times, in the variable with commas between
    #[arg(long, env = "BACKSTAY_ALSO_KEK", value_name = "URI", value_delimiter = ',')]
    pub(super) also_kek: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TlsMode {
    /// TCP without TLS
    Disabled,
    /// TLS when the server offers it
    Preferred,
    /// TLS, whoever answers
    Required,
    /// TLS, and the certificate is verified
    VerifyCa,
    /// TLS, and the certificate is verified and names the host
    VerifyIdentity,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Database server")]
pub(super) struct MysqlArgs {
    /// The server's Unix socket
    #[arg(long, env = "BACKSTAY_MYSQL_SOCKET", value_name = "PATH", conflicts_with = "mysql_host")]
    pub(super) mysql_socket: Option<PathBuf>,
    /// The server's host
    #[arg(long, env = "BACKSTAY_MYSQL_HOST", value_name = "HOST")]
    pub(super) mysql_host: Option<String>,
    /// The server's port
    #[arg(long, env = "BACKSTAY_MYSQL_PORT", value_name = "PORT", default_value_t = 3306)]
    pub(super) mysql_port: u16,
    /// The user that takes backups
    #[arg(long, env = "BACKSTAY_MYSQL_USER", value_name = "USER")]
    pub(super) mysql_user: Option<String>,
    /// A file that holds the user's password; a trailing newline is ignored
    #[arg(long, env = "BACKSTAY_MYSQL_PASSWORD_FILE", value_name = "FILE")]
    pub(super) mysql_password_file: Option<PathBuf>,
    /// TLS over TCP, 1.3 or 1.2; what verifies nothing needs --allow-insecure-mysql as well
    #[arg(
        long,
        env = "BACKSTAY_MYSQL_TLS",
        value_name = "MODE",
        default_value = "verify-identity"
    )]
    pub(super) mysql_tls: TlsMode,
    /// The CA to verify the server with, PEM
    #[arg(long, env = "BACKSTAY_MYSQL_TLS_CA", value_name = "FILE")]
    pub(super) mysql_tls_ca: Option<PathBuf>,
    /// A client certificate, PEM
    #[arg(long, env = "BACKSTAY_MYSQL_TLS_CERT", value_name = "FILE", requires = "mysql_tls_key")]
    pub(super) mysql_tls_cert: Option<PathBuf>,
    /// The client certificate's key, PEM
    #[arg(long, env = "BACKSTAY_MYSQL_TLS_KEY", value_name = "FILE", requires = "mysql_tls_cert")]
    pub(super) mysql_tls_key: Option<PathBuf>,
    /// Let --mysql-tls be disabled, preferred or required over TCP: whoever is in between can read
    /// and change what is backed up
    #[arg(long, env = "BACKSTAY_ALLOW_INSECURE_MYSQL")]
    pub(super) allow_insecure_mysql: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Engine {
    /// By the server's version: mariadb-backup for MariaDB, xtrabackup for MySQL, else clone
    Auto,
    /// Percona XtraBackup
    Xtrabackup,
    /// mariadb-backup
    MariadbBackup,
    /// MySQL's clone plugin; InnoDB tables only
    Clone,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backstay backup --mysql-socket /run/mysqld/mysqld.sock --mysql-user backup --mysql-password-file /run/secrets/pw
  backstay backup --also-kek file:/etc/backstay/break-glass.pub …
                                                   a second key opens it, too: its private half lies in a safe
  backstay backup --incremental …                  what changed since the newest backup; every seventh is a full one
  backstay backup --id nightly-$JOB_UID …          again with the same id: already complete, or a new attempt
  xtrabackup --backup --stream=xbstream … | backstay backup --source stdin --engine xtrabackup
  backstay backup --source https://db-0:8443 --source-ca ca.crt --source-cert tls.crt --source-key tls.key
                                                   from `backstay serve`, which needs no login from here
  backstay backup --source https://db-0:8443/cluster/backup --engine xtrabackup …
                                                   from a manager, whose stream has no verdict")]
pub(super) struct BackupArgs {
    #[command(flatten)]
    pub(super) mysql: MysqlArgs,
    /// What makes the backup
    #[arg(long, env = "BACKSTAY_ENGINE", value_name = "ENGINE", default_value = "auto")]
    pub(super) engine: Engine,
    /// Where the stream comes from: local (run the engine here), stdin, or https://HOST:PORT, which is
    /// an agent (`backstay serve`) or a manager that answers GET /cluster/backup
    #[arg(long, env = "BACKSTAY_SOURCE", value_name = "SOURCE", default_value = "local")]
    pub(super) source: String,
    /// The backup's name; the same name again never makes a second backup [default: a time stamp]
    #[arg(long, env = "BACKSTAY_ID", value_name = "ID")]
    pub(super) id: Option<BackupId>,
    /// The server's data directory [default: what the server says]
    #[arg(long, env = "BACKSTAY_DATADIR", value_name = "FOLDER")]
    pub(super) datadir: Option<PathBuf>,
    /// Take what changed since the newest good backup alone; a full one when that cannot be, and say why
    #[arg(long, env = "BACKSTAY_INCREMENTAL")]
    pub(super) incremental: bool,
    /// Stand on this backup
    #[arg(long, value_name = "ID", requires = "incremental")]
    pub(super) base: Option<BackupId>,
    /// How many backups a chain has at most, the full one counted; then a full one is taken
    #[arg(
        long,
        env = "BACKSTAY_CHAIN_LENGTH",
        value_name = "N",
        default_value_t = 7,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub(super) chain_length: u32,
    /// Zstandard level: auto (sampled as the stream flows) or -7 to 12
    #[arg(
        long,
        env = "BACKSTAY_LEVEL",
        value_name = "LEVEL",
        default_value = "auto",
        allow_hyphen_values = true
    )]
    pub(super) level: Level,
    /// Folder for the engine's small files, and for a whole clone with --engine clone
    #[arg(long, env = "BACKSTAY_SCRATCH", value_name = "FOLDER")]
    pub(super) scratch: Option<PathBuf>,
    /// CA of an https source, PEM
    #[arg(long, env = "BACKSTAY_SOURCE_CA", value_name = "FILE")]
    pub(super) source_ca: Option<PathBuf>,
    /// Client certificate for an https source, PEM
    #[arg(long, env = "BACKSTAY_SOURCE_CERT", value_name = "FILE", requires = "source_key")]
    pub(super) source_cert: Option<PathBuf>,
    /// The client certificate's key, PEM
    #[arg(long, env = "BACKSTAY_SOURCE_KEY", value_name = "FILE", requires = "source_cert")]
    pub(super) source_key: Option<PathBuf>,
    /// The name that the source's certificate bears, when it is not the URL's host
    #[arg(long, env = "BACKSTAY_SOURCE_SERVER_NAME", value_name = "NAME")]
    pub(super) source_server_name: Option<String>,
    #[command(flatten)]
    pub(super) also: AlsoArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backstay archive --mysql-host db-primary --mysql-user archiver --mysql-password-file /run/secrets/pw
  backstay archive --until-current …         ship what there is now, and end: for a CronJob
  backstay archive --purge-archived 24h …    and let the server forget what is durable and a day old

Several archivers may run: one owns the log, the others stand by and take over when it has been silent
for 30 s. Exit 8 means that another one has taken over, 7 that the server's log does not continue what
is archived (it was reset or rebuilt, or lost transactions in a crash): the message says which.")]
pub(super) struct ArchiveArgs {
    #[command(flatten)]
    pub(super) mysql: MysqlArgs,
    /// How long a committed transaction may wait before it is shipped: 1s, 500ms
    #[arg(long, env = "BACKSTAY_RPO", value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(super) rpo: Duration,
    /// Answer /metrics, /healthz and /readyz there, such as 0.0.0.0:9405
    #[arg(long, env = "BACKSTAY_LISTEN", value_name = "ADDR")]
    pub(super) listen: Option<SocketAddr>,
    /// End when everything is durable that the server had at the beginning
    #[arg(long)]
    pub(super) until_current: bool,
    /// Claim the log now, though another archiver owns it
    #[arg(long)]
    pub(super) takeover: bool,
    /// Go on with a server that does not continue what is archived, such as a restored one, as a new
    /// line of life; take a base backup first
    #[arg(long)]
    pub(super) new_history: bool,
    /// Purge the server's binary logs that are durable and at least this old: 24h
    #[arg(long, env = "BACKSTAY_PURGE_ARCHIVED", value_name = "AGE", value_parser = duration)]
    pub(super) purge_archived: Option<Duration>,
    #[command(flatten)]
    pub(super) also: AlsoArgs,
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::Span = text.parse().map_err(|e: jiff::Error| e.to_string())?;
    let parsed = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours());
    Duration::try_from(parsed.map_err(|e| e.to_string())?)
        .map_err(|_| "a duration is not negative".to_owned())
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backstay restore --datadir /var/lib/mysql                      everything that is archived
  backstay restore --datadir /var/lib/mysql --to-time 2026-11-21T17:12:30Z --plan
                                                                 what would that be?
  backstay restore --datadir /var/lib/mysql --before-gtid GTID   before this transaction
  backstay restore --datadir /var/lib/mysql --backup ID          this backup alone
  backstay restore --datadir /var/lib/mysql --backup ID --no-start
                                                                 on a host without a server; nothing is proven

`backstay window` shows what can be restored.

The folder must be empty, or hold this command's own unfinished work, which is then done again.
Run as root to have the files given to --owner; otherwise they belong to you.")]
pub(super) struct RestoreArgs {
    /// The data directory to fill; empty, or not there yet
    #[arg(long, env = "BACKSTAY_DATADIR", value_name = "FOLDER")]
    pub(super) datadir: PathBuf,
    /// The backup to begin with [default: the newest one that serves]; without a target it is
    /// restored alone, and no binary log is replayed
    #[arg(long, env = "BACKSTAY_BACKUP", value_name = "ID")]
    pub(super) backup: Option<BackupId>,
    /// End before the first transaction that was committed later than this instant, RFC 3339 with
    /// an offset [default: replay everything that is archived]
    #[arg(
        long,
        env = "BACKSTAY_TO_TIME",
        value_name = "TIME",
        group = "target",
        help_heading = "Target"
    )]
    pub(super) to_time: Option<Timestamp>,
    /// End directly behind the last of these transactions
    #[arg(
        long,
        env = "BACKSTAY_TO_GTID",
        value_name = "GTIDS",
        group = "target",
        help_heading = "Target"
    )]
    pub(super) to_gtid: Option<GtidState>,
    /// End directly before this transaction
    #[arg(
        long,
        env = "BACKSTAY_BEFORE_GTID",
        value_name = "GTID",
        group = "target",
        help_heading = "Target"
    )]
    pub(super) before_gtid: Option<Gtid>,
    /// Leave this transaction out; can be given several times
    #[arg(long, value_name = "GTID", help_heading = "Target")]
    pub(super) skip_gtid: Vec<Gtid>,
    /// Follow this history instead of the one that is archived now; `backstay window` lists them
    #[arg(long, value_name = "ID", group = "line", help_heading = "Target")]
    pub(super) history: Option<HistoryId>,
    /// Follow the transactions that were left behind at this fork record, which a restore
    /// otherwise never replays; `backstay window` lists them
    #[arg(long, value_name = "RECORD", group = "line", help_heading = "Target")]
    pub(super) fork: Option<u64>,
    /// Say what would be done, and touch nothing
    #[arg(long, help_heading = "Target")]
    pub(super) plan: bool,
    /// Do not start a server on the result; the restore is then complete and NOT proven
    #[arg(long)]
    pub(super) no_start: bool,
    /// The server program for the proof [default: mariadbd or mysqld, as the backup needs]
    #[arg(long, env = "BACKSTAY_SERVER", value_name = "PROGRAM")]
    pub(super) server: Option<PathBuf>,
    /// Who owns the files afterwards, USER[:GROUP] [default: mysql when root and there is such a user]
    #[arg(long, env = "BACKSTAY_OWNER", value_name = "USER[:GROUP]")]
    pub(super) owner: Option<String>,
    #[command(flatten)]
    pub(super) witness: WitnessArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  backstay show 20261120T204317Z-1f0c9a7e --format json | jq .manifest.server"
)]
pub(super) struct ShowArgs {
    /// The backup [default: the newest complete one]
    pub(super) backup: Option<BackupId>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backstay verify                            everything, opening every chunk
  backstay verify 20261120T204317Z-1f0c9a7e  one backup
  backstay verify --quick                    stored hashes and sizes; needs no right to decrypt
  backstay verify --at-least 17:9f86d0…      and prove that nothing was rolled back since that head")]
pub(super) struct VerifyArgs {
    /// The backup [default: all]
    pub(super) backup: Option<BackupId>,
    /// Stored hashes and sizes only; nothing is decrypted
    #[arg(long)]
    pub(super) quick: bool,
    #[command(flatten)]
    pub(super) witness: WitnessArgs,
}
