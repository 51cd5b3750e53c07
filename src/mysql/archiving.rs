//! What an archive of binary logs asks of a server.

use std::time::Duration;

use crate::model::{Flavor, Gtid, GtidSet};

use super::{
    MysqlError,
    connect::{Server, text, text_at},
    facts::quoted,
};

/// How long a server may take to remove files.
const PURGE: Duration = Duration::from_mins(10);

/// A binary log that the server lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryLog {
    /// Its name, without a folder.
    pub name: String,
    /// Its size on disk. For an encrypted one of MySQL this includes 512 bytes that no dump has.
    pub bytes: u64,
    /// Whether it is encrypted on disk, as MySQL tells; MariaDB does not, and it is false there.
    pub encrypted: bool,
}

impl Server {
    /// The binary logs that the server has, the oldest first. The last is the one being written.
    ///
    /// # Errors
    /// When the binary log is off, or the user may not ask (REPLICATION CLIENT; on MariaDB
    /// BINLOG MONITOR).
    pub async fn binary_logs(&mut self) -> Result<Vec<BinaryLog>, MysqlError> {
        let rows = self.rows("listing the binary logs", "SHOW BINARY LOGS").await?;
        let read = |row| {
            let (name, size) = (text(row, "Log_name"), text(row, "File_size"));
            let bytes = size.parse().map_err(|_| {
                MysqlError::unexpected(
                    "the list of binary logs",
                    format!("{name} has `{size}` bytes"),
                )
            })?;
            let encrypted = text(row, "Encrypted").eq_ignore_ascii_case("yes");
            Ok(BinaryLog { name, bytes, encrypted })
        };
        rows.iter().map(read).collect()
    }

    /// The transactions in all files before this one, as its first events say: all of MySQL's
    /// executed ones; of MariaDB the last of each domain. Empty when the file does not say.
    ///
    /// # Errors
    /// When the server no longer has the file, or the user may not ask (REPLICATION SLAVE; on
    /// MariaDB BINLOG MONITOR).
    pub async fn previous_gtids(&mut self, file: &str) -> Result<GtidSet, MysqlError> {
        let flavor = self.flavor();
        let doing = format!("reading the first events of binary log {file}");
        // At most before it: format description, start of encryption.
        let sql = format!("SHOW BINLOG EVENTS IN '{}' LIMIT 3", quoted(file));
        for row in self.rows(&doing, &sql).await? {
            if matches!(text(&row, "Event_type").as_str(), "Previous_gtids" | "Gtid_list") {
                return set_as_shown(flavor, &text(&row, "Info"))
                    .map_err(|why| MysqlError::unexpected(format!("binary log {file}"), why));
            }
        }
        Ok(GtidSet::empty(flavor))
    }

    /// Whether clients without special rights may write.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn is_writable(&mut self) -> Result<bool, MysqlError> {
        for name in ["read_only", "super_read_only"] {
            // MariaDB 12 has further words for what is read-only.
            let off = |value: &str| value == "0" || value.eq_ignore_ascii_case("off");
            if self.setting(name).await?.is_some_and(|value| !off(&value)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A name of the server, for names of stored objects: `server_uuid` of MySQL, which lasts as
    /// long as its data directory; of MariaDB `id-` and its `server_id`, which has to differ
    /// within a replication topology. MariaDB's `server_uid` is no such name: it is a hash of the
    /// port and a network interface's MAC address (its sources, `calculate_server_uid`), so it
    /// changes when a pod starts again, and two containers may share one.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn server_identity(&mut self) -> Result<String, MysqlError> {
        let (name, prefix) = match self.flavor() {
            Flavor::Mysql => ("server_uuid", ""),
            Flavor::Mariadb => ("server_id", "id-"),
        };
        match self.setting(name).await? {
            Some(value) if !value.is_empty() => Ok(format!("{prefix}{value}")),
            _ => {
                let what = format!("the setting {name}");
                Err(MysqlError::unexpected(what, "the server does not say"))
            }
        }
    }

    /// The transactions that are, or were, in the server's binary logs: `gtid_executed` of MySQL,
    /// `gtid_binlog_pos` of MariaDB (the last of each domain). Unlike MariaDB's
    /// `gtid_current_pos` it names nothing that was applied without being logged.
    ///
    /// # Errors
    /// When the server does not answer, or its answer is no set of its flavor.
    pub async fn executed(&mut self) -> Result<GtidSet, MysqlError> {
        let flavor = self.flavor();
        let sql = match flavor {
            Flavor::Mysql => "SELECT @@GLOBAL.gtid_executed",
            Flavor::Mariadb => "SELECT @@GLOBAL.gtid_binlog_pos",
        };
        let rows = self.rows("asking for the executed transactions", sql).await?;
        let said = rows.first().map(|row| text_at(row, 0)).unwrap_or_default();
        set_as_shown(flavor, &said)
            .map_err(|why| MysqlError::unexpected("the executed transactions", why))
    }

    /// MariaDB's `gtid_binlog_state`: the last transaction of each server in each domain, which a
    /// position cannot hold. Nothing for MySQL, whose sets hold everything.
    ///
    /// # Errors
    /// When the server does not answer, or its answer is not understood.
    pub async fn binlog_state(&mut self) -> Result<Vec<Gtid>, MysqlError> {
        if self.flavor() == Flavor::Mysql {
            return Ok(Vec::new());
        }
        let sql = "SELECT @@GLOBAL.gtid_binlog_state";
        let rows = self.rows("asking for the state of the binary log", sql).await?;
        let said = rows.first().map(|row| text_at(row, 0)).unwrap_or_default();
        let parts = said.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| {
                mariadb(part).ok_or_else(|| {
                    MysqlError::unexpected("the state of the binary log", format!("`{part}`"))
                })
            })
            .collect()
    }

    /// Removes all binary logs before `file`. The server keeps those that a replica reads, and says
    /// so in the warnings, which are returned.
    ///
    /// # Errors
    /// When the server has no such file, or the user may not (BINLOG_ADMIN; on MariaDB BINLOG
    /// ADMIN).
    pub async fn purge_to(&mut self, file: &str) -> Result<Vec<String>, MysqlError> {
        let doing = format!("purging the binary logs before {file}");
        let sql = format!("PURGE BINARY LOGS TO '{}'", quoted(file));
        self.execute(&doing, &sql, PURGE).await?;
        let rows = self.rows(&doing, "SHOW WARNINGS").await?;
        Ok(rows
            .iter()
            .map(|row| format!("{} (warning {})", text(row, "Message"), text(row, "Code")))
            .collect())
    }

    /// After how long the server removes a binary log by itself; nothing when it never does so by
    /// age.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn log_expiry(&mut self) -> Result<Option<Duration>, MysqlError> {
        let purges = self.setting("binlog_expire_logs_auto_purge").await?;
        if purges.is_some_and(|value| value == "0" || value.eq_ignore_ascii_case("off")) {
            return Ok(None);
        }
        // Whichever of the two is set; MariaDB keeps them equal, MySQL lets one be set.
        for (name, unit) in [("binlog_expire_logs_seconds", 1.0), ("expire_logs_days", 86400.0)] {
            let Some(value) = self.setting(name).await? else { continue };
            let seconds = value.parse::<f64>().ok().map(|number| number * unit);
            let age = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let age = age.ok_or_else(|| {
                MysqlError::unexpected(format!("the setting {name}"), format!("`{value}`"))
            })?;
            if !age.is_zero() {
                return Ok(Some(age));
            }
        }
        Ok(None)
    }
}

/// A set as servers print it. MariaDB's lists may name several servers of a domain, the last one
/// at the end; a position keeps that one.
pub(super) fn set_as_shown(flavor: Flavor, said: &str) -> Result<GtidSet, String> {
    let said = said.trim().trim_start_matches('[').trim_end_matches(']');
    let mut set = GtidSet::empty(flavor);
    match flavor {
        Flavor::Mysql => set = GtidSet::parse(flavor, said).map_err(|e| e.to_string())?,
        Flavor::Mariadb => {
            for part in said.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                set.add(part).map_err(|e| e.to_string())?;
            }
        }
    }
    Ok(set)
}

fn mariadb(text: &str) -> Option<Gtid> {
    let mut fields = text.split('-');
    let domain = fields.next()?.parse().ok()?;
    let server = fields.next()?.parse().ok()?;
    let sequence = fields.next()?.parse().ok()?;
    fields.next().is_none().then_some(Gtid::Mariadb { domain, server, sequence })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_with_two_servers_in_a_domain_keeps_the_last() {
        let list = set_as_shown(Flavor::Mariadb, "[0-2-9,0-1-12,\n3-1-1]").unwrap();
        assert_eq!(list.to_string(), "0-1-12,3-1-1");
        assert!(set_as_shown(Flavor::Mariadb, "[]").unwrap().is_empty());
        assert!(set_as_shown(Flavor::Mariadb, "[0-2]").is_err());
    }
}
