//! Percona XtraBackup.

use crate::model::CommandLine;

use super::{BackupArgs, Engine};

/// `--defaults-file` must come first. `--no-version-check` keeps it from calling home.
pub(super) fn backup(engine: &Engine, args: &BackupArgs<'_>) -> CommandLine {
    let mut line = CommandLine::new(&engine.program)
        .option("--defaults-file=", args.option_file)
        .arg("--no-version-check")
        .arg("--backup")
        .arg("--stream=xbstream")
        .option("--target-dir=", args.scratch)
        .option("--parallel=", args.parallel.max(1).to_string());
    if lock_ddl(engine, args) {
        line = line.arg("--lock-ddl");
    }
    if let Some(datadir) = args.datadir {
        line = line.option("--datadir=", datadir);
    }
    if let Some(lsn) = args.incremental_lsn {
        line = line.option("--incremental-lsn=", lsn.to_string());
    }
    line
}

/// Without the lock a concurrent `ADD INDEX` fails the backup (`logs/fail_ddl.stderr.log`).
/// `LOCK INSTANCE FOR BACKUP` came with MySQL 8.0, and XtraBackup uses it from 8.0 on; before
/// that `--lock-ddl` needs Percona Server. From 8.0.33 on it is the default; saying so is harmless.
fn lock_ddl(engine: &Engine, args: &BackupArgs<'_>) -> bool {
    engine.version.numbers >= (8, 0, 0) && args.server.numbers >= (8, 0, 0)
}
