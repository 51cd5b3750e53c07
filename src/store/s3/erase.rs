//! Removing for good: every version of a name, and whatever hides them.

use super::{
    super::{Erased, Key, StoreErrorKind, VersionId, backend::Fault},
    S3,
};

/// What there is under a name, by what the store calls it.
#[derive(Debug, Default)]
struct Ids {
    versions: Vec<String>,
    markers: Vec<String>,
}

impl S3 {
    pub(super) async fn erase_all(&self, key: &Key) -> Result<Erased, Fault> {
        let ids = self.ids_of(key).await?;
        let mut erased = Erased::default();
        for id in &ids.versions {
            if let Err(fault) = self.erase_version(key, id).await {
                // Locked, or this identity may not, and stores do not agree on how to say so: only
                // the object itself can tell.
                let seen = self.look_at_object(key, Some(&VersionId::new(id))).await;
                let protection = seen.map(|seen| seen.protection).unwrap_or_default();
                if protection.retention.is_none() && !protection.legal_hold {
                    if fault.kind != StoreErrorKind::Denied {
                        return Err(fault);
                    }
                    return Err(fault.hint(
                        "grant s3:DeleteObjectVersion: in a bucket that keeps versions nothing is \
                         removed without it",
                    ));
                }
                erased.holds(protection);
            }
        }
        if erased.left.is_none() {
            for id in &ids.markers {
                self.erase_version(key, id).await?;
            }
        }
        Ok(erased)
    }

    async fn erase_version(&self, key: &Key, id: &str) -> Result<(), Fault> {
        let request = self.client.delete_object().bucket(&self.place.bucket);
        let request = request.key(self.full(key)).version_id(id);
        match self.call(false, request.send()).await {
            Ok(_) => Ok(()),
            Err(fault) if fault.kind == StoreErrorKind::NotFound => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    async fn ids_of(&self, key: &Key) -> Result<Ids, Fault> {
        let full = self.full(key);
        let (mut ids, mut next) = (Ids::default(), Some((None, None)));
        while let Some((after_key, after_version)) = next.take() {
            let request = self.client.list_object_versions().bucket(&self.place.bucket);
            let request = request.prefix(&full).set_key_marker(after_key);
            let request = request.set_version_id_marker(after_version);
            let page = self.call(false, request.send()).await?;
            let is_it = |name: Option<&str>| name == Some(full.as_str());
            let versions = page.versions().iter().filter(|found| is_it(found.key()));
            ids.versions.extend(versions.filter_map(|v| v.version_id().map(str::to_owned)));
            let markers = page.delete_markers().iter().filter(|found| is_it(found.key()));
            ids.markers.extend(markers.filter_map(|m| m.version_id().map(str::to_owned)));
            // What merely begins with the name comes behind it.
            if page.is_truncated() == Some(true) && is_it(page.next_key_marker()) {
                let marker = page.next_version_id_marker().map(str::to_owned);
                next = Some((Some(full.clone()), marker));
            }
        }
        Ok(ids)
    }
}
