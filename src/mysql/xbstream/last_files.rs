//! The files that tell whether an engine came to its end, and what it recorded.

use std::collections::BTreeMap;

use super::Dialect;

/// Information files up to this many bytes are kept; a larger one is not.
pub const INFO_LIMIT: usize = 1 << 20;

/// What engines append to a name when they compress or encrypt.
const SUFFIXES: [&str; 4] = [".qp", ".zst", ".lz4", ".xbcrypt"];

/// What `CLONE` backups end with.
pub(super) const CLONE_INFO: &str = "backstay_clone_info";

/// One of each row must be there and hold something. From the engines' sources
/// (`backup_finish`) and from genuine runs, `tests/fixtures/xtrabackup-8.0`.
const PERCONA: &[&[&str]] =
    &[&["xtrabackup_checkpoints"], &["xtrabackup_logfile"], &["xtrabackup_info"]];
/// Written last of all since 8.0, as JSON that is never empty; 2.4 has none.
const PERCONA_8: &[&str] = &["xtrabackup_tablespaces"];
const MARIADB: &[&[&str]] = &[
    &["xtrabackup_checkpoints", "mariadb_backup_checkpoints"],
    &["ib_logfile0"],
    &["xtrabackup_info", "mariadb_backup_info"],
];
const CLONE: &[&[&str]] = &[&[CLONE_INFO]];

/// Files at the root of the stream that are watched, by their name without suffixes.
const WATCHED: [&str; 16] = [
    "xtrabackup_checkpoints",
    "xtrabackup_info",
    "xtrabackup_binlog_info",
    "xtrabackup_binlog_pos_innodb",
    "xtrabackup_slave_info",
    "xtrabackup_galera_info",
    "xtrabackup_tablespaces",
    "xtrabackup_logfile",
    "mariadb_backup_checkpoints",
    "mariadb_backup_info",
    "mariadb_backup_binlog_info",
    "mariadb_backup_slave_info",
    "mariadb_backup_galera_info",
    "backup-my.cnf",
    "ib_logfile0",
    CLONE_INFO,
];

/// The name without suffixes, when the file is one of those watched.
pub(super) fn watched(path: &[u8]) -> Option<&'static str> {
    let mut name = std::str::from_utf8(path).ok()?;
    while let Some(shorter) = SUFFIXES.iter().find_map(|s| name.strip_suffix(s)) {
        name = shorter;
    }
    WATCHED.into_iter().find(|w| *w == name)
}

/// Whether its contents are worth keeping: small, and information.
pub(super) fn kept(name: &str) -> bool {
    !matches!(name, "xtrabackup_logfile" | "ib_logfile0" | "xtrabackup_tablespaces")
}

/// The first required file that is missing or empty.
pub(super) fn missing(
    dialect: Dialect,
    sizes: &BTreeMap<&'static str, u64>,
    infos: &BTreeMap<String, Vec<u8>>,
) -> Option<String> {
    let there = |names: &&[&str]| names.iter().any(|n| sizes.get(n).is_some_and(|&size| size > 0));
    let required = match dialect {
        Dialect::Percona => PERCONA,
        Dialect::Mariadb => MARIADB,
        Dialect::Clone => CLONE,
    };
    if let Some(names) = required.iter().find(|names| !there(names)) {
        return Some(names.join(" or "));
    }
    let before_8 = infos.get("xtrabackup_info").is_some_and(|info| {
        String::from_utf8_lossy(info).lines().any(|line| line.starts_with("tool_version = 2."))
    });
    (dialect == Dialect::Percona && !before_8 && !there(&PERCONA_8)).then(|| PERCONA_8.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_do_not_hide_a_file_but_folders_do() {
        assert_eq!(watched(b"xtrabackup_info.qp"), Some("xtrabackup_info"));
        assert_eq!(watched(b"xtrabackup_info.zst.xbcrypt"), Some("xtrabackup_info"));
        assert_eq!(watched(b"d/xtrabackup_info"), None);
        assert_eq!(watched(b"xtrabackup_info.bak"), None);
    }

    #[test]
    fn an_empty_last_file_is_a_missing_one() {
        let mut sizes: BTreeMap<_, _> = [
            "xtrabackup_checkpoints",
            "xtrabackup_logfile",
            "xtrabackup_info",
            "xtrabackup_tablespaces",
        ]
        .map(|n| (n, 1))
        .into();
        let none = BTreeMap::new();
        assert_eq!(missing(Dialect::Percona, &sizes, &none), None);
        sizes.insert("xtrabackup_tablespaces", 0);
        assert_eq!(missing(Dialect::Percona, &sizes, &none), Some("xtrabackup_tablespaces".into()));
        let old = [("xtrabackup_info".to_owned(), b"tool_version = 2.4.29\n".to_vec())].into();
        assert_eq!(missing(Dialect::Percona, &sizes, &old), None);
        assert!(missing(Dialect::Mariadb, &sizes, &none).is_some());
    }
}
