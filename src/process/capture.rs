//! Short programs whose output is an answer.

use std::{io::Read, time::Duration};

use super::{Child, Input, Output, ProcessError};
use crate::model::CommandLine;

/// More than any program says about its version.
const LIMIT: u64 = 64 << 10;

/// Runs a program to its end and returns what it said on both outputs, standard output first.
///
/// # Errors
/// When it cannot be started, or does not end well within `limit`.
pub async fn capture(
    name: &'static str,
    line: &CommandLine,
    limit: Duration,
) -> Result<String, ProcessError> {
    let mut child = Child::spawn(name, line, Input::Null, Output::Pipe)?;
    let stdout = child.take_stdout();
    let killer = child.killer();
    let said = tokio::task::spawn_blocking(move || {
        let mut said = Vec::new();
        if let Some(stdout) = stdout {
            // What cannot be read is missing from the answer, and its reader will say so.
            let _ = stdout.take(LIMIT).read_to_end(&mut said);
        }
        String::from_utf8_lossy(&said).into_owned()
    });
    let exit = if let Ok(exit) = tokio::time::timeout(limit, child.wait()).await {
        exit?
    } else {
        killer.kill();
        let source =
            std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no end within {limit:?}"));
        return Err(ProcessError::Wait { name, source });
    };
    let said = said.await.unwrap_or_default();
    Ok([said, exit.tail().join("\n")].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_outputs_are_heard() {
        let line = CommandLine::new("/bin/sh").arg("-c").arg("echo out; echo err >&2");
        let said = capture("sh", &line, Duration::from_secs(10)).await.unwrap();
        assert_eq!(said.trim(), "out\n\nerr");
        let line = CommandLine::new("/bin/sh").arg("-c").arg("sleep 60");
        assert!(capture("sh", &line, Duration::from_millis(50)).await.is_err());
    }
}
