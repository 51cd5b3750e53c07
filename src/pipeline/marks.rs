//! Marks of backups and runs: what was decided about each, and what that comes to.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};

use super::{Author, Class, Finding, Found, PipelineError, Repository, repository::digest};
use crate::{
    format::{
        Manifest, MarkKind, MarkRecord, MarkSubject, MarkedBackup, MarkedRun, Payload as _, Role,
        RunRecord, layout,
    },
    model::{BackupId, RunId, Sha256Digest, Timestamp},
};

/// Requests in flight.
const PARALLEL: usize = 16;
/// How often to decide anew when others decide, too.
const RACES: u32 = 16;

/// A decision that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// When it was made.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// SHA-256 of its record.
    pub sha256: Sha256Digest,
}

/// What the decisions about a subject come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Standing {
    /// Nothing was decided, or it was taken back.
    #[default]
    Free,
    /// It is to be kept.
    Held(Mark),
    /// It will be removed.
    Tombstoned(Mark),
    /// It is being removed.
    Swept(Mark),
}

impl Standing {
    /// What follows from it with one decision more. One that does not fit says nothing.
    fn and(self, kind: MarkKind, mark: Mark) -> Self {
        match (kind, self) {
            (MarkKind::Hold, Self::Free | Self::Tombstoned(_)) => Self::Held(mark),
            (MarkKind::Unhold, Self::Held(_))
            | (MarkKind::Revoke, Self::Tombstoned(_) | Self::Swept(_)) => Self::Free,
            (MarkKind::Tombstone, Self::Free) => Self::Tombstoned(mark),
            (MarkKind::Sweep, Self::Tombstoned(_)) => Self::Swept(mark),
            (_, standing) => standing,
        }
    }

    /// Whether nothing shall be built on it: it will be removed, or is being removed.
    #[must_use]
    pub fn condemned(&self) -> Option<&Mark> {
        match self {
            Self::Tombstoned(mark) | Self::Swept(mark) => Some(mark),
            Self::Free | Self::Held(_) => None,
        }
    }
}

/// The marks under one name.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    /// Those that are believed, in order.
    believed: Vec<Found<MarkRecord>>,
    /// What is wrong with the others.
    pub findings: Vec<Finding>,
    /// Numbers that are taken.
    taken: Vec<u32>,
}

impl Marks {
    /// What they come to for this subject. Under the name of a backup there may be marks of an
    /// earlier one of that name.
    #[must_use]
    pub fn standing(&self, subject: &MarkSubject) -> Standing {
        let about = self.believed.iter().filter(|found| found.record.subject == *subject);
        about.fold(Standing::Free, |standing, Found { record, sha256 }| {
            let (at, reason) = (record.at, record.reason.clone());
            standing.and(record.kind, Mark { at, reason, sha256: *sha256 })
        })
    }

    /// The subjects that they are about.
    pub fn subjects(&self) -> impl Iterator<Item = &MarkSubject> {
        let subjects = self.believed.iter().map(|found| &found.record.subject);
        let mut seen: Vec<&MarkSubject> = Vec::new();
        subjects.for_each(|subject| {
            if !seen.contains(&subject) {
                seen.push(subject);
            }
        });
        seen.into_iter()
    }

    /// The hashes of the marks by which this subject was to be removed.
    pub fn sweeps(&self, subject: &MarkSubject) -> impl Iterator<Item = Sha256Digest> {
        let about = self.believed.iter().filter(move |found| found.record.subject == *subject);
        about.filter(|found| found.record.kind == MarkKind::Sweep).map(|found| found.sha256)
    }

    /// The names of the records that are about this subject, in their order.
    #[must_use]
    pub fn objects(&self, repository: &Repository, subject: &MarkSubject) -> Vec<String> {
        let about = self.believed.iter().filter(|found| found.record.subject == *subject);
        let name = |found: &Found<MarkRecord>| {
            layout::mark(repository.cluster(), subject, found.record.number)
        };
        about.map(name).collect()
    }

    /// The latest instant that one of them bears.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        self.believed.iter().map(|found| found.record.at).max()
    }

    /// Where the next one goes. What is junk behind the last that counts is passed over.
    fn next(&self) -> u32 {
        let last = self.believed.last().map_or(0, |found| found.record.number);
        (last.saturating_add(1)..).find(|number| !self.taken.contains(number)).unwrap_or(u32::MAX)
    }
}

/// A backup as marks name it.
#[must_use]
pub fn marked_backup(found: &Found<Manifest>) -> MarkSubject {
    let manifest = &found.record;
    MarkSubject::Backup(MarkedBackup {
        backup_id: manifest.backup_id.clone(),
        manifest_sha256: found.sha256,
        attempt: manifest.attempt,
        dek_id: manifest.dek_id,
    })
}

/// A run as marks name it.
#[must_use]
pub fn marked_run(run_id: RunId) -> MarkSubject {
    MarkSubject::Run(MarkedRun { run_id })
}

impl Repository {
    /// The marks of all backups that have any.
    ///
    /// # Errors
    /// When the store fails. What is not believed is in the findings.
    pub async fn backup_marks(&self) -> Result<BTreeMap<BackupId, Marks>, PipelineError> {
        self.marks_below(layout::backup_marks(self.cluster())).await
    }

    /// The marks of all runs that have any.
    ///
    /// # Errors
    /// As [`Repository::backup_marks`].
    pub async fn run_marks(&self) -> Result<BTreeMap<RunId, Marks>, PipelineError> {
        self.marks_below(layout::run_marks(self.cluster())).await
    }

    /// The marks under the name of this subject, as they are now.
    ///
    /// # Errors
    /// As [`Repository::backup_marks`].
    pub async fn marks_of(&self, subject: &MarkSubject) -> Result<Marks, PipelineError> {
        let folder = layout::mark_folder(self.cluster(), subject);
        let (above, name) = folder.trim_end_matches('/').rsplit_once('/').unwrap_or_default();
        let (above, name) = (format!("{above}/"), name.to_owned());
        let listed = self.store().list_versions(&folder, None).map_err(PipelineError::from);
        let numbers: Vec<u32> = listed
            .try_filter_map(|found| async move { Ok(number_of(found.key.as_str())) })
            .try_collect()
            .await?;
        self.read_marks(&above, &name, numbers).await
    }

    /// The backups that are being removed, by their names.
    ///
    /// # Errors
    /// As [`Repository::backup_marks`].
    pub async fn swept(&self) -> Result<BTreeSet<BackupId>, PipelineError> {
        let mut marks = self.backup_marks().await?;
        marks.retain(|_, marks| {
            marks.subjects().any(|subject| matches!(marks.standing(subject), Standing::Swept(_)))
        });
        Ok(marks.into_keys().collect())
    }

    /// What was decided about a complete backup.
    ///
    /// # Errors
    /// As [`Repository::backup_marks`].
    pub async fn standing(&self, found: &Found<Manifest>) -> Result<Standing, PipelineError> {
        let subject = marked_backup(found);
        Ok(self.marks_of(&subject).await?.standing(&subject))
    }

    async fn marks_below<N: std::str::FromStr + Ord>(
        &self,
        folder: String,
    ) -> Result<BTreeMap<N, Marks>, PipelineError> {
        let mut names: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        let mut listed = self.store().list_versions(&folder, None);
        while let Some(found) = listed.try_next().await? {
            let below = found.key.as_str().strip_prefix(&folder);
            let Some((name, _)) = below.and_then(|below| below.split_once('/')) else { continue };
            if let Some(number) = number_of(found.key.as_str()) {
                names.entry(name.to_owned()).or_default().push(number);
            }
        }
        let named = names.into_iter().filter_map(|(name, numbers)| {
            let parsed: N = name.parse().ok()?;
            Some((parsed, name, numbers))
        });
        let folder = &folder;
        let read = stream::iter(named.map(|(parsed, name, numbers)| async move {
            Ok::<_, PipelineError>((parsed, self.read_marks(folder, &name, numbers).await?))
        }));
        read.buffer_unordered(PARALLEL).try_collect().await
    }

    async fn read_marks(
        &self,
        above: &str,
        name: &str,
        taken: Vec<u32>,
    ) -> Result<Marks, PipelineError> {
        let folder = format!("{above}{name}/");
        let mut marks = Marks { taken, ..Marks::default() };
        for number in marks.taken.clone() {
            match self.mark(&folder, number).await {
                Ok(Some(found)) => marks.believed.push(found),
                // It was removed since it was listed.
                Ok(None) => {}
                Err(PipelineError::Integrity { object: other, why }) => {
                    let object = format!("{folder}{number:08}.json");
                    let why = if other == object { why } else { format!("{other}: {why}") };
                    marks.findings.push(Finding { object, chunk: None, why });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(marks)
    }

    async fn mark(
        &self,
        folder: &str,
        number: u32,
    ) -> Result<Option<Found<MarkRecord>>, PipelineError> {
        let object = format!("{folder}{number:08}.json");
        let is_it = |record: &MarkRecord, run: &RunRecord| {
            if layout::mark(self.cluster(), &record.subject, record.number) != object {
                let why = "it is the mark of something else, or another one of it";
                return Err(PipelineError::integrity(&object, why));
            }
            if run.role != Role::Prune {
                return Err(PipelineError::integrity(&object, "its run may not write marks"));
            }
            Ok(())
        };
        self.record_of_cluster(&object, is_it).await
    }
}

impl Author {
    /// Decides about a subject as long as its standing is one that this is for; whoever decides
    /// something else at the same time is heard. Returns the mark, or else the standing.
    ///
    /// # Errors
    /// When the store fails, or others are always quicker.
    pub async fn decide(
        &self,
        subject: &MarkSubject,
        kind: MarkKind,
        reason: &str,
        at: Timestamp,
        fits: impl Fn(&Standing) -> bool,
    ) -> Result<Result<Mark, Standing>, PipelineError> {
        for _ in 0..RACES {
            let marks = self.repository.marks_of(subject).await?;
            let standing = marks.standing(subject);
            if !fits(&standing) {
                return Ok(Err(standing));
            }
            if let Some(mark) = self.mark(&marks, subject, kind, reason, at).await? {
                return Ok(Ok(mark));
            }
        }
        let folder = layout::mark_folder(self.repository.cluster(), subject);
        Err(PipelineError::integrity(folder, format!("others were quicker {RACES} times")))
    }

    /// Writes the next mark of a subject behind those that were read; nothing when somebody else
    /// was quicker: then read them again, and decide anew.
    ///
    /// # Errors
    /// When the store fails.
    async fn mark(
        &self,
        behind: &Marks,
        subject: &MarkSubject,
        kind: MarkKind,
        reason: &str,
        at: Timestamp,
    ) -> Result<Option<Mark>, PipelineError> {
        let record = MarkRecord {
            version: MarkRecord::VERSION,
            cluster_uuid: self.cluster,
            subject: subject.clone(),
            number: behind.next(),
            run_id: self.id,
            at,
            kind,
            reason: reason.to_owned(),
        };
        let object = layout::mark(self.repository.cluster(), subject, record.number);
        let stored = self.sign(&record)?;
        let sha256 = digest(&stored);
        // Who decided what is evidence.
        let keep = self.repository.keep(Class::Evidence);
        let number = record.number;
        let belongs = |document: &serde_json::Value| document["number"] == number;
        let alone = self.create_alone::<MarkRecord>(&object, stored, &keep, belongs).await?;
        Ok(alone.then_some(Mark { at: record.at, reason: record.reason, sha256 }))
    }
}

/// The number in the name of a mark.
fn number_of(key: &str) -> Option<u32> {
    let name = key.rsplit_once('/')?.1.strip_suffix(".json")?;
    (name.len() == 8).then(|| name.parse().ok()).flatten().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use MarkKind::{Hold, Revoke, Sweep, Tombstone, Unhold};

    /// What becomes of these decisions.
    fn of(kinds: &[MarkKind]) -> &'static str {
        let mark = Mark {
            at: Timestamp::from_microseconds(0).unwrap(),
            reason: String::new(),
            sha256: Sha256Digest([0; 32]),
        };
        let all = kinds.iter().fold(Standing::Free, |s, kind| s.and(*kind, mark.clone()));
        match all {
            Standing::Free => "free",
            Standing::Held(_) => "held",
            Standing::Tombstoned(_) => "tombstoned",
            Standing::Swept(_) => "swept",
        }
    }

    #[test]
    fn a_hold_takes_a_tombstone_away_and_a_tombstone_no_hold() {
        assert_eq!(of(&[Tombstone, Hold]), "held");
        assert_eq!(of(&[Hold, Tombstone]), "held");
        assert_eq!(of(&[Hold, Tombstone, Sweep]), "held");
        assert_eq!(of(&[Tombstone, Hold, Unhold]), "free");
        assert_eq!(of(&[Hold, Hold, Unhold]), "free");
    }

    #[test]
    fn nothing_is_swept_without_a_tombstone_and_nothing_that_is_swept_is_held() {
        assert_eq!(of(&[Sweep]), "free");
        assert_eq!(of(&[Tombstone, Revoke, Sweep]), "free");
        assert_eq!(of(&[Tombstone, Sweep]), "swept");
        assert_eq!(of(&[Tombstone, Sweep, Hold]), "swept");
        assert_eq!(of(&[Tombstone, Sweep, Unhold]), "swept");
        assert_eq!(of(&[Tombstone, Sweep, Revoke]), "free");
    }
}
