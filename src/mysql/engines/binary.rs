//! An engine's program: found, asked for its version, and held against the server.

use std::path::{Path, PathBuf};

use crate::model::{EngineKind, Flavor, ServerVersion};

use super::{super::MysqlError, unknown, usual_folders};

/// A program that makes base backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// Which.
    pub kind: EngineKind,
    /// Its program.
    pub program: PathBuf,
    /// Its version.
    pub version: ServerVersion,
    /// The version of the server that it was built from, where it says so.
    pub based_on: Option<ServerVersion>,
}

/// Where the engine's program is: as given, or in `PATH` and the usual folders.
/// Run it with `--version` and hand both its outputs to [`parse_version`].
///
/// # Errors
/// When there is none.
pub fn discover(kind: EngineKind, given: Option<&Path>) -> Result<PathBuf, MysqlError> {
    if let Some(program) = given {
        return Ok(program.to_owned());
    }
    let names: &[&str] = match kind {
        EngineKind::Xtrabackup => &["xtrabackup"],
        EngineKind::MariadbBackup => &["mariadb-backup", "mariabackup"],
        EngineKind::Clone => return Err(unknown(kind)),
    };
    find(names).ok_or_else(|| {
        let why =
            format!("there is no {} in PATH: install it, or give its path", names.join(" or "));
        MysqlError::unsupported(format!("looking for the engine {kind}"), why)
    })
}

/// The first of these programs that exists and may be executed.
pub(in crate::mysql) fn find(names: &[&str]) -> Option<PathBuf> {
    let folders: Vec<PathBuf> = usual_folders().collect();
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(
        |program| {
            program.is_file() && rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok()
        },
    )
}

/// Reads what the program says to `--version`, on either output: XtraBackup answers on
/// standard error, mariadb-backup by version on the one or the other.
///
/// # Errors
/// When it is the version of something else, or of nothing.
pub fn parse_version(kind: EngineKind, program: &Path, output: &str) -> Result<Engine, MysqlError> {
    let wrong = || {
        let heard: String = output.trim().chars().take(200).collect();
        MysqlError::unexpected(
            format!("the version of {}", program.display()),
            format!("it says `{heard}`"),
        )
    };
    let after = |marker: &str| -> Option<ServerVersion> {
        let rest = output.split_once(marker)?.1;
        rest.split_whitespace().next()?.trim_end_matches(',').parse().ok()
    };
    let based_on;
    let version = match kind {
        EngineKind::Xtrabackup => {
            based_on = after("based on MySQL server ");
            after("xtrabackup version ").ok_or_else(wrong)?
        }
        EngineKind::MariadbBackup => {
            based_on = after("based on MariaDB server ");
            based_on
                .clone()
                .filter(|version| version.flavor() == Flavor::Mariadb)
                .ok_or_else(wrong)?
        }
        EngineKind::Clone => return Err(unknown(kind)),
    };
    Ok(Engine { kind, program: program.to_owned(), version, based_on })
}

/// Whether the engine can back this server up. An engine that is older than its server often
/// fails late, or leaves a backup that cannot be prepared.
///
/// # Errors
/// [`MysqlError::Unsupported`] when it cannot.
pub fn check_version(engine: &Engine, server: &ServerVersion) -> Result<(), MysqlError> {
    let what = format!("backing up server {server} with {} {}", engine.kind, engine.version);
    let refuse = |why: String| Err(MysqlError::unsupported(what, why));
    let flavor = match engine.kind {
        EngineKind::MariadbBackup => Flavor::Mariadb,
        EngineKind::Xtrabackup | EngineKind::Clone => Flavor::Mysql,
    };
    if flavor != server.flavor() {
        let right = super::choose(server);
        return refuse(format!("the formats differ since MariaDB 10.3: use {right}"));
    }
    let (major, minor, _) = engine.version.numbers;
    if (major, minor) != (server.numbers.0, server.numbers.1) {
        return refuse(format!(
            "their series differ: install {} {}.{}",
            engine.kind, server.numbers.0, server.numbers.1
        ));
    }
    // XtraBackup counts its own patch releases (8.0.6 is based on 8.0.14); what it was built from decides.
    let built_from = engine.based_on.as_ref().unwrap_or(&engine.version);
    if built_from.numbers < server.numbers {
        return refuse(format!(
            "the engine (built from {built_from}) is older than the server: install {server} or later of its series"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARIADB: &str =
        "mariadb-backup based on MariaDB server 10.11.14-MariaDB debian-linux-gnu (x86_64)";

    fn check(kind: EngineKind, output: &str, server: &str) -> Result<(), String> {
        let engine = parse_version(kind, Path::new("engine"), output).map_err(|e| e.to_string())?;
        check_version(&engine, &server.parse().unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn genuine_versions_are_read() {
        let genuine = include_str!(
            "../../../tests/fixtures/xtrabackup-8.0/cli/xtrabackup.version.stderr.txt"
        );
        let engine = parse_version(EngineKind::Xtrabackup, Path::new("x"), genuine).unwrap();
        assert_eq!(engine.version.numbers, (8, 0, 6));
        assert_eq!(engine.based_on.unwrap().numbers, (8, 0, 14));
        let engine = parse_version(EngineKind::MariadbBackup, Path::new("x"), MARIADB).unwrap();
        assert_eq!(engine.version.numbers, (10, 11, 14));
        assert!(parse_version(EngineKind::Xtrabackup, Path::new("x"), MARIADB).is_err());
    }

    #[test]
    fn an_engine_must_fit_its_server() {
        let genuine = "xtrabackup version 8.0.6 based on MySQL server 8.0.14 Linux (x86_64)";
        assert_eq!(check(EngineKind::Xtrabackup, genuine, "8.0.14"), Ok(()));
        assert!(check(EngineKind::Xtrabackup, genuine, "8.0.15").unwrap_err().contains("older"));
        assert!(check(EngineKind::Xtrabackup, genuine, "8.4.0").unwrap_err().contains("series"));
        assert!(
            check(EngineKind::Xtrabackup, genuine, "10.11.14-MariaDB")
                .unwrap_err()
                .contains("mariadb-backup")
        );
        assert_eq!(check(EngineKind::MariadbBackup, MARIADB, "10.11.14-MariaDB-log"), Ok(()));
        assert!(check(EngineKind::MariadbBackup, MARIADB, "10.11.15-MariaDB").is_err());
        assert!(check(EngineKind::MariadbBackup, MARIADB, "11.4.2-MariaDB").is_err());
        assert!(
            check(EngineKind::MariadbBackup, MARIADB, "9.7.0")
                .unwrap_err()
                .contains("use xtrabackup")
        );
    }
}
