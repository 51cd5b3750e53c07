//! Instants: UTC, RFC 3339, always printed with the offset.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An instant in UTC, kept to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// The clock of this machine.
    #[must_use]
    pub fn now() -> Self {
        Self::truncated(jiff::Timestamp::now())
    }

    /// This many microseconds after the Unix epoch, or nothing when no calendar holds it.
    #[must_use]
    pub fn from_microseconds(us: i64) -> Option<Self> {
        jiff::Timestamp::from_microsecond(us).ok().map(Self)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub fn as_microseconds(self) -> i64 {
        self.0.as_microsecond()
    }

    /// Whole seconds from `earlier` to this instant, negative when it is later.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.duration_since(earlier.0).as_secs_f64()
    }

    /// `20261120T204317Z`, for names that sort by time.
    #[must_use]
    pub fn compact(self) -> String {
        self.0.strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    /// This long before, by the calendar of UTC; nothing when no calendar has it.
    #[must_use]
    pub fn minus(self, span: jiff::Span) -> Option<Self> {
        let here = self.0.to_zoned(jiff::tz::TimeZone::UTC);
        here.checked_sub(span).ok().map(|then| Self::truncated(then.timestamp()))
    }

    fn truncated(t: jiff::Timestamp) -> Self {
        Self(jiff::Timestamp::from_microsecond(t.as_microsecond()).unwrap_or(t))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse().map(Self::truncated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_required() {
        assert!("2026-11-20T20:43:17".parse::<Timestamp>().is_err());
        let t: Timestamp = "2026-11-20T21:43:17+01:00".parse().unwrap();
        assert_eq!(t.to_string(), "2026-11-20T20:43:17Z");
        assert_eq!(t.compact(), "20261120T204317Z");
    }
}
