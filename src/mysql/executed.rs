//! What a server has executed, in its own words.

use super::{
    MysqlError,
    connect::{Server, text_at},
};
use crate::model::{Flavor, GtidSet};

impl Server {
    /// `gtid_executed` of MySQL, `gtid_current_pos` of MariaDB.
    ///
    /// # Errors
    /// When the server does not answer, or its answer is no set of its flavor.
    pub async fn executed_set(&mut self) -> Result<GtidSet, MysqlError> {
        let flavor = self.flavor();
        let sql = match flavor {
            Flavor::Mysql => "SELECT @@GLOBAL.gtid_executed",
            Flavor::Mariadb => "SELECT @@GLOBAL.gtid_current_pos",
        };
        let rows = self.rows("asking for the executed transactions", sql).await?;
        let set = rows.first().map(|row| text_at(row, 0)).unwrap_or_default();
        GtidSet::parse(flavor, &set)
            .map_err(|e| MysqlError::unexpected("the executed transactions", e.to_string()))
    }
}
