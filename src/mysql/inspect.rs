//! Looking at the data of a server: its tables, one by one, and questions of somebody else's.

use std::{fmt, time::Duration};

use mysql_async::{Row, Value, consts::ColumnType, prelude::Queryable as _};

use super::{
    MysqlError,
    connect::{STATEMENT, Server, text, text_at, within},
    scheduled::ticked,
};
use crate::model::{Flavor, Timestamp};

/// The check of one table: no limit but the caller's.
const CHECK: Duration = Duration::from_hours(7 * 24);
/// How much longer than the server we wait before a question counts as unanswered.
const GRACE: Duration = Duration::from_secs(10);
/// The longest value that is told.
const LONGEST_VALUE: usize = 200;

/// A table's schema and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// How closely `CHECK TABLE` looks, in the server's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckDepth {
    /// `QUICK`: does not scan the rows.
    Quick,
    /// `MEDIUM`, what `CHECK TABLE` does unless told otherwise.
    Medium,
    /// `EXTENDED`: every row by every index.
    Extended,
}

/// What `CHECK TABLE` says of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableVerdict {
    /// It is whole.
    Whole,
    /// It is damaged, or cannot be read.
    Damaged(String),
    /// Its engine cannot check it, or is not there.
    Unchecked(String),
}

/// One value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The column's name.
    pub column: String,
    /// The value, for people; nothing when it is NULL.
    pub value: Option<String>,
    /// Whether it is a number other than 0; nothing when it is no number.
    pub truth: Option<bool>,
}

impl Server {
    /// All tables but those of the server itself, in the order of their names. Views are none.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn user_tables(&mut self) -> Result<Vec<TableName>, MysqlError> {
        let sql = "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES \
                   WHERE TABLE_TYPE NOT IN ('VIEW', 'SYSTEM VIEW') AND TABLE_SCHEMA NOT IN \
                   ('mysql', 'sys', 'performance_schema', 'information_schema') ORDER BY 1, 2";
        let rows = self.rows("listing the tables", sql).await?;
        let table = |row| TableName { schema: text_at(row, 0), name: text_at(row, 1) };
        Ok(rows.iter().map(table).collect())
    }

    /// `CHECK TABLE`.
    ///
    /// # Errors
    /// When the server does not answer: it may have died of what it found.
    pub async fn check_table(
        &mut self,
        table: &TableName,
        depth: CheckDepth,
    ) -> Result<TableVerdict, MysqlError> {
        let depth = match depth {
            CheckDepth::Quick => "QUICK",
            CheckDepth::Medium => "MEDIUM",
            CheckDepth::Extended => "EXTENDED",
        };
        let sql = format!("CHECK TABLE {}.{} {depth}", ticked(&table.schema), ticked(&table.name));
        let doing = format!("checking table {table}");
        let rows: Vec<Row> = within(&doing, CHECK, self.conn.query(sql)).await?;
        let said = rows.iter().map(|row| (text(row, "Msg_type"), text(row, "Msg_text")));
        Ok(judge(&said.collect::<Vec<_>>()))
    }

    /// Makes this session one that asks and changes nothing: read-only, in UTC, with so much time for
    /// each question, and with `@target_time`.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn prepare_to_ask(
        &mut self,
        limit: Duration,
        target_time: Option<Timestamp>,
    ) -> Result<(), MysqlError> {
        let limit = match self.flavor() {
            Flavor::Mysql => format!("SET SESSION max_execution_time = {}", limit.as_millis()),
            Flavor::Mariadb => {
                format!("SET SESSION max_statement_time = {}", limit.as_secs_f64())
            }
        };
        let target = match target_time {
            None => "SET @target_time = NULL".to_owned(),
            Some(at) => format!("SET @target_time = TIMESTAMP'{}'", sql_instant(at)),
        };
        for sql in [
            "SET SESSION time_zone = '+00:00'",
            // One row is expected; who gives more need not send them all.
            "SET SESSION sql_select_limit = 2",
            "SET SESSION lock_wait_timeout = 10",
            &limit,
            &target,
            "SET SESSION TRANSACTION READ ONLY",
        ] {
            self.execute("preparing a session for questions", sql, STATEMENT).await?;
        }
        Ok(())
    }

    /// Makes a schema the one that names without a schema are looked up in.
    ///
    /// # Errors
    /// When there is no such schema.
    pub async fn use_schema(&mut self, schema: &str) -> Result<(), MysqlError> {
        let doing = format!("using schema {schema}");
        self.execute(&doing, &format!("USE {}", ticked(schema)), STATEMENT).await
    }

    /// Asks one statement, and returns the rows that it gives: two at most. Several statements in
    /// one are refused by the server, since it is prepared.
    ///
    /// # Errors
    /// When the server refuses it, or does not answer in time.
    pub async fn ask(
        &mut self,
        doing: &str,
        sql: &str,
        limit: Duration,
    ) -> Result<Vec<Vec<Answer>>, MysqlError> {
        let statement = within(doing, STATEMENT, self.conn.prep(sql)).await?;
        let rows = self.conn.exec::<Row, _, _>(&statement, ());
        let rows = within(doing, limit.saturating_add(GRACE), rows).await?;
        within(doing, STATEMENT, self.conn.close(statement)).await?;
        Ok(rows.iter().map(answers).collect())
    }
}

/// An instant in UTC as MySQL writes it.
fn sql_instant(at: Timestamp) -> String {
    at.to_string().replace('T', " ").trim_end_matches('Z').to_owned()
}

/// What the rows of `CHECK TABLE` (`Msg_type`, `Msg_text`) come to. The last one is the verdict,
/// what stands before it gives the reasons.
fn judge(said: &[(String, String)]) -> TableVerdict {
    let reasons = || {
        let told = said.iter().filter(|(kind, _)| kind != "note" && kind != "info");
        let words: Vec<&str> = told.map(|(_, words)| words.as_str()).collect();
        words.join("; ")
    };
    match said.last() {
        None => TableVerdict::Damaged("the server said nothing".to_owned()),
        Some((kind, words))
            if kind == "status"
                && matches!(words.as_str(), "OK" | "Table is already up to date") =>
        {
            TableVerdict::Whole
        }
        Some((kind, words)) if kind == "note" => TableVerdict::Unchecked(words.clone()),
        Some(_) => {
            let foreign =
                said.iter().find(|(_, words)| words.starts_with("Unknown storage engine"));
            match foreign {
                Some((_, words)) => TableVerdict::Unchecked(words.clone()),
                None => TableVerdict::Damaged(reasons()),
            }
        }
    }
}

fn answers(row: &Row) -> Vec<Answer> {
    let columns = row.columns_ref().iter().enumerate();
    columns
        .map(|(at, column)| {
            let value = row.as_ref(at).unwrap_or(&Value::NULL);
            Answer {
                column: column.name_str().into_owned(),
                truth: truth(column.column_type(), value),
                value: told(column.column_type(), value),
            }
        })
        .collect()
}

/// Whether a number is another one than 0. Comparisons are numbers to both flavors.
fn truth(kind: ColumnType, value: &Value) -> Option<bool> {
    match value {
        Value::Int(number) => Some(*number != 0),
        Value::UInt(number) => Some(*number != 0),
        Value::Float(number) => Some(*number != 0.0),
        Value::Double(number) => Some(*number != 0.0),
        Value::Bytes(bits) if kind == ColumnType::MYSQL_TYPE_BIT => {
            Some(bits.iter().any(|byte| *byte != 0))
        }
        Value::Bytes(digits) if is_decimal(kind) => {
            Some(digits.iter().any(|digit| matches!(digit, b'1'..=b'9')))
        }
        _ => None,
    }
}

fn is_decimal(kind: ColumnType) -> bool {
    matches!(kind, ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL)
}

fn told(kind: ColumnType, value: &Value) -> Option<String> {
    let text = match value {
        Value::NULL => return None,
        Value::Bytes(bits) if kind == ColumnType::MYSQL_TYPE_BIT => {
            format!("0x{}", hex::encode(bits))
        }
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        number_or_time => number_or_time.as_sql(true).trim_matches('\'').to_owned(),
    };
    let cut = text.char_indices().nth(LONGEST_VALUE).map(|(at, _)| format!("{}…", &text[..at]));
    Some(cut.unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_are_true_or_false() {
        use ColumnType::{MYSQL_TYPE_BIT, MYSQL_TYPE_LONGLONG, MYSQL_TYPE_NEWDECIMAL};
        let bytes = |text: &[u8]| Value::Bytes(text.to_vec());
        for (kind, value, is, shown) in [
            (MYSQL_TYPE_LONGLONG, Value::Int(1), Some(true), Some("1")),
            (MYSQL_TYPE_LONGLONG, Value::Int(-3), Some(true), Some("-3")),
            (MYSQL_TYPE_LONGLONG, Value::Int(0), Some(false), Some("0")),
            (MYSQL_TYPE_LONGLONG, Value::NULL, None, None),
            (MYSQL_TYPE_NEWDECIMAL, bytes(b"0.00"), Some(false), Some("0.00")),
            (MYSQL_TYPE_NEWDECIMAL, bytes(b"-0.10"), Some(true), Some("-0.10")),
            (MYSQL_TYPE_BIT, bytes(b"\0\x02"), Some(true), Some("0x0002")),
            (ColumnType::MYSQL_TYPE_VAR_STRING, bytes(b"1"), None, Some("1")),
        ] {
            assert_eq!(truth(kind, &value), is, "{value:?}");
            assert_eq!(told(kind, &value).as_deref(), shown, "{value:?}");
        }
        let day = Value::Date(2026, 11, 21, 17, 12, 30, 0);
        let kind = ColumnType::MYSQL_TYPE_DATETIME;
        assert_eq!(told(kind, &day).as_deref(), Some("2026-11-21 17:12:30"));
        let long = told(ColumnType::MYSQL_TYPE_BLOB, &bytes("ä".repeat(900).as_bytes())).unwrap();
        assert_eq!(long.chars().count(), LONGEST_VALUE + 1);
    }

    #[test]
    fn the_last_word_is_the_verdict() {
        let verdict = |said: &[(&str, &str)]| {
            let said = said.iter().map(|(kind, words)| ((*kind).to_owned(), (*words).to_owned()));
            judge(&said.collect::<Vec<_>>())
        };
        assert_eq!(verdict(&[("status", "OK")]), TableVerdict::Whole);
        assert_eq!(
            verdict(&[("warning", "2 clients are using the table"), ("status", "OK")]),
            TableVerdict::Whole
        );
        let bad = verdict(&[
            ("Warning", "InnoDB: The B-tree of index k is corrupted."),
            ("error", "Corrupt"),
        ]);
        let words = "InnoDB: The B-tree of index k is corrupted.; Corrupt";
        assert_eq!(bad, TableVerdict::Damaged(words.to_owned()));
        let memory = "The storage engine for the table doesn't support check";
        assert_eq!(verdict(&[("note", memory)]), TableVerdict::Unchecked(memory.to_owned()));
        let foreign = "Unknown storage engine 'SPIDER'";
        assert_eq!(
            verdict(&[("Error", foreign), ("error", "Corrupt")]),
            TableVerdict::Unchecked(foreign.to_owned())
        );
        assert!(matches!(verdict(&[]), TableVerdict::Damaged(_)));
    }

    #[test]
    fn an_instant_is_written_as_the_server_reads_it() {
        let at: Timestamp = "2026-11-21T18:12:30.25+01:00".parse().unwrap();
        assert_eq!(sql_instant(at), "2026-11-21 17:12:30.25");
    }
}
