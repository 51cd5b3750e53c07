//! A statement of SQL as words: as much of a scanner as it takes to find its verb and its tables.

use super::super::fields::words as lossy;

/// A piece of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// A keyword or a name without quotes.
    Bare(String),
    /// A name in backticks.
    Name(String),
    /// A text in quotes; a name when the server runs with `ANSI_QUOTES`.
    Text(String),
    /// Anything else.
    Sign(u8),
}

impl Word {
    /// Whether it is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Bare(word) if word.eq_ignore_ascii_case(keyword))
    }

    pub(super) fn is_sign(&self, sign: u8) -> bool {
        *self == Self::Sign(sign)
    }
}

/// Words that are looked at, at most.
const MOST: usize = 100_000;

/// The words of a statement. Comments are left out; what a versioned one (`/*!50003 … */`) holds
/// is taken, since the server did so.
pub(super) fn words(text: &[u8]) -> Vec<Word> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        if found.len() >= MOST {
            break;
        }
        rest = match first {
            _ if first.is_ascii_whitespace() => after,
            b'#' => line(after),
            b'-' if after.first() == Some(&b'-')
                && after.get(1).is_none_or(u8::is_ascii_whitespace) =>
            {
                line(after)
            }
            b'/' if after.first() == Some(&b'*') => comment(&after[1..]),
            // The end of a versioned comment.
            b'*' if after.first() == Some(&b'/') => &after[1..],
            b'`' | b'\'' | b'"' => {
                let (inner, after) = quoted(first, after);
                found.push(if first == b'`' { Word::Name(inner) } else { Word::Text(inner) });
                after
            }
            _ if is_bare(first) => {
                let end = rest.iter().position(|b| !is_bare(*b)).unwrap_or(rest.len());
                found.push(Word::Bare(lossy(&rest[..end])));
                &rest[end..]
            }
            _ => {
                found.push(Word::Sign(first));
                after
            }
        };
    }
    found
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

fn line(rest: &[u8]) -> &[u8] {
    rest.iter().position(|b| *b == b'\n').map_or(&[], |end| &rest[end + 1..])
}

/// Behind a comment; behind the head of a versioned one, whose inside counts.
fn comment(rest: &[u8]) -> &[u8] {
    let versioned = rest.strip_prefix(b"M").unwrap_or(rest).strip_prefix(b"!");
    if let Some(inside) = versioned {
        let digits = inside.iter().take(6).take_while(|b| b.is_ascii_digit()).count();
        return &inside[digits..];
    }
    rest.windows(2).position(|pair| pair == b"*/").map_or(&[], |end| &rest[end + 2..])
}

/// What stands in quotes, and what follows. A doubled quote is one; so is one behind a backslash,
/// except in names.
fn quoted(quote: u8, text: &[u8]) -> (String, &[u8]) {
    let mut inner = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let next = text.get(at + 1);
        if byte == quote {
            if next != Some(&quote) {
                return (lossy(&inner), &text[at + 1..]);
            }
            at += 1;
        } else if byte == b'\\' && quote != b'`' && next.is_some() {
            at += 1;
        }
        inner.extend(text.get(at));
        at += 1;
    }
    (lossy(&inner), &[])
}
