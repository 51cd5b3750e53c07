//! Bases of servers that do not all tell the same of themselves.

use backstay::{
    model::{BackupId, GtidState},
    pipeline::{
        Standing,
        log::{Base, Place},
    },
};

use backstay::jobs::prune::plan::Candidate;

use crate::world::{Server, World};

/// A base backup of some server, taken now.
pub(crate) fn take(world: &mut World) -> Base {
    let started_at = world.now();
    let which = world.random.below(1 + world.replicas.len());
    let server: &Server = if which == 0 { &world.primary } else { &world.replicas[which - 1] };
    let file = server.files.last().unwrap();
    let place = Place {
        server: server.name.clone(),
        file: file.name().parse().unwrap(),
        offset: file.end(),
    };
    let gtids = GtidState::from(&server.executed.position());
    // Not every engine tells its position, nor all transactions.
    let less = server.has.len().saturating_sub(1 + usize::from(file.txs.len() > 2));
    let mut lags = file.previous.clone();
    for tx in server.has[..less].iter().filter(|tx| file.txs.contains(tx)) {
        lags.add(&tx.gtid);
    }
    let lags = GtidState::from(&lags.position());
    let (gtids, place, exact) = match world.random.below(4) {
        0 => (Some(gtids), None, true),
        1 => (Some(lags), Some(place), false),
        2 => (None, Some(place), true),
        _ => (Some(gtids), Some(place), true),
    };
    Base { gtids, exact, place, started_at, finished_at: world.now() }
}

/// The same as a plan sees it.
pub(crate) fn candidate(id: BackupId, base: Base) -> Candidate {
    Candidate {
        id,
        finished_at: base.finished_at,
        bytes_stored: 1,
        base,
        needs: None,
        is_proven: true,
        standing: Standing::Free,
    }
}
