//! The one thread that starts children.
//!
//! The kernel sends `PR_SET_PDEATHSIG` when the *thread* that forked ends, not
//! the process. A worker of a thread pool may end at any time; this one does not.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError, mpsc},
    thread,
};

use crate::model::CommandLine;

use super::shim;

/// Variables that a child inherits; all others are cleared.
const ALLOWED: [&str; 7] = ["PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH"];

/// A child's standard input.
#[derive(Debug)]
pub enum Input {
    /// Nothing.
    Null,
    /// A pipe, to be had from `take_stdin`.
    Pipe,
    /// An open file.
    File(File),
}

/// A child's standard output.
#[derive(Debug)]
pub enum Output {
    /// Nowhere.
    Null,
    /// A pipe, to be had from `take_stdout`.
    Pipe,
    /// An open file.
    File(File),
}

impl From<Input> for Stdio {
    fn from(input: Input) -> Self {
        match input {
            Input::Null => Self::null(),
            Input::Pipe => Self::piped(),
            Input::File(file) => file.into(),
        }
    }
}

impl From<Output> for Stdio {
    fn from(output: Output) -> Self {
        match output {
            Output::Null => Self::null(),
            Output::Pipe => Self::piped(),
            Output::File(file) => file.into(),
        }
    }
}

/// What a started child is made of.
pub(super) struct Started {
    pub(super) process: std::process::Child,
    pub(super) stdin: Option<File>,
    pub(super) stdout: Option<File>,
    pub(super) stderr: Option<File>,
}

type Answer = mpsc::SyncSender<io::Result<std::process::Child>>;

struct Spawner(Mutex<mpsc::Sender<(Command, Answer)>>);

static SPAWNER: OnceLock<Spawner> = OnceLock::new();

/// Starts the program; returns when it runs, or could not be started.
pub(super) fn start(line: &CommandLine, stdin: Input, stdout: Output) -> io::Result<Started> {
    let mut command = command(line);
    command.stdin(stdin).stdout(stdout).stderr(Stdio::piped());
    let (answer, answered) = mpsc::sync_channel(1);
    let gone = || io::Error::other("the thread that starts programs is gone");
    {
        let sender = spawner()?.0.lock().unwrap_or_else(PoisonError::into_inner);
        sender.send((command, answer)).map_err(|_| gone())?;
    }
    let mut process = answered.recv().map_err(|_| gone())??;
    let stdin = process.stdin.take().map(|pipe| File::from(OwnedFd::from(pipe)));
    let stdout = process.stdout.take().map(|pipe| File::from(OwnedFd::from(pipe)));
    let stderr = process.stderr.take().map(|pipe| File::from(OwnedFd::from(pipe)));
    for pipe in [&stdin, &stdout].into_iter().flatten() {
        // A larger pipe saves context switches; the system may refuse it, at no harm.
        let _ = rustix::pipe::fcntl_setpipe_size(pipe, 1 << 20);
    }
    Ok(Started { process, stdin, stdout, stderr })
}

fn command(line: &CommandLine) -> Command {
    let mut command = match shim::shim() {
        Some(shim) => {
            let mut command = Command::new(shim);
            command.arg(shim::CHILD_SUBCOMMAND).arg(std::process::id().to_string());
            command.arg(&line.program);
            command
        }
        None => Command::new(&line.program),
    };
    command.args(&line.args).env_clear().process_group(0);
    for name in ALLOWED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.envs(line.env.iter().map(|(name, value)| (name, value)));
    command
}

fn spawner() -> io::Result<&'static Spawner> {
    static STARTING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(spawner) = SPAWNER.get() {
        return Ok(spawner);
    }
    let (sender, requests) = mpsc::channel::<(Command, Answer)>();
    thread::Builder::new().name("spawner".to_owned()).spawn(move || {
        for (mut command, answer) in requests {
            // A child that nobody waits for any more is ended at once.
            if let Err(mpsc::SendError(Ok(mut process))) = answer.send(command.spawn()) {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
    })?;
    Ok(SPAWNER.get_or_init(|| Spawner(Mutex::new(sender))))
}
