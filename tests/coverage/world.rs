//! Servers that write, replicate, fall behind, are promoted, purged and reset, as far as a log of
//! them can tell: transactions with names, in files.

use backstay::model::{Flavor, Gtid, GtidState, ServerName, Timestamp};

/// A random number generator that a seed repeats (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Bytes of an event, and of what a file begins with.
pub(crate) const EVENT: u64 = 10;
pub(crate) const HEAD: u64 = 100;

/// A transaction. Two that have the same name may still differ in their number here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tx {
    pub(crate) id: usize,
    pub(crate) gtid: Gtid,
    pub(crate) at: Timestamp,
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) number: usize,
    pub(crate) created: Timestamp,
    pub(crate) previous: GtidState,
    pub(crate) txs: Vec<Tx>,
}

impl File {
    pub(crate) fn name(&self) -> String {
        format!("binlog.{:06}", self.number)
    }

    pub(crate) fn end(&self) -> u64 {
        HEAD + self.txs.iter().map(|tx| tx.bytes).sum::<u64>()
    }

    /// Each transaction with where it begins and ends.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (u64, u64, &Tx)> {
        self.txs.iter().scan(HEAD, |at, tx| {
            let begin = *at;
            *at += tx.bytes;
            Some((begin, *at, tx))
        })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) id: u32,
    pub(crate) name: ServerName,
    /// All that it has, in order.
    pub(crate) has: Vec<Tx>,
    /// The same, by name: less than that after a reset.
    pub(crate) executed: GtidState,
    pub(crate) files: Vec<File>,
}

impl Server {
    fn take(&mut self, tx: &Tx) {
        self.has.push(tx.clone());
        self.executed.add(&tx.gtid);
        self.files.last_mut().unwrap().txs.push(tx.clone());
    }
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) flavor: Flavor,
    /// Microseconds since the epoch.
    pub(crate) clock: i64,
    made: usize,
    servers_made: u32,
    pub(crate) primary: Server,
    pub(crate) replicas: Vec<Server>,
    /// What every former primary, and the primary before every reset, had; behind so many resets.
    pub(crate) pasts: Vec<(usize, Vec<usize>)>,
    pub(crate) resets: usize,
}

impl World {
    pub(crate) fn new(seed: u64, flavor: Flavor) -> Self {
        let empty = Server {
            id: 0,
            name: "none".parse().unwrap(),
            has: Vec::new(),
            executed: GtidState::empty(flavor),
            files: Vec::new(),
        };
        let mut world = Self {
            random: Random(seed | 1),
            flavor,
            clock: 1_700_000_000_000_000,
            made: 0,
            servers_made: 0,
            primary: empty.clone(),
            replicas: Vec::new(),
            pasts: Vec::new(),
            resets: 0,
        };
        world.primary = world.clone_of(&empty);
        for _ in 0..2 {
            let replica = world.clone_of(&empty);
            world.replicas.push(replica);
        }
        world
    }

    pub(crate) fn now(&mut self) -> Timestamp {
        self.clock += 700_000 + i64::from(u16::try_from(self.random.next() % 60_000).unwrap());
        Timestamp::from_microseconds(self.clock).unwrap()
    }

    /// A long time passes.
    pub(crate) fn wait(&mut self) {
        self.clock += 3_600_000_000;
    }

    fn file(&mut self, number: usize, previous: GtidState) -> File {
        // Format descriptions know seconds only.
        self.clock = (self.clock / 1_000_000 + 1) * 1_000_000;
        let created = Timestamp::from_microseconds(self.clock).unwrap();
        File { number, created, previous, txs: Vec::new() }
    }

    /// A new server with the data of another, and no files of it.
    fn clone_of(&mut self, server: &Server) -> Server {
        self.servers_made += 1;
        let id = self.servers_made;
        let name = match self.flavor {
            Flavor::Mysql => format!("9a3225ed-e51b-11f1-86df-02fc{id:08}"),
            Flavor::Mariadb => format!("id-{id}"),
        };
        let files = vec![self.file(1, server.executed.clone())];
        Server { id, name: name.parse().unwrap(), files, ..server.clone() }
    }

    /// The primary commits.
    pub(crate) fn commit(&mut self) {
        let primary = &self.primary;
        let gtid = match (self.flavor, &primary.executed) {
            (Flavor::Mysql, executed) => {
                let source = primary.name.to_string();
                let number = executed.of_source(&source).and_then(|of| of.count());
                Gtid::Mysql { source, number: number.unwrap_or_default() + 1 }
            }
            (Flavor::Mariadb, executed) => {
                let last = executed.last_numbers().map(|(_, _, last)| last).max();
                let jump = if self.random.one_in(9) { 3 } else { 1 };
                let sequence = last.unwrap_or_default() + jump;
                Gtid::Mariadb { domain: 0, server: primary.id, sequence }
            }
        };
        let at = self.now();
        let bytes = EVENT * (1 + self.random.next() % 5);
        let tx = Tx { id: self.made, gtid, at, bytes };
        self.made += 1;
        self.primary.take(&tx);
    }

    /// Replicas catch up, as far as chance has it.
    pub(crate) fn replicate(&mut self) {
        for replica in &mut self.replicas {
            let missing = self.primary.has.len() - replica.has.len();
            let more = if self.random.one_in(2) { missing } else { self.random.below(missing + 1) };
            let from = replica.has.len();
            for tx in &self.primary.has[from..from + more] {
                replica.take(tx);
            }
        }
    }

    pub(crate) fn rotate(&mut self, which: usize) {
        let server = if which == 0 { &self.primary } else { &self.replicas[which - 1] };
        let number = server.files.last().unwrap().number + 1;
        let file = self.file(number, server.executed.clone());
        let server = if which == 0 { &mut self.primary } else { &mut self.replicas[which - 1] };
        server.files.push(file);
    }

    /// A replica becomes the primary; the old one is lost, and replaced by a copy of the new one.
    pub(crate) fn fail_over(&mut self) {
        let at = self.random.below(self.replicas.len());
        let replica = self.replicas.remove(at);
        let old = std::mem::replace(&mut self.primary, replica);
        self.pasts.push((self.resets, old.has.iter().map(|tx| tx.id).collect()));
        let primary = self.primary.clone();
        let copy = self.clone_of(&primary);
        self.replicas.push(copy);
        // A replica that is ahead of the new primary has to be made anew, too.
        for at in 0..self.replicas.len() {
            let replica = &self.replicas[at];
            let ids = |txs: &[Tx]| txs.iter().map(|tx| tx.id).collect::<Vec<_>>();
            if !ids(&primary.has).starts_with(&ids(&replica.has)) {
                self.replicas[at] = self.clone_of(&primary);
            }
        }
    }

    /// The primary forgets its oldest files.
    pub(crate) fn purge(&mut self) {
        let keep = 1 + self.random.below(self.primary.files.len());
        let drop = self.primary.files.len() - keep;
        self.primary.files.drain(..drop);
    }

    /// `RESET BINARY LOGS AND GTIDS` on the primary; the others are made anew.
    pub(crate) fn reset(&mut self) {
        self.wait();
        self.pasts.push((self.resets, self.primary.has.iter().map(|tx| tx.id).collect()));
        self.resets += 1;
        let empty = GtidState::empty(self.flavor);
        let file = self.file(1, empty.clone());
        self.primary.executed = empty;
        self.primary.files = vec![file];
        for at in 0..self.replicas.len() {
            let primary = self.primary.clone();
            self.replicas[at] = self.clone_of(&primary);
        }
    }
}
