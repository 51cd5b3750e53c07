//! Instants: UTC, RFC 3339, always printed with the offset.

use std::{fmt, str::FromStr, time::Duration};

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

    /// This long after it; the end of all calendars when they do not reach so far.
    #[must_use]
    pub fn plus(self, more: Duration) -> Self {
        let us = i64::try_from(more.as_micros()).unwrap_or(i64::MAX);
        let at = Self::from_microseconds(self.as_microseconds().saturating_add(us));
        at.unwrap_or(Self(jiff::Timestamp::MAX))
    }

    /// This long before it; the beginning of all calendars when they do not reach so far.
    #[must_use]
    pub fn minus(self, less: Duration) -> Self {
        let us = i64::try_from(less.as_micros()).unwrap_or(i64::MAX);
        let at = Self::from_microseconds(self.as_microseconds().saturating_sub(us));
        at.unwrap_or(Self(jiff::Timestamp::MIN))
    }

    /// The name of the period in UTC that it lies in: an hour, a day, an ISO week, a month, a year.
    #[must_use]
    pub fn period(self, period: Period) -> String {
        let civil = self.0.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        let (year, month, day) = (civil.year(), civil.month(), civil.day());
        match period {
            Period::Hour => format!("{year:04}-{month:02}-{day:02}T{:02}", civil.hour()),
            Period::Day => format!("{year:04}-{month:02}-{day:02}"),
            Period::Week => {
                let week = civil.date().iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            Period::Month => format!("{year:04}-{month:02}"),
            Period::Year => format!("{year:04}"),
        }
    }

    /// `20261120T204317Z`, for names that sort by time.
    #[must_use]
    pub fn compact(self) -> String {
        self.0.strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    /// This long before, by the calendar of UTC; nothing when no calendar has it.
    #[must_use]
    pub fn minus_span(self, span: jiff::Span) -> Option<Self> {
        let here = self.0.to_zoned(jiff::tz::TimeZone::UTC);
        here.checked_sub(span).ok().map(|then| Self::truncated(then.timestamp()))
    }

    fn truncated(t: jiff::Timestamp) -> Self {
        Self(jiff::Timestamp::from_microsecond(t.as_microsecond()).unwrap_or(t))
    }
}

/// A stretch of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week of ISO 8601, which begins on Monday.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
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

    #[test]
    fn periods_are_those_of_utc_and_weeks_those_of_iso() {
        let t: Timestamp = "2027-01-03T23:59:59.999999Z".parse().unwrap();
        let names = [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year];
        let names = names.map(|period| t.period(period));
        assert_eq!(names, ["2027-01-03T23", "2027-01-03", "2026-W53", "2027-01", "2027"]);
        assert_eq!(t.plus(Duration::from_micros(1)).period(Period::Week), "2027-W01");
        assert_eq!(t.minus(Duration::from_hours(24)).period(Period::Day), "2027-01-02");
        assert!(t.plus(Duration::MAX) > t && t.minus(Duration::MAX) < t);
    }
}
