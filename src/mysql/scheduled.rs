//! Events of the event scheduler, in statements that are replayed.
//!
//! A replica disables every event that it is told to create or to alter, since it must not run what its
//! source runs (MySQL manual, "Replication of Invoked Features"). A restored server is nobody's replica:
//! its events shall be as the statements left them.

use super::{
    MysqlError,
    connect::{STATEMENT, Server, text_at},
};

/// What a statement does to an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventChange {
    /// Its schema and name.
    pub event: (String, String),
    /// Where it was renamed to.
    pub renamed: Option<(String, String)>,
    /// What happens to it.
    pub kind: EventChangeKind,
    /// Whether it is enabled afterwards, when the statement says.
    pub enabled: Option<bool>,
}

/// What happens to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventChangeKind {
    /// It is created.
    Created,
    /// It is created unless it is there.
    CreatedUnlessThere,
    /// It is altered.
    Altered,
    /// It is dropped.
    Dropped,
}

/// An event of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledEvent {
    /// Its schema and name.
    pub event: (String, String),
    /// `user@host`.
    pub definer: String,
    /// Whether it is enabled; nothing when it was disabled because a replica received it.
    pub enabled: Option<bool>,
}

/// Reads a `Query` event, header and checksum included; nothing unless it is
/// about an event of the scheduler.
#[must_use]
pub fn event_change(query: &[u8], checksums: bool) -> Option<EventChange> {
    let end = query.len().checked_sub(if checksums { 4 } else { 0 })?;
    // MySQL internals, "QUERY_EVENT".
    let body = query.get(19..end)?;
    let schema = usize::from(*body.get(8)?);
    let variables = usize::from(u16::from_le_bytes([*body.get(11)?, *body.get(12)?]));
    let named = body.get(13 + variables..13 + variables + schema)?;
    let statement = body.get(13 + variables + schema + 1..)?;
    parse(&String::from_utf8_lossy(statement), &String::from_utf8_lossy(named))
}

fn parse(statement: &str, schema: &str) -> Option<EventChange> {
    let mut words = Words(statement).peekable();
    let first = words.next()?;
    let mut kind = match first {
        word if word.is("CREATE") => EventChangeKind::Created,
        word if word.is("ALTER") => EventChangeKind::Altered,
        word if word.is("DROP") => EventChangeKind::Dropped,
        _ => return None,
    };
    // `OR REPLACE` and `DEFINER = user` may stand between; the whole is short.
    let mut between = 0;
    while !words.next()?.is("EVENT") {
        between += 1;
        if between > 12 {
            return None;
        }
    }
    if words.peek()?.is("IF") {
        // `IF EXISTS`, or `IF NOT EXISTS`.
        words.next();
        if words.next()?.is("NOT") {
            words.next();
            kind = EventChangeKind::CreatedUnlessThere;
        }
    }
    let event = name(&mut words, schema)?;
    let creates = matches!(kind, EventChangeKind::Created | EventChangeKind::CreatedUnlessThere);
    let (mut enabled, mut renamed) = (creates.then_some(true), None);
    while let Some(word) = words.next() {
        if word.is("DO") {
            break;
        } else if word.is("ENABLE") {
            enabled = Some(true);
        } else if word.is("DISABLE") {
            enabled = Some(false);
        } else if word.is("RENAME") && words.peek().is_some_and(|next| next.is("TO")) {
            words.next();
            renamed = Some(name(&mut words, schema)?);
        } else if word.is("COMMENT") {
            words.next();
        }
    }
    Some(EventChange { event, renamed, kind, enabled })
}

/// `schema.name` or `name`.
fn name<'a>(words: &mut std::iter::Peekable<Words<'a>>, schema: &str) -> Option<(String, String)> {
    let first = words.next()?.unquoted();
    if words.peek().is_some_and(|next| next.0 == ".") {
        words.next();
        return Some((first, words.next()?.unquoted()));
    }
    Some((schema.to_owned(), first))
}

/// The words of a statement: names, strings and signs; comments and space are passed over.
struct Words<'a>(&'a str);

#[derive(Debug, Clone, Copy)]
struct Word<'a>(&'a str);

impl Word<'_> {
    fn is(self, word: &str) -> bool {
        self.0.eq_ignore_ascii_case(word)
    }

    fn unquoted(self) -> String {
        match self.0.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
            Some(inner) => inner.replace("``", "`"),
            None => self.0.to_owned(),
        }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        loop {
            self.0 = self.0.trim_start();
            let skip = if self.0.starts_with("/*!") {
                // A conditional comment: what is in it counts.
                3 + self.0[3..].chars().take_while(char::is_ascii_digit).count()
            } else if self.0.starts_with("/*") {
                self.0.find("*/").map_or(self.0.len(), |end| end + 2)
            } else if self.0.starts_with("*/") {
                2
            } else if self.0.starts_with("-- ") || self.0.starts_with('#') {
                self.0.find('\n').unwrap_or(self.0.len())
            } else {
                break;
            };
            self.0 = &self.0[skip..];
        }
        let first = self.0.chars().next()?;
        let length = match first {
            '`' | '\'' | '"' => quoted(self.0, first),
            c if is_of_a_word(c) => self.0.find(|c| !is_of_a_word(c)).unwrap_or(self.0.len()),
            c => c.len_utf8(),
        };
        let (word, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(Word(word))
    }
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Bytes of a quoted text, quotes included. A doubled quote is one in it; but for names, a
/// backslash takes the next character's meaning.
fn quoted(text: &str, quote: char) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && quote != '`' {
            characters.next();
        } else if c == quote {
            if characters.peek().is_some_and(|(_, next)| *next == quote) {
                characters.next();
            } else {
                return at + quote.len_utf8();
            }
        }
    }
    text.len()
}

fn ticked(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl Server {
    /// All events.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn scheduled_events(&mut self) -> Result<Vec<ScheduledEvent>, MysqlError> {
        let sql = "SELECT EVENT_SCHEMA, EVENT_NAME, DEFINER, STATUS FROM information_schema.EVENTS";
        let rows = self.rows("listing events", sql).await?;
        let events = rows.iter().map(|row| ScheduledEvent {
            event: (text_at(row, 0), text_at(row, 1)),
            definer: text_at(row, 2),
            enabled: match text_at(row, 3).as_str() {
                "ENABLED" => Some(true),
                "DISABLED" => Some(false),
                _ => None,
            },
        });
        Ok(events.collect())
    }

    /// Enables or disables an event, and leaves its definer.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn set_event(
        &mut self,
        event: &ScheduledEvent,
        enabled: bool,
    ) -> Result<(), MysqlError> {
        let (user, host) = event.definer.rsplit_once('@').unwrap_or((&event.definer, "%"));
        let (schema, name) = &event.event;
        let sql = format!(
            "ALTER DEFINER = {}@{} EVENT {}.{} {}",
            ticked(user),
            ticked(host),
            ticked(schema),
            ticked(name),
            if enabled { "ENABLE" } else { "DISABLE" }
        );
        self.execute("putting an event's status back", &sql, STATEMENT).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(statement: &str) -> Option<(String, Option<bool>)> {
        parse(statement, "shop").map(|change| {
            let (schema, name) = change.event;
            (format!("{schema}.{name}"), change.enabled)
        })
    }

    #[test]
    fn statements_about_events_are_understood() {
        let some = |name: &str, enabled| Some((name.to_owned(), enabled));
        for (statement, expected) in [
            (
                "CREATE DEFINER=`root`@`localhost` EVENT e ON SCHEDULE EVERY 1 HOUR DO SELECT 'DISABLE'",
                some("shop.e", Some(true)),
            ),
            (
                "create event if not exists `other`.`a``b` on schedule every 1 hour disable do set @a = 1",
                some("other.a`b", Some(false)),
            ),
            (
                "CREATE OR REPLACE DEFINER = CURRENT_USER EVENT e ON SCHEDULE AT NOW() ON COMPLETION PRESERVE DISABLE ON SLAVE DO BEGIN END",
                some("shop.e", Some(false)),
            ),
            (
                "ALTER EVENT shop2 . e COMMENT 'DISABLE it; don\\'t' ENABLE",
                some("shop2.e", Some(true)),
            ),
            (
                "/* hi */ ALTER /*!50117 DEFINER=`a`@`%`*/ /*!50106 EVENT */ e COMMENT 'it''s'",
                some("shop.e", None),
            ),
            ("ALTER TABLE events ADD event INT", None),
            ("DROP EVENT IF EXISTS e", some("shop.e", None)),
            ("DROP TABLE e", None),
            ("CREATE", None),
            ("CREATE EVENT `unfinished", some("shop.`unfinished", Some(true))),
        ] {
            assert_eq!(change(statement), expected, "{statement}");
        }
        let renamed = parse("ALTER EVENT e RENAME TO b.f DISABLE", "shop").unwrap();
        assert_eq!(renamed.renamed, Some(("b".into(), "f".into())));
        assert_eq!(renamed.enabled, Some(false));
    }
}
