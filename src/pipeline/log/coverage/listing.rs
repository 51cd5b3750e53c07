//! Everything that is archived, file by file: for whoever looks for something in it.

use super::{Lines, way::Way};
use crate::{
    format::LogRange,
    model::{Gtid, GtidState, HistoryId},
};

/// A file of a server, as often as it was read from its beginning.
#[derive(Debug, Clone)]
pub struct ArchivedFile<'a> {
    /// The history that it belongs to.
    pub history: HistoryId,
    /// Whether that is the newest one.
    pub is_current: bool,
    /// Its ranges without a break, and the records that hold them.
    pub ranges: Vec<(u64, &'a LogRange)>,
    /// The forks that follow in its history: their records, and what goes on behind each.
    pub forks: Vec<(u64, &'a GtidState)>,
}

impl ArchivedFile<'_> {
    /// The fork record at which a transaction of it was left behind; nothing when it was not.
    #[must_use]
    pub fn left_at(&self, gtid: &Gtid) -> Option<u64> {
        self.forks.iter().find(|(_, goes_on)| !goes_on.has(gtid)).map(|(record, _)| *record)
    }
}

impl<'a> Lines<'a> {
    /// All files, in the order in which they became durable.
    #[must_use]
    pub fn archived(&self) -> Vec<ArchivedFile<'a>> {
        let newest = self.histories.len().saturating_sub(1);
        let mut listed = Vec::new();
        for (at, history) in self.histories.iter().enumerate() {
            let way = Way::new(self, history, history.stretches.end - 1);
            let forks = |stretch: usize| {
                let behind = &self.stretches[stretch + 1..history.stretches.end];
                behind.iter().filter_map(|next| Some((next.record, &next.fork?.frontier))).collect()
            };
            listed.extend(way.files().map(|(_, file)| ArchivedFile {
                history: history.id,
                is_current: at == newest,
                ranges: file.ranges.iter().map(|held| (held.number, held.range)).collect(),
                forks: forks(file.stretch),
            }));
        }
        listed
    }
}
