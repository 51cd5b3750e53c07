//! What somebody wants to be true of the recovered data: a file of questions in SQL, read, and the
//! answers judged. Pure.

use sha2::{Digest, Sha256};

use crate::{format::AssertionOutcome, model::Sha256Digest, mysql::Answer};

/// The longest name that is made of a statement.
const LONGEST_NAME: usize = 80;
/// What a statement may begin with, if not with a parenthesis.
const QUESTIONS: [&str; 3] = ["SELECT", "WITH", "VALUES"];

/// A file of assertions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertions {
    /// SHA-256 of the file.
    pub file_sha256: Sha256Digest,
    /// Its statements, in order.
    pub statements: Vec<Statement>,
}

/// A statement of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// `USE schema`.
    Use(String),
    /// A question.
    Assert(Assertion),
}

/// A question that is to be answered by one row in which everything is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// The comment before it, or how it begins.
    pub name: String,
    /// The line that it begins in, from 1.
    pub line: usize,
    /// Its text.
    pub sql: String,
}

impl Assertions {
    /// Reads a file: statements that end with `;`, each with its name in the comment lines
    /// directly before it.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader::new(text);
        let mut statements = Vec::new();
        while let Some(Raw { name, line, sql }) = reader.next()? {
            statements.push(statement(&name, line, sql)?);
        }
        if !statements.iter().any(|statement| matches!(statement, Statement::Assert(_))) {
            return Err("there is no assertion in it".to_owned());
        }
        let file_sha256 = Sha256Digest(Sha256::digest(text).into());
        Ok(Self { file_sha256, statements })
    }
}

/// A statement as it stands in the file.
struct Raw {
    name: Vec<String>,
    line: usize,
    sql: String,
}

fn statement(name: &[String], line: usize, sql: String) -> Result<Statement, String> {
    let word: String = sql.chars().take_while(char::is_ascii_alphabetic).collect();
    if word.eq_ignore_ascii_case("USE") {
        let schema = sql[word.len()..].trim();
        let bare = schema.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
        let schema = bare.map_or_else(|| schema.to_owned(), |name| name.replace("``", "`"));
        if schema.is_empty() || (bare.is_none() && schema.contains(char::is_whitespace)) {
            return Err(format!("line {line}: `{}` names no schema", shortened(&sql)));
        }
        return Ok(Statement::Use(schema));
    }
    let asks = QUESTIONS.iter().any(|first| word.eq_ignore_ascii_case(first));
    if !asks && !sql.starts_with('(') {
        return Err(format!(
            "line {line}: `{}` asks nothing: an assertion is a SELECT (or WITH … SELECT), and USE may stand between",
            shortened(&sql)
        ));
    }
    let name = if name.is_empty() { shortened(&sql) } else { name.join(" ") };
    Ok(Statement::Assert(Assertion { name, line, sql }))
}

/// A statement on one line, cut.
fn shortened(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_NAME) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// Cuts a file into statements, as a client does: `;` inside quotes and comments ends nothing.
struct Reader<'t> {
    rest: &'t str,
    line: usize,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 }
    }

    /// Takes so many bytes.
    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// The next statement; nothing at the end of the file.
    fn next(&mut self) -> Result<Option<Raw>, String> {
        let mut name = Vec::new();
        let (mut sql, mut line) = (String::new(), 0);
        while let Some(first) = self.rest.chars().next() {
            let begun = !sql.is_empty();
            if let Some(length) = self.line_comment() {
                let comment = self.take(length);
                if begun {
                    sql.push_str(comment);
                } else {
                    let words = comment.trim_start_matches(['-', '#']).trim();
                    name.extend((!words.is_empty()).then(|| words.to_owned()));
                }
            } else if self.rest.starts_with("/*") {
                let comment = self.block_comment()?;
                if begun {
                    sql.push_str(comment);
                }
            } else if matches!(first, '\'' | '"' | '`') {
                line = if begun { line } else { self.line };
                sql.push_str(self.quoted(first)?);
            } else if first == ';' {
                self.take(1);
                if begun {
                    return Ok(Some(Raw { name, line, sql: sql.trim_end().to_owned() }));
                }
            } else if first.is_whitespace() && !begun {
                if self.blank_line() {
                    // What stands apart is about the file.
                    name.clear();
                }
                self.take(first.len_utf8());
            } else {
                line = if begun { line } else { self.line };
                sql.push_str(self.take(first.len_utf8()));
            }
        }
        let sql = sql.trim_end().to_owned();
        Ok((!sql.is_empty()).then_some(Raw { name, line, sql }))
    }

    /// Whether here, at the end of a line, a blank one follows.
    fn blank_line(&self) -> bool {
        let next = self.rest.strip_prefix('\n').and_then(|rest| rest.split('\n').next());
        next.is_some_and(|next| next.trim().is_empty())
    }

    /// The length of the comment that goes on to the end of the line, if one begins here. To
    /// MySQL `--` begins one only before white space.
    fn line_comment(&self) -> Option<usize> {
        let dashes = self.rest.strip_prefix("--");
        let is = self.rest.starts_with('#')
            || dashes.is_some_and(|rest| rest.chars().next().is_none_or(char::is_whitespace));
        is.then(|| self.rest.find('\n').unwrap_or(self.rest.len()))
    }

    fn block_comment(&mut self) -> Result<&'t str, String> {
        let line = self.line;
        if self.rest.starts_with("/*!") || self.rest.starts_with("/*M!") {
            return Err(format!(
                "line {line}: a comment that the server executes hides what is asked: write it out"
            ));
        }
        match self.rest[2..].find("*/") {
            Some(at) => Ok(self.take(at + 4)),
            None => Err(format!("line {line}: this comment has no end")),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<&'t str, String> {
        let line = self.line;
        let mut inside = self.rest.char_indices().skip(1);
        while let Some((at, c)) = inside.next() {
            // A doubled quote is an end and a beginning, which comes to the same.
            match c {
                '\\' if quote != '`' => drop(inside.next()),
                _ if c == quote => return Ok(self.take(at + 1)),
                _ => {}
            }
        }
        Err(format!("line {line}: what is quoted here has no end"))
    }
}

/// Judges what an assertion was answered: holds, or why it does not.
pub(super) fn judge(rows: &[Vec<Answer>]) -> (AssertionOutcome, Option<String>) {
    use AssertionOutcome::{Error, False, Holds};
    let row = match rows {
        [] => return (False, Some("it gave no row".into())),
        [row] => row,
        _ => return (Error, Some("it gave more than one row: ask for one".into())),
    };
    let judged = || row.iter().filter(|answer| !is_shown_only(&answer.column));
    if judged().next().is_none() {
        return (Error, Some("it gave no column to be judged".into()));
    }
    let no_number = judged().find(|answer| answer.truth.is_none() && answer.value.is_some());
    if let Some(Answer { column, .. }) = no_number {
        return (Error, Some(format!("`{column}` is no number: compare it with something")));
    }
    let not_true: Vec<String> = judged()
        .filter(|answer| answer.truth != Some(true))
        .map(|Answer { column, value, .. }| {
            format!("`{column}` is {}", value.as_deref().unwrap_or("NULL"))
        })
        .collect();
    if not_true.is_empty() { (Holds, None) } else { (False, Some(not_true.join(", "))) }
}

/// Whether a column is there to be shown, and not to be judged.
pub(super) fn is_shown_only(column: &str) -> bool {
    column.starts_with('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<(String, usize, String)> {
        let statements = Assertions::parse(text).unwrap().statements.into_iter();
        statements
            .map(|statement| match statement {
                Statement::Assert(Assertion { name, line, sql }) => (name, line, sql),
                Statement::Use(schema) => ("USE".into(), 0, schema),
            })
            .collect()
    }

    #[test]
    fn a_file_reads_as_a_dba_wrote_it() {
        let text = "\
-- Drill of the shop. This is about the file.

-- Every order has
-- a customer
SELECT COUNT(*) = 0 AS all_known, COUNT(*) AS _orphans
  FROM shop.orders o -- the ; here ends nothing
 WHERE NOT EXISTS (SELECT 1 FROM shop.customers c WHERE c.id = o.customer); # nor does this;
USE `sh``op`;
/* a block; too */
select 'it''s; \\'quoted\\'', \"a;b\", `c;d` from t;
  WITH n AS (SELECT 1) SELECT * FROM n;
(SELECT 1)";
        let found = parse(text);
        assert_eq!(found.len(), 5, "{found:#?}");
        assert_eq!((found[0].0.as_str(), found[0].1), ("Every order has a customer", 5));
        assert!(found[0].2.starts_with("SELECT COUNT(*)") && found[0].2.ends_with("o.customer)"));
        assert_eq!(found[1], ("USE".into(), 0, "sh`op".into()));
        assert_eq!((found[2].0.as_str(), found[2].1), (&*found[2].2, 10));
        assert!(found[2].2.ends_with("from t"));
        assert_eq!((found[3].1, found[4].2.as_str()), (11, "(SELECT 1)"));
    }

    #[test]
    fn what_asks_nothing_is_refused_by_its_line() {
        for (text, words) in [
            ("", "no assertion"),
            ("-- only words\n;;", "no assertion"),
            ("USE shop;", "no assertion"),
            ("SELECT 1;\nDELETE FROM t", "line 2: `DELETE FROM t` asks nothing"),
            ("\n\nSET GLOBAL x = 1", "line 3"),
            ("SELECTED", "asks nothing"),
            ("SELECT 1; DELIMITER //", "asks nothing"),
            ("SELECT /*!50000 1 */ 1", "line 1: a comment that the server executes"),
            ("SELECT /*M!100100 1 */ 1", "executes"),
            ("SELECT 'a\n", "line 1: what is quoted"),
            ("SELECT 1 /* and", "no end"),
            ("USE a b; SELECT 1", "names no schema"),
        ] {
            let why = Assertions::parse(text).unwrap_err();
            assert!(why.contains(words), "{text:?}: {why}");
        }
    }

    #[test]
    fn a_long_statement_without_a_name_is_cut() {
        let sql = format!("SELECT\n  {}", "x".repeat(300));
        assert_eq!(parse(&sql)[0].0.chars().count(), LONGEST_NAME + 1);
        // Two dashes alone are an operator, twice.
        assert_eq!(parse("SELECT 5--1;").len(), 1);
    }

    fn answer(column: &str, value: Option<&str>, truth: Option<bool>) -> Answer {
        Answer { column: column.into(), value: value.map(Into::into), truth }
    }

    #[test]
    fn only_a_row_of_true_numbers_holds() {
        use AssertionOutcome::{Error, False, Holds};
        let yes = || answer("enough", Some("1"), Some(true));
        let no = || answer("enough", Some("0"), Some(false));
        let null = || answer("enough", None, None);
        let text = || answer("name", Some("ok"), None);
        let shown = || answer("_orders", Some("0"), Some(false));
        for (rows, outcome, words) in [
            (vec![vec![yes()]], Holds, ""),
            (vec![vec![yes(), shown()]], Holds, ""),
            (vec![vec![yes(), no()]], False, "`enough` is 0"),
            (vec![vec![null()]], False, "`enough` is NULL"),
            (vec![], False, "no row"),
            (vec![vec![yes()], vec![yes()]], Error, "more than one row"),
            (vec![vec![text(), yes()]], Error, "`name` is no number"),
            (vec![vec![shown()]], Error, "no column"),
        ] {
            let (found, why) = judge(&rows);
            assert_eq!(found, outcome, "{rows:?}");
            assert!(why.unwrap_or_default().contains(words), "{rows:?}");
        }
    }
}
