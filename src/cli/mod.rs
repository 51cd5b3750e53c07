//! Arguments, wiring, exit codes, logging, progress.

/// The program.
#[must_use]
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
