//! Everything that is stored under one name, and which of it counts.
//!
//! In a store that keeps versions a name can be written over and deleted, and nothing is lost by
//! that: a lock protects versions, not names. Nothing of ours is ever written twice, so the oldest
//! version that is believed is the object, and whatever else there is came from an intruder.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use serde::Serialize;

use super::{
    PipelineError, Repository,
    repository::{SignedByRun, key},
};
use crate::store::{Key, StoreErrorKind, Version, Versions};

/// What somebody has put over an object, or under a name of their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Intruder {
    /// The name.
    pub object: String,
    /// Whether the object is there, as it was written; else the name is the intruder's own.
    pub original: bool,
    /// Versions under the name that are not the object.
    pub versions: u64,
    /// How often it was deleted.
    pub deletions: u64,
}

impl Intruder {
    /// The same for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        let times = |n: u64| if n == 1 { "once".to_owned() } else { format!("{n} times") };
        let object = &self.object;
        match (self.original, self.versions, self.deletions) {
            (false, ..) => format!("{object} is nothing that was stored by Backstay"),
            (_, n, 0) => format!("{object} was written over {}; the original is there", times(n)),
            (_, 0, n) => format!("{object} was deleted {}; the original is there", times(n)),
            (_, n, m) => format!(
                "{object} was written over {} and deleted {}; the original is there",
                times(n),
                times(m)
            ),
        }
    }
}

/// Intruders that were met while reading, and beside them the versions that count.
#[derive(Debug, Default)]
pub(super) struct Met(Mutex<BTreeMap<String, (Intruder, Option<Version>)>>);

impl Met {
    /// Notes what is there beside the version that counts.
    pub(super) fn note(&self, versions: &Versions, counts: &Version) {
        let strange = |version: &&Version| *version != counts && !version.repeats(counts);
        let others = versions.versions.iter().filter(strange).count() as u64;
        if others + versions.markers > 0 {
            self.add(versions, Some(counts), others);
        }
    }

    /// Notes a name under which nothing counts.
    pub(super) fn strange(&self, versions: &Versions) {
        self.add(versions, None, versions.versions.len() as u64);
    }

    fn add(&self, versions: &Versions, counts: Option<&Version>, others: u64) {
        let object = versions.key.to_string();
        let met = Intruder {
            object: object.clone(),
            original: counts.is_some(),
            versions: others,
            deletions: versions.markers,
        };
        let before = self.all_of().insert(object, (met.clone(), counts.cloned()));
        if before.is_none_or(|(before, _)| before != met) {
            tracing::warn!(object = met.object, "{}", met.sentence());
        }
    }

    /// Whether a name was looked at closely.
    pub(super) fn knows(&self, key: &Key) -> bool {
        self.all_of().contains_key(key.as_str())
    }

    /// Which of these versions counts: as it was found when it was read, else the oldest.
    pub(super) fn counts(&self, versions: &Versions) -> Option<Version> {
        let known = self.all_of().get(versions.key.as_str()).and_then(|(_, counts)| counts.clone());
        known.or_else(|| versions.versions.first().cloned())
    }

    pub(super) fn all(&self) -> Vec<Intruder> {
        self.all_of().values().map(|(met, _)| met.clone()).collect()
    }

    fn all_of(&self) -> MutexGuard<'_, BTreeMap<String, (Intruder, Option<Version>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The versions of a name, to be tried one after another, the oldest first.
#[derive(Debug)]
pub(super) struct Candidates<'a> {
    repository: &'a Repository,
    versions: Versions,
    tried: usize,
    refused: Option<PipelineError>,
}

impl<'a> Candidates<'a> {
    /// Asks the store what there is, unless a plain read tells all.
    pub(super) async fn of(
        repository: &'a Repository,
        object: &str,
    ) -> Result<Self, PipelineError> {
        let (store, key) = (repository.store(), key(object)?);
        let versions = if store.keeps_versions().await? {
            store.versions(&key).await?
        } else {
            let version = Version { id: None, size: 0, modified: None, tag: None };
            Versions { key, versions: vec![version], markers: 0 }
        };
        Ok(Self::listed(repository, versions))
    }

    /// What a listing has told.
    pub(super) fn listed(repository: &'a Repository, versions: Versions) -> Self {
        Self { repository, versions, tried: 0, refused: None }
    }

    /// The next version.
    pub(super) fn next(&mut self) -> Option<Version> {
        let version = self.versions.versions.get(self.tried).cloned()?;
        self.tried += 1;
        Some(version)
    }

    /// The next version's bytes.
    pub(super) async fn read(&mut self, limit: u64) -> Result<Option<Bytes>, PipelineError> {
        while let Some(version) = self.next() {
            let store = self.repository.store();
            match store.get_version(&self.versions.key, &version, limit).await {
                Ok(bytes) => return Ok(Some(bytes)),
                // There is no telling versions here, and nothing has that name.
                Err(error) if error.kind == StoreErrorKind::NotFound && version.id.is_none() => {
                    return Ok(None);
                }
                Err(error) => self.judge::<()>(Err(PipelineError::reading(error))).map(drop)?,
            }
        }
        Ok(None)
    }

    /// What became of the version that came last: when it is not what it should be the next one
    /// is tried.
    pub(super) fn judge<T>(
        &mut self,
        judged: Result<T, PipelineError>,
    ) -> Result<Option<T>, PipelineError> {
        match judged {
            Ok(found) => {
                if let Some(counts) = self.versions.versions.get(self.tried.saturating_sub(1)) {
                    self.repository.met().note(&self.versions, counts);
                }
                Ok(Some(found))
            }
            Err(error @ PipelineError::Integrity { .. }) => {
                self.refused.get_or_insert(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// None of them is what it should be: the error of the oldest, or nothing where nothing is.
    pub(super) fn none<T>(self) -> Result<Option<T>, PipelineError> {
        self.refused.map_or(Ok(None), Err)
    }

    /// The same, and no error either when the name is an intruder's own.
    pub(super) async fn nothing_of_ours<P: SignedByRun>(
        self,
        belongs: impl Fn(&serde_json::Value) -> bool,
    ) -> Result<(), PipelineError> {
        let Some(refused) = self.refused else { return Ok(()) };
        let strange = self.repository.is_strange::<P>(&self.versions, belongs).await?;
        if strange { Ok(()) } else { Err(refused) }
    }

    /// The name.
    pub(super) fn key(&self) -> &Key {
        &self.versions.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_write_is_no_intruder() {
        let version =
            |tag: &str, size| Version { id: None, size, modified: None, tag: Some(tag.to_owned()) };
        let of = |versions: Vec<Version>, markers| Versions {
            key: Key::new("a/b").unwrap(),
            versions,
            markers,
        };
        let met = Met::default();
        met.note(&of(vec![version("x", 3), version("x", 3)], 0), &version("x", 3));
        assert_eq!(met.all(), []);
        met.note(&of(vec![version("x", 3), version("y", 3), version("x", 4)], 1), &version("x", 3));
        let all = met.all();
        assert_eq!((all[0].versions, all[0].deletions), (2, 1));
        assert!(all[0].sentence().contains("written over 2 times and deleted once"));
    }
}
