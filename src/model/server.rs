//! What is known of a database server.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{BinlogPosition, GtidSet, ServerName, Timestamp};

/// The two families of servers; they share a protocol and little else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavor {
    /// MySQL and Percona Server.
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
        })
    }
}

/// What makes the base backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// Percona XtraBackup, for MySQL and Percona Server.
    Xtrabackup,
    /// mariadb-backup, for MariaDB.
    MariadbBackup,
    /// The clone plugin of MySQL 8.0.17 and later.
    Clone,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xtrabackup => "xtrabackup",
            Self::MariadbBackup => "mariadb-backup",
            Self::Clone => "clone",
        })
    }
}

/// A server's or an engine's version: the numbers compare, the text is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerVersion {
    /// Major, minor and patch.
    pub numbers: (u16, u16, u16),
    /// As the server wrote it, such as `10.11.14-MariaDB-0+deb12u2-log`.
    pub text: String,
}

impl ServerVersion {
    /// The family that a server of this version belongs to.
    #[must_use]
    pub fn flavor(&self) -> Flavor {
        if self.text.to_ascii_lowercase().contains("mariadb") {
            Flavor::Mariadb
        } else {
            Flavor::Mysql
        }
    }
}

/// A text that begins with no `major.minor.patch`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a server version")]
pub struct VersionError(String);

impl FromStr for ServerVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        // MariaDB before 11 puts `5.5.5-` before its version for the sake of old replicas.
        let plain = text.strip_prefix("5.5.5-").unwrap_or(text);
        let numeric: String =
            plain.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let mut parts = numeric.split('.').map(str::parse::<u16>);
        let mut next = || parts.next().and_then(Result::ok);
        let numbers = next().and_then(|major| Some((major, next()?, next().unwrap_or(0))));
        match numbers {
            Some(numbers) => Ok(Self { numbers, text: plain.to_owned() }),
            None => Err(VersionError(text.chars().take(80).collect())),
        }
    }
}

impl TryFrom<String> for ServerVersion {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<ServerVersion> for String {
    fn from(version: ServerVersion) -> Self {
        version.text
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How the connection to the source was protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransportSecurity {
    /// A Unix socket, or a pipe: nothing left the machine.
    Local,
    /// TLS with a verified server certificate.
    TlsVerified,
    /// TLS whose server certificate was not verified.
    TlsUnverified,
    /// TCP without TLS.
    Plain,
    /// The source did not say (standard input).
    Unknown,
}

/// The facts of a source server that a restore needs or an auditor asks for.
///
/// It names no table and no user: manifests are readable without a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct ServerFacts {
    /// MySQL or MariaDB.
    pub flavor: Flavor,
    /// `version()` of the server.
    pub version: ServerVersion,
    /// `server_uuid` of MySQL, `server_uid` of MariaDB where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_uuid: Option<String>,
    /// `server_id`.
    pub server_id: u32,
    /// The binlog position at the instant of the backup, when the binary log is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<BinlogPosition>,
    /// Where InnoDB itself can have committed last at that position: the last event group that
    /// ends as a transaction ends here, and the restored server must not stand behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub innodb_position: Option<BinlogPosition>,
    /// Where InnoDB must at least stand. It is the same place unless the last groups were logged
    /// as statements, of which one that changes nothing is no commit to InnoDB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub innodb_at_least: Option<BinlogPosition>,
    /// The exact set of transactions in the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtid_set: Option<GtidSet>,
    /// Whether that set was derived up to the very position. What an engine recorded by itself
    /// can lack the last transactions before its own position.
    #[serde(default)]
    pub gtid_exact: bool,
    /// When the server was started, by its clock: log sequence numbers can be compared within one
    /// life of a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_since: Option<Timestamp>,
    /// Whether the server was replicating from another when the backup was taken.
    #[serde(default)]
    pub is_replica: bool,
    /// `lower_case_table_names`, where known: a restore under another value loses tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower_case_table_names: Option<u8>,
    /// `innodb_page_size` in bytes.
    pub page_size: u32,
    /// Bytes of data that the server said it had, for estimates.
    pub data_bytes: u64,
    /// Options without which the data directory cannot be opened, such as
    /// `innodb_data_file_path` and `innodb_undo_tablespaces`.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub options: std::collections::BTreeMap<String, String>,
}

impl ServerFacts {
    /// The name that the archive of its binary logs has for it, where it can be told.
    #[must_use]
    pub fn name(&self) -> Option<ServerName> {
        match self.flavor {
            Flavor::Mysql => self.server_uuid.as_ref()?.parse().ok(),
            Flavor::Mariadb if self.server_id == 0 => None,
            Flavor::Mariadb => format!("id-{}", self.server_id).parse().ok(),
        }
    }
}

impl Serialize for ServerFacts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for ServerFacts {
    /// The text of an empty set does not tell its flavor, so the set is read as the server's.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut facts = Self::deserialize(deserializer)?;
        if let Some(set) = &mut facts.gtid_set {
            *set = GtidSet::parse(facts.flavor, &set.to_string()).map_err(D::Error::custom)?;
        }
        Ok(facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_set_keeps_its_flavor_and_a_foreign_one_is_refused() {
        let facts = |flavor: Flavor, set: &str| {
            serde_json::from_value::<ServerFacts>(serde_json::json!({
                "flavor": flavor, "version": "10.11.14-MariaDB", "server_id": 1, "gtid_set": set,
                "page_size": 16384, "data_bytes": 0,
            }))
        };
        for flavor in [Flavor::Mysql, Flavor::Mariadb] {
            let read = facts(flavor, "").unwrap();
            assert_eq!(read.gtid_set, Some(GtidSet::empty(flavor)));
            let again = serde_json::to_string(&read).unwrap();
            assert!(again.contains(r#""gtid_set":"""#), "{again}");
            assert_eq!(serde_json::from_str::<ServerFacts>(&again).unwrap(), read);
        }
        assert!(facts(Flavor::Mariadb, "0-1-7").is_ok());
        assert!(facts(Flavor::Mysql, "0-1-7").is_err());
    }

    #[test]
    fn versions_of_both_flavors_are_read() {
        for (text, numbers, flavor) in [
            ("8.0.14", (8, 0, 14), Flavor::Mysql),
            ("9.7.1-1", (9, 7, 1), Flavor::Mysql),
            ("5.5.5-10.11.14-MariaDB-0+deb12u2-log", (10, 11, 14), Flavor::Mariadb),
            ("11.4.2-MariaDB", (11, 4, 2), Flavor::Mariadb),
        ] {
            let version: ServerVersion = text.parse().unwrap();
            assert_eq!((version.numbers, version.flavor()), (numbers, flavor));
        }
        assert!("MariaDB".parse::<ServerVersion>().is_err());
    }
}
