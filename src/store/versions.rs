//! Versions: what a store still has of a name that was written over, or deleted.

use super::{Key, ObjectInfo};
use crate::model::Timestamp;

/// What a store calls one version of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VersionId(String);

impl VersionId {
    pub(super) fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// One version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// What the store calls it; nothing in a store that keeps no versions.
    pub id: Option<VersionId>,
    /// Its size in bytes.
    pub size: u64,
    /// When the store says that it was written.
    pub modified: Option<Timestamp>,
    /// The store's tag of its contents: equal tags of one name mean equal bytes.
    pub tag: Option<String>,
}

impl Version {
    /// Whether it surely holds the same bytes as another version of its name.
    #[must_use]
    pub fn repeats(&self, other: &Self) -> bool {
        self.size == other.size && self.tag.is_some() && self.tag == other.tag
    }
}

/// Everything that a store has under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// The name.
    pub key: Key,
    /// The versions, the oldest first; none when nothing is there but deletions.
    pub versions: Vec<Version>,
    /// How often the name was deleted: each left a marker, which hides all that is older.
    pub markers: u64,
}

impl Versions {
    /// Nothing at all.
    pub(super) fn none(key: Key) -> Self {
        Self { key, versions: Vec::new(), markers: 0 }
    }
}

impl From<ObjectInfo> for Versions {
    /// In a store that keeps no versions there is one.
    fn from(info: ObjectInfo) -> Self {
        let version = Version { id: None, size: info.size, modified: info.modified, tag: None };
        Self { key: info.key, versions: vec![version], markers: 0 }
    }
}
