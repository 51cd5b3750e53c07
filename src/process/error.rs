//! What can go wrong with a child.

use std::{fmt, io, path::PathBuf, process::ExitStatus};

/// An error of this room.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program could not be started.
    #[error("starting {name} ({program}): {source}{hint}", program = program.display(), hint = spawn_hint(source))]
    Spawn {
        /// What the child is called in logs.
        name: &'static str,
        /// The program as given.
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It ended, but not with status 0.
    #[error("{name} failed: {}{}", ended(*status), last_lines(tail))]
    Failed {
        /// What the child is called in logs.
        name: &'static str,
        /// Status or signal.
        status: ExitStatus,
        /// Its last lines on standard error, oldest first, at most 50.
        tail: Vec<String>,
    },
    /// How it ended could not be learned.
    #[error("waiting for {name} to end: {source}")]
    Wait {
        /// What the child is called in logs.
        name: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A thread that serves children could not be started, or is gone.
    #[error("preparing to start {name}: {source}: is the limit on threads or memory too low?")]
    Thread {
        /// What the child is called in logs.
        name: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl ProcessError {
    /// The last lines that the child wrote to standard error, oldest first.
    #[must_use]
    pub fn tail(&self) -> &[String] {
        match self {
            Self::Failed { tail, .. } => tail,
            _ => &[],
        }
    }
}

fn spawn_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => ": install it, or give its path",
        io::ErrorKind::PermissionDenied => ": is it executable by this user?",
        _ => "",
    }
}

/// `exit status 1`, or `killed by signal 9 (SIGKILL)` with what that usually means.
pub(super) fn ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(9)) => "killed by signal 9 (SIGKILL): out of memory, perhaps".to_owned(),
        (None, Some(15)) => "ended by signal 15 (SIGTERM)".to_owned(),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

fn last_lines(tail: &[String]) -> impl fmt::Display + '_ {
    struct Lines<'a>(&'a [String]);
    impl fmt::Display for Lines<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            if self.0.is_empty() {
                return f.write_str("; it wrote nothing to standard error");
            }
            f.write_str("; its last lines on standard error:")?;
            self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
        }
    }
    Lines(tail)
}
