//! The clone plugin of MySQL: a physical copy made by the server itself.
//!
//! It copies InnoDB only: any other table arrives empty, without a warning. So it is
//! refused while there is one. Its position is known after the first start of a server
//! over the copy (MySQL manual, "Cloning Data Locally", "Cloning for Replication").

use std::{path::Path, time::Duration};

use crate::model::{BinlogPosition, Flavor, GtidSet};

use super::{
    MysqlError,
    connect::{Server, text, text_at},
    facts::quoted,
};

/// Tables named in a refusal.
const NAMED: usize = 5;
/// A clone of a large server takes hours; the connection's loss ends it sooner.
const CLONE: Duration = Duration::from_hours(7 * 24);

impl Server {
    /// Whether this server can be cloned as it is now: its version, the plugin, the user's
    /// rights, and no user table outside InnoDB. Installs nothing.
    ///
    /// # Errors
    /// [`MysqlError::Unsupported`] with what to do.
    pub async fn check_clone(&mut self) -> Result<(), MysqlError> {
        let what = format!("cloning server {}", self.version());
        let refuse = |why: String| Err(MysqlError::unsupported(what, why));
        if self.flavor() != Flavor::Mysql || self.version().numbers < (8, 0, 17) {
            return refuse(
                "the clone plugin needs MySQL 8.0.17 or later: use another engine".to_owned(),
            );
        }
        if !self.clone_plugin_active().await? {
            return refuse(
                "the clone plugin is not active: INSTALL PLUGIN clone SONAME 'mysql_clone.so'"
                    .to_owned(),
            );
        }
        let grants = self.grants().await?;
        for privilege in ["BACKUP_ADMIN", "SELECT"] {
            if !grants.has(privilege) {
                let remedy = format!("GRANT {privilege} ON *.* TO the backup user");
                return refuse(format!(
                    "the user lacks {privilege} (SELECT, to see all tables): {remedy}"
                ));
            }
        }
        let others = self.non_innodb_tables().await?;
        if let Some(first) = others.get(..others.len().min(NAMED)).filter(|t| !t.is_empty()) {
            return refuse(format!(
                "{} tables are not InnoDB and would arrive empty, such as {}: ALTER TABLE … ENGINE=InnoDB, or use xtrabackup",
                others.len(),
                first.join(", ")
            ));
        }
        Ok(())
    }

    /// Whether the plugin is there and active.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn clone_plugin_active(&mut self) -> Result<bool, MysqlError> {
        let sql = "SELECT 1 FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'clone' AND PLUGIN_STATUS = 'ACTIVE'";
        Ok(!self.rows("asking for the clone plugin", sql).await?.is_empty())
    }

    /// `INSTALL PLUGIN clone`; needs INSERT on `mysql.plugin`.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn install_clone_plugin(&mut self) -> Result<(), MysqlError> {
        let sql = "INSTALL PLUGIN clone SONAME 'mysql_clone.so'";
        self.execute("installing the clone plugin", sql, super::connect::STATEMENT).await
    }

    /// User tables of other engines, as `schema.table (engine)`. Only those that the user may see.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn non_innodb_tables(&mut self) -> Result<Vec<String>, MysqlError> {
        let sql = "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME, ' (', ENGINE, ')') FROM information_schema.TABLES \
                   WHERE TABLE_TYPE = 'BASE TABLE' AND ENGINE IS NOT NULL AND ENGINE <> 'InnoDB' AND TABLE_SCHEMA NOT IN \
                   ('mysql', 'sys', 'performance_schema', 'information_schema') ORDER BY 1";
        let rows = self.rows("looking for tables outside InnoDB", sql).await?;
        Ok(rows.iter().map(|row| text_at(row, 0)).collect())
    }

    /// Clones into `dir`, which must be absolute and must not exist; its parent must be
    /// writable to the server. The copy is on the server's machine. It ends when the copy is complete.
    ///
    /// # Errors
    /// When the path cannot be named in SQL, or the server refuses or fails.
    pub async fn clone_into(&mut self, dir: &Path) -> Result<(), MysqlError> {
        let path = dir.to_str().filter(|path| path.starts_with('/'));
        let Some(path) = path else {
            let why = "the folder must be an absolute path in UTF-8";
            return Err(MysqlError::unsupported(format!("cloning into {}", dir.display()), why));
        };
        let sql = format!("CLONE LOCAL DATA DIRECTORY = '{}'", quoted(path));
        self.execute(&format!("cloning into {path}"), &sql, CLONE).await
    }

    /// The place and the transactions of the clone that *this* server was started over:
    /// ask it after its first start.
    ///
    /// # Errors
    /// When this server was not started over a complete clone.
    pub async fn cloned_position(&mut self) -> Result<(BinlogPosition, GtidSet), MysqlError> {
        let doing = "asking for the position of the clone";
        let sql = "SELECT STATE, ERROR_MESSAGE, BINLOG_FILE, CAST(BINLOG_POSITION AS CHAR) AS POSITION, GTID_EXECUTED \
                   FROM performance_schema.clone_status";
        let rows = self.rows(doing, sql).await?;
        let wrong = |why: String| MysqlError::unexpected("the position of the clone", why);
        let row = rows
            .first()
            .ok_or_else(|| wrong("this server was not started over a clone".to_owned()))?;
        let state = text(row, "STATE");
        if state != "Completed" {
            return Err(wrong(format!(
                "the clone's state is `{state}` {}",
                text(row, "ERROR_MESSAGE")
            )));
        }
        // The server that was cloned from shows its own clone too, without a position.
        if text(row, "BINLOG_FILE").is_empty() {
            let why = "this server was not started over a clone, or its source had no binary log";
            return Err(wrong(why.to_owned()));
        }
        let position = text(row, "POSITION");
        let place = BinlogPosition {
            file: text(row, "BINLOG_FILE").rsplit('/').next().unwrap_or_default().to_owned(),
            position: position.parse().map_err(|_| wrong(format!("position `{position}`")))?,
        };
        let set = GtidSet::parse(Flavor::Mysql, &text(row, "GTID_EXECUTED"))
            .map_err(|e| wrong(e.to_string()))?;
        Ok((place, set))
    }
}
