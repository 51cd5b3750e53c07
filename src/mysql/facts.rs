//! What a server says of itself.

use std::{collections::BTreeMap, path::PathBuf};

use crate::model::{BinlogPosition, Flavor, GtidSet, ServerFacts, Timestamp};

use super::{
    MysqlError,
    connect::{Server, text, text_at},
};

/// Options that a data directory was made with and cannot be opened without.
const BOUND_OPTIONS: [&str; 8] = [
    "innodb_checksum_algorithm",
    "innodb_compression_algorithm",
    "innodb_data_file_path",
    "innodb_data_home_dir",
    "innodb_directories",
    "innodb_log_group_home_dir",
    "innodb_undo_directory",
    "innodb_undo_tablespaces",
];

impl Server {
    /// What a restore or an auditor needs to know of the server, at this instant.
    ///
    /// # Errors
    /// When the user may not ask (REPLICATION CLIENT, and on MariaDB BINLOG MONITOR and
    /// REPLICA MONITOR), or an answer is not understood.
    pub async fn facts(&mut self) -> Result<ServerFacts, MysqlError> {
        let settings = self.settings().await?;
        let get = |name: &str| settings.get(name).map(String::as_str).unwrap_or_default();
        let (position, gtid_set) =
            if get("log_bin") == "ON" { self.current_position().await? } else { (None, None) };
        let uuid = match self.flavor() {
            Flavor::Mysql => get("server_uuid"),
            Flavor::Mariadb => get("server_uid"),
        };
        Ok(ServerFacts {
            flavor: self.flavor(),
            version: self.version().clone(),
            server_uuid: Some(uuid.to_owned()).filter(|uuid| !uuid.is_empty()),
            server_id: number(&settings, "server_id")?,
            position,
            innodb_position: None,
            innodb_at_least: None,
            gtid_set,
            gtid_exact: false,
            up_since: self.up_since().await?,
            is_replica: self.is_replica().await?,
            lower_case_table_names: Some(number(&settings, "lower_case_table_names")?),
            page_size: number(&settings, "innodb_page_size")?,
            data_bytes: self.data_bytes().await,
            options: BOUND_OPTIONS
                .into_iter()
                .filter_map(|name| Some((name.to_owned(), settings.get(name)?.clone())))
                .filter(|(_, value)| !value.is_empty())
                .collect(),
        })
    }

    /// The data directory, as the server writes it: absolute, on the server's machine.
    ///
    /// # Errors
    /// When the server does not say.
    pub async fn datadir(&mut self) -> Result<PathBuf, MysqlError> {
        self.path_setting("datadir").await
    }

    /// Where the server is installed.
    ///
    /// # Errors
    /// When the server does not say.
    pub async fn basedir(&mut self) -> Result<PathBuf, MysqlError> {
        self.path_setting("basedir").await
    }

    /// The server's clock.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn utc_now(&mut self) -> Result<Timestamp, MysqlError> {
        let sql = "SELECT CAST(UTC_TIMESTAMP(6) AS CHAR)";
        let rows = self.rows("asking for the server's time", sql).await?;
        let said = rows.first().map(|row| text_at(row, 0)).unwrap_or_default();
        format!("{}Z", said.replace(' ', "T"))
            .parse()
            .map_err(|_| MysqlError::unexpected("the server's time", format!("`{said}`")))
    }

    /// When the server was started, by its clock, to a second or two.
    async fn up_since(&mut self) -> Result<Option<Timestamp>, MysqlError> {
        let doing = "asking since when the server runs";
        let rows = self.rows(doing, "SHOW GLOBAL STATUS LIKE 'Uptime'").await?;
        let uptime = rows.first().and_then(|row| text(row, "Value").parse::<i64>().ok());
        let now = self.utc_now().await?.as_microseconds() / 1_000_000;
        Ok(uptime.and_then(|uptime| Timestamp::from_microseconds((now - uptime) * 1_000_000)))
    }

    async fn path_setting(&mut self, name: &str) -> Result<PathBuf, MysqlError> {
        match self.setting(name).await? {
            Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
            _ => Err(MysqlError::unexpected(
                format!("the setting {name}"),
                "the server does not say",
            )),
        }
    }

    /// The end of the binary log, and the transactions up to there.
    ///
    /// # Errors
    /// When the user may not ask.
    pub async fn current_position(
        &mut self,
    ) -> Result<(Option<BinlogPosition>, Option<GtidSet>), MysqlError> {
        let doing = "asking where the binary log ends";
        let flavor = self.flavor();
        // MySQL 8.2 renamed the statement, and 8.4 dropped the old name.
        let renamed = flavor == Flavor::Mysql && self.version().numbers >= (8, 2, 0);
        let statement = if renamed { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
        let rows = self.rows(doing, statement).await?;
        let Some(row) = rows.first() else { return Ok((None, None)) };
        let position = text(row, "Position");
        let position = position
            .parse()
            .map_err(|_| MysqlError::unexpected(statement, format!("position `{position}`")))?;
        let place = BinlogPosition { file: text(row, "File"), position };
        let set = match flavor {
            Flavor::Mysql => text(row, "Executed_Gtid_Set"),
            // The position that belongs to this place, not to a later one.
            Flavor::Mariadb => {
                let sql = format!(
                    "SELECT BINLOG_GTID_POS('{}', {})",
                    quoted(&place.file),
                    place.position
                );
                self.rows(doing, &sql).await?.first().map(|row| text_at(row, 0)).unwrap_or_default()
            }
        };
        let set = GtidSet::parse(flavor, &set)
            .map_err(|e| MysqlError::unexpected(statement, e.to_string()))?;
        Ok((Some(place), Some(set)))
    }

    /// Whether a replication channel is configured, running or not.
    ///
    /// # Errors
    /// When the user may not ask.
    pub async fn is_replica(&mut self) -> Result<bool, MysqlError> {
        let statement = match self.flavor() {
            Flavor::Mariadb => "SHOW ALL SLAVES STATUS",
            Flavor::Mysql if self.version().numbers >= (8, 0, 22) => "SHOW REPLICA STATUS",
            Flavor::Mysql => "SHOW SLAVE STATUS",
        };
        Ok(!self.rows("asking whether the server is a replica", statement).await?.is_empty())
    }

    /// Bytes of InnoDB files. An estimate; 0 when the user may not ask (PROCESS).
    async fn data_bytes(&mut self) -> u64 {
        let table = match self.flavor() {
            Flavor::Mysql => "INNODB_TABLESPACES",
            Flavor::Mariadb => "INNODB_SYS_TABLESPACES",
        };
        let sql = format!("SELECT CAST(SUM(FILE_SIZE) AS CHAR) FROM information_schema.{table}");
        match self.rows("estimating the size of the data", &sql).await {
            Ok(rows) => rows.first().and_then(|row| text_at(row, 0).parse().ok()).unwrap_or(0),
            Err(error) => {
                tracing::warn!("{error}; progress will show no percentage");
                0
            }
        }
    }
}

fn number<T: std::str::FromStr>(
    settings: &BTreeMap<String, String>,
    name: &str,
) -> Result<T, MysqlError> {
    let value = settings.get(name).map(String::as_str).unwrap_or_default();
    value.parse().map_err(|_| {
        MysqlError::unexpected(
            format!("the setting {name}"),
            format!("`{value}` is no such number"),
        )
    })
}

/// A text inside single quotes. Only names that a server gave, such as those of binlogs.
pub(super) fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "''")
}
