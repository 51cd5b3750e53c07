//! What several tails hold together.

use crate::{
    format::{CommitSpan, LogRange},
    model::{Flavor, GtidState},
    pipeline::log::FileState,
};

/// What the tails of a file hold together.
pub(super) fn merged(file: &FileState) -> LogRange {
    let ranges = file.tails.iter().map(|tail| &tail.range);
    let mut ranges = ranges.cloned();
    let first = ranges.next();
    let open = &file.open;
    let mut whole = first.unwrap_or_else(|| LogRange {
        server: open.server.clone(),
        file: open.file.clone(),
        created: open.created,
        start: open.segmented,
        end: open.durable,
        transactions: 0,
        gtids: GtidState::empty(Flavor::Mysql),
        committed: None,
        last_group: None,
        cut: false,
        opening: None,
        closed: open.closed,
    });
    for range in ranges {
        whole.end = range.end;
        whole.transactions += range.transactions;
        whole.gtids.merge(&range.gtids);
        whole.committed = match (whole.committed, range.committed) {
            (Some(a), Some(b)) => {
                Some(CommitSpan { first: a.first.min(b.first), last: a.last.max(b.last) })
            }
            (a, b) => a.or(b),
        };
        whole.last_group = range.last_group.or(whole.last_group);
        whole.cut = range.cut;
        whole.closed = range.closed;
    }
    whole
}
