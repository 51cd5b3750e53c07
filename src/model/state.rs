//! Which transactions an archive or a server's binary logs hold, exactly.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Flavor, Gtid, GtidParseError, GtidSet, gtid::mariadb_gtid, intervals};

/// The transactions in a line of binary logs.
///
/// * MySQL: the set of them, as [`GtidSet`] writes it.
/// * MariaDB: the last number of each (domain, server), as `gtid_binlog_state` writes it: within
///   a domain the server that wrote last stands last. Numbers of one server in one domain grow,
///   so everything of that server up to its last number has been there.
///
/// The empty states of the two flavors are equal: their texts are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum GtidState {
    /// A set.
    Mysql(GtidSet),
    /// Domains.
    Mariadb(BTreeMap<u32, Domain>),
}

/// One replication domain of MariaDB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Domain {
    last: u32,
    servers: BTreeMap<u32, u64>,
}

/// Transactions that one state has and another lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Their names: a set of MySQL; `domain-server-first…last, …` of MariaDB.
    pub text: String,
    /// How many. For MariaDB at most this many: servers of a domain share its numbers.
    pub count: u64,
}

impl PartialEq for GtidState {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mysql(a), Self::Mysql(b)) => a == b,
            (Self::Mariadb(a), Self::Mariadb(b)) => a == b,
            _ => self.is_empty() && other.is_empty(),
        }
    }
}

impl Eq for GtidState {}

impl GtidState {
    /// The empty state of a flavor.
    #[must_use]
    pub fn empty(flavor: Flavor) -> Self {
        match flavor {
            Flavor::Mysql => Self::Mysql(GtidSet::empty(flavor)),
            Flavor::Mariadb => Self::Mariadb(BTreeMap::new()),
        }
    }

    /// Reads a state in the notation of `flavor`.
    ///
    /// # Errors
    /// When a part is malformed.
    pub fn parse(flavor: Flavor, text: &str) -> Result<Self, GtidParseError> {
        if flavor == Flavor::Mysql {
            return GtidSet::parse(flavor, text).map(Self::Mysql);
        }
        let mut state = Self::empty(flavor);
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (domain, server, sequence) = mariadb_gtid(part).ok_or_else(|| {
                GtidParseError::new(flavor, text, "expected domain-server-sequence")
            })?;
            state.add_mariadb(domain, server, sequence);
        }
        Ok(state)
    }

    /// Whether no transaction is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Mysql(set) => set.is_empty(),
            Self::Mariadb(domains) => domains.is_empty(),
        }
    }

    /// Adds a transaction of MySQL; `source` is `uuid` or `uuid:tag`.
    pub fn add_mysql(&mut self, source: &str, number: u64) {
        self.become_flavor(Flavor::Mysql);
        if let Self::Mysql(GtidSet::Mysql(map)) = self {
            match map.get_mut(source) {
                Some(known) => intervals::insert(known, (number, number)),
                None => {
                    map.insert(source.to_owned(), vec![(number, number)]);
                }
            }
        }
    }

    /// Adds a transaction of MariaDB, the last one of its domain.
    pub fn add_mariadb(&mut self, domain: u32, server: u32, sequence: u64) {
        self.become_flavor(Flavor::Mariadb);
        if let Self::Mariadb(domains) = self {
            let domain = domains.entry(domain).or_default();
            domain.last = server;
            let known = domain.servers.entry(server).or_default();
            *known = sequence.max(*known);
        }
    }

    /// Adds a transaction, the last one of its domain where there are domains.
    pub fn add(&mut self, gtid: &Gtid) {
        match gtid {
            Gtid::Mysql { source, number } => self.add_mysql(source, *number),
            Gtid::Mariadb { domain, server, sequence } => {
                self.add_mariadb(*domain, *server, *sequence);
            }
        }
    }

    /// Whether a transaction is in it.
    #[must_use]
    pub fn has(&self, gtid: &Gtid) -> bool {
        let flavor = match gtid {
            Gtid::Mysql { .. } => Flavor::Mysql,
            Gtid::Mariadb { .. } => Flavor::Mariadb,
        };
        let mut one = Self::empty(flavor);
        one.add(gtid);
        one.is_within(self)
    }

    /// Adds all of a state that came later.
    pub fn merge(&mut self, later: &Self) {
        if self.is_empty() {
            self.clone_from(later);
            return;
        }
        match (&mut *self, later) {
            (Self::Mysql(GtidSet::Mysql(map)), Self::Mysql(GtidSet::Mysql(other))) => {
                for (source, more) in other {
                    let known = map.entry(source.clone()).or_default();
                    for &interval in more {
                        intervals::insert(known, interval);
                    }
                }
            }
            (Self::Mariadb(domains), Self::Mariadb(other)) => {
                for (id, more) in other {
                    let known = domains.entry(*id).or_default();
                    known.last = more.last;
                    for (server, sequence) in &more.servers {
                        let last = known.servers.entry(*server).or_default();
                        *last = (*last).max(*sequence);
                    }
                }
            }
            // One cluster has one flavor.
            _ => {}
        }
    }

    /// What is in this state and not in `other`; nothing when all of it is there.
    #[must_use]
    pub fn missing_from(&self, other: &Self) -> Option<Missing> {
        let left = match self {
            Self::Mysql(set) => {
                let left = set.minus(other.as_set());
                Missing { count: left.count(), text: left.to_string() }
            }
            Self::Mariadb(domains) => {
                let (mut parts, mut count) = (Vec::new(), 0u64);
                for (domain, servers) in domains {
                    let common =
                        |(server, last): (&u32, &u64)| other.sequence(*domain, *server).min(*last);
                    // Servers share the numbers of a domain: the missing ones are behind all that
                    // both have, unless numbers do not grow (`gtid_strict_mode = OFF`).
                    let common = servers.servers.iter().map(common).max().unwrap_or_default();
                    for (server, &last) in &servers.servers {
                        let known = other.sequence(*domain, *server);
                        if last > known {
                            let known = if common < last { known.max(common) } else { known };
                            count = count.saturating_add(last - known);
                            let first = known + 1;
                            parts.push(if first == last {
                                format!("{domain}-{server}-{last}")
                            } else {
                                format!("{domain}-{server}-{first}…{last}")
                            });
                        }
                    }
                }
                Missing { text: parts.join(","), count }
            }
        };
        (left.count > 0).then_some(left)
    }

    /// What a server has that says of itself to be in this state, when it continues `archived`.
    ///
    /// A server of MariaDB that was rebuilt from a copy knows only the last transaction of each
    /// domain, and names none of the servers that wrote before that. It has their transactions all
    /// the same: numbers of a domain grow, and they are below one that both have.
    #[must_use]
    pub fn completed_from(&self, archived: &Self) -> Self {
        let mut whole = self.clone();
        let (Self::Mariadb(domains), Self::Mariadb(known)) = (&mut whole, archived) else {
            return whole;
        };
        for (id, domain) in domains {
            let Some(known) = known.get(id) else { continue };
            let common =
                |(server, last): (&u32, &u64)| Some(*last.min(domain.servers.get(server)?));
            let common = known.servers.iter().filter_map(common).max().unwrap_or_default();
            for (server, last) in known.servers.iter().filter(|(_, last)| **last < common) {
                domain.servers.entry(*server).or_insert(*last);
            }
        }
        whole
    }

    /// What is in both.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> Self {
        match self {
            Self::Mysql(set) => Self::Mysql(set.minus(&set.minus(other.as_set()))),
            Self::Mariadb(domains) => {
                let mut shared = Self::empty(Flavor::Mariadb);
                for (id, domain) in domains {
                    let common = |server: &u32, mine: &u64| {
                        Some((*mine).min(other.sequence(*id, *server))).filter(|n| *n > 0)
                    };
                    let mut rest: Vec<_> = domain
                        .servers
                        .iter()
                        .filter_map(|(server, mine)| Some((common(server, mine)?, *server)))
                        .collect();
                    // Within a domain numbers grow from server to server, too.
                    rest.sort_unstable();
                    for (n, server) in rest {
                        shared.add_mariadb(*id, server, n);
                    }
                }
                shared
            }
        }
    }

    /// This state of MariaDB without the transactions of a domain from a number on.
    #[must_use]
    pub fn before(&self, domain: u32, sequence: u64) -> Self {
        let mut before = Self::empty(Flavor::Mariadb);
        let Self::Mariadb(domains) = self else { return self.clone() };
        for (id, servers) in domains {
            let mut rest: Vec<_> = servers.servers.iter().map(|(s, n)| (*n, *s)).collect();
            if *id == domain {
                for (n, _) in &mut rest {
                    *n = (*n).min(sequence.saturating_sub(1));
                }
                rest.retain(|(n, _)| *n > 0);
                // The last one is the one with the highest number.
                rest.sort_unstable();
            } else {
                rest.sort_unstable_by_key(|(_, server)| *server == servers.last);
            }
            for (n, server) in rest {
                before.add_mariadb(*id, server, n);
            }
        }
        before
    }

    /// One domain of a state of MariaDB.
    #[must_use]
    pub fn domain(&self, id: u32) -> Self {
        let Self::Mariadb(domains) = self else { return self.clone() };
        Self::Mariadb(domains.get(&id).map(|domain| (id, domain.clone())).into_iter().collect())
    }

    /// Whether everything in this state is in `other`, too.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        match self {
            Self::Mysql(GtidSet::Mysql(map)) => {
                let GtidSet::Mysql(other) = other.as_set() else { return map.is_empty() };
                map.iter().all(|(source, mine)| {
                    let theirs = other.get(source).map(Vec::as_slice).unwrap_or_default();
                    intervals::is_within(mine, theirs)
                })
            }
            Self::Mysql(GtidSet::Mariadb(_)) => self.missing_from(other).is_none(),
            Self::Mariadb(_) => {
                self.last_numbers().all(|(d, s, last)| last <= other.sequence(d, s))
            }
        }
    }

    /// MySQL: the sources of transactions, `uuid` or `uuid:tag`.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        let map = match self {
            Self::Mysql(GtidSet::Mysql(map)) => Some(map),
            _ => None,
        };
        map.into_iter().flatten().map(|(source, _)| source.as_str())
    }

    /// MySQL: the transactions of one source.
    #[must_use]
    pub fn of_source(&self, source: &str) -> Option<Self> {
        let Self::Mysql(GtidSet::Mysql(map)) = self else { return None };
        let intervals = map.get(source)?.clone();
        Some(Self::Mysql(GtidSet::Mysql(BTreeMap::from([(source.to_owned(), intervals)]))))
    }

    /// MariaDB: domain, server, and the last number of that server in that domain.
    pub fn last_numbers(&self) -> impl Iterator<Item = (u32, u32, u64)> {
        let domains = match self {
            Self::Mysql(_) => None,
            Self::Mariadb(domains) => Some(domains),
        };
        domains.into_iter().flatten().flat_map(|(id, domain)| {
            domain.servers.iter().map(move |(server, last)| (*id, *server, *last))
        })
    }

    /// Whether the two have any transaction in common.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        match self {
            Self::Mysql(set) => set.minus(other.as_set()) != *set,
            Self::Mariadb(domains) => domains.iter().any(|(domain, servers)| {
                servers.servers.keys().any(|server| other.sequence(*domain, *server) > 0)
            }),
        }
    }

    /// Whether a transaction of this source is in it: a server's uuid, or MariaDB's server id.
    #[must_use]
    pub fn names_source(&self, source: &str) -> bool {
        match self {
            Self::Mysql(GtidSet::Mysql(map)) => map.keys().any(|key| key.get(..36) == Some(source)),
            Self::Mysql(GtidSet::Mariadb(_)) => false,
            Self::Mariadb(domains) => source.parse().is_ok_and(|source: u32| {
                domains.values().any(|domain| domain.servers.contains_key(&source))
            }),
        }
    }

    /// The set (MySQL) or position (MariaDB: the last transaction of each domain).
    #[must_use]
    pub fn position(&self) -> GtidSet {
        match self {
            Self::Mysql(set) => set.clone(),
            Self::Mariadb(domains) => GtidSet::Mariadb(
                domains
                    .iter()
                    .map(|(id, domain)| {
                        let sequence = domain.servers.get(&domain.last).copied();
                        (*id, (domain.last, sequence.unwrap_or_default()))
                    })
                    .collect(),
            ),
        }
    }

    /// How many transactions a MySQL set has; nothing for MariaDB, whose numbers may have holes.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::Mysql(set) => Some(set.count()),
            Self::Mariadb(_) => None,
        }
    }

    /// The last number that a server of a domain is known to have written; 0 for none.
    #[must_use]
    pub fn sequence(&self, domain: u32, server: u32) -> u64 {
        let Self::Mariadb(domains) = self else { return 0 };
        domains.get(&domain).and_then(|d| d.servers.get(&server)).copied().unwrap_or_default()
    }

    fn as_set(&self) -> &GtidSet {
        const NOTHING: &GtidSet = &GtidSet::Mysql(BTreeMap::new());
        match self {
            Self::Mysql(set) => set,
            Self::Mariadb(_) => NOTHING,
        }
    }

    fn become_flavor(&mut self, flavor: Flavor) {
        let is = if matches!(self, Self::Mysql(_)) { Flavor::Mysql } else { Flavor::Mariadb };
        if is != flavor && self.is_empty() {
            *self = Self::empty(flavor);
        }
    }
}

impl From<&GtidSet> for GtidState {
    fn from(set: &GtidSet) -> Self {
        match set {
            GtidSet::Mysql(_) => Self::Mysql(set.clone()),
            GtidSet::Mariadb(domains) => {
                let mut state = Self::empty(Flavor::Mariadb);
                for (domain, (server, sequence)) in domains {
                    state.add_mariadb(*domain, *server, *sequence);
                }
                state
            }
        }
    }
}

impl fmt::Display for GtidState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mysql(set) => set.fmt(f),
            Self::Mariadb(domains) => {
                let mut comma = "";
                for (id, domain) in domains {
                    let others =
                        domain.servers.iter().filter(|(server, _)| **server != domain.last);
                    let last = domain.servers.get_key_value(&domain.last);
                    for (server, sequence) in others.chain(last) {
                        write!(f, "{comma}{id}-{server}-{sequence}")?;
                        comma = ",";
                    }
                }
                Ok(())
            }
        }
    }
}

impl FromStr for GtidState {
    type Err = GtidParseError;

    /// Tells the flavor from the notation; an empty text is the empty state of both.
    fn from_str(text: &str) -> Result<Self, GtidParseError> {
        let mysql = text.contains(':') || text.trim().is_empty();
        Self::parse(if mysql { Flavor::Mysql } else { Flavor::Mariadb }, text)
    }
}

impl TryFrom<String> for GtidState {
    type Error = GtidParseError;

    fn try_from(text: String) -> Result<Self, GtidParseError> {
        text.parse()
    }
}

impl From<GtidState> for String {
    fn from(state: GtidState) -> Self {
        state.to_string()
    }
}

#[cfg(test)]
mod tests;
