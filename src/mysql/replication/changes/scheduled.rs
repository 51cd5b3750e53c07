//! Events of the event scheduler, in statements that are replayed.
//!
//! A replica disables every event that it is told to create or to alter, since it must not run what its
//! source runs (MySQL manual, "Replication of Invoked Features"). A restored server is nobody's replica:
//! its events shall be as the statements left them.

use super::{
    definition::Definition,
    words::{Word, words},
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

/// What a statement does to an event of the scheduler; nothing when it is about something else.
#[must_use]
pub fn event_change(definition: &Definition) -> Option<EventChange> {
    parse(&definition.text, &definition.schema)
}

fn parse(statement: &[u8], schema: &str) -> Option<EventChange> {
    let mut words = words(statement).into_iter().peekable();
    let mut kind = match words.next()? {
        word if word.is("CREATE") => EventChangeKind::Created,
        word if word.is("ALTER") => EventChangeKind::Altered,
        word if word.is("DROP") => EventChangeKind::Dropped,
        _ => return None,
    };
    if words.next_if(|next| next.is("OR")).is_some() {
        words.next();
    }
    if words.next_if(|next| next.is("DEFINER")).is_some() {
        // `= user@host`, or `= CURRENT_USER()`.
        words.next();
        words.next();
        if words.next_if(|next| next.is_sign(b'@') || next.is_sign(b'(')).is_some() {
            words.next();
        }
    }
    if !words.next()?.is("EVENT") {
        return None;
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
        } else if word.is("RENAME") && words.next_if(|next| next.is("TO")).is_some() {
            renamed = Some(name(&mut words, schema)?);
        }
    }
    Some(EventChange { event, renamed, kind, enabled })
}

/// `schema.name` or `name`.
fn name(
    words: &mut std::iter::Peekable<impl Iterator<Item = Word>>,
    schema: &str,
) -> Option<(String, String)> {
    let mut one = || match words.next()? {
        Word::Bare(name) | Word::Name(name) | Word::Text(name) => Some(name),
        Word::Sign(_) => None,
    };
    let first = one()?;
    if words.next_if(|next| next.is_sign(b'.')).is_none() {
        return Some((schema.to_owned(), first));
    }
    match words.next()? {
        Word::Bare(name) | Word::Name(name) | Word::Text(name) => Some((first, name)),
        Word::Sign(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(statement: &str) -> Option<(String, Option<bool>)> {
        parse(statement.as_bytes(), "shop").map(|change| {
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
            ("CREATE EVENT", None),
        ] {
            assert_eq!(change(statement), expected, "{statement}");
        }
        let renamed = parse(b"ALTER EVENT e RENAME TO b.f DISABLE", "shop").unwrap();
        assert_eq!(renamed.renamed, Some(("b".into(), "f".into())));
        assert_eq!(renamed.enabled, Some(false));
        let there = parse(b"CREATE EVENT IF NOT EXISTS e DISABLE DO SELECT 1", "shop").unwrap();
        assert_eq!(there.kind, EventChangeKind::CreatedUnlessThere);
    }
}
