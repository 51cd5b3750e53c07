//! Arguments, wiring, exit codes, logging, progress.

/// The program.
#[must_use]
pub fn main() -> std::process::ExitCode {
    let mut raw = std::env::args_os().skip(1);
    if raw.next().is_some_and(|first| first == crate::process::CHILD_SUBCOMMAND) {
        return crate::process::die_with_parent_then_exec(raw);
    }
    std::process::ExitCode::SUCCESS
}
