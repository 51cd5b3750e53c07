//! What a statement does to which tables. For definitions that is what it says; for statements
//! that change rows it is what its text names, which triggers and functions may add to.

use super::words::{Word, words};
use crate::model::ChangeKind;

/// What a statement says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) kind: ChangeKind,
    pub(super) targets: Targets,
}

/// What it is done to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Targets {
    /// Neither a table nor a schema: users, routines ….
    Nothing,
    /// A schema, with all that is in it.
    Schema(String),
    /// Tables or views; without a schema it is the session's.
    Tables(Vec<(Option<String>, String)>),
    /// The statement is too long to tell.
    Untold,
}

/// Reads a statement; nothing when it changes no table, view or schema, nor defines anything.
/// `cut` says that it goes on.
pub(super) fn read(text: &[u8], cut: bool) -> Option<Said> {
    let words = words(text);
    let mut statement = Statement { words: &words };
    statement.skip_if(|word| word.is_sign(b'('));
    let verb = match statement.next()? {
        Word::Bare(verb) => verb.to_ascii_uppercase(),
        _ => return None,
    };
    let mut said = match verb.as_str() {
        "DROP" => statement.drop(),
        "TRUNCATE" => {
            statement.skip("TABLE");
            Some(tables(ChangeKind::Truncate, statement.name().into_iter().collect()))
        }
        "CREATE" => statement.create(),
        "ALTER" => Some(statement.alter()),
        "RENAME" => Some(statement.rename()),
        "GRANT" | "REVOKE" => Some(Said { kind: ChangeKind::Ddl, targets: Targets::Nothing }),
        "INSERT" | "REPLACE" => Some(tables(ChangeKind::Insert, statement.into())),
        "LOAD" => Some(tables(ChangeKind::Insert, statement.load())),
        "UPDATE" | "DELETE" | "WITH" => statement.rows(&verb),
        _ => None,
    }?;
    let lists = matches!(said.kind, ChangeKind::Drop | ChangeKind::Ddl);
    if cut && lists && matches!(said.targets, Targets::Tables(_)) {
        said.targets = Targets::Untold;
    }
    Some(said)
}

fn tables(kind: ChangeKind, names: Vec<(Option<String>, String)>) -> Said {
    let targets = if names.is_empty() { Targets::Nothing } else { Targets::Tables(names) };
    Said { kind, targets }
}

/// The rest of a statement.
pub(super) struct Statement<'a> {
    pub(super) words: &'a [Word],
}

impl<'a> Statement<'a> {
    fn next(&mut self) -> Option<&'a Word> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn peek_is(&self, keyword: &str) -> bool {
        self.words.first().is_some_and(|word| word.is(keyword))
    }

    fn skip_if(&mut self, is: impl Fn(&Word) -> bool) -> bool {
        let found = self.words.first().is_some_and(is);
        if found {
            self.words = &self.words[1..];
        }
        found
    }

    pub(super) fn skip(&mut self, keyword: &str) -> bool {
        self.skip_if(|word| word.is(keyword))
    }

    pub(super) fn skip_all(&mut self, keywords: &[&str]) {
        while keywords.iter().any(|keyword| self.skip(keyword)) {}
    }

    /// Goes behind the next of these words.
    fn find(&mut self, keyword: &str) -> bool {
        while let Some(word) = self.next() {
            if word.is(keyword) {
                return true;
            }
        }
        false
    }

    /// `table`, or `schema.table`.
    pub(super) fn name(&mut self) -> Option<(Option<String>, String)> {
        let one = |word: Option<&Word>| match word {
            Some(Word::Bare(name) | Word::Name(name) | Word::Text(name)) => Some(name.clone()),
            _ => None,
        };
        let first = one(self.words.first())?;
        self.words = &self.words[1..];
        if !self.skip_if(|word| word.is_sign(b'.')) {
            return Some((None, first));
        }
        match one(self.words.first()) {
            Some(second) => {
                self.words = &self.words[1..];
                Some((Some(first), second))
            }
            // `table.*` of a `DELETE`.
            None => Some((None, first)),
        }
    }

    /// Names between commas.
    pub(super) fn names(&mut self) -> Vec<(Option<String>, String)> {
        let mut names: Vec<_> = self.name().into_iter().collect();
        while !names.is_empty() && self.skip_if(|word| word.is_sign(b',')) {
            names.extend(self.name());
        }
        names
    }

    fn drop(mut self) -> Option<Said> {
        if self.skip("TEMPORARY") {
            return None;
        }
        let of_schema = self.skip("DATABASE") || self.skip("SCHEMA");
        let of_tables = !of_schema
            && (self.skip("TABLE")
                || self.skip("TABLES")
                || self.skip("VIEW")
                || self.skip("SEQUENCE"));
        self.skip_all(&["IF", "EXISTS"]);
        if of_schema {
            let (_, name) = self.name()?;
            return Some(Said { kind: ChangeKind::Drop, targets: Targets::Schema(name) });
        }
        if of_tables {
            return Some(tables(ChangeKind::Drop, self.names()));
        }
        // An index lies in a table; anything else lies beside them.
        if self.skip("INDEX") && self.find("ON") {
            return Some(tables(ChangeKind::Ddl, self.name().into_iter().collect()));
        }
        Some(Said { kind: ChangeKind::Ddl, targets: Targets::Nothing })
    }

    fn create(mut self) -> Option<Said> {
        let mut replaces = false;
        while let Some(word) = self.words.first() {
            if word.is("TEMPORARY") {
                return None;
            }
            if ["DATABASE", "SCHEMA"].iter().any(|keyword| word.is(keyword)) {
                self.next();
                self.skip_all(&["IF", "NOT", "EXISTS"]);
                let (_, name) = self.name()?;
                return Some(Said { kind: ChangeKind::Ddl, targets: Targets::Schema(name) });
            }
            let is_table = word.is("TABLE") || word.is("SEQUENCE");
            if is_table || word.is("VIEW") {
                self.next();
                self.skip_all(&["IF", "NOT", "EXISTS"]);
                let kind = if replaces && is_table { ChangeKind::Drop } else { ChangeKind::Ddl };
                return Some(tables(kind, self.name().into_iter().collect()));
            }
            if word.is("INDEX") || word.is("TRIGGER") {
                let named = self.find("ON").then(|| self.name()).flatten();
                return Some(tables(ChangeKind::Ddl, named.into_iter().collect()));
            }
            let beside = ["USER", "ROLE", "FUNCTION", "PROCEDURE", "EVENT", "PACKAGE", "SERVER"];
            if beside.iter().any(|keyword| word.is(keyword)) {
                break;
            }
            // `OR REPLACE`, `UNIQUE`, `ALGORITHM = …`, `DEFINER = …`, `SQL SECURITY …`.
            replaces |= word.is("REPLACE");
            self.next();
        }
        Some(Said { kind: ChangeKind::Ddl, targets: Targets::Nothing })
    }

    fn alter(mut self) -> Said {
        if self.skip("DATABASE") || self.skip("SCHEMA") {
            let targets = self.name().map_or(Targets::Nothing, |(_, name)| Targets::Schema(name));
            return Said { kind: ChangeKind::Ddl, targets };
        }
        self.skip_all(&["ONLINE", "IGNORE"]);
        if !self.skip("TABLE") && !self.skip("SEQUENCE") {
            let is_view = self.words.iter().take(12).any(|word| word.is("VIEW"));
            let named = (is_view && self.find("VIEW")).then(|| self.name()).flatten();
            return tables(ChangeKind::Ddl, named.into_iter().collect());
        }
        self.skip_all(&["IF", "EXISTS"]);
        let mut names: Vec<_> = self.name().into_iter().collect();
        let mut kind = ChangeKind::Ddl;
        while let Some(word) = self.next() {
            let partition = self.peek_is("PARTITION");
            if word.is("DROP") && partition {
                kind = kind.min(ChangeKind::Drop);
            } else if word.is("TRUNCATE") && partition {
                kind = kind.min(ChangeKind::Truncate);
            } else if word.is("RENAME")
                && !["COLUMN", "INDEX", "KEY", "CONSTRAINT"].iter().any(|k| self.peek_is(k))
            {
                self.skip_all(&["TO", "AS"]);
                self.skip_if(|word| word.is_sign(b'='));
                names.extend(self.name());
            }
        }
        tables(kind, names)
    }

    fn rename(mut self) -> Said {
        if !self.skip("TABLE") && !self.skip("TABLES") {
            return Said { kind: ChangeKind::Ddl, targets: Targets::Nothing };
        }
        self.skip_all(&["IF", "EXISTS"]);
        let mut names = Vec::new();
        while let Some(name) = self.name() {
            names.push(name);
            self.skip_all(&["WAIT", "NOWAIT"]);
            if !self.skip("TO") && !self.skip_if(|word| word.is_sign(b',')) {
                break;
            }
        }
        tables(ChangeKind::Ddl, names)
    }

    fn load(mut self) -> Vec<(Option<String>, String)> {
        while self.find("INTO") {
            if self.skip("TABLE") {
                return self.name().into_iter().collect();
            }
        }
        Vec::new()
    }

    /// `UPDATE` and `DELETE`, maybe of several tables: every table that is named before `SET` or
    /// `WHERE`. One that is only read there is taken, too: better one too many.
    fn rows(mut self, verb: &str) -> Option<Said> {
        let kind = match verb {
            "UPDATE" => ChangeKind::Update,
            "DELETE" => ChangeKind::Delete,
            _ => loop {
                match self.next()? {
                    word if word.is("UPDATE") => break ChangeKind::Update,
                    word if word.is("DELETE") => break ChangeKind::Delete,
                    word if word.is("INSERT") || word.is("REPLACE") => {
                        return Some(tables(ChangeKind::Insert, self.into()));
                    }
                    _ => {}
                }
            },
        };
        self.skip_all(&["LOW_PRIORITY", "QUICK", "IGNORE"]);
        let mut names = Vec::new();
        let mut expected = true;
        while let Some(word) = self.words.first() {
            let ends = ["SET", "WHERE", "ORDER", "LIMIT", "RETURNING"];
            if ends.iter().any(|keyword| word.is(keyword)) {
                break;
            }
            let begins = ["FROM", "JOIN", "USING", "STRAIGHT_JOIN"];
            if begins.iter().any(|keyword| word.is(keyword))
                || word.is_sign(b',')
                || word.is_sign(b'(')
            {
                expected = true;
                self.next();
            } else if std::mem::take(&mut expected) && !word.is("SELECT") {
                match self.name() {
                    Some(name) => names.push(name),
                    None => drop(self.next()),
                }
            } else {
                self.next();
            }
        }
        Some(tables(kind, names))
    }
}

/// `INSERT` and `REPLACE`: the one table that they write to.
impl From<Statement<'_>> for Vec<(Option<String>, String)> {
    fn from(mut statement: Statement<'_>) -> Self {
        let modifiers = ["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO"];
        statement.skip_all(&modifiers);
        statement.name().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<(ChangeKind, String)> {
        read(text.as_bytes(), false).map(|said| {
            let targets = match said.targets {
                Targets::Nothing => "-".to_owned(),
                Targets::Untold => "?".to_owned(),
                Targets::Schema(name) => format!("{name}.*"),
                Targets::Tables(names) => names
                    .into_iter()
                    .map(|(schema, name)| {
                        schema.map_or_else(|| name.clone(), |s| format!("{s}.{name}"))
                    })
                    .collect::<Vec<_>>()
                    .join(" "),
            };
            (said.kind, targets)
        })
    }

    #[test]
    fn definitions_are_told_apart() {
        use ChangeKind::{Ddl, Drop, Truncate};
        for (text, kind, targets) in [
            (
                "DROP TABLE `orders`,`shop`.`lines` /* generated by server */",
                Drop,
                "orders shop.lines",
            ),
            ("drop table if exists a.b", Drop, "a.b"),
            ("DROP TABLE /*!32312 IF EXISTS*/ `x``y`", Drop, "x`y"),
            ("/* by hand */ -- really\nDROP DATABASE IF EXISTS shop", Drop, "shop.*"),
            ("DROP SCHEMA `shop`", Drop, "shop.*"),
            ("DROP VIEW v, w", Drop, "v w"),
            ("DROP INDEX i ON orders", Ddl, "orders"),
            ("DROP USER me@'%'", Ddl, "-"),
            ("TRUNCATE TABLE shop.orders", Truncate, "shop.orders"),
            ("truncate orders", Truncate, "orders"),
            ("CREATE TABLE IF NOT EXISTS `orders` (id INT)", Ddl, "orders"),
            ("CREATE OR REPLACE TABLE orders (id INT)", Drop, "orders"),
            (
                "CREATE OR REPLACE ALGORITHM=MERGE DEFINER=`a`@`%` SQL SECURITY DEFINER VIEW `v` AS SELECT 1",
                Ddl,
                "v",
            ),
            ("CREATE UNIQUE INDEX i USING BTREE ON shop.orders (a)", Ddl, "shop.orders"),
            (
                "CREATE DEFINER=`a`@`%` TRIGGER t BEFORE INSERT ON orders FOR EACH ROW SET @a = 1",
                Ddl,
                "orders",
            ),
            ("CREATE DATABASE IF NOT EXISTS shop", Ddl, "shop.*"),
            ("CREATE USER 'table'@'%'", Ddl, "-"),
            ("CREATE DEFINER=`a`@`%` PROCEDURE p() BEGIN DROP TABLE x; END", Ddl, "-"),
            ("ALTER TABLE orders ADD COLUMN c INT, RENAME COLUMN a TO b", Ddl, "orders"),
            ("ALTER TABLE orders RENAME TO shop.old", Ddl, "orders shop.old"),
            ("ALTER TABLE orders DROP PARTITION p1, p2", Drop, "orders"),
            ("ALTER TABLE orders TRUNCATE PARTITION ALL", Truncate, "orders"),
            ("ALTER TABLE orders DROP COLUMN c", Ddl, "orders"),
            ("RENAME TABLE a TO b, shop.c TO d", Ddl, "a b shop.c d"),
            ("GRANT ALL ON shop.* TO me", Ddl, "-"),
        ] {
            assert_eq!(said(text), Some((kind, targets.to_owned())), "{text}");
        }
    }

    #[test]
    fn changes_of_rows_are_read_from_their_text() {
        use ChangeKind::{Delete, Insert, Update};
        for (text, kind, targets) in [
            ("INSERT INTO shop.orders VALUES ('FROM x')", Insert, "shop.orders"),
            ("REPLACE DELAYED `orders` SET a = 1", Insert, "orders"),
            ("LOAD DATA LOCAL INFILE 'x' INTO TABLE `orders` FIELDS …", Insert, "orders"),
            ("UPDATE orders SET a = (SELECT 1 FROM b)", Update, "orders"),
            ("UPDATE shop.a x JOIN b AS y ON x.i = y.i SET x.c = 1", Update, "shop.a b"),
            ("DELETE FROM orders WHERE id IN (SELECT id FROM other)", Delete, "orders"),
            (
                "DELETE o, l FROM orders AS o INNER JOIN shop.lines AS l ON 1",
                Delete,
                "o l orders shop.lines",
            ),
            ("DELETE FROM t1, t2 USING t1 INNER JOIN t2 WHERE 1", Delete, "t1 t2 t1 t2"),
            ("DELETE t.* FROM t", Delete, "t t"),
            ("WITH x AS (SELECT 1) DELETE FROM orders", Delete, "orders"),
        ] {
            assert_eq!(said(text), Some((kind, targets.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_changes_no_table_is_nothing() {
        for text in [
            "BEGIN",
            "COMMIT",
            "XA START 'x'",
            "SAVEPOINT a",
            "",
            "(((",
            "'DROP'",
            "DROP TEMPORARY TABLE IF EXISTS `x`",
            "CREATE TEMPORARY TABLE x (a INT)",
            "FLUSH TABLES",
        ] {
            assert_eq!(said(text), None, "{text}");
        }
    }

    #[test]
    fn a_list_that_goes_on_is_not_told() {
        let cut = read(b"DROP TABLE a, b, c", true).unwrap();
        assert_eq!(cut.targets, Targets::Untold);
        let cut = read(b"INSERT INTO a VALUES (1), (2)", true).unwrap();
        assert_eq!(cut.targets, Targets::Tables(vec![(None, "a".to_owned())]));
    }
}
