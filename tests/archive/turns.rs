//! Primaries come and go.

use std::time::Duration;

use crate::{chance::Chance, pair::Pair};

/// How a primary goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// The old primary is read-only before the new one takes writes.
    Switchover,
    /// The old primary dies.
    Killed,
    /// The old primary lives on and takes writes of whoever is still connected.
    SplitBrain,
}

impl Event {
    /// Each in its turn.
    pub(crate) fn of(turn: u64) -> Self {
        match turn % 3 {
            0 => Self::Switchover,
            1 => Self::Killed,
            _ => Self::SplitBrain,
        }
    }
}

impl Pair {
    /// The next turn, with a replica that lags, or not.
    pub(crate) async fn next_turn(&mut self, turn: u64, event: Event, chance: &mut Chance) {
        let lag = chance.within(Duration::from_millis(1500));
        let lags = chance.below(3) > 0;
        println!("turn {turn}: {event:?}, the replica lags by {:?}", lags.then_some(lag));
        self.turn(event, lags.then_some(lag), chance).await;
    }

    /// The primary goes, the replica takes its place, and whoever has gone comes back as a replica.
    /// With a lag, what was committed last may be in the archive and not in the replica.
    async fn turn(&mut self, event: Event, lag: Option<Duration>, chance: &mut Chance) {
        if let Some(lag) = lag {
            // What is committed from here on reaches the archive, and not the replica.
            if !matches!(event, Event::Switchover) {
                self.replica.stop_receiving().await;
            }
            tokio::time::sleep(lag).await;
        }
        match event {
            Event::Switchover => self.switch_over(chance.below(2) == 0).await,
            Event::Killed => {
                self.primary.kill();
                tokio::time::sleep(chance.within(Duration::from_secs(2))).await;
                self.promote_replica().await;
                self.back(chance).await;
            }
            Event::SplitBrain => {
                self.promote_replica().await;
                tokio::time::sleep(chance.within(Duration::from_secs(3))).await;
                // Now it is found out.
                self.replica.kill();
                self.back(chance).await;
            }
        }
    }

    /// The old primary comes back as a replica: it has what the new one lacks, so it is rebuilt.
    async fn back(&mut self, chance: &mut Chance) {
        let (copy, same_uuid) = (chance.below(2) == 0, chance.below(2) == 0);
        println!("rebuilt: copy {copy}, same uuid {same_uuid}");
        self.replica.rebuild_from(&self.primary, copy, same_uuid).await;
    }
}
