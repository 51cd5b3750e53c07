//! Where event groups (transactions) begin and end.

use crate::model::Timestamp;

use super::{
    captured::Group,
    gtids::{Opening, Shape},
};

/// What an event means to the group that it belongs to.
#[derive(Debug)]
pub(super) enum Sign<'a> {
    /// A group begins.
    Opens(Opening),
    /// A statement; its text, if it is short.
    Statement(Option<&'a [u8]>),
    /// A commit, whatever it is called.
    Commits,
    /// Part of a group, and never its end.
    Within,
    /// Of the file, not of any group.
    Beside,
    /// A file begins: what is open was cut off by a crash.
    Starts,
}

/// The state between two events.
#[derive(Debug, Default)]
pub(super) struct Groups {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    /// None when the dump began inside the group: it cannot be named.
    group: Option<Group>,
    shape: Shape,
    /// Where it ends, if its first event says.
    expected: Option<u64>,
}

impl Groups {
    /// A dump that begins at `offset`: behind the start of a file it may be inside a group.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Takes one event; what it ends, if anything.
    pub(super) fn step(
        &mut self,
        sign: Sign<'_>,
        timestamp: u32,
        begin: u64,
        end: u64,
    ) -> Option<Group> {
        match sign {
            Sign::Opens(opening) => {
                self.leave_unfinished(begin);
                self.open = Some(Open::new(opening, timestamp, begin));
                return None;
            }
            Sign::Starts => {
                self.leave_unfinished(begin);
                return None;
            }
            Sign::Beside => return None,
            Sign::Statement(_) | Sign::Commits | Sign::Within => {}
        }
        let open = self.open.get_or_insert(Open {
            group: None,
            shape: Shape::Transaction,
            expected: None,
        });
        let ended = open.ended_by(&sign);
        let ended = match open.expected {
            Some(expected) if end < expected => false,
            Some(expected) if end == expected => true,
            _ => ended,
        };
        if !ended {
            return None;
        }
        let group = self.open.take()?.group?;
        Some(Group { end, ..group })
    }

    fn leave_unfinished(&mut self, at: u64) {
        if let Some(Open { group: Some(group), .. }) = self.open.take() {
            tracing::warn!(
                "the event group {} that begins at byte {} does not end before byte {at}: it is not counted as archived",
                group.gtid.as_ref().map_or_else(|| "(anonymous)".to_owned(), ToString::to_string),
                group.begin
            );
        }
    }
}

impl Open {
    fn new(opening: Opening, timestamp: u32, begin: u64) -> Self {
        let second = i64::from(timestamp) * 1_000_000;
        let second = Timestamp::from_microseconds(second);
        let group = opening.committed_at.or(second).map(|committed_at| Group {
            gtid: opening.gtid,
            begin,
            end: begin,
            committed_at,
            original_committed_at: opening.original_committed_at,
        });
        let expected = opening.length.and_then(|length| begin.checked_add(length));
        Self { group, shape: opening.shape, expected }
    }

    fn ended_by(&mut self, sign: &Sign<'_>) -> bool {
        let Sign::Statement(text) = sign else { return matches!(sign, Sign::Commits) };
        let is = |word: &str| text.is_some_and(|text| text.eq_ignore_ascii_case(word.as_bytes()));
        match self.shape {
            Shape::Standalone => true,
            Shape::Transaction => is("COMMIT") || is("ROLLBACK"),
            Shape::Open => {
                let xa = b"XA START";
                let begins = text.is_some_and(|text| {
                    text.get(..xa.len()).is_some_and(|word| word.eq_ignore_ascii_case(xa))
                }) || is("BEGIN");
                if begins {
                    self.shape = Shape::Transaction;
                }
                !begins
            }
        }
    }
}
