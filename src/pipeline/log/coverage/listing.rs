//! Everything that is archived, file by file: for whoever looks for something in it.

use super::{Lines, way::Way};
use crate::{
    format::LogRange,
    model::{GtidState, HistoryId},
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
    /// What of it goes on behind all forks that follow in its history; nothing when all does.
    pub within: Option<GtidState>,
}

impl<'a> Lines<'a> {
    /// All files, in the order in which they became durable.
    #[must_use]
    pub fn archived(&self) -> Vec<ArchivedFile<'a>> {
        let newest = self.histories.len().saturating_sub(1);
        let mut listed = Vec::new();
        for (at, history) in self.histories.iter().enumerate() {
            let way = Way::new(self, history, history.stretches.end - 1);
            listed.extend(way.files().map(|(_, file)| ArchivedFile {
                history: history.id,
                is_current: at == newest,
                ranges: file.ranges.iter().map(|held| (held.number, held.range)).collect(),
                within: way.within(file.stretch).cloned(),
            }));
        }
        listed
    }
}
