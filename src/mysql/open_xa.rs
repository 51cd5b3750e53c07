//! Transactions of the two-phase commit that are prepared, and neither committed nor rolled back.

use super::{
    MysqlError,
    connect::{Server, text_at},
};
use crate::model::Flavor;

impl Server {
    /// Their names, as `XA COMMIT` and `XA ROLLBACK` take them (MySQL manual, "XA Transaction SQL
    /// Statements").
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn open_xa(&mut self) -> Result<Vec<String>, MysqlError> {
        let doing = "listing open XA transactions";
        if self.flavor() == Flavor::Mariadb {
            let rows = self.rows(doing, "XA RECOVER FORMAT = 'SQL'").await?;
            return Ok(rows.iter().map(|row| text_at(row, 3)).collect());
        }
        let rows = self.rows(doing, "XA RECOVER CONVERT XID").await?;
        let names = rows.iter().map(|row| {
            let number = |at| text_at(row, at).parse::<usize>().unwrap_or_default();
            named(number(0), number(1), &text_at(row, 3))
        });
        Ok(names.collect())
    }
}

/// `format`, bytes of the first part, and both parts in hexadecimal behind `0x`.
fn named(format: usize, first: usize, hex: &str) -> String {
    let hex = hex.trim_start_matches("0x");
    let (global, branch) = hex.split_at_checked(first * 2).unwrap_or((hex, ""));
    format!("X'{global}',X'{branch}',{format}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_is_what_xa_commit_takes() {
        assert_eq!(super::named(1, 2, "0x616263"), "X'6162',X'63',1");
        assert_eq!(super::named(7, 3, "0x616263"), "X'616263',X'',7");
        assert_eq!(super::named(7, 9, "0x61"), "X'61',X'',7");
    }
}
