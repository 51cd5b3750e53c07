//! Lengths of time as people write them: `48h`, `7d`, `2w`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Serialize, Serializer};

/// A length of time in whole seconds; a day has 24 hours. In JSON it is a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Age(Duration);

/// A text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a length of time: write numbers and units, such as `48h`, `7d` or `2w`")]
pub struct AgeError(String);

impl Age {
    /// So many seconds.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The same as a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }

    /// Its seconds.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0.as_secs()
    }
}

impl FromStr for Age {
    type Err = AgeError;

    fn from_str(text: &str) -> Result<Self, AgeError> {
        let wrong = || AgeError(text.chars().take(40).collect());
        let span: jiff::Span = text.trim().parse().map_err(|_| wrong())?;
        let relative = jiff::SpanRelativeTo::days_are_24_hours();
        let duration = span.to_duration(relative).map_err(|_| wrong())?;
        let whole = duration.subsec_nanos() == 0;
        u64::try_from(duration.as_secs())
            .ok()
            .filter(|_| whole)
            .map(Self::from_seconds)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds();
        for (unit, size) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
            if seconds >= size && seconds.is_multiple_of(size) {
                return write!(f, "{}{unit}", seconds / size);
            }
        }
        write!(f, "{seconds}s")
    }
}

impl Serialize for Age {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        for (text, seconds, shown) in [
            ("48h", 172_800, "2d"),
            ("7d", 604_800, "7d"),
            ("2w", 1_209_600, "14d"),
            ("1d 12h", 129_600, "36h"),
            ("90m", 5_400, "90m"),
            ("0s", 0, "0s"),
            ("61s", 61, "61s"),
        ] {
            let age: Age = text.parse().unwrap();
            assert_eq!((age.seconds(), age.to_string().as_str()), (seconds, shown), "{text}");
        }
        for wrong in ["", "7", "d", "-1d", "1y", "1mo", "500ms", "seven days"] {
            assert!(wrong.parse::<Age>().is_err(), "{wrong}");
        }
    }
}
