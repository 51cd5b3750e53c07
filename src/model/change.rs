//! What a transaction does to tables, and which tables and changes somebody asks for.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// What was done to a table, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It was dropped: by itself, with its schema, or a partition of it.
    Drop,
    /// It was emptied: all of it, or a partition.
    Truncate,
    /// Rows were deleted.
    Delete,
    /// Rows were updated.
    Update,
    /// Rows were inserted.
    Insert,
    /// Any other definition: `CREATE`, `ALTER`, `RENAME` ….
    Ddl,
}

impl ChangeKind {
    /// Whether somebody who asks for `asked` wants this: `ddl` is every statement that defines.
    #[must_use]
    pub fn answers(self, asked: Option<Self>) -> bool {
        match asked {
            None => true,
            Some(Self::Ddl) => matches!(self, Self::Drop | Self::Truncate | Self::Ddl),
            Some(kind) => kind == self,
        }
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Drop => "drop",
            Self::Truncate => "truncate",
            Self::Delete => "delete",
            Self::Update => "update",
            Self::Insert => "insert",
            Self::Ddl => "ddl",
        })
    }
}

/// One table, or all of a schema: `schema.table`, `schema.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePattern {
    schema: String,
    table: Option<String>,
}

/// A text that names no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no table: give SCHEMA.TABLE or SCHEMA.*; a name with a dot in `backticks`")]
pub struct TablePatternError(String);

impl TablePattern {
    /// Whether a table is meant. Some servers keep names in lower case, so case does not matter.
    #[must_use]
    pub fn is_table(&self, schema: &str, table: &str) -> bool {
        self.is_schema(schema) && self.table.as_ref().is_none_or(|name| same(name, table))
    }

    /// Whether it is a table of this schema, or the schema.
    #[must_use]
    pub fn is_schema(&self, schema: &str) -> bool {
        same(&self.schema, schema)
    }

    /// Whether all tables of the schema are meant.
    #[must_use]
    pub fn is_whole_schema(&self) -> bool {
        self.table.is_none()
    }
}

fn same(one: &str, other: &str) -> bool {
    one == other || one.to_lowercase() == other.to_lowercase()
}

impl FromStr for TablePattern {
    type Err = TablePatternError;

    fn from_str(text: &str) -> Result<Self, TablePatternError> {
        let wrong = || TablePatternError(text.chars().take(200).collect());
        let (schema, rest) = name(text).ok_or_else(wrong)?;
        let rest = rest.strip_prefix('.').ok_or_else(wrong)?;
        if rest == "*" {
            return Ok(Self { schema, table: None });
        }
        match name(rest) {
            Some((table, "")) => Ok(Self { schema, table: Some(table) }),
            _ => Err(wrong()),
        }
    }
}

/// A name at the beginning of a text, and what follows.
fn name(text: &str) -> Option<(String, &str)> {
    let (name, rest) = if let Some(quoted) = text.strip_prefix('`') {
        let end = quoted.find('`')?;
        (&quoted[..end], &quoted[end + 1..])
    } else {
        text.split_at(text.find('.').unwrap_or(text.len()))
    };
    let good = !name.is_empty() && !name.contains(|c: char| c.is_control() || c == '*');
    good.then(|| (name.to_owned(), rest))
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table.as_deref().unwrap_or("*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_named_with_its_schema() {
        let one: TablePattern = "shop.orders".parse().unwrap();
        assert!(one.is_table("shop", "orders") && one.is_table("Shop", "ORDERS"));
        assert!(!one.is_table("shop", "orders2") && !one.is_table("shop2", "orders"));
        let all: TablePattern = "shop.*".parse().unwrap();
        assert!(all.is_table("shop", "lines") && all.is_whole_schema());
        let odd: TablePattern = "`a.b`.`c d`".parse().unwrap();
        assert!(odd.is_table("a.b", "c d"));
        for bad in ["orders", "", ".orders", "shop.", "*.*", "*.orders", "a.b.c", "`a.b", "a.b*"] {
            assert!(bad.parse::<TablePattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ddl_is_every_definition() {
        for kind in [ChangeKind::Drop, ChangeKind::Truncate, ChangeKind::Ddl] {
            assert!(kind.answers(Some(ChangeKind::Ddl)) && kind.answers(None));
        }
        assert!(!ChangeKind::Delete.answers(Some(ChangeKind::Ddl)));
        assert!(!ChangeKind::Ddl.answers(Some(ChangeKind::Drop)));
    }
}
