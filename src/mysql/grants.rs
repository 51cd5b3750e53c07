//! What a database user may do, as the server states it.

use std::collections::BTreeSet;

use super::{
    MysqlError,
    connect::{Server, text_at},
};
use crate::model::Flavor;

/// The global privileges of a user, in capitals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    global: BTreeSet<String>,
    roles: Vec<String>,
}

impl Grants {
    /// Reads the lines of `SHOW GRANTS`.
    #[must_use]
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut grants = Self::default();
        for line in lines {
            let Some(rest) = line.strip_prefix("GRANT ") else { continue };
            if let Some((privileges, _)) = rest.split_once(" ON *.* TO ") {
                grants.global.extend(privileges.split(',').map(|p| {
                    let name = p.trim().to_ascii_uppercase();
                    // MariaDB shows the old name of what is granted by either.
                    if name == "SLAVE MONITOR" { "REPLICA MONITOR".to_owned() } else { name }
                }));
            } else if !rest.contains(" ON ")
                && let Some((roles, _)) = rest.split_once(" TO ")
            {
                grants.roles.push(roles.to_owned());
            }
        }
        grants
    }

    /// Whether the user has a privilege on everything.
    #[must_use]
    pub fn has(&self, privilege: &str) -> bool {
        // `ALL PRIVILEGES` covers what existed when the server was built; MySQL lists dynamic
        // privileges (with an underscore) on a line of their own.
        self.global.contains(privilege)
            || (self.global.contains("ALL PRIVILEGES")
                && !(privilege.contains('_') && self.lists_dynamic()))
    }

    fn lists_dynamic(&self) -> bool {
        self.global.iter().any(|p| p.contains('_'))
    }
}

impl Server {
    /// What the connected user may do, its roles included.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn grants(&mut self) -> Result<Grants, MysqlError> {
        let doing = "reading the user's privileges";
        let lines = self.grant_lines(doing, "SHOW GRANTS").await?;
        let grants = Grants::parse(lines.iter().map(String::as_str));
        // MySQL names granted roles, and shows what they carry only when asked to.
        if self.flavor() == Flavor::Mysql && !grants.roles.is_empty() {
            let sql = format!("SHOW GRANTS FOR CURRENT_USER() USING {}", grants.roles.join(", "));
            let lines = self.grant_lines(doing, &sql).await?;
            return Ok(Grants::parse(lines.iter().map(String::as_str)));
        }
        Ok(grants)
    }

    async fn grant_lines(&mut self, doing: &str, sql: &str) -> Result<Vec<String>, MysqlError> {
        Ok(self.rows(doing, sql).await?.iter().map(|row| text_at(row, 0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_of_both_flavors_are_read() {
        let mysql = Grants::parse([
            "GRANT SELECT, RELOAD, PROCESS ON *.* TO `bkp`@`%`",
            "GRANT BACKUP_ADMIN ON *.* TO `bkp`@`%`",
            "GRANT INSERT ON `mysql`.`plugin` TO `bkp`@`%`",
            "GRANT `auditor`@`%`,`x`@`%` TO `bkp`@`%`",
        ]);
        assert!(mysql.has("RELOAD") && mysql.has("BACKUP_ADMIN") && !mysql.has("INSERT"));
        assert_eq!(mysql.roles, ["`auditor`@`%`,`x`@`%`"]);
        let mariadb = Grants::parse([
            "GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` IDENTIFIED BY PASSWORD '*1' WITH GRANT OPTION",
        ]);
        assert!(mariadb.has("RELOAD") && mariadb.has("BINLOG MONITOR"));
        let monitor = Grants::parse(["GRANT BINLOG MONITOR, SLAVE MONITOR ON *.* TO `b`@`%`"]);
        assert!(monitor.has("REPLICA MONITOR") && !monitor.has("REPLICATION SLAVE"));
        let partial = Grants::parse([
            "GRANT ALL PRIVILEGES ON *.* TO `a`@`%`",
            "GRANT XA_RECOVER_ADMIN ON *.* TO `a`@`%`",
        ]);
        assert!(!partial.has("BACKUP_ADMIN"));
    }
}
