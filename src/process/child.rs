//! One running child, and the proof that it ended well.

use std::{
    fs::File,
    io,
    process::ExitStatus,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::sync::oneshot;

use crate::model::CommandLine;

use super::{
    error::ProcessError,
    spawner::{self, Input, Output, Started},
    stderr::{self, Tail},
};

/// How long the last lines may take to arrive once the child's whole group is dead.
/// Only a descendant that left the group can hold the pipe open longer.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Proof that a child was reaped with status 0. Nothing else makes one.
#[derive(Debug)]
pub struct CleanExit {
    name: &'static str,
    tail: Vec<String>,
}

impl CleanExit {
    /// What the child is called in logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its last lines on standard error, oldest first, at most 50.
    #[must_use]
    pub fn tail(&self) -> &[String] {
        &self.tail
    }
}

/// A running child. Dropping it kills its process group.
#[derive(Debug)]
pub struct Child {
    name: &'static str,
    group: Arc<Group>,
    tail: Tail,
    stdin: Option<File>,
    stdout: Option<File>,
    outcome: Option<oneshot::Receiver<io::Result<ExitStatus>>>,
}

/// Ends a child from another task. It does nothing once the child was reaped.
#[derive(Debug, Clone)]
pub struct Killer(Arc<Group>);

/// The process group; the id is only used while the leader is not reaped, so that
/// a number that the system gave to another process is never signalled.
#[derive(Debug)]
struct Group {
    leader: Pid,
    reaped: Mutex<bool>,
}

impl Group {
    fn signal(&self, signal: Signal) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            // It fails only when there is nobody left, which is what is wanted.
            let _ = rustix::process::kill_process_group(self.leader, signal);
        }
    }
}

impl Killer {
    /// Asks the child's group to end (SIGTERM).
    pub fn terminate(&self) {
        self.0.signal(Signal::TERM);
    }

    /// Kills the child's group (SIGKILL).
    pub fn kill(&self) {
        self.0.signal(Signal::KILL);
    }
}

impl Child {
    /// Starts a program in a process group of its own. `name` is what logs and errors call it.
    ///
    /// Its environment is what `line` says and the few allowed variables. Its standard
    /// error goes line by line into the log (target `engine`).
    ///
    /// # Errors
    /// [`ProcessError::Spawn`] when it cannot be started, [`ProcessError::Thread`] when it cannot be watched.
    pub fn spawn(
        name: &'static str,
        line: &CommandLine,
        stdin: Input,
        stdout: Output,
    ) -> Result<Self, ProcessError> {
        tracing::debug!(target: "engine", engine = name, program = %line.program.display(), args = ?line.args, "starting");
        let Started { process, stdin, stdout, stderr } = spawner::start(line, stdin, stdout)
            .map_err(|source| ProcessError::Spawn {
                name,
                program: line.program.clone(),
                source,
            })?;
        let group =
            Arc::new(Group { leader: Pid::from_child(&process), reaped: Mutex::new(false) });
        let tail = Tail::default();
        let (sender, outcome) = oneshot::channel();
        let child = Self {
            name,
            group: Arc::clone(&group),
            tail: tail.clone(),
            stdin,
            stdout,
            outcome: Some(outcome),
        };
        let watched = watch(name, process, stderr, group, tail, sender);
        watched.map_err(|source| ProcessError::Thread { name, source })?;
        Ok(child)
    }

    /// The write end of standard input, when it is a pipe; once. Blocking; dropping it says "end of input".
    pub fn take_stdin(&mut self) -> Option<File> {
        self.stdin.take()
    }

    /// The read end of standard output, when it is a pipe; once. Blocking. Its end says
    /// nothing about success: only [`Child::wait`] does.
    pub fn take_stdout(&mut self) -> Option<File> {
        self.stdout.take()
    }

    /// A handle that ends the child from another task.
    #[must_use]
    pub fn killer(&self) -> Killer {
        Killer(Arc::clone(&self.group))
    }

    /// The last lines so far on standard error, oldest first, at most 50.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        self.tail.lines()
    }

    /// The process id, which is also that of its group.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.group.leader.as_raw_nonzero().get().unsigned_abs()
    }

    /// Whether it has not been reaped yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !*self.group.reaped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it has ended. Dropping the future kills the child.
    ///
    /// # Errors
    /// [`ProcessError::Failed`] unless it ended with status 0.
    pub async fn wait(mut self) -> Result<CleanExit, ProcessError> {
        let outcome = match self.outcome.take() {
            Some(outcome) => outcome.await,
            None => Ok(Err(io::Error::other("it was waited for before"))),
        };
        self.judge(outcome)
    }

    /// Asks it to end, kills it after `grace`, and reaps it.
    ///
    /// # Errors
    /// As [`Child::wait`]: a server that obeys ends with status 0, a program that the
    /// signal ended is [`ProcessError::Failed`].
    pub async fn stop(mut self, grace: Duration) -> Result<CleanExit, ProcessError> {
        drop(self.stdin.take());
        self.group.signal(Signal::TERM);
        let outcome = match self.outcome.take() {
            Some(mut outcome) => {
                if let Ok(ended) = tokio::time::timeout(grace, &mut outcome).await {
                    ended
                } else {
                    tracing::warn!(target: "engine", engine = self.name, "did not end within {grace:?}: killing it");
                    self.group.signal(Signal::KILL);
                    outcome.await
                }
            }
            None => Ok(Err(io::Error::other("it was waited for before"))),
        };
        self.judge(outcome)
    }

    fn judge(
        &self,
        outcome: Result<io::Result<ExitStatus>, oneshot::error::RecvError>,
    ) -> Result<CleanExit, ProcessError> {
        let name = self.name;
        match outcome {
            Ok(Ok(status)) if status.success() => Ok(CleanExit { name, tail: self.tail.lines() }),
            Ok(Ok(status)) => Err(ProcessError::Failed { name, status, tail: self.tail.lines() }),
            Ok(Err(source)) => Err(ProcessError::Wait { name, source }),
            Err(_) => {
                let source = io::Error::other("the thread that watches it is gone");
                Err(ProcessError::Wait { name, source })
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.group.signal(Signal::KILL);
    }
}

/// Two threads: one reads standard error, one reaps.
fn watch(
    name: &'static str,
    mut process: std::process::Child,
    stderr: Option<File>,
    group: Arc<Group>,
    tail: Tail,
    sender: oneshot::Sender<io::Result<ExitStatus>>,
) -> io::Result<()> {
    let (done, read) = mpsc::channel::<()>();
    if let Some(pipe) = stderr {
        thread::Builder::new().name(format!("{name}-stderr")).spawn(move || {
            stderr::follow(name, pipe, &tail);
            drop(done);
        })?;
    }
    thread::Builder::new().name(format!("{name}-wait")).spawn(move || {
        let status = reap(&mut process, &group);
        // `done` is dropped when everything was read, or when it panicked.
        let _ = read.recv_timeout(LAST_LINES);
        let _ = sender.send(status);
    })?;
    Ok(())
}

/// Waits for the leader, kills what it left behind while its id still names it, then reaps it.
fn reap(process: &mut std::process::Child, group: &Group) -> io::Result<ExitStatus> {
    let leader = WaitId::Pid(group.leader);
    while let Err(e) =
        rustix::process::waitid(leader.clone(), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
    {
        if e != rustix::io::Errno::INTR {
            break; // `wait` below tells why
        }
    }
    let mut reaped = group.reaped.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = rustix::process::kill_process_group(group.leader, Signal::KILL);
    let status = process.wait();
    *reaped = true;
    status
}
