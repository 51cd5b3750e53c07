//! `drill`: its arguments, and how it ends.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    args::{Global, duration},
    exit::{self, Exit},
    output::{self, Text},
    run::with_progress,
    wire,
};
use crate::{
    crypto::{self, kms::Kms},
    jobs::{
        JobError,
        drill::{self, Assertions, Drilled, Point},
        restore::Target,
    },
    model::{BackupId, ByteSize, Gtid, GtidState, Timestamp},
    mysql::CheckDepth,
    pipeline::{PipelineError, Progress},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backstay drill --scratch /scratch                          everything that is archived, to its end
  backstay drill --scratch /scratch --random --last 7d       any instant of the last week
  backstay drill --scratch /scratch --random --assertions shop.sql --recovery-target 30m
                                                             and the data must be what shop.sql says
  backstay drill --scratch /scratch --to-time 2026-11-21T17:12:30Z

An assertion is a question whose answer is one row in which every column is true; the comment before
it is its name:
  -- no order without a customer
  SELECT COUNT(*) = 0 FROM shop.orders o LEFT JOIN shop.customers c ON c.id = o.customer WHERE c.id IS NULL;
  -- the newest order is at most ten minutes older than the point
  SELECT MAX(created_at) > @target_time - INTERVAL 10 MINUTE FROM shop.orders;

What it recovers lies in a folder of its own below --scratch, and is gone when it ends, however it
ends; what a killed drill has left goes with the next one. No database of yours is touched.

Exit 0 when everything holds; 6 when a backup, a table or an assertion is not what it should be, 7
when the point cannot be recovered or took longer than --recovery-target, 3 when the disk or the
programs do not fit.")]
pub(super) struct DrillArgs {
    /// Any instant that can be recovered, each as likely as every other [default: the latest]
    #[arg(long, env = "BACKSTAY_RANDOM", group = "point", help_heading = "Point")]
    random: bool,
    /// Draw the point with this number: with the same windows it is the same point again
    #[arg(long, value_name = "N", requires = "random", help_heading = "Point")]
    seed: Option<u64>,
    /// Draw from what happened so long ago at most: 7d
    #[arg(
        long,
        env = "BACKSTAY_LAST",
        value_name = "DURATION",
        requires = "random",
        value_parser = duration,
        help_heading = "Point"
    )]
    last: Option<Duration>,
    /// This instant, RFC 3339 with an offset, as `restore` takes it
    #[arg(long, value_name = "TIME", group = "point", help_heading = "Point")]
    to_time: Option<Timestamp>,
    /// Directly behind the last of these transactions
    #[arg(long, value_name = "GTIDS", group = "point", help_heading = "Point")]
    to_gtid: Option<GtidState>,
    /// Directly before this transaction
    #[arg(long, value_name = "GTID", group = "point", help_heading = "Point")]
    before_gtid: Option<Gtid>,
    /// Begin with this backup; without a point it is recovered alone, and no binary log is replayed
    #[arg(long, value_name = "ID", conflicts_with = "random", help_heading = "Point")]
    backup: Option<BackupId>,
    /// A folder with room for the data; what is made in it is removed [default: the system's
    /// temporary folder]
    #[arg(long, env = "BACKSTAY_SCRATCH", value_name = "FOLDER")]
    scratch: Option<PathBuf>,
    /// Refuse to begin when more disk would be needed: 200GiB
    #[arg(long, env = "BACKSTAY_MAX_DISK", value_name = "SIZE")]
    max_disk: Option<ByteSize>,
    /// How closely CHECK TABLE looks at every table
    #[arg(long, env = "BACKSTAY_CHECK_TABLES", value_name = "DEPTH", default_value = "medium")]
    check_tables: Depth,
    /// A file with questions about the recovered data that must be answered with true
    #[arg(long, env = "BACKSTAY_ASSERTIONS", value_name = "FILE")]
    assertions: Option<PathBuf>,
    /// How long one assertion may take
    #[arg(
        long,
        env = "BACKSTAY_ASSERTION_LIMIT",
        value_name = "DURATION",
        default_value = "5m",
        value_parser = duration
    )]
    assertion_limit: Duration,
    /// Fail when recovering takes longer than this: 30m
    #[arg(
        long,
        env = "BACKSTAY_RECOVERY_TARGET",
        value_name = "DURATION",
        value_parser = duration
    )]
    recovery_target: Option<Duration>,
    /// The server program [default: mariadbd or mysqld, as the backup needs]
    #[arg(long, env = "BACKSTAY_SERVER", value_name = "PROGRAM")]
    server: Option<PathBuf>,
    /// Store no evidence; then no signer is needed, and no right to write
    #[arg(long)]
    no_evidence: bool,
}

/// How closely tables are checked, as `CHECK TABLE` calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Depth {
    /// Not at all
    None,
    /// Without scanning the rows
    Quick,
    /// As CHECK TABLE does by itself
    Medium,
    /// Every row by every index; slow
    Extended,
}

impl Depth {
    fn of(self) -> Option<CheckDepth> {
        match self {
            Self::None => None,
            Self::Quick => Some(CheckDepth::Quick),
            Self::Medium => Some(CheckDepth::Medium),
            Self::Extended => Some(CheckDepth::Extended),
        }
    }
}

pub(super) async fn run(
    global: &Global,
    args: DrillArgs,
    progress: &Arc<Progress>,
) -> Result<ExitCode, JobError> {
    let point = point(&args)?;
    let assertions = args.assertions.as_deref().map(read_assertions).transpose()?;
    let kms: Arc<dyn Kms> = global.kms().await?.into();
    let signer = if args.no_evidence { None } else { Some(global.signer().await?) };
    let repository = global.repository().await?;
    global.fresh(&repository).await?;
    let job = drill::run(drill::Request {
        repository,
        kms,
        signer,
        identity: wire::identity(),
        exit_of: exit::of,
        point,
        scratch: args.scratch,
        max_disk: args.max_disk.map(|size| size.0),
        check: args.check_tables.of(),
        assertions,
        assertion_limit: args.assertion_limit,
        recovery_target: args.recovery_target,
        server: args.server,
        progress: Arc::clone(progress),
    });
    let drilled = with_progress("drill", progress, Box::pin(job)).await?;
    let exit = exit(&drilled);
    let error = drilled.error.as_ref().map(ToString::to_string);
    if let Some(exit) = exit {
        let failures = serde_json::to_string(&drilled.failures).unwrap_or_default();
        let why = error.as_deref().unwrap_or("see the result");
        tracing::error!(
            exit_code = exit as u8,
            kind = exit.name(),
            failures,
            "the drill failed: {why}"
        );
    }
    output::success(
        global.format,
        &Told {
            drilled: &drilled,
            exit_code: exit.map_or(0, |exit| exit as u8),
            retry: exit.is_some_and(Exit::is_worth_a_retry),
            error,
        },
    );
    Ok(exit.map_or(ExitCode::SUCCESS, ExitCode::from))
}

fn point(args: &DrillArgs) -> Result<Point, JobError> {
    let chosen = |target| Point::Chosen { target, backup: args.backup.clone() };
    Ok(match (&args.to_time, &args.to_gtid, &args.before_gtid) {
        (Some(at), ..) => chosen(Target::Time(*at)),
        (_, Some(state), _) => chosen(Target::Gtid(state.clone())),
        (.., Some(gtid)) => chosen(Target::Before(gtid.clone())),
        _ if args.backup.is_some() => chosen(Target::Backup),
        _ if args.random => {
            let drawn: [u8; 4] = crypto::random().map_err(PipelineError::from)?;
            let seed = args.seed.unwrap_or_else(|| u32::from_be_bytes(drawn).into());
            Point::Random { seed, last: args.last }
        }
        _ => chosen(Target::Latest),
    })
}

fn read_assertions(path: &Path) -> Result<Assertions, JobError> {
    let usage = |what: String| {
        JobError::Usage {
        what,
        hint: "an assertion is a SELECT that gives one row of true columns; docs/drill.md has examples".into(),
    }
    };
    let text = std::fs::read_to_string(path)
        .map_err(|e| usage(format!("read the assertions {}: {e}", path.display())))?;
    Assertions::parse(&text).map_err(|why| usage(format!("{}: {why}", path.display())))
}

/// How a drill ends that did not hold.
fn exit(drilled: &Drilled) -> Option<Exit> {
    match &drilled.error {
        Some(error) => Some(error.into()),
        None if drilled.is_damaged() => Some(Exit::Integrity),
        None => (!drilled.failures.is_empty()).then_some(Exit::Target),
    }
}

/// A result, and how the command ends with it.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    drilled: &'a Drilled,
    exit_code: u8,
    retry: bool,
    error: Option<String>,
}

impl Text for Told<'_> {
    fn text(&self) -> String {
        self.drilled.text()
    }
}
