//! mariadb-backup.

use std::path::Path;

use crate::model::CommandLine;

use super::BackupArgs;

/// `--defaults-file` must come first. DDL is blocked by backup stages on the server's side.
pub(super) fn backup(program: &Path, args: &BackupArgs<'_>) -> CommandLine {
    let mut line = CommandLine::new(program)
        .option("--defaults-file=", args.option_file)
        .arg("--backup")
        .arg("--stream=xbstream")
        .option("--target-dir=", args.scratch)
        .option("--parallel=", args.parallel.max(1).to_string());
    if let Some(datadir) = args.datadir {
        line = line.option("--datadir=", datadir);
    }
    if let Some(lsn) = args.incremental_lsn {
        line = line.option("--incremental-lsn=", lsn.to_string());
    }
    line
}
