//! `doctor` on the command line: what was given, and how the answer is told.

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    args::{AlsoArgs, Engine, Global, MysqlArgs},
    output::Text,
};
use crate::{
    crypto::{Fault, signer::SignerError},
    jobs::{
        JobError,
        doctor::{self, Check, Part},
    },
    pipeline::PipelineError,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backstay doctor --mysql-socket /run/mysqld/mysqld.sock --mysql-user backup --mysql-password-file /run/secrets/pw
  backstay doctor --repo s3://backups/mysql --cluster shop --kek file:/etc/backstay/kek --datadir /var/lib/mysql
  backstay doctor --as writer --kek vault:transit/shop --signer vault:transit/backstay-signer --trust /etc/backstay/trust
                                             may it do what a writer needs, and no more?
  backstay doctor --format json | jq '.[] | select(.status == \"fail\")'

What is not given is not checked. Exit code 0 when nothing failed, 3 otherwise; warnings do not count.
A probe of a few bytes is written below the cluster's folder, and removed where that is allowed. With
--lock, two more are, which stay for as long as they are locked.")]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    mysql: MysqlArgs,
    /// What will make the backups
    #[arg(long, env = "BACKSTAY_ENGINE", value_name = "ENGINE", default_value = "auto")]
    engine: Engine,
    /// Folder for a whole clone, with the clone engine; its free space is checked
    #[arg(long, env = "BACKSTAY_SCRATCH", value_name = "FOLDER")]
    scratch: Option<PathBuf>,
    /// What this identity is meant to be: a writer that may unwrap is warned of, and a reader that
    /// may sign; one that lacks a right of its own fails [default: it is only told what it may do]
    #[arg(long = "as", env = "BACKSTAY_AS", value_name = "SIDE")]
    side: Option<Side>,
    /// The folder that a restore would fill; its free space is checked
    #[arg(long, env = "BACKSTAY_DATADIR", value_name = "FOLDER")]
    datadir: Option<PathBuf>,
    #[command(flatten)]
    also: AlsoArgs,
}

/// For which side of the work an identity is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    /// Backups and archives: wraps and signs
    Writer,
    /// Restore, verify, find: unwraps
    Reader,
}

/// An array in JSON, a line a check in text.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Checks(pub(super) Vec<Check>);

impl Text for Checks {
    fn text(&self) -> String {
        let width = self.0.iter().map(|check| check.check.len()).max().unwrap_or_default();
        let mut out = String::new();
        for Check { check, status, detail, remedy, .. } in &self.0 {
            let arrow = if remedy.is_empty() { "" } else { " → " };
            let (status, detail) = (status.name(), detail.replace('\n', " "));
            let _ = writeln!(out, "{status:11}  {check:width$}  {detail}{arrow}{remedy}");
        }
        let count = |status| self.0.iter().filter(|check| check.status == status).count();
        let (fail, warn) = (count(doctor::Status::Fail), count(doctor::Status::Warn));
        let _ = writeln!(out, "{} checks, {fail} failed, {warn} warned.", self.0.len());
        out
    }
}

/// What was given, with a part that cannot be used as a finding rather than an error.
fn part<T>(given: bool, flag: &'static str, part: impl FnOnce() -> Result<T, JobError>) -> Part<T> {
    if given { judged(part()) } else { Part::Missing(flag) }
}

fn judged<T>(part: Result<T, JobError>) -> Part<T> {
    match part {
        Ok(part) => Part::Given(part),
        Err(error) if is_denied(&error) => Part::Denied(error.to_string()),
        Err(error) => Part::Bad(error.to_string()),
    }
}

/// Whether a service knows us, and does not let us.
fn is_denied(error: &JobError) -> bool {
    matches!(
        error,
        JobError::Pipeline(PipelineError::Signer(SignerError::Service(error)))
            if error.fault == Fault::Denied
    )
}

pub(super) async fn run(global: &Global, args: &DoctorArgs) -> Checks {
    let mysql = &args.mysql;
    let store = match &global.repo {
        None => Part::Missing("--repo"),
        Some(_) => match global.open_store().await {
            Ok(store) => Part::Given(store),
            Err(error) => Part::Bad(error.to_string()),
        },
    };
    let has_kek = global.kek.is_some();
    // Readers have no signer, so that none lies beside their KEK is no fault.
    let has_signer =
        global.signer.is_some() || global.default_signer().is_some_and(|path| path.exists());
    let request = doctor::Request {
        database: part(
            mysql.mysql_socket.is_some() || mysql.mysql_host.is_some(),
            "--mysql-socket or --mysql-host",
            || mysql.required(),
        ),
        engine: args.engine.kind(),
        store,
        lock: match global.lock_policy() {
            Ok(None) => Part::Missing("--lock"),
            Ok(Some(policy)) => Part::Given(policy),
            Err(error) => Part::Bad(error.to_string()),
        },
        cluster: match &global.cluster {
            Some(cluster) => Part::Given(cluster.clone()),
            None => Part::Missing("--cluster"),
        },
        kms: if has_kek { judged(global.kms().await) } else { Part::Missing("--kek") },
        also: if has_kek && !args.also.also_kek.is_empty() {
            judged(args.also.for_kek(global).await)
        } else {
            Part::Missing("--also-kek")
        },
        signer: if has_signer { judged(global.signer().await) } else { Part::Missing("--signer") },
        trust: part(has_kek || global.trust.is_some(), "--trust", || global.trusted()),
        side: args.side.map(|side| match side {
            Side::Writer => doctor::Side::Writer,
            Side::Reader => doctor::Side::Reader,
        }),
        scratch: args.scratch.clone(),
        datadir: args.datadir.clone(),
    };
    Checks(doctor::run(&request).await)
}
