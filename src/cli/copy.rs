//! `copy` on the command line.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

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
        JobError,
        copy::{self, Scope},
    },
    model::{Age, BackupId, Timestamp},
    pipeline::Progress,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backstay copy --to s3://dr-backups/mysql                          everything that is not there yet
  backstay copy --to s3://dr-backups/mysql --since 30d              what is needed to reach every instant of 30 days
  backstay copy --to file:///mnt/usb/mysql --backup nightly-17      one backup, without binary logs
  backstay copy --to s3://dr-backups/mysql --plan                   what would be copied

Nothing is decrypted: no KEK is needed, and both sides have the same keys until `backstay keys rewrap --repo TO`
gives the copy a KEK of its own. It needs Get and List here, Get, List and Put there, and the signer. Run it again
at any time: what is there is not copied again, and what was half done is finished.

The other side has an audit chain of its own, and a copy of this one's below origin/. It can be pruned by itself:
what was removed there is not copied again. Exit 6 when something is damaged, 8 when something else is there.")]
pub(super) struct CopyArgs {
    /// Where to: s3://BUCKET/PREFIX, gs://…, az://CONTAINER/PREFIX, file:///PATH
    #[arg(long, env = "BACKSTAY_COPY_TO", value_name = "URL", hide_env_values = true)]
    to: String,
    /// Another endpoint of the other side than the provider's own
    #[arg(long, env = "BACKSTAY_COPY_TO_ENDPOINT", value_name = "URL")]
    to_endpoint: Option<String>,
    /// The region of the other side's bucket [default: what the environment says]
    #[arg(long, env = "BACKSTAY_COPY_TO_REGION", value_name = "REGION")]
    to_region: Option<String>,
    /// Whether the other side's bucket stands in the path [default: true with --to-endpoint]
    #[arg(long, env = "BACKSTAY_COPY_TO_PATH_STYLE", value_name = "BOOL")]
    to_path_style: Option<bool>,
    /// A private CA of the other side, PEM
    #[arg(long, env = "BACKSTAY_COPY_TO_CA", value_name = "FILE")]
    to_ca: Option<PathBuf>,
    /// Access keys of the other side (AWS credentials file), when they are not those of this one
    #[arg(long, env = "BACKSTAY_COPY_TO_CREDENTIALS", value_name = "FILE")]
    to_credentials: Option<PathBuf>,
    /// One backup alone
    #[arg(long, value_name = "ID", conflicts_with = "since")]
    backup: Option<BackupId>,
    /// What is needed to reach every instant since then: an age like 30d, or 2026-11-21T17:12:30Z
    #[arg(long, env = "BACKSTAY_COPY_SINCE", value_name = "AGE|TIME", value_parser = since)]
    since: Option<Since>,
    /// Begin the copy's binlog log anew when the original was pruned further than it was copied; the
    /// copy forgets what it has of the log so far
    #[arg(long)]
    restart_log: bool,
    /// Say what would be copied, and touch nothing
    #[arg(long)]
    plan: bool,
}

/// Since when.
#[derive(Debug, Clone, Copy)]
enum Since {
    Age(Age),
    Time(Timestamp),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(age) = text.parse() {
        return Ok(Since::Age(age));
    }
    text.parse().map(Since::Time).map_err(|_| {
        format!(
            "`{text}` is neither an age, such as 30d, nor an instant, such as 2026-11-21T17:12:30Z"
        )
    })
}

pub(super) async fn run(
    global: &Global,
    args: CopyArgs,
    progress: &Arc<Progress>,
) -> Result<ExitCode, JobError> {
    let scope = match (&args.backup, args.since) {
        (Some(id), _) => Scope::Backup(id.clone()),
        (None, Some(Since::Age(age))) => Scope::Since(Timestamp::now().minus(age.duration())),
        (None, Some(Since::Time(at))) => Scope::Since(at),
        (None, None) => Scope::All,
    };
    let signer = global.signer().await?;
    let from = global.original().await?;
    global.fresh(&from).await?;
    let to = global
        .other_repository(wire::Elsewhere {
            url: &args.to,
            endpoint: args.to_endpoint.as_ref(),
            region: args.to_region.as_ref(),
            path_style: args.to_path_style,
            ca: args.to_ca.as_ref(),
            credentials: args.to_credentials.as_ref(),
        })
        .await?;
    let request = copy::Request {
        from,
        to,
        signer,
        identity: wire::identity(),
        scope,
        restart_log: args.restart_log,
        exit_of: exit::of,
        progress: Arc::clone(progress),
    };
    if args.plan {
        return Ok(success(global.format, &copy::planned(&request).await?));
    }
    let copied = with_progress("copy", progress, Box::pin(copy::run(&request))).await?;
    output::success(global.format, &copied);
    let differs = copied.backups.iter().any(|backup| backup.status == "differs");
    Ok(match copied.status {
        "stopped" => Exit::Stopped.into(),
        "incomplete" if differs => Exit::Fenced.into(),
        "incomplete" => Exit::Integrity.into(),
        _ => ExitCode::SUCCESS,
    })
}
