//! The name of one transaction.

use std::{fmt, str::FromStr};

use super::{Flavor, GtidSet};

/// One transaction's global identifier, as its server prints it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gtid {
    /// MySQL: `uuid[:tag]:number` (MySQL manual, "GTID Format and Storage").
    Mysql {
        /// `uuid` or `uuid:tag`, in lower case.
        source: String,
        /// From 1 on.
        number: u64,
    },
    /// MariaDB: `domain-server-sequence` (MariaDB documentation, "Global Transaction ID").
    Mariadb {
        /// The replication domain.
        domain: u32,
        /// The id of the server where it was first committed.
        server: u32,
        /// Rises within a domain; a client may choose it, and leave numbers out.
        sequence: u64,
    },
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mysql { source, number } => write!(f, "{source}:{number}"),
            Self::Mariadb { domain, server, sequence } => {
                write!(f, "{domain}-{server}-{sequence}")
            }
        }
    }
}

/// A text that names no single transaction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no GTID: MySQL writes UUID:NUMBER or UUID:TAG:NUMBER, MariaDB DOMAIN-SERVER-NUMBER"
)]
pub struct GtidError(String);

impl FromStr for Gtid {
    type Err = GtidError;

    fn from_str(text: &str) -> Result<Self, GtidError> {
        let wrong = || GtidError(text.chars().take(120).collect());
        if let Some((source, number)) = text.rsplit_once(':') {
            let number = number.parse().ok().filter(|number| *number > 0).ok_or_else(wrong)?;
            let source = source.to_ascii_lowercase();
            let gtid = Self::Mysql { source, number };
            // The rules for uuids and tags are those of sets.
            let same = GtidSet::parse(Flavor::Mysql, text).map(|set| set.to_string());
            return if same == Ok(gtid.to_string()) { Ok(gtid) } else { Err(wrong()) };
        }
        let parts: Vec<&str> = text.split('-').collect();
        let [domain, server, sequence] = parts[..] else { return Err(wrong()) };
        match (domain.parse(), server.parse(), sequence.parse()) {
            (Ok(domain), Ok(server), Ok(sequence)) => {
                Ok(Self::Mariadb { domain, server, sequence })
            }
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_printed_as_sets_are_read() {
        let mysql = Gtid::Mysql {
            source: "9a3225ed-e51b-11f1-86df-02fc00000001:audit".to_owned(),
            number: 7,
        };
        let mariadb = Gtid::Mariadb { domain: 0, server: 11, sequence: 42 };
        for (flavor, gtid) in [(Flavor::Mysql, mysql), (Flavor::Mariadb, mariadb)] {
            let text = gtid.to_string();
            assert_eq!(GtidSet::parse(flavor, &text).unwrap().to_string(), text);
            assert_eq!(text.parse(), Ok(gtid));
        }
    }

    #[test]
    fn what_names_no_single_transaction_is_refused() {
        for text in [
            "",
            "7",
            "0-1",
            "0-1-x",
            "9a3225ed-e51b-11f1-86df-02fc00000001:0",
            "9a3225ed-e51b-11f1-86df-02fc00000001:1-2",
            "9a3225ed:7",
            "0-1-2,1-1-2",
        ] {
            assert!(text.parse::<Gtid>().is_err(), "{text}");
        }
    }
}
