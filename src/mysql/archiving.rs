//! What an archive of binary logs asks of a server.

use std::time::Duration;

use crate::model::{Flavor, GtidSet, GtidState};

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
    /// executed ones; of MariaDB the last of each server in each domain. Empty when the file does
    /// not say.
    ///
    /// # Errors
    /// When the server no longer has the file, or the user may not ask (REPLICATION SLAVE; on
    /// MariaDB BINLOG MONITOR).
    pub async fn previous_gtids(&mut self, file: &str) -> Result<GtidState, MysqlError> {
        let flavor = self.flavor();
        let doing = format!("reading the first events of binary log {file}");
        // At most before it: format description, start of encryption.
        let sql = format!("SHOW BINLOG EVENTS IN '{}' LIMIT 3", quoted(file));
        for row in self.rows(&doing, &sql).await? {
            if matches!(text(&row, "Event_type").as_str(), "Previous_gtids" | "Gtid_list") {
                return state_as_shown(flavor, &text(&row, "Info"))
                    .map_err(|why| MysqlError::unexpected(format!("binary log {file}"), why));
            }
        }
        Ok(GtidState::empty(flavor))
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

    /// All transactions that the server has: `gtid_executed` of MySQL; of MariaDB what it has
    /// written (`gtid_binlog_state`) and what it has applied (`gtid_slave_pos`), which a replica
    /// need not have logged.
    ///
    /// # Errors
    /// When the server does not answer, or its answer is not understood.
    pub async fn executed(&mut self) -> Result<GtidState, MysqlError> {
        let flavor = self.flavor();
        let names: &[&str] = match flavor {
            Flavor::Mysql => &["gtid_executed"],
            Flavor::Mariadb => &["gtid_slave_pos", "gtid_binlog_state"],
        };
        let mut state = GtidState::empty(flavor);
        for name in names {
            state.merge(&self.state(name).await?);
        }
        Ok(state)
    }

    /// Transactions that the server has, though none of its binary logs holds them any more or ever
    /// did: `gtid_purged` of MySQL; of MariaDB what it has applied (`gtid_slave_pos`) and never
    /// written, as after it was rebuilt from a copy of another server's data.
    ///
    /// # Errors
    /// When the server does not answer, or its answer is not understood.
    pub async fn unlogged(&mut self) -> Result<GtidState, MysqlError> {
        let applied = match self.flavor() {
            Flavor::Mysql => return self.state("gtid_purged").await,
            Flavor::Mariadb => self.applied().await?,
        };
        // What is applied is written before it is counted, so it is asked for first.
        let written = self.state("gtid_binlog_state").await?;
        let mut unlogged = GtidState::empty(Flavor::Mariadb);
        if let GtidSet::Mariadb(domains) = applied.position() {
            for (domain, (server, sequence)) in domains {
                if sequence > written.sequence(domain, server) {
                    unlogged.add_mariadb(domain, server, sequence);
                }
            }
        }
        Ok(unlogged)
    }

    /// What a server of `MariaDB` was given by a replication or a restore: `gtid_slave_pos`.
    ///
    /// # Errors
    /// When the server does not answer, or its answer is not understood.
    pub async fn applied(&mut self) -> Result<GtidState, MysqlError> {
        self.state("gtid_slave_pos").await
    }

    /// A setting that holds transactions. `SHOW VARIABLES` would cut a long one.
    async fn state(&mut self, name: &str) -> Result<GtidState, MysqlError> {
        let sql = format!("SELECT @@GLOBAL.{name}");
        let rows = self.rows(&format!("asking for {name}"), &sql).await?;
        let said = rows.first().map(|row| text_at(row, 0)).unwrap_or_default();
        GtidState::parse(self.flavor(), &said)
            .map_err(|e| MysqlError::unexpected(format!("the setting {name}"), e.to_string()))
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

/// Transactions as servers print them; MariaDB's list of a file stands in brackets.
pub(super) fn state_as_shown(flavor: Flavor, said: &str) -> Result<GtidState, String> {
    let said = said.trim().trim_start_matches('[').trim_end_matches(']');
    GtidState::parse(flavor, said).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_with_two_servers_in_a_domain_keeps_both() {
        let list = state_as_shown(Flavor::Mariadb, "[0-2-9,0-1-12,\n3-1-1]").unwrap();
        assert_eq!(list.to_string(), "0-2-9,0-1-12,3-1-1");
        assert_eq!(list.position().to_string(), "0-1-12,3-1-1");
        assert!(state_as_shown(Flavor::Mariadb, "[]").unwrap().is_empty());
        assert!(state_as_shown(Flavor::Mariadb, "[0-2]").is_err());
    }
}
