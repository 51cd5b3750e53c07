//! A child dies with us, even when we are killed with SIGKILL.
//!
//! `PR_SET_PDEATHSIG` (prctl(2)) must be set in the child, between fork and exec,
//! where only unsafe code can run. So the child is at first this program itself,
//! as `backstay __child PARENT-PID PROGRAM ARGS…`: it asks for the signal, looks
//! whether its parent is still there, and becomes PROGRAM.

use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::OnceLock,
};

/// The hidden subcommand under which this program starts itself.
pub const CHILD_SUBCOMMAND: &str = "__child";

static SHIM: OnceLock<PathBuf> = OnceLock::new();

/// From now on children are started through `program` (this program; usually
/// `/proc/self/exe`), so that they die with us. The first call holds.
pub fn set_shim(program: PathBuf) {
    let _ = SHIM.set(program);
}

pub(super) fn shim() -> Option<&'static Path> {
    SHIM.get().map(PathBuf::as_path)
}

/// Becomes a child that is killed when its parent ends. `args` are those after
/// [`CHILD_SUBCOMMAND`]: the parent's process id, the program, its arguments.
///
/// It returns only on failure, with the status that shells use: 127 when the
/// program does not exist, 126 when it cannot be run. The reason goes to
/// standard error, which the parent reads.
pub fn die_with_parent_then_exec(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let (program, error) = exec(args);
    eprintln!("[ERROR] starting {}: {error}", program.to_string_lossy());
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
}

fn exec(args: impl IntoIterator<Item = OsString>) -> (OsString, io::Error) {
    let mut args = args.into_iter();
    let parent: Option<i32> = args.next().and_then(|pid| pid.to_str()?.parse().ok());
    let (Some(parent), Some(program)) = (parent, args.next()) else {
        let wrong = io::Error::new(io::ErrorKind::InvalidInput, "for internal use only");
        return (CHILD_SUBCOMMAND.into(), wrong);
    };
    if let Err(e) =
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
    {
        return (program, e.into());
    }
    // Had the parent died before the line above, no signal would ever come.
    if rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero).map(i32::from)
        != Some(parent)
    {
        return (program, io::Error::other("the parent has ended"));
    }
    let error = Command::new(&program).args(args).exec();
    (program, error)
}
