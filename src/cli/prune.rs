//! `prune`, `hold` and `unhold` on the command line.

use std::{process::ExitCode, sync::Arc};

use clap::Args;

use super::{
    args::Global,
    exit::{self, Exit},
    output,
    run::{success, with_progress},
    wire,
};
use crate::{
    jobs::{
        JobError, hold,
        prune::{self, plan::Policy},
    },
    model::{Age, BackupId},
    pipeline::Progress,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backstay prune --window 30d --keep-monthly 12 --plan    what would go, what stays, and why; needs no delete right
  backstay prune --window 30d --keep-monthly 12           every instant of 30 days, and one backup of each of 12 months
  backstay prune --keep-last 7                            seven backups, and all binary logs that follow the oldest
  backstay prune --keep-last 7 --grace 0s                 at once, without a second look: think of who restores now

A backup stays when any rule keeps it, when it is held, when another one was built on it, or when it is the last
good one. Whatever else there is gets a tombstone, and is removed by the first run after the time of grace, if no
rule keeps it then. What the store locks is told, and removed after the lock. Run it again at any time: daily, say.

It needs Get, List, Put and Delete on the cluster's folder and the signer, and no right to decrypt; with --plan Get
and List alone. Exit 2 when no rule is given, 3 when the clock is wrong, 6 when what is stored is not believed.")]
pub(super) struct PruneArgs {
    /// Keep so many of the newest backups
    #[arg(long, env = "BACKSTAY_KEEP_LAST", value_name = "N", help_heading = "What to keep")]
    keep_last: Option<u32>,
    /// Keep backups of this age at most: 48h, 30d, 2w
    #[arg(long, env = "BACKSTAY_KEEP_WITHIN", value_name = "AGE", help_heading = "What to keep")]
    keep_within: Option<Age>,
    /// Keep the newest backup of each of so many hours that have one (UTC)
    #[arg(long, env = "BACKSTAY_KEEP_HOURLY", value_name = "N", help_heading = "What to keep")]
    keep_hourly: Option<u32>,
    /// Of each of so many days
    #[arg(long, env = "BACKSTAY_KEEP_DAILY", value_name = "N", help_heading = "What to keep")]
    keep_daily: Option<u32>,
    /// Of each of so many weeks, which begin on Monday
    #[arg(long, env = "BACKSTAY_KEEP_WEEKLY", value_name = "N", help_heading = "What to keep")]
    keep_weekly: Option<u32>,
    /// Of each of so many months
    #[arg(long, env = "BACKSTAY_KEEP_MONTHLY", value_name = "N", help_heading = "What to keep")]
    keep_monthly: Option<u32>,
    /// Of each of so many years
    #[arg(long, env = "BACKSTAY_KEEP_YEARLY", value_name = "N", help_heading = "What to keep")]
    keep_yearly: Option<u32>,
    /// Keep every instant of so much time reachable: the base backup before it, all that are in it, and
    /// the binary logs that follow [default: all binary logs that follow the oldest backup stay]
    #[arg(long, env = "BACKSTAY_WINDOW", value_name = "AGE", help_heading = "What to keep")]
    window: Option<Age>,
    /// How long a tombstone stands before its backup is removed: longer than any restore takes
    #[arg(long, env = "BACKSTAY_GRACE", value_name = "AGE", default_value = "48h")]
    grace: Age,
    /// Say what would be done, and touch nothing
    #[arg(long)]
    plan: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  backstay hold 20261120T204317Z-1f0c9a7e --reason 'case 4711, ask legal'

Held backups are kept with whatever they were built on. The record is signed and audited; nothing but `unhold` ends
it. It holds Backstay's own prune back, and nobody else who may delete: that is what Object Lock is for.")]
pub(super) struct HoldArgs {
    /// The backup
    backup: BackupId,
    /// Why: it is told wherever the backup is listed
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  backstay unhold 20261120T204317Z-1f0c9a7e --reason 'case 4711 is closed'")]
pub(super) struct UnholdArgs {
    /// The backup
    backup: BackupId,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

impl PruneArgs {
    fn policy(&self) -> Policy {
        Policy {
            last: self.keep_last,
            within: self.keep_within,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            window: self.window,
        }
    }
}

pub(super) async fn run(
    global: &Global,
    args: PruneArgs,
    progress: &Arc<Progress>,
) -> Result<ExitCode, JobError> {
    let policy = args.policy();
    if args.plan {
        let repository = global.repository().await?;
        global.fresh(&repository).await?;
        let planned = prune::planned(&repository, &policy, args.grace, None).await?;
        return Ok(success(global.format, &planned));
    }
    let signer = global.signer().await?;
    let repository = global.repository().await?;
    global.fresh(&repository).await?;
    let request = prune::Request {
        repository,
        signer,
        identity: wire::identity(),
        policy,
        grace: args.grace,
        exit_of: exit::of,
        now: None,
        progress: Arc::clone(progress),
    };
    let pruned = with_progress("prune", progress, prune::run(&request)).await?;
    output::success(global.format, &pruned);
    Ok(if pruned.status == "stopped" { Exit::Stopped.into() } else { ExitCode::SUCCESS })
}

pub(super) async fn hold(global: &Global, args: HoldArgs) -> Result<ExitCode, JobError> {
    let request = request(global, args.backup, args.reason).await?;
    Ok(success(global.format, &hold::hold(&request).await?))
}

pub(super) async fn unhold(global: &Global, args: UnholdArgs) -> Result<ExitCode, JobError> {
    let request = request(global, args.backup, args.reason).await?;
    Ok(success(global.format, &hold::unhold(&request).await?))
}

async fn request(global: &Global, id: BackupId, reason: String) -> Result<hold::Request, JobError> {
    let signer = global.signer().await?;
    let repository = global.repository().await?;
    global.fresh(&repository).await?;
    Ok(hold::Request { repository, signer, identity: wire::identity(), id, reason })
}
