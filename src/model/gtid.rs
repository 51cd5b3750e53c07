//! Sets of transactions, in the notation of each flavor.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::intervals;

/// Which transactions a server has.
///
/// * MySQL: `uuid[:tag]:first-last[:…], …`, a set with holes
///   (MySQL manual, "GTID Format and Storage").
/// * MariaDB: `domain-server-sequence, …`, the last transaction of each domain
///   (MariaDB documentation, "Global Transaction ID").
///
/// Two sets are equal when they hold the same transactions, however written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum GtidSet {
    /// `uuid` or `uuid:tag` → sorted, disjoint, non-adjacent inclusive intervals.
    Mysql(BTreeMap<String, Vec<(u64, u64)>>),
    /// domain → (server id, sequence number) of its last transaction.
    Mariadb(BTreeMap<u32, (u32, u64)>),
}

/// A text that is no GTID set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a GTID set of {flavor}: {why}")]
pub struct GtidParseError {
    text: String,
    flavor: super::Flavor,
    why: &'static str,
}

impl GtidParseError {
    pub(super) fn new(flavor: super::Flavor, text: &str, why: &'static str) -> Self {
        Self { text: text.chars().take(200).collect(), flavor, why }
    }
}

impl GtidSet {
    /// The empty set of a flavor.
    #[must_use]
    pub fn empty(flavor: super::Flavor) -> Self {
        match flavor {
            super::Flavor::Mysql => Self::Mysql(BTreeMap::new()),
            super::Flavor::Mariadb => Self::Mariadb(BTreeMap::new()),
        }
    }

    /// Reads a set in the notation of `flavor`; white space is allowed around parts.
    ///
    /// # Errors
    /// When a part is malformed, an interval is empty or a number is zero.
    pub fn parse(flavor: super::Flavor, text: &str) -> Result<Self, GtidParseError> {
        let wrong = |why| GtidParseError::new(flavor, text, why);
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        match flavor {
            super::Flavor::Mysql => {
                let mut set = Self::empty(flavor);
                for part in parts {
                    set.add_mysql_part(part).map_err(wrong)?;
                }
                Ok(set)
            }
            super::Flavor::Mariadb => {
                let mut domains = BTreeMap::new();
                for part in parts {
                    let (domain, server, sequence) = mariadb_gtid(part)
                        .ok_or_else(|| wrong("expected domain-server-sequence"))?;
                    if domains.insert(domain, (server, sequence)).is_some() {
                        return Err(wrong("a domain appears twice"));
                    }
                }
                Ok(Self::Mariadb(domains))
            }
        }
    }

    /// Adds one transaction (`uuid[:tag]:n`, or `domain-server-sequence`), as a binlog names it.
    ///
    /// # Errors
    /// When the text is not a GTID of this set's flavor.
    pub fn add(&mut self, gtid: &str) -> Result<(), GtidParseError> {
        let wrong = |flavor, why| GtidParseError::new(flavor, gtid, why);
        match self {
            Self::Mysql(_) => {
                self.add_mysql_part(gtid.trim()).map_err(|why| wrong(super::Flavor::Mysql, why))
            }
            Self::Mariadb(domains) => {
                let (domain, server, sequence) = mariadb_gtid(gtid.trim()).ok_or_else(|| {
                    wrong(super::Flavor::Mariadb, "expected domain-server-sequence")
                })?;
                domains.insert(domain, (server, sequence));
                Ok(())
            }
        }
    }

    /// Whether no transaction is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Mysql(map) => map.is_empty(),
            Self::Mariadb(map) => map.is_empty(),
        }
    }

    /// What is in this set of MySQL and not in `other`.
    #[must_use]
    pub(super) fn minus(&self, other: &Self) -> Self {
        let (Self::Mysql(map), Self::Mysql(other)) = (self, other) else { return self.clone() };
        let left = map.iter().filter_map(|(source, intervals)| {
            let taken = other.get(source).map(Vec::as_slice).unwrap_or_default();
            let left = intervals::minus(intervals, taken);
            (!left.is_empty()).then(|| (source.clone(), left))
        });
        Self::Mysql(left.collect())
    }

    /// How many transactions a set of MySQL has.
    #[must_use]
    pub fn count(&self) -> u64 {
        let Self::Mysql(map) = self else { return 0 };
        map.values().fold(0, |sum, source| sum.saturating_add(intervals::count(source)))
    }

    fn add_mysql_part(&mut self, part: &str) -> Result<(), &'static str> {
        let Self::Mysql(map) = self else { return Err("a MariaDB set takes no MySQL GTID") };
        let mut fields = part.split(':').map(str::trim);
        let uuid = fields.next().unwrap_or_default().to_ascii_lowercase();
        if !is_uuid(&uuid) {
            return Err("a part must begin with a UUID");
        }
        let mut source = uuid.clone();
        let mut seen = false;
        for field in fields {
            if let Some(interval) = interval(field)? {
                intervals::insert(map.entry(source.clone()).or_default(), interval);
                seen = true;
            } else {
                source = format!("{uuid}:{}", field.to_ascii_lowercase());
                seen = false;
            }
        }
        if seen { Ok(()) } else { Err("a UUID or tag must be followed by an interval") }
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// An interval; nothing when the field is a tag (a letter or `_`, then up to 31 more).
fn interval(field: &str) -> Result<Option<(u64, u64)>, &'static str> {
    let first = field.bytes().next().ok_or("an interval is missing")?;
    if first.is_ascii_alphabetic() || first == b'_' {
        let tag =
            field.len() <= 32 && field.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        return if tag { Ok(None) } else { Err("a tag is malformed") };
    }
    let (start, end) = field.split_once('-').unwrap_or((field, field));
    let number =
        |s: &str| s.trim().parse::<u64>().map_err(|_| "an interval is not made of numbers");
    let (start, end) = (number(start)?, number(end)?);
    if start == 0 || end < start {
        return Err("an interval must begin at 1 or later and not end before it begins");
    }
    Ok(Some((start, end)))
}

pub(super) fn mariadb_gtid(text: &str) -> Option<(u32, u32, u64)> {
    let mut fields = text.split('-');
    let gtid =
        (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    fields.next().is_none().then_some(gtid)
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mysql(map) => {
                // Tags of one server follow its UUID, as the server itself prints them.
                let mut last = "";
                for (source, intervals) in map {
                    let (uuid, tag) = source.split_at(36);
                    if uuid != last {
                        write!(f, "{}{uuid}", if last.is_empty() { "" } else { "," })?;
                        last = uuid;
                    }
                    f.write_str(tag)?;
                    for &(start, end) in intervals {
                        if start == end {
                            write!(f, ":{start}")?;
                        } else {
                            write!(f, ":{start}-{end}")?;
                        }
                    }
                }
                Ok(())
            }
            Self::Mariadb(map) => {
                for (at, (domain, (server, sequence))) in map.iter().enumerate() {
                    write!(f, "{}{domain}-{server}-{sequence}", if at == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

impl FromStr for GtidSet {
    type Err = GtidParseError;

    /// Tells the flavor from the notation; an empty text is MySQL's empty set.
    fn from_str(text: &str) -> Result<Self, GtidParseError> {
        let mysql = text.contains(':') || text.trim().is_empty();
        Self::parse(if mysql { super::Flavor::Mysql } else { super::Flavor::Mariadb }, text)
    }
}

impl TryFrom<String> for GtidSet {
    type Error = GtidParseError;

    fn try_from(text: String) -> Result<Self, GtidParseError> {
        text.parse()
    }
}

impl From<GtidSet> for String {
    fn from(set: GtidSet) -> Self {
        set.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Flavor;
    use super::*;

    const A: &str = "9a3225ed-e51b-11f1-86df-02fc00000001";

    fn mysql(text: &str) -> GtidSet {
        GtidSet::parse(Flavor::Mysql, text).unwrap()
    }

    #[test]
    fn intervals_are_joined_and_sorted() {
        assert_eq!(mysql(&format!("{A}:5-7:1-3:4")).to_string(), format!("{A}:1-7"));
        assert_eq!(mysql(&format!("{A}:9:1-3,\n{A}:5")).to_string(), format!("{A}:1-3:5:9"));
    }

    #[test]
    fn tags_belong_to_their_uuid() {
        let text = format!("{A}:1-3:audit:1-2:5");
        assert_eq!(mysql(&text).to_string(), text);
        assert_eq!(mysql(&format!("{A}:audit:1")).to_string(), format!("{A}:audit:1"));
    }

    #[test]
    fn one_transaction_is_added() {
        let mut set = mysql(&format!("{A}:1-10134"));
        set.add(&format!("{A}:10135")).unwrap();
        assert_eq!(set, mysql(&format!("{A}:1-10135")));
        let mut position = GtidSet::parse(Flavor::Mariadb, "0-11-5,1-12-9").unwrap();
        position.add("0-11-6").unwrap();
        assert_eq!(position.to_string(), "0-11-6,1-12-9");
    }

    #[test]
    fn malformed_sets_are_refused() {
        for bad in [
            "x:1",
            A,
            &format!("{A}:0"),
            &format!("{A}:3-1"),
            &format!("{A}:1:audit"),
            &format!("{A}:"),
        ] {
            assert!(GtidSet::parse(Flavor::Mysql, bad).is_err(), "{bad}");
        }
        for bad in ["0-1", "0-1-2-3", "a-1-2", "0-1-2,0-1-3"] {
            assert!(GtidSet::parse(Flavor::Mariadb, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_empty_set_survives() {
        assert!(mysql("").is_empty());
        assert_eq!(mysql("").to_string(), "");
    }
}
