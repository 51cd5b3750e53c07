//! Does the store keep the promise that everything rests on?

use bytes::Bytes;

use super::{Keep, Key, Store, StoreError, StoreErrorKind};

/// What a probe has shown about a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Honesty {
    /// The object that the probe wrote.
    pub object: Key,
    /// Whether it could be removed again. Writers often may not delete; it then stays, small
    /// and harmless.
    pub removed: bool,
}

/// Proves that the store refuses to overwrite, by writing `<prefix>probe/<unique>` twice with
/// different bytes. `prefix` is empty or ends in `/`; `unique` must never have been used.
///
/// There is no way to prove this without a write: to ask about an object that exists already
/// means to offer other bytes for it, and a store that lies would take them. Hence an object
/// of the probe's own, in the very bucket, since one bucket of a store may differ from the
/// next (Ceph refuses in plain buckets, and ignores the condition in versioned ones).
///
/// # Errors
/// `Unsupported` when the store took the second write, or changed the first; otherwise
/// whatever kept the probe from being made.
pub async fn probe_create_only(
    store: &dyn Store,
    prefix: &str,
    unique: &str,
) -> Result<Honesty, StoreError> {
    let object = Key::new(format!("{prefix}probe/{unique}")).map_err(|error| {
        StoreError::new(StoreErrorKind::Configuration, "probe", store.url(), error)
    })?;
    let first = Bytes::from(format!("backstay probe {unique}: first\n"));
    let second = Bytes::from(format!("backstay probe {unique}: a second one, to be refused\n"));
    store.create(&object, first.clone()).await?;
    let verdict = judge(store, &object, &first, second).await;
    let removed = store.delete(&object).await.is_ok();
    verdict.map(|()| Honesty { object, removed })
}

/// Begins an upload and gives it back: jobs that were stopped want to do the same. Nothing is left
/// but where that is denied; then the upload stays, without a byte, until a lifecycle rule removes it.
///
/// # Errors
/// Whatever kept it from being begun or aborted.
pub async fn probe_abort(store: &dyn Store, prefix: &str, unique: &str) -> Result<(), StoreError> {
    let object = Key::new(format!("{prefix}probe/{unique}-upload")).map_err(|error| {
        StoreError::new(StoreErrorKind::Configuration, "probe", store.url(), error)
    })?;
    store.upload(&object, 1 << 20).await?.abort().await
}

/// Proves that the store keeps what it is asked to keep in a certain way, by writing
/// `<prefix>probe/<unique>-put` and `<prefix>probe/<unique>-parts` in that way, in one request and
/// in parts, and reading back what became of it. They stay for as long as they are locked.
///
/// Both are needed: Ceph locks what it is given in one request, and leaves the lock out of what is
/// uploaded in parts, without a word.
///
/// # Errors
/// `Unsupported` when the store has left anything out; otherwise whatever kept the probe from
/// being made.
pub async fn probe_keeping(
    store: &dyn Store,
    prefix: &str,
    unique: &str,
    keep: &Keep,
) -> Result<(), StoreError> {
    let named = |how: &str| {
        Key::new(format!("{prefix}probe/{unique}-{how}")).map_err(|error| {
            StoreError::new(StoreErrorKind::Configuration, "probe", store.url(), error)
        })
    };
    let (put, parts) = (named("put")?, named("parts")?);
    let body = Bytes::from(format!("backstay probe {unique}\n"));
    let record = Keep { bulk: false, ..*keep };
    store.create_kept(&put, body.clone(), &record).await?;
    keeps(store, &put, &record).await?;
    let bulk = Keep { bulk: true, ..*keep };
    let upload = store.upload_kept(&parts, body.len(), &bulk).await?;
    upload.part(0, body).await?;
    upload.complete().await?;
    keeps(store, &parts, &bulk).await
}

async fn keeps(store: &dyn Store, object: &Key, keep: &Keep) -> Result<(), StoreError> {
    let versions = store.versions(object).await?.versions;
    let found = match versions.first() {
        Some(version) => store.kept(object, version).await?,
        None => return Err(leaves_out(store, object, "it is not there any more")),
    };
    match found.falls_short_of(&store.expected(keep)) {
        None => Ok(()),
        Some(short) => Err(leaves_out(store, object, &short)),
    }
}

fn leaves_out(store: &dyn Store, object: &Key, what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unsupported,
        "probe",
        store.url(),
        format!("of {object} the store says that {what}: it has ignored what it was asked for"),
    )
    .hint(
        "use a bucket with Object Lock in a store that honours it for uploads in parts, too (Ceph \
         does not), or leave out --lock, --store-sse and --store-class",
    )
}

async fn judge(
    store: &dyn Store,
    object: &Key,
    first: &Bytes,
    second: Bytes,
) -> Result<(), StoreError> {
    let limit = (first.len() + second.len()) as u64;
    match store.create(object, second).await {
        Ok(()) => return Err(liar(store, "it overwrote an object that it was asked not to")),
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    if store.get(object, limit).await? == *first {
        Ok(())
    } else {
        Err(liar(store, "it refused to overwrite an object, and changed it all the same"))
    }
}

fn liar(store: &dyn Store, what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unsupported,
        "probe",
        store.url(),
        format!("{what} (create-only, `If-None-Match: *`), so two writers could destroy each other's work"),
    )
    .hint(
        "use a store that honours conditional writes. Ceph does in buckets without versioning \
         and Object Lock, Garage does not at all; the object store's documentation says it",
    )
}
