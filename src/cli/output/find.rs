//! `find` for people: in the worst hour, at a glance.

use std::fmt::Write as _;

use super::{Text, recorded};
use crate::{
    jobs::find::{ChangeSummary, Found, Match},
    model::ByteSize,
};

/// Characters of a statement that are shown.
const STATEMENT: usize = 300;

impl Text for Found {
    fn text(&self) -> String {
        let mut out = String::new();
        for found in &self.matches {
            found.describe(&mut out);
            out.push('\n');
        }
        self.sum_up(&mut out);
        recorded(&mut out, "", &self.recorded);
        out
    }
}

impl Match {
    fn describe(&self, out: &mut String) {
        let name = self.gtid.as_deref().unwrap_or("no GTID");
        let _ = writeln!(out, "{}  {name}", self.committed_at);
        for change in &self.changes {
            change.describe(out);
        }
        if self.more {
            let _ = writeln!(out, "  and more that is not told here");
        }
        match (self.line, &self.restore) {
            ("forked", _) => {
                let _ = writeln!(
                    out,
                    "  FORKED: the server that took over never had it; what is there today does not come from it"
                );
            }
            ("earlier", _) => {
                let _ = writeln!(
                    out,
                    "  EARLIER HISTORY: {}, which is not today's; see `backstay window`",
                    self.history
                );
            }
            _ => {}
        }
        match (&self.restore, &self.restorable_from) {
            (Some(command), Some(backup)) => {
                let _ = writeln!(out, "  to restore to just before it (backup {backup}):");
                let _ = writeln!(out, "    {command}");
            }
            (Some(command), None) => {
                let _ = writeln!(
                    out,
                    "  NO BACKUP REACHES IT (see `backstay window`); the restore would be:\n    {command}"
                );
            }
            (None, _) => {
                let _ = writeln!(
                    out,
                    "  it has no name to restore to; it is in {} at {}",
                    self.binlog_file, self.binlog_position
                );
            }
        }
    }
}

impl ChangeSummary {
    fn describe(&self, out: &mut String) {
        let what = match (self.tables.as_slice(), self.at_least) {
            ([], true) => "a list of tables too long to read: it may be among them".into(),
            ([], false) => String::new(),
            (tables, _) => tables.join(", "),
        };
        let kind = self.kind.to_string().to_uppercase();
        let _ = write!(out, "  {kind:<8}  {}", printable(&what));
        if let Some(rows) = self.rows {
            let least = if self.at_least { "at least " } else { "" };
            let plural = if rows == 1 { "" } else { "s" };
            let _ = write!(out, "  {least}{} row{plural}", grouped(rows));
        } else if self.by_text {
            out.push_str("  by its text; how many rows is not in the binary log");
        }
        if self.statements > 1 {
            let _ = write!(out, "  in {} statements, the first:", grouped(self.statements));
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        if let Some(statement) = &self.statement {
            let _ = writeln!(out, "            {}", shortened(statement));
        }
    }
}

impl Found {
    fn sum_up(&self, out: &mut String) {
        let kind = self.kind.map_or_else(|| "any change".to_owned(), |kind| kind.to_string());
        let mut asked = format!("{kind} of {}", self.table.as_deref().unwrap_or("any table"));
        if let Some(since) = self.since {
            let _ = write!(asked, " since {since}");
        }
        if let Some(until) = self.until {
            let _ = write!(asked, " until {until}");
        }
        let _ = match (self.matches.len(), self.more) {
            (0, _) => writeln!(out, "Nothing was found: {asked}."),
            (1, false) => writeln!(out, "This one was found: {asked}."),
            (count, false) => writeln!(out, "{count} were found, newest first: {asked}."),
            (count, true) => writeln!(
                out,
                "The newest {count} that were found: {asked}. There may be more: --limit {}",
                self.limit.saturating_mul(10)
            ),
        };
        if let Some(until) = self.archived_until {
            let _ = writeln!(out, "  archived until  {until} (nothing later can be found)");
        }
        let searched = &self.searched;
        let _ = writeln!(
            out,
            "  searched        {} of binary logs, in {} of {} segments and tails",
            ByteSize(searched.bytes),
            grouped(searched.opened),
            grouped(searched.ranges)
        );
        for bad in &self.unreadable {
            let span = match (bad.first_committed, bad.last_committed) {
                (Some(first), Some(last)) => format!(", committed from {first} to {last}"),
                _ => String::new(),
            };
            let _ = writeln!(
                out,
                "INCOMPLETE: bytes {} to {} of {} of {}{span} could not be read, and may hold more\n  {}",
                bad.start, bad.end, bad.binlog_file, bad.server, bad.why
            );
        }
    }
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// In one line, and without what a terminal would obey.
fn shortened(statement: &str) -> String {
    let line = printable(statement).split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(STATEMENT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_statements_are_readable() {
        assert_eq!([grouped(0), grouped(999), grouped(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!(shortened("DROP\n\tTABLE \x1b[31m x"), "DROP TABLE [31m x");
        let long = "é".repeat(400);
        assert_eq!(shortened(&long).chars().count(), STATEMENT + 1);
    }
}
