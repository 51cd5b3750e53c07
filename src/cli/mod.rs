//! Arguments, wiring, exit codes, logging, progress.

mod args;
mod audit;
mod copy;
mod doctor;
mod drill;
mod exit;
mod exporter;
mod exposition;
mod find;
mod keys;
mod listen;
mod lock;
mod log;
mod output;
mod progress;
mod progress_file;
mod providers;
mod prune;
mod report;
mod run;
mod serve;
mod termination;
mod wire;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use exit::Exit;

use crate::process;

/// The program: parse, run, exit.
#[must_use]
pub fn main() -> ExitCode {
    let mut raw = std::env::args_os().skip(1);
    if raw.next().is_some_and(|first| first == process::CHILD_SUBCOMMAND) {
        return process::die_with_parent_then_exec(raw);
    }
    let (name, cli) = match parsed() {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version are errors to clap and successes to everyone else.
            let _ = error.print();
            if !error.use_stderr() {
                return ExitCode::SUCCESS;
            }
            output::misused(&error);
            return Exit::Usage.into();
        }
    };
    log::start();
    process::set_shim("/proc/self/exe".into());
    // Both TLS stacks of the tree use this provider; a second call would find it installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // The archiver has one stream to look after and little memory to do it in.
    let mut runtime = match cli.command {
        args::Command::Archive(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return Exit::Unexpected.into();
        }
    };
    let code = runtime.block_on(run::command(name, cli));
    // A reader that waits for a silent standard input must not keep the program from ending.
    runtime.shutdown_background();
    code
}

/// The command's name, such as `keys rewrap`, and what is asked of it.
fn parsed() -> Result<(String, args::Cli), clap::Error> {
    let matches = command().try_get_matches()?;
    let (mut name, mut below) = (Vec::new(), matches.subcommand());
    while let Some((word, more)) = below {
        name.push(word.to_owned());
        below = more.subcommand();
    }
    Ok((name.join(" "), args::Cli::from_arg_matches(&matches)?))
}

/// The command line as data, for completions, manual pages and the goldens.
#[must_use]
pub fn command() -> clap::Command {
    args::Cli::command()
}
