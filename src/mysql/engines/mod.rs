//! The programs that make base backups: which one, where it is, whether it fits the
//! server, and its command lines.

mod binary;
mod mariadb_backup;
mod xtrabackup;

use std::path::{Path, PathBuf};

use crate::model::{CommandLine, EngineKind, Flavor, ServerVersion};

pub(super) use binary::find;
pub use binary::{Engine, check_version, discover, parse_version};

use super::MysqlError;

/// What a backup is taken with.
#[derive(Debug, Clone)]
pub struct BackupArgs<'a> {
    /// The option file with the credentials.
    pub option_file: &'a Path,
    /// A folder for the engine's own small files; it need not exist.
    pub scratch: &'a Path,
    /// Threads that read data files.
    pub parallel: u16,
    /// The server's data directory, when the server's own answer is not to be used
    /// (another mount of the same volume).
    pub datadir: Option<&'a Path>,
    /// Take only what changed since this log sequence number.
    pub incremental_lsn: Option<u64>,
    /// The server, on which some options depend.
    pub server: &'a ServerVersion,
}

/// The engine for a server: `clone` is never chosen by itself, it is asked for.
#[must_use]
pub fn choose(server: &ServerVersion) -> EngineKind {
    match server.flavor() {
        Flavor::Mysql => EngineKind::Xtrabackup,
        Flavor::Mariadb => EngineKind::MariadbBackup,
    }
}

/// The command line of a backup. The stream comes on its standard output.
#[must_use]
pub fn backup_command(engine: &Engine, args: &BackupArgs<'_>) -> CommandLine {
    match engine.kind {
        EngineKind::MariadbBackup => mariadb_backup::backup(&engine.program, args),
        EngineKind::Xtrabackup | EngineKind::Clone => xtrabackup::backup(engine, args),
    }
}

/// The command line that makes an extracted backup a data directory: `memory` is in bytes.
/// It connects to no server. With `apply_log_only` increments can follow; `incremental` is
/// the folder of the one to be applied.
#[must_use]
pub fn prepare_command(
    engine: &Engine,
    dir: &Path,
    memory: u64,
    apply_log_only: bool,
    incremental: Option<&Path>,
) -> CommandLine {
    let mut line = CommandLine::new(&engine.program)
        .arg("--no-defaults")
        .arg("--prepare")
        .option("--target-dir=", dir)
        .option("--use-memory=", memory.to_string());
    if engine.kind == EngineKind::Xtrabackup && apply_log_only {
        line = line.arg("--apply-log-only"); // mariadb-backup needs none, and calls it obsolete
    }
    match incremental {
        Some(folder) => line.option("--incremental-dir=", folder),
        None => line,
    }
}

/// Whether the engine said, at the end of its standard error, that it had completed.
/// Status 0 alone is not believed (genuine logs: `tests/fixtures/xtrabackup-8.0/logs`).
#[must_use]
pub fn said_completed(tail: &[String]) -> bool {
    tail.iter()
        .rev()
        .find(|line| !line.trim().is_empty())
        .is_some_and(|line| line.trim_end().ends_with("completed OK!"))
}

/// The engine's own name for one of its files, in both sets of names: `mariadb_backup_*`
/// since MariaDB 11.1, `xtrabackup_*` else.
#[must_use]
pub fn info_names(what: &str) -> [String; 2] {
    [format!("xtrabackup_{what}"), format!("mariadb_backup_{what}")]
}

/// Where programs are looked for besides `PATH`.
pub(super) fn usual_folders() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let listed: Vec<PathBuf> = std::env::split_paths(&path).collect();
    listed.into_iter().chain(
        ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/mysql/bin", "/usr/libexec"]
            .map(PathBuf::from),
    )
}

fn unknown(kind: EngineKind) -> MysqlError {
    MysqlError::unsupported(
        format!("looking for the engine {kind}"),
        "the server itself makes a clone; there is no program to look for",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_prepared_as_the_genuine_run_was() {
        // The commands with which XtraBackup 8.0.6 has restored a full backup and two increments.
        let genuine = [
            "--prepare --apply-log-only --target-dir=/rest",
            "--prepare --apply-log-only --target-dir=/rest --incremental-dir=/inc1",
            "--prepare --target-dir=/rest --incremental-dir=/inc2",
        ];
        let links = [(true, None), (true, Some("/inc1")), (false, Some("/inc2"))];
        let prepared = |kind, (more_follow, increment): (bool, Option<&str>)| {
            let version: ServerVersion = "8.0.6".parse().unwrap();
            let engine = Engine { kind, program: "e".into(), version, based_on: None };
            let increment = increment.map(Path::new);
            let line = prepare_command(&engine, Path::new("/rest"), 1, more_follow, increment);
            let mut args: Vec<_> = line.args.iter().map(|arg| arg.to_string_lossy()).collect();
            args.retain(|arg| !arg.starts_with("--use-memory") && arg != "--no-defaults");
            args.sort();
            args.join(" ")
        };
        for (genuine, link) in genuine.into_iter().zip(links) {
            let mut args: Vec<_> = genuine.split(' ').collect();
            args.sort_unstable();
            assert_eq!(prepared(EngineKind::Xtrabackup, link), args.join(" "));
            assert!(!prepared(EngineKind::MariadbBackup, link).contains("apply-log-only"));
        }
    }
}
