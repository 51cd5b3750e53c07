//! From a manifest to where its backup stands.

use super::{Base, Place};
use crate::{format::Manifest, model::GtidState};

impl From<&Manifest> for Base {
    fn from(manifest: &Manifest) -> Self {
        let facts = manifest.server.as_ref();
        let place = facts.filter(|facts| !facts.is_replica).and_then(|facts| {
            let position = facts.position.as_ref()?;
            // The files of a replica are not those that are archived, whatever their names.
            Some(Place {
                server: facts.name()?,
                file: position.file.parse().ok()?,
                offset: position.position,
            })
        });
        Self {
            gtids: facts.and_then(|facts| facts.gtid_set.clone()).map(|set| GtidState::from(&set)),
            exact: facts.is_some_and(|facts| facts.gtid_exact),
            place,
            started_at: manifest.started_at,
            finished_at: manifest.finished_at,
        }
    }
}
