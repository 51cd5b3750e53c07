//! Is the server set up so that backups and the archive can be trusted? Judgement only:
//! what is judged was read by [`super::Server::settings`] and [`super::Server::grants`].

use std::collections::BTreeMap;

use crate::model::{EngineKind, Flavor};

use super::Grants;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, with a risk that `remedy` names.
    Warn,
    /// It cannot be trusted.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The setting or privilege.
    pub name: String,
    /// What it is.
    pub value: String,
    /// How bad.
    pub level: Level,
    /// What to do; empty when nothing is to be done.
    pub remedy: String,
}

/// Judges the server's settings for archiving binary logs.
#[must_use]
pub fn judge_settings(flavor: Flavor, settings: &BTreeMap<String, String>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut rule = |name: &str, good: &[&str], level: Level, remedy: &str| {
        if let Some(value) = settings.get(name) {
            let ok = good.iter().any(|good| value.eq_ignore_ascii_case(good));
            found.push(finding(name, value, if ok { Level::Ok } else { level }, remedy));
        }
    };
    rule(
        "log_bin",
        &["ON", "1"],
        Level::Fail,
        "start the server with --log-bin: without it there is nothing to archive",
    );
    rule(
        "binlog_format",
        &["ROW"],
        Level::Warn,
        "SET GLOBAL binlog_format = ROW: statements may replay differently",
    );
    rule(
        "binlog_row_image",
        &["FULL"],
        Level::Warn,
        "SET GLOBAL binlog_row_image = FULL: tables without a key may replay wrongly",
    );
    rule(
        "sync_binlog",
        &["1"],
        Level::Warn,
        "SET GLOBAL sync_binlog = 1: a crash of the machine may reuse GTIDs that were archived",
    );
    rule(
        "innodb_flush_log_at_trx_commit",
        &["1"],
        Level::Warn,
        "SET GLOBAL innodb_flush_log_at_trx_commit = 1: a crash may lose transactions that were archived",
    );
    rule(
        "binlog_checksum",
        &["CRC32"],
        Level::Warn,
        "SET GLOBAL binlog_checksum = CRC32: damage on the server's disk would go unnoticed",
    );
    if flavor == Flavor::Mysql {
        rule("gtid_mode", &["ON"], Level::Fail, "turn gtid_mode ON: coverage is computed by GTID");
        rule(
            "enforce_gtid_consistency",
            &["ON"],
            Level::Fail,
            "turn enforce_gtid_consistency ON: gtid_mode needs it",
        );
        rule(
            "binlog_error_action",
            &["ABORT_SERVER"],
            Level::Warn,
            "SET GLOBAL binlog_error_action = ABORT_SERVER: else a full disk turns the binary log off in silence",
        );
    }
    for filter in ["binlog_do_db", "binlog_ignore_db"] {
        rule(
            filter,
            &[""],
            Level::Fail,
            "remove the filter: what it keeps out of the binary log cannot be restored to a point in time",
        );
    }
    found.extend(expiry(settings));
    found
}

/// How long the server keeps its logs: at least a day, so that the archiver may be down for a while.
fn expiry(settings: &BTreeMap<String, String>) -> Option<Finding> {
    let number = |name: &str| settings.get(name).and_then(|value| value.parse::<f64>().ok());
    let seconds = number("binlog_expire_logs_seconds");
    let days = number("expire_logs_days").map(|days| days * 86_400.0);
    let name = if seconds.is_some() { "binlog_expire_logs_seconds" } else { "expire_logs_days" };
    let kept = seconds.filter(|&s| s > 0.0).or(days.filter(|&s| s > 0.0));
    let value = settings.get(name)?;
    let level = match kept {
        None => Level::Ok, // never
        Some(kept) if kept >= 86_400.0 => Level::Ok,
        Some(kept) if kept >= 3_600.0 => Level::Warn,
        Some(_) => Level::Fail,
    };
    Some(finding(
        name,
        value,
        level,
        "keep binary logs longer than the archiver may ever be down: a day at least",
    ))
}

/// Judges the privileges that a backup with this engine needs.
#[must_use]
pub fn judge_backup_grants(flavor: Flavor, engine: EngineKind, grants: &Grants) -> Vec<Finding> {
    let needs: &[&str] = match engine {
        EngineKind::Xtrabackup => {
            &["RELOAD", "PROCESS", "LOCK TABLES", "REPLICATION CLIENT", "BACKUP_ADMIN"]
        }
        EngineKind::MariadbBackup => &["RELOAD", "PROCESS", "LOCK TABLES", "BINLOG MONITOR"],
        EngineKind::Clone => &["BACKUP_ADMIN", "REPLICATION CLIENT"],
    };
    let mut found: Vec<Finding> =
        needs.iter().map(|p| privilege(p, grants, Level::Fail, "")).collect();
    let further = match (flavor, engine) {
        (Flavor::Mariadb, _) => {
            vec![("REPLICA MONITOR", ": it asks whether the server is a replica")]
        }
        (Flavor::Mysql, EngineKind::Clone) => {
            vec![("SELECT", ": without it tables outside InnoDB are not seen, and arrive empty")]
        }
        (Flavor::Mysql, _) => vec![
            // To derive the exact set from the server's own log.
            ("REPLICATION SLAVE", ": it reads the events before the backup's position"),
            // XtraBackup counts the tables it can see, and skips the lock when it sees none outside InnoDB.
            (
                "SELECT",
                ": without it tables outside InnoDB are not seen, and are copied without a lock",
            ),
        ],
    };
    let further = further.iter().map(|(name, why)| privilege(name, grants, Level::Fail, why));
    found.extend(further);
    found
}

/// Judges the privileges that archiving needs.
#[must_use]
pub fn judge_archive_grants(flavor: Flavor, grants: &Grants) -> Vec<Finding> {
    let needs: &[&str] = match flavor {
        Flavor::Mysql => &["REPLICATION SLAVE", "REPLICATION CLIENT"],
        Flavor::Mariadb => &["REPLICATION SLAVE", "BINLOG MONITOR", "REPLICA MONITOR"],
    };
    needs.iter().map(|p| privilege(p, grants, Level::Fail, "")).collect()
}

fn privilege(name: &str, grants: &Grants, level: Level, why: &str) -> Finding {
    // MariaDB before 10.5 called BINLOG MONITOR, and part of REPLICA MONITOR, by another name.
    let old =
        matches!(name, "BINLOG MONITOR" | "REPLICA MONITOR") && grants.has("REPLICATION CLIENT");
    let granted = grants.has(name) || old;
    let level = if granted { Level::Ok } else { level };
    let remedy = format!("GRANT {name} ON *.* TO the user{why}");
    finding(name, if granted { "granted" } else { "missing" }, level, &remedy)
}

fn finding(name: &str, value: &str, level: Level, remedy: &str) -> Finding {
    let remedy = if level == Level::Ok { String::new() } else { remedy.to_owned() };
    Finding { name: name.to_owned(), value: value.to_owned(), level, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    fn level(found: &[Finding], name: &str) -> Level {
        found.iter().find(|f| f.name == name).map_or(Level::Ok, |f| f.level)
    }

    #[test]
    fn mariadbs_defaults_are_warned_of() {
        let found = judge_settings(
            Flavor::Mariadb,
            &settings(&[
                ("log_bin", "ON"),
                ("binlog_format", "MIXED"),
                ("sync_binlog", "0"),
                ("binlog_ignore_db", "tmp"),
            ]),
        );
        assert_eq!(level(&found, "log_bin"), Level::Ok);
        assert_eq!(level(&found, "binlog_format"), Level::Warn);
        assert_eq!(level(&found, "sync_binlog"), Level::Warn);
        assert_eq!(level(&found, "binlog_ignore_db"), Level::Fail);
        assert!(found.iter().all(|f| (f.level == Level::Ok) == f.remedy.is_empty()));
    }

    #[test]
    fn no_log_and_no_gtids_fail() {
        let found = judge_settings(
            Flavor::Mysql,
            &settings(&[("log_bin", "OFF"), ("gtid_mode", "OFF_PERMISSIVE")]),
        );
        assert_eq!(
            (level(&found, "log_bin"), level(&found, "gtid_mode")),
            (Level::Fail, Level::Fail)
        );
    }

    #[test]
    fn logs_must_outlive_an_outage() {
        let judged = |pairs: &[(&str, &str)]| expiry(&settings(pairs)).unwrap().level;
        assert_eq!(judged(&[("binlog_expire_logs_seconds", "0")]), Level::Ok);
        assert_eq!(judged(&[("binlog_expire_logs_seconds", "2592000")]), Level::Ok);
        assert_eq!(judged(&[("binlog_expire_logs_seconds", "7200")]), Level::Warn);
        assert_eq!(
            judged(&[("binlog_expire_logs_seconds", "60"), ("expire_logs_days", "0.000694")]),
            Level::Fail
        );
        assert_eq!(judged(&[("expire_logs_days", "10")]), Level::Ok);
    }

    #[test]
    fn a_clone_reads_no_events() {
        let few =
            Grants::parse(["GRANT SELECT, REPLICATION CLIENT, BACKUP_ADMIN ON *.* TO `b`@`%`"]);
        let failed = |engine| {
            judge_backup_grants(Flavor::Mysql, engine, &few).iter().any(|f| f.level == Level::Fail)
        };
        assert!(!failed(EngineKind::Clone) && failed(EngineKind::Xtrabackup));
    }

    #[test]
    fn a_user_who_cannot_see_tables_fails() {
        let few = Grants::parse([
            "GRANT RELOAD, PROCESS, LOCK TABLES, REPLICATION CLIENT, REPLICATION SLAVE ON *.* TO `b`@`%`",
            "GRANT BACKUP_ADMIN ON *.* TO `b`@`%`",
        ]);
        let found = judge_backup_grants(Flavor::Mysql, EngineKind::Xtrabackup, &few);
        let failed: Vec<_> =
            found.iter().filter(|f| f.level == Level::Fail).map(|f| f.name.as_str()).collect();
        assert_eq!(failed, ["SELECT"]);
    }
}
