//! What keeps a stored object from being removed (S3 Object Lock).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// How strict a retention is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// Those with a right of its own may shorten or lift it.
    Governance,
    /// Nobody may, not even the account's root user.
    Compliance,
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Governance => "governance",
            Self::Compliance => "compliance",
        })
    }
}

/// A retention: until when a version of an object may not be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// How strict it is.
    pub mode: LockMode,
    /// Until when.
    pub until: Timestamp,
}

/// What protects a stored object, as the store says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protection {
    /// Its retention, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Whether a legal hold is on it.
    #[serde(default)]
    pub legal_hold: bool,
}

impl Protection {
    /// What of it is less than was asked for; nothing when it is all that, or more.
    #[must_use]
    pub fn falls_short_of(&self, wanted: &Self) -> Option<String> {
        if wanted.legal_hold && !self.legal_hold {
            return Some("no legal hold is on it".to_owned());
        }
        let wanted = wanted.retention?;
        match self.retention {
            None => Some(format!("it is not locked, and was to be until {}", wanted.until)),
            Some(found) if found.until < wanted.until => Some(format!(
                "it is locked until {}, and was to be until {}",
                found.until, wanted.until
            )),
            Some(found) if found.mode < wanted.mode => {
                Some(format!("it is locked by {}, and was to be by {}", found.mode, wanted.mode))
            }
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_and_stricter_is_no_less() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let locked = |mode, until: &str| Protection {
            retention: Some(Retention { mode, until: at(until) }),
            legal_hold: false,
        };
        let wanted = locked(LockMode::Governance, "2026-12-01T00:00:00Z");
        let short = |found: Protection| found.falls_short_of(&wanted);
        assert_eq!(short(wanted), None);
        assert_eq!(short(locked(LockMode::Compliance, "2027-12-01T00:00:00Z")), None);
        assert!(short(Protection::default()).unwrap().contains("not locked"));
        assert!(short(locked(LockMode::Compliance, "2026-11-30T23:59:59Z")).is_some());
        let strict = locked(LockMode::Compliance, "2026-12-01T00:00:00Z");
        assert!(wanted.falls_short_of(&strict).unwrap().contains("by governance"));
        let held = Protection { legal_hold: true, ..wanted };
        assert_eq!(wanted.falls_short_of(&held).unwrap(), "no legal hold is on it");
        assert_eq!(held.falls_short_of(&wanted), None);
    }
}
