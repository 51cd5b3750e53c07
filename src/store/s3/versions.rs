//! Buckets that keep versions: finding out, and listing all that is there.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicU8, Ordering},
};

use aws_sdk_s3::{operation::list_object_versions::ListObjectVersionsOutput, types::ObjectVersion};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};

use super::{
    super::{
        Key, StoreErrorKind, Version, VersionId, Versions,
        backend::{Backend, Fault},
    },
    S3, time,
};

/// What a bucket that never kept versions calls the only one.
const UNVERSIONED: &str = "null";

/// Whether the bucket keeps versions: asked once, and learnt from any answer that bears one.
#[derive(Debug, Default)]
pub(super) struct Versioning(AtomicU8);

// At first, 0, nothing is known.
const NONE: u8 = 1;
/// The identity may not ask; nothing has shown any yet.
const UNSEEN: u8 = 2;
const KEPT: u8 = 3;

impl Versioning {
    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, to: u8) {
        self.0.store(to, Ordering::Relaxed);
    }

    /// An answer bears a version. Whoever believed that there are none has read plainly, and so
    /// perhaps what an intruder wrote over the object.
    pub(super) fn seen(&self, id: Option<&str>) -> Result<(), Fault> {
        if id.is_none_or(|id| id == UNVERSIONED) {
            return Ok(());
        }
        match self.0.swap(KEPT, Ordering::Relaxed) {
            UNSEEN => Err(denied("the bucket keeps versions, and this identity may not list them")),
            _ => Ok(()),
        }
    }
}

fn denied(cause: impl Into<String>) -> Fault {
    Fault::new(StoreErrorKind::Denied, cause).hint(
        "grant s3:GetBucketVersioning and s3:ListBucketVersions: only by its versions can an \
         object be told from what was written over it",
    )
}

impl S3 {
    pub(super) async fn asks_versions(&self) -> Result<bool, Fault> {
        match self.versioning.get() {
            KEPT => return Ok(true),
            NONE | UNSEEN => return Ok(false),
            _ => {}
        }
        let asked = self.client.get_bucket_versioning().bucket(&self.place.bucket);
        let found = match self.attempt(false, asked.send()).await {
            // Suspended, too: what was kept before is still there.
            Ok(answer) => {
                if answer.status().is_some() {
                    KEPT
                } else {
                    NONE
                }
            }
            Err((fault, error)) => {
                let unheard = matches!(error, Some(aws_sdk_s3::error::SdkError::ResponseError(_)));
                let dumb = matches!(
                    fault.kind,
                    StoreErrorKind::Denied | StoreErrorKind::Unsupported | StoreErrorKind::NotFound
                );
                match (unheard, dumb) {
                    // It does not even know the question.
                    (true, _) => UNSEEN,
                    (_, true) => self.shows_versions().await?,
                    _ => return Err(fault),
                }
            }
        };
        // Another answer may have shown a version meanwhile.
        if self.versioning.get() != KEPT {
            self.versioning.set(found);
        }
        Ok(found == KEPT)
    }

    /// Looks at one object, when the bucket itself must not be asked.
    async fn shows_versions(&self) -> Result<u8, Fault> {
        let request = self.client.list_object_versions().bucket(&self.place.bucket);
        let request = request.prefix(&self.place.prefix).max_keys(1);
        match self.call(false, request.send()).await {
            Ok(page) => {
                let real = |id: Option<&str>| id.is_some_and(|id| id != UNVERSIONED);
                let any = page.versions().iter().any(|version| real(version.version_id()))
                    || page.delete_markers().iter().any(|marker| real(marker.version_id()));
                Ok(if any { KEPT } else { UNSEEN })
            }
            Err(fault) => match fault {
                fault if fault.kind == StoreErrorKind::NoBucket => Err(fault),
                fault if fault.again => Err(fault),
                _ => Ok(UNSEEN),
            },
        }
    }

    pub(super) async fn versions_of(&self, key: &Key) -> Result<Versions, Fault> {
        let full = self.full(key);
        let mut pages = Pages::new(self.clone(), full, None);
        // What merely begins with the key comes behind it.
        match pages.next().await? {
            Some(found) if found.key == *key => Ok(found),
            _ => Ok(Versions::none(key.clone())),
        }
    }

    pub(super) fn all_versions(
        &self,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'static, Result<Versions, Fault>> {
        let (s3, prefix, after) = (self.clone(), prefix.to_owned(), after.cloned());
        futures::stream::once(async move {
            if !s3.asks_versions().await? {
                let plain = s3.list(&prefix, after.as_ref()).map_ok(Versions::from);
                return Ok::<_, Fault>(plain.boxed());
            }
            let (full, after) = (s3.place.full(&prefix), after.map(|key| s3.full(&key)));
            let pages = Pages::new(s3, full, after);
            let listed = futures::stream::try_unfold(pages, |mut pages| async move {
                Ok(pages.next().await?.map(|found| (found, pages)))
            });
            Ok(listed.boxed())
        })
        .try_flatten()
        .boxed()
    }

    /// Folders of which at least something was ever stored.
    pub(super) async fn version_folders(&self, full: &str) -> Result<Vec<String>, Fault> {
        let (mut folders, mut marker) = (Vec::new(), Marker::default());
        loop {
            let request = self.client.list_object_versions().bucket(&self.place.bucket);
            let request = request.prefix(full).delimiter("/");
            let request = request.set_key_marker(marker.key).set_version_id_marker(marker.version);
            let page = self.call(false, request.send()).await.map_err(|f| listing_fault(&f))?;
            folders.extend(page.common_prefixes().iter().filter_map(|p| {
                let name = p.prefix()?.strip_prefix(full)?.strip_suffix('/')?;
                Key::new(name).is_ok().then(|| name.to_owned())
            }));
            match Marker::behind(&page) {
                Some(next) => marker = next,
                None => return Ok(folders),
            }
        }
    }
}

fn listing_fault(fault: &Fault) -> Fault {
    match fault.kind {
        StoreErrorKind::Denied => denied(fault.cause.clone()),
        _ => fault.clone(),
    }
}

/// Where the next page begins.
#[derive(Clone, Default, PartialEq)]
struct Marker {
    key: Option<String>,
    version: Option<String>,
}

impl Marker {
    fn behind(page: &ListObjectVersionsOutput) -> Option<Self> {
        if page.is_truncated() != Some(true) {
            return None;
        }
        let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let key = given(page.next_key_marker())?;
        Some(Self { key: Some(key), version: given(page.next_version_id_marker()) })
    }
}

/// Pages of a listing, name by name. A name's versions may be spread over several pages.
struct Pages {
    s3: S3,
    full: String,
    marker: Option<Marker>,
    whole: VecDeque<Versions>,
    /// The last name of the page before: there may be more of it.
    open: Option<Versions>,
}

impl Pages {
    fn new(s3: S3, full: String, after: Option<String>) -> Self {
        let marker = Some(Marker { key: after, version: None });
        Self { s3, full, marker, whole: VecDeque::new(), open: None }
    }

    async fn next(&mut self) -> Result<Option<Versions>, Fault> {
        loop {
            if let Some(found) = self.whole.pop_front() {
                return Ok(Some(found));
            }
            let Some(marker) = self.marker.take() else { return Ok(self.open.take().map(ordered)) };
            let request = self.s3.client.list_object_versions().bucket(&self.s3.place.bucket);
            let request = request.prefix(&self.full).set_key_marker(marker.key.clone());
            let request = request.set_version_id_marker(marker.version.clone());
            let page = self.s3.call(false, request.send()).await.map_err(|f| listing_fault(&f))?;
            let next = Marker::behind(&page);
            if next.as_ref() == Some(&marker) {
                let text = "the store lists the same page of versions again and again";
                return Err(Fault::new(StoreErrorKind::Other, text));
            }
            self.take(&page);
            self.marker = next;
        }
    }

    fn take(&mut self, page: &ListObjectVersionsOutput) {
        let place = &self.s3.place;
        let mut names: BTreeMap<Key, Versions> = BTreeMap::new();
        if let Some(open) = self.open.take() {
            names.insert(open.key.clone(), open);
        }
        let key = |full: Option<&str>| place.key(full?);
        for version in page.versions() {
            let Some(key) = key(version.key()) else { continue };
            let entry = names.entry(key.clone()).or_insert_with(|| Versions::none(key));
            let version = read(version);
            // A store that begins a page with the marker itself lists one twice.
            if entry.versions.iter().all(|known| known.id != version.id) {
                entry.versions.push(version);
            }
        }
        for marker in page.delete_markers() {
            let Some(key) = key(marker.key()) else { continue };
            names.entry(key.clone()).or_insert_with(|| Versions::none(key)).markers += 1;
        }
        self.open = names.pop_last().map(|(_, last)| last);
        self.whole.extend(names.into_values().map(ordered));
    }
}

/// Stores list the newest first.
fn ordered(mut versions: Versions) -> Versions {
    versions.versions.reverse();
    versions
}

fn read(version: &ObjectVersion) -> Version {
    Version {
        id: version.version_id().map(VersionId::new),
        size: version.size().and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
        modified: time(version.last_modified()),
        tag: version.e_tag().map(str::to_owned),
    }
}
