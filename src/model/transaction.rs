//! The name of one transaction.

use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::super::{Flavor, GtidSet};
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
        }
    }
}
