//! `keys` on the command line.

use std::{process::ExitCode, sync::Arc};

use clap::Subcommand;

use super::{
    args::Global,
    exit::{self, Exit},
    output, providers,
    run::{success, with_progress},
    wire,
};
use crate::{
    format::Role,
    jobs::{
        JobError,
        keys::{self, rewrap::FailedKind},
    },
    pipeline::Progress,
};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a KEK, its signer and the trust file, each readable by you alone
    #[command(after_help = "\
Examples:
  backstay keys new --kek file:/etc/backstay/kek

makes /etc/backstay/kek         wraps and unwraps: needed to restore. Keep a copy elsewhere: without
                                it no backup can ever be opened
      /etc/backstay/kek.pub     wraps only: give this one to backup Jobs
      /etc/backstay/kek.signer  signs what a run writes: backup Jobs need it
      /etc/backstay/kek.trust   says whom to believe: everyone needs it

  backstay keys new --kek file:/media/stick/break-glass --kek-only

makes a second KEK for a cluster that has a signer: a break-glass key, or the successor of the first one.")]
    New {
        /// A symmetric KEK (AES-256), which has no public half
        #[arg(long)]
        symmetric: bool,
        /// The KEK alone, without a signer and a trust file of its own
        #[arg(long)]
        kek_only: bool,
    },
    /// Write a trust file that believes the signer of --signer, wherever its key is
    #[command(after_help = "\
Examples:
  backstay keys trust --signer vault:transit/backstay-signer --trust /etc/backstay/trust
  backstay keys trust --signer file:/etc/backstay/reader.signer --trust reader --role read
                                                       believed when it says that it only reads
  backstay keys trust --pin --trust /etc/backstay/trust --repo s3://backups/mysql --cluster shop

An existing file is never touched, but for --pin: to believe several signers, put their entries into one
file. A signer vouches for all clusters that it signs for; with a pin nobody can put one of them into the
place of another.")]
    Trust {
        /// Believe it only for runs of this role: backup, archive, rewrap, prune, copy or read; can be
        /// given several times [default: all]
        #[arg(long, value_name = "ROLE", conflicts_with = "pin")]
        role: Vec<RoleName>,
        /// Pin the uuid of --cluster, as --repo has it now, in the trust file that is there
        #[arg(long)]
        pin: bool,
    },
    /// Wrap every DEK of the cluster for another KEK, too; no data is touched
    #[command(after_help = "\
Examples:
  backstay keys rewrap --to file:/etc/backstay/kek-2027.pub        every backup and archive made so far is
                                                                   opened by kek-2027, too
  backstay keys rewrap --to file:/etc/backstay/kek-2027 --drop file:3f0c…
                                                                   and no more by the old one
  backstay keys rewrap --to file:/media/stick/break-glass.pub      give old backups a break-glass key

--kek opens the DEKs, --to wraps them. Wraps by other KEKs stay. Run it again when it was stopped or
something failed: what is done is skipped. Exit 0 when every DEK has the wrap; 3 when --kek does not open
some, 5 when the store or a key service failed, 6 when a record is not believed, 9 when it was stopped.

Rewrapping does not cure a KEK that was compromised: whoever has it, and a copy of the old key records,
opens all that was sealed for it. Take new backups for a new KEK, and see that the old ones go.")]
    Rewrap {
        /// The KEK that shall open every DEK: file:/PATH, its public half /PATH.pub, or one in a key service
        #[arg(long, value_name = "URI")]
        to: String,
        /// Then take away the wraps by this KEK, given by its name in `keys status`: only when every
        /// DEK has the new wrap, and --to was seen to open it; can be given several times
        #[arg(long, value_name = "NAME")]
        drop: Vec<String>,
    },
    /// Tell which KEK opens what, since when, and what would be lost with it; no key is needed
    #[command(after_help = "\
Examples:
  backstay keys status --trust /etc/backstay/kek.trust
  backstay keys status --format json | jq '.keks[] | select(.only.deks > 0)'

It reads the key records, and opens nothing. Exit 0, also with warnings; 6 when a record is not believed.")]
    Status,
}

/// A role by its name.
#[derive(Debug, Clone)]
pub(super) struct RoleName(String);

impl std::str::FromStr for RoleName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let role: Result<Role, _> = serde_json::from_value(text.into());
        role.map(|role| Self(role.name().to_owned()))
            .map_err(|_| "give backup, archive, rewrap, prune, copy or read".to_owned())
    }
}

pub(super) async fn run(
    global: &Global,
    command: KeysCommand,
    progress: &Arc<Progress>,
) -> Result<ExitCode, JobError> {
    match command {
        KeysCommand::New { symmetric, kek_only } => {
            let made = keys::new(&global.kek_path()?, keys::Kind { symmetric, kek_only })?;
            Ok(success(global.format, &made))
        }
        KeysCommand::Trust { pin: true, .. } => {
            let (path, trust) = (global.trust_path()?, global.trusted()?);
            let made = keys::pin(&path, trust, &*global.repository().await?).await?;
            Ok(success(global.format, &made))
        }
        KeysCommand::Trust { role, pin: false } => {
            let roles: Vec<String> = role.into_iter().map(|role| role.0).collect();
            let made = keys::trust(global.trust_file()?, &*global.signer().await?, &roles)?;
            Ok(success(global.format, &made))
        }
        KeysCommand::Rewrap { to, drop } => Box::pin(rewrap(global, &to, drop, progress)).await,
        KeysCommand::Status => {
            let repository = global.repository().await?;
            global.fresh(&repository).await?;
            let status = keys::status::run(&repository).await?;
            let sound = status.findings.is_empty();
            output::success(global.format, &status);
            Ok(if sound { ExitCode::SUCCESS } else { Exit::Integrity.into() })
        }
    }
}

async fn rewrap(
    global: &Global,
    to: &str,
    drop: Vec<String>,
    progress: &Arc<Progress>,
) -> Result<ExitCode, JobError> {
    let (from, signer) = (global.kms().await?, global.signer().await?);
    let to = providers::kms(to).await?;
    let repository = global.repository().await?;
    global.fresh(&repository).await?;
    let job = keys::rewrap::run(keys::rewrap::Request {
        repository,
        from,
        to,
        drop,
        signer,
        identity: wire::identity(),
        exit_of: exit::of,
        progress: Arc::clone(progress),
    });
    let result = with_progress("rewrap", progress, Box::pin(job)).await?;
    output::success(global.format, &result);
    Ok(match (result.status, result.worst()) {
        (_, None) => ExitCode::SUCCESS,
        ("stopped", _) => Exit::Stopped.into(),
        (_, Some(FailedKind::Unavailable)) => Exit::Storage.into(),
        (_, Some(FailedKind::OtherKek)) => Exit::Preflight.into(),
        (_, Some(FailedKind::Integrity)) => Exit::Integrity.into(),
    })
}
