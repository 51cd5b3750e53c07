//! Identifiers: what may be a name in a repository, and what is random.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: {rule}")]
pub struct IdError {
    what: &'static str,
    text: String,
    rule: &'static str,
}

/// Sixteen random bytes, written as 32 lower-case hexadecimal digits.
macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 16]);

        impl $name {
            /// The identifier made of these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Its bytes, as they stand in binary formats.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let wrong = || IdError {
                    what: $what,
                    text: text.to_owned(),
                    rule: "32 lower-case hexadecimal digits are expected",
                };
                if text.len() != 32 || text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(wrong());
                }
                let mut bytes = [0; 16];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| wrong())?;
                Ok(Self(bytes))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

random_id!(
    /// One replication topology, for ever: bound into every sealed object.
    ClusterUuid,
    "cluster uuid"
);
random_id!(
    /// One run of one job: it has a signing key of its own.
    RunId,
    "run id"
);
random_id!(
    /// One data encryption key.
    DekId,
    "DEK id"
);
random_id!(
    /// One try at a backup; a retry never meets its own ruins.
    AttemptId,
    "attempt id"
);

random_id!(
    /// One line of life of a cluster: every restore begins a new one.
    HistoryId,
    "history id"
);
random_id!(
    /// One sealed segment.
    SegmentId,
    "segment id"
);

/// A name that a person chose: part of a key in every store.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
                let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
                if text.len() > 128 || !starts_well || !text.bytes().all(safe) {
                    return Err(IdError {
                        what: $what,
                        text: text.chars().take(160).collect(),
                        rule: "1 to 128 ASCII letters, digits, `.`, `_` and `-`, the first a letter or digit",
                    });
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// The name of a cluster under a repository.
    ClusterName,
    "cluster name"
);
name!(
    /// The name of one base backup: chosen by the caller, or a time stamp and random digits.
    BackupId,
    "backup id"
);

name!(
    /// The name of one drill: a time stamp and random digits.
    DrillId,
    "drill id"
);

name!(
    /// What tells a server from every other one: its uuid, or its number.
    ServerName,
    "server name"
);
name!(
    /// The base name of a binlog file, such as `binlog.000042`.
    BinlogName,
    "binlog file name that can be archived"
);

impl BackupId {
    /// A fresh id that sorts by time: `20261120T204317Z-1f0c9a7e`.
    #[must_use]
    pub fn fresh(now: crate::model::Timestamp, random: [u8; 4]) -> Self {
        Self(format!("{}-{}", now.compact(), hex::encode(random)))
    }
}

impl DrillId {
    /// A fresh id that sorts by time, as a backup's does.
    #[must_use]
    pub fn fresh(now: crate::model::Timestamp, random: [u8; 4]) -> Self {
        Self(BackupId::fresh(now, random).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_reads_what_it_writes() {
        let id = DekId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse::<DekId>(), Ok(id));
    }

    #[test]
    fn a_random_id_has_one_spelling() {
        assert!("3031323334353637383961626364656F".parse::<DekId>().is_err());
        assert!("303132".parse::<DekId>().is_err());
        assert!("zz313233343536373839616263646566".parse::<DekId>().is_err());
    }

    #[test]
    fn a_name_cannot_leave_its_folder() {
        for bad in ["", ".", "..", "a/b", "../a", "-a", "_a", "a b", "é", &"a".repeat(129)] {
            assert!(bad.parse::<BackupId>().is_err(), "{bad}");
        }
        for good in ["a", "prod.eu-1", "20261120T204317Z-1f0c9a7e"] {
            assert!(good.parse::<BackupId>().is_ok(), "{good}");
        }
    }
}
