//! From parsed arguments to a job, and from its result to output and an exit code.

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap_complete::generate;
use serde::Serialize;

use super::{
    args::{
        ArchiveArgs, BackupArgs, Cli, Command, Engine, Format, Global, RestoreArgs, VerifyArgs,
    },
    audit, copy, doctor, drill,
    exit::{self, Exit},
    exporter, find, keys, listen,
    output::{self, Text},
    progress,
    progress_file::ProgressFile,
    prune, report, serve, wire,
};
use crate::{
    jobs::{self, JobError, restore::Target},
    model::EngineKind,
    pipeline::{Progress, log::Line},
};

/// Runs a command, which has this name, to its exit code.
pub(super) async fn command(name: String, cli: Cli) -> ExitCode {
    let Cli { global, command } = cli;
    let format = global.format;
    let progress = Arc::new(Progress::default());
    let signals = tokio::spawn(signals(Arc::clone(&progress)));
    let told = global
        .progress_file
        .clone()
        .map(|path| ProgressFile::start(path, name, Arc::clone(&progress)));
    let outcome = Box::pin(dispatch(&global, command, &progress)).await;
    if let Some(told) = told {
        told.end().await;
    }
    signals.abort();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            let exit = Exit::from(&error);
            output::failure(format, exit, &error);
            exit.into()
        }
    }
}

async fn dispatch(
    global: &Global,
    command: Command,
    progress: &Arc<Progress>,
) -> Result<ExitCode, JobError> {
    let format = global.format;
    if format == Format::Html && !matches!(command, Command::Report(_)) {
        return Err(JobError::Usage {
            what: "--format html is for `backstay report`".into(),
            hint: "give --format text or json".into(),
        });
    }
    match command {
        Command::Backup(args) => {
            let result =
                with_progress("backup", progress, Box::pin(backup(global, *args, progress)))
                    .await?;
            Ok(success(format, &result))
        }
        Command::Archive(args) => {
            let result = Box::pin(archive(global, *args, progress)).await?;
            Ok(success(format, &result))
        }
        Command::Restore(args) => {
            let plan = args.plan;
            let request = restore(global, args, progress).await?;
            if plan {
                return Ok(success(format, &Box::pin(jobs::restore::planned(&request)).await?));
            }
            let job = Box::pin(jobs::restore::run(request));
            Ok(success(format, &with_progress("restore", progress, job).await?))
        }
        Command::List => {
            let repository = global.repository().await?;
            global.fresh(&repository).await?;
            Ok(success(format, &output::Listing(jobs::list::run(&repository).await?)))
        }
        Command::Window => {
            let repository = global.repository().await?;
            global.fresh(&repository).await?;
            Ok(success(format, &jobs::window::run(&repository).await?))
        }
        Command::Find(args) => {
            let result =
                with_progress("find", progress, Box::pin(find::run(global, args, progress)))
                    .await?;
            let whole = result.status == "complete";
            output::success(format, &result);
            Ok(if whole { ExitCode::SUCCESS } else { Exit::Integrity.into() })
        }
        Command::Show(args) => {
            let repository = global.repository().await?;
            global.fresh(&repository).await?;
            Ok(success(format, &jobs::show::run(&repository, args.backup.as_ref()).await?))
        }
        Command::Drill(args) => Box::pin(drill::run(global, *args, progress)).await,
        Command::Verify(args) => {
            let result =
                with_progress("verify", progress, Box::pin(verify(global, args, progress))).await?;
            let code =
                if result.status == "damaged" { Exit::Integrity.into() } else { ExitCode::SUCCESS };
            output::success(format, &result);
            Ok(code)
        }
        Command::Prune(args) => Box::pin(prune::run(global, args, progress)).await,
        Command::Copy(args) => Box::pin(copy::run(global, *args, progress)).await,
        Command::Hold(args) => prune::hold(global, args).await,
        Command::Unhold(args) => prune::unhold(global, args).await,
        Command::Doctor(args) => {
            let checks = doctor::run(global, &args).await;
            let code = if jobs::doctor::is_well(&checks.0) {
                ExitCode::SUCCESS
            } else {
                Exit::Preflight.into()
            };
            output::success(format, &checks);
            Ok(code)
        }
        Command::Serve(args) => Ok(success(format, &Box::pin(serve::run(*args, progress)).await?)),
        Command::Exporter(args) => {
            Ok(success(format, &Box::pin(exporter::run(global, args, progress)).await?))
        }
        Command::Keys(command) => Box::pin(keys::run(global, command, progress)).await,
        Command::Audit(command) => audit::run(global, command).await,
        Command::Report(args) => report::run(global, *args).await,
        Command::Completions { shell } => {
            generate(shell, &mut super::command(), "backstay", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { folder } => {
            clap_mangen::generate_to(super::command(), &folder).map_err(|cause| JobError::Io {
                operation: "write manual pages into",
                path: folder,
                cause,
            })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

pub(super) fn success<R: Serialize + Text>(format: Format, result: &R) -> ExitCode {
    output::success(format, result);
    ExitCode::SUCCESS
}

pub(super) async fn with_progress<R>(
    what: &'static str,
    progress: &Arc<Progress>,
    job: impl Future<Output = Result<R, JobError>>,
) -> Result<R, JobError> {
    let shown = tokio::spawn(progress::show(what, Arc::clone(progress)));
    let result = job.await;
    shown.abort();
    result
}

/// SIGTERM and SIGINT ask the job to stop; a second one is left to the system's patience.
async fn signals(progress: Arc<Progress>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    tracing::warn!("stopping: cleaning up first");
    progress.stop();
    std::future::pending::<()>().await;
}

impl Engine {
    pub(super) fn kind(self) -> Option<EngineKind> {
        match self {
            Self::Auto => None,
            Self::Xtrabackup => Some(EngineKind::Xtrabackup),
            Self::MariadbBackup => Some(EngineKind::MariadbBackup),
            Self::Clone => Some(EngineKind::Clone),
        }
    }
}

async fn backup(
    global: &Global,
    args: BackupArgs,
    progress: &Arc<Progress>,
) -> Result<jobs::backup::BackupResult, JobError> {
    let needs_engine = || JobError::Usage {
        what: "a stream does not say which engine wrote it".into(),
        hint: "give --engine xtrabackup or --engine mariadb-backup".into(),
    };
    let streamed = args.engine.kind().filter(|kind| *kind != EngineKind::Clone);
    let source = match args.source.as_str() {
        "local" => jobs::backup::Source::Local {
            connect: args.mysql.required()?,
            engine: args.engine.kind(),
            datadir: args.datadir.clone(),
            scratch: args.scratch.clone(),
            incremental: args.incremental.then(|| jobs::backup::Incremental {
                base: args.base.clone(),
                chain_length: args.chain_length,
            }),
        },
        _ if args.incremental => {
            return Err(JobError::Usage {
                what: "a stream does not say of which life of which server it is".into(),
                hint: "increments are taken with --source local alone".into(),
            });
        }
        "stdin" => jobs::backup::Source::Stdin { engine: streamed.ok_or_else(needs_engine)? },
        url if url.starts_with("https://") => jobs::backup::Source::Https {
            engine: args.engine.kind(),
            source: jobs::backup::HttpsSource {
                url: url.to_owned(),
                ca: args.source_ca.clone(),
                identity: args.source_cert.clone().zip(args.source_key.clone()),
                server_name: args.source_server_name.clone(),
            },
        },
        other => {
            return Err(JobError::Usage {
                what: format!("`{other}` is not a source"),
                hint: "give --source local, stdin, or https://HOST:PORT".into(),
            });
        }
    };
    let (kms, signer) = (global.kms().await?, global.signer().await?);
    let also = args.also.beside(&*kms).await?;
    let repository = global.repository().await?;
    global.fresh(&repository).await?;
    jobs::backup::run(jobs::backup::Request {
        repository,
        also,
        kms,
        signer,
        identity: wire::identity(),
        id: args.id,
        source,
        level: args.level,
        exit_of: exit::of,
        progress: Arc::clone(progress),
    })
    .await
}

async fn archive(
    global: &Global,
    args: ArchiveArgs,
    progress: &Arc<Progress>,
) -> Result<jobs::archive::Archived, JobError> {
    if args.rpo < Duration::from_millis(100) {
        return Err(JobError::Usage {
            what: format!("--rpo {:?} is too short", args.rpo),
            hint: "give at least 100ms: each tail is a request to the store".into(),
        });
    }
    let (kms, signer) = (global.kms().await?, global.signer().await?);
    let also = args.also.beside(&*kms).await?;
    let connect = args.mysql.required()?;
    let repository = global.impatient_repository().await?;
    global.fresh(&repository).await?;
    let status: Arc<jobs::archive::Status> = Arc::default();
    let listening = match args.listen {
        Some(address) => Some(listen::start(address, Arc::clone(&status)).await?),
        None => None,
    };
    let archived = Box::pin(jobs::archive::run(jobs::archive::Request {
        repository,
        also,
        kms,
        signer,
        identity: wire::identity(),
        connect,
        rpo: args.rpo,
        until_current: args.until_current,
        takeover: args.takeover,
        new_history: args.new_history,
        renew_after: jobs::archive::RENEW_AFTER,
        purge_archived: args.purge_archived,
        exit_of: exit::of,
        status,
        progress: Arc::clone(progress),
    }))
    .await;
    if let Some(listening) = listening {
        listening.abort();
    }
    archived
}

async fn restore(
    global: &Global,
    args: RestoreArgs,
    progress: &Arc<Progress>,
) -> Result<jobs::restore::Request, JobError> {
    let kms = global.kms().await?;
    let repository = global.repository().await?;
    global.fresh(&repository).await?;
    let line = match (args.history, args.fork) {
        (Some(id), _) => Line::History(id),
        (_, Some(record)) => Line::Fork(record),
        _ => Line::Newest,
    };
    let target = match (args.to_time, args.to_gtid, args.before_gtid) {
        (Some(at), ..) => Target::Time(at),
        (_, Some(state), _) => Target::Gtid(state),
        (.., Some(gtid)) => Target::Before(gtid),
        _ if args.backup.is_some() && args.skip_gtid.is_empty() && line == Line::Newest => {
            Target::Backup
        }
        _ => Target::Latest,
    };
    Ok(jobs::restore::Request {
        repository,
        kms: kms.into(),
        datadir: args.datadir,
        backup: args.backup,
        target,
        line,
        skip: args.skip_gtid,
        start: !args.no_start,
        server: args.server,
        owner: args.owner,
        witness: global.witness(&args.witness).await,
        max_disk: None,
        progress: Arc::clone(progress),
    })
}

async fn verify(
    global: &Global,
    args: VerifyArgs,
    progress: &Arc<Progress>,
) -> Result<jobs::verify::Verified, JobError> {
    let kms = if args.quick { None } else { global.optional_kms().await? };
    let repository = global.repository().await?;
    let request = jobs::verify::Request {
        id: args.backup,
        quick: args.quick,
        kms: kms.as_deref(),
        at_least: global.at_least,
        witness: &global.witness(&args.witness).await,
        progress: Arc::clone(progress),
    };
    jobs::verify::run(&repository, &request).await
}
