//! Records of the log by their numbers, for whoever reads many of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::TryStreamExt;
use tokio::sync::Mutex;

use super::{
    reader::number_of,
    stored::{self, FoundRecord},
};
use crate::{
    format::layout,
    pipeline::{PipelineError, Repository, repository::key},
    store::Versions,
};

/// Names that one request lists.
const PAGE: usize = 1000;

/// Reads records of a log that is finished, as far as they go: where the store keeps versions it is
/// asked about a thousand neighbours at once.
#[derive(Debug)]
pub(super) struct Numbered<'a> {
    repository: &'a Repository,
    listed: Mutex<BTreeMap<u64, Versions>>,
}

impl<'a> Numbered<'a> {
    pub(super) fn of(repository: &'a Repository) -> Self {
        Self { repository, listed: Mutex::default() }
    }

    /// A record and what follows its envelope.
    pub(super) async fn read(&self, number: u64) -> Result<(FoundRecord, Bytes), PipelineError> {
        let found = match self.versions(number).await? {
            Some(versions) => stored::read_listed(self.repository, number, versions).await?,
            None => stored::read(self.repository, number).await?,
        };
        found.ok_or_else(|| {
            PipelineError::integrity(
                layout::log(self.repository.cluster(), number),
                "it is missing",
            )
        })
    }

    /// What is stored under a number; nothing where a plain read tells it.
    pub(super) async fn versions(&self, number: u64) -> Result<Option<Versions>, PipelineError> {
        let store = self.repository.store();
        if !store.keeps_versions().await? {
            return Ok(None);
        }
        let mut listed = self.listed.lock().await;
        if let Some(known) = listed.get(&number) {
            return Ok(Some(known.clone()));
        }
        listed.clear();
        let folder = layout::log_folder(self.repository.cluster());
        let before = number.checked_sub(1).filter(|before| *before > 0);
        let before = before.map(|before| key(&layout::log(self.repository.cluster(), before)));
        let mut names = store.list_versions(&folder, before.transpose()?.as_ref());
        while let Some(found) = names.try_next().await? {
            if let Some(number) = number_of(&folder, found.key.as_str()) {
                listed.insert(number, found);
            }
            if listed.len() >= PAGE {
                break;
            }
        }
        Ok(listed.get(&number).cloned())
    }
}
