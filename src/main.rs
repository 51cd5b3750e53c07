//! Parse, run, exit: nothing else. Everything is in the library.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    backstay::cli::main()
}
