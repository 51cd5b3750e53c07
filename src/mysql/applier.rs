//! The server's own applier, over relay logs that were put into its data directory.

use std::time::Duration;

use super::{
    MysqlError,
    connect::{STATEMENT, Server, text},
    replication::relay_name,
};
use crate::model::{Flavor, GtidSet};

/// How far the applier is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplierState {
    /// Whether its coordinator runs.
    pub running: bool,
    /// Number and text of its last error; 0 for none.
    pub error: (u32, String),
    /// The relay log that it has come to, and the byte in it.
    pub relay: (String, u64),
    /// Transactions that it has applied since it was set up; MariaDB alone counts them.
    pub groups: Option<u64>,
}

impl Server {
    /// Points the applier at the first relay log, and starts it. The relay logs and their index
    /// have to be in place since before the server was started.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn start_applier(&mut self) -> Result<(), MysqlError> {
        let first = relay_name(1);
        let sql = match self.flavor() {
            Flavor::Mysql => [
                format!(
                    "CHANGE REPLICATION SOURCE TO RELAY_LOG_FILE = '{first}', RELAY_LOG_POS = 4, SOURCE_HOST = 'unused'"
                ),
                "START REPLICA SQL_THREAD".into(),
            ],
            // Without a source's file its parallel threads crash (10.11).
            Flavor::Mariadb => [
                format!(
                    "CHANGE MASTER TO master_host = 'unused', master_use_gtid = no, master_log_file = 'unused.000001', \
                     master_log_pos = 4, relay_log_file = '{first}', relay_log_pos = 4"
                ),
                "START SLAVE SQL_THREAD".into(),
            ],
        };
        for sql in sql {
            self.execute("starting the applier", &sql, STATEMENT).await?;
        }
        Ok(())
    }

    /// How far the applier is.
    ///
    /// # Errors
    /// When the server does not answer, or has no applier.
    pub async fn applier_state(&mut self) -> Result<ApplierState, MysqlError> {
        let (sql, running, groups) = match self.flavor() {
            Flavor::Mysql => ("SHOW REPLICA STATUS", "Replica_SQL_Running", [""; 3]),
            Flavor::Mariadb => (
                "SHOW ALL SLAVES STATUS",
                "Slave_SQL_Running",
                [
                    "Slave_DDL_Groups",
                    "Slave_Non_Transactional_Groups",
                    "Slave_Transactional_Groups",
                ],
            ),
        };
        let rows = self.rows("asking how far the applier is", sql).await?;
        let row = rows
            .first()
            .ok_or_else(|| MysqlError::unexpected("the applier's state", "there is no applier"))?;
        let number = |column: &str| text(row, column).parse::<u64>();
        let begun: Option<u64> = groups.into_iter().map(|column| number(column).ok()).sum();
        // What met a conflict among the parallel threads was rolled back and begun again.
        let again = number("Retried_transactions").unwrap_or_default();
        Ok(ApplierState {
            running: text(row, running) == "Yes",
            error: (
                u32::try_from(number("Last_SQL_Errno").unwrap_or_default()).unwrap_or(u32::MAX),
                text(row, "Last_SQL_Error"),
            ),
            relay: (text(row, "Relay_Log_File"), number("Relay_Log_Pos").unwrap_or_default()),
            groups: begun.map(|begun| begun.saturating_sub(again)),
        })
    }

    /// Temporary tables that replicated sessions have open.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn open_temporary_tables(&mut self) -> Result<u64, MysqlError> {
        let name = match self.flavor() {
            Flavor::Mysql => "Replica_open_temp_tables",
            Flavor::Mariadb => "Slave_open_temp_tables",
        };
        let sql = format!("SHOW GLOBAL STATUS WHERE Variable_name = '{name}'");
        let rows = self.rows("counting temporary tables", &sql).await?;
        Ok(rows.first().and_then(|row| text(row, "Value").parse().ok()).unwrap_or_default())
    }

    /// Ends the applier and forgets it; relay logs that are left go, too.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn forget_applier(&mut self) -> Result<(), MysqlError> {
        let sql = match self.flavor() {
            Flavor::Mysql => ["STOP REPLICA", "RESET REPLICA ALL"],
            Flavor::Mariadb => ["STOP SLAVE", "RESET SLAVE ALL"],
        };
        for sql in sql {
            self.execute("ending the applier", sql, Duration::from_mins(10)).await?;
        }
        Ok(())
    }

    /// Says which transactions the data has. It must have none of its own.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn set_executed(&mut self, set: &GtidSet) -> Result<(), MysqlError> {
        let statements = match self.flavor() {
            Flavor::Mysql => {
                let reset = if self.version().numbers >= (8, 2, 0) {
                    "RESET BINARY LOGS AND GTIDS"
                } else {
                    "RESET MASTER"
                };
                vec![reset.to_owned(), format!("SET GLOBAL gtid_purged = '{set}'")]
            }
            Flavor::Mariadb => vec![format!("SET GLOBAL gtid_slave_pos = '{set}'")],
        };
        for sql in statements {
            self.execute("setting the executed transactions", &sql, STATEMENT).await?;
        }
        Ok(())
    }

    /// Takes away an account of ours.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn drop_account(&mut self, user: &str) -> Result<(), MysqlError> {
        let sql = format!("DROP USER IF EXISTS '{user}'@'localhost'");
        self.execute("dropping the temporary account", &sql, STATEMENT).await
    }
}
