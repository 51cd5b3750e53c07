//! A program and its arguments, before anything is started.

use std::{ffi::OsString, path::PathBuf};

/// What to start. It holds no secret: arguments and environment are visible to
/// every process of the machine, so passwords go through option files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program: a path, or a bare name that is looked up in `PATH`.
    pub program: PathBuf,
    /// Its arguments, without the program's own name.
    pub args: Vec<OsString>,
    /// Variables set besides the few that are passed on.
    pub env: Vec<(String, String)>,
}

impl CommandLine {
    /// A program without arguments.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new(), env: Vec::new() }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds `name` and `value` as one argument, joined without a space: `--datadir=` and a path.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        let mut joined = OsString::from(name);
        joined.push(value);
        self.args.push(joined);
        self
    }
}
