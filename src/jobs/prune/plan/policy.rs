//! What an operator wants to keep.

use std::fmt;

use serde::Serialize;

use crate::model::{Age, Period};

/// What is to be kept. A backup stays when any of these rules keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// So many of the newest backups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u32>,
    /// Backups of this age at most, in seconds.
    #[serde(rename = "within_seconds", skip_serializing_if = "Option::is_none")]
    pub within: Option<Age>,
    /// The newest backup of each of so many hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hourly: Option<u32>,
    /// The newest backup of each of so many days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily: Option<u32>,
    /// The newest backup of each of so many weeks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekly: Option<u32>,
    /// The newest backup of each of so many months.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly: Option<u32>,
    /// The newest backup of each of so many years.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yearly: Option<u32>,
    /// Every instant of so much time stays reachable, in seconds: the base before it, all bases in
    /// it, and all binary logs that follow. Without it all binary logs stay that follow any backup.
    #[serde(rename = "window_seconds", skip_serializing_if = "Option::is_none")]
    pub window: Option<Age>,
}

impl Policy {
    /// Whether it keeps nothing at all: nobody wants that.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let periods = self.periods();
        let counts = [self.last].into_iter().chain(periods.into_iter().map(|(_, _, count)| count));
        counts.flatten().all(|count| count == 0) && self.within.is_none() && self.window.is_none()
    }

    /// Grandfather, father and son, and their names.
    pub(super) fn periods(&self) -> [(Period, &'static str, Option<u32>); 5] {
        [
            (Period::Hour, "hourly", self.hourly),
            (Period::Day, "daily", self.daily),
            (Period::Week, "weekly", self.weekly),
            (Period::Month, "monthly", self.monthly),
            (Period::Year, "yearly", self.yearly),
        ]
    }
}

impl fmt::Display for Policy {
    /// As it is given on the command line, without the dashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [("last", self.last)].into_iter();
        let counts = counts.chain(self.periods().map(|(_, name, count)| (name, count)));
        let counts = counts.filter_map(|(name, count)| Some(format!("keep-{name} {}", count?)));
        let ages = [("keep-within", self.within), ("window", self.window)];
        let ages = ages.iter().filter_map(|(name, age)| Some(format!("{name} {}", (*age)?)));
        f.write_str(&counts.chain(ages).collect::<Vec<_>>().join(", "))
    }
}
