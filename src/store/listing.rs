//! Listings that go on where they broke off.

use futures::{StreamExt, TryStreamExt, stream::BoxStream};

use super::{
    Key, ObjectInfo, StoreError, Versions,
    backend::Fault,
    repository::Repository,
    retry::{Call, Effect},
};

/// What a listing may take a page: pages are small, but stores think long about them.
pub(super) const PAGE_BYTES: u64 = 4 << 20;

/// Something that is listed by its key.
pub(super) trait Listed: Send + Sized + 'static {
    /// What is being done, for errors.
    const OPERATION: &'static str;

    fn key(&self) -> &Key;

    /// A fresh listing of what lies behind a key.
    fn begin(
        repository: &Repository,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'static, Result<Self, Fault>>;
}

impl Listed for ObjectInfo {
    const OPERATION: &'static str = "list";

    fn key(&self) -> &Key {
        &self.key
    }

    fn begin(
        repository: &Repository,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'static, Result<Self, Fault>> {
        repository.backend.list(prefix, after)
    }
}

impl Listed for Versions {
    const OPERATION: &'static str = "list versions of";

    fn key(&self) -> &Key {
        &self.key
    }

    fn begin(
        repository: &Repository,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'static, Result<Self, Fault>> {
        repository.backend.list_versions(prefix, after)
    }
}

/// Lists on from the last key seen whenever the listing breaks off.
pub(super) struct Listing<'a, T> {
    repository: &'a Repository,
    prefix: String,
    last: Option<Key>,
    source: Option<BoxStream<'static, Result<T, Fault>>>,
}

impl<'a, T: Listed> Listing<'a, T> {
    pub(super) fn stream(
        repository: &'a Repository,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'a, Result<T, StoreError>> {
        if let Some(error) = repository.prefix_fault(T::OPERATION, prefix) {
            return futures::stream::once(async { Err(error) }).boxed();
        }
        let (prefix, last) = (prefix.to_owned(), after.cloned());
        let listing = Self { repository, prefix, last, source: None };
        futures::stream::try_unfold(listing, Self::next).boxed()
    }

    async fn next_once(&mut self) -> Result<Option<T>, Fault> {
        let repository = self.repository;
        let mut source = match self.source.take() {
            Some(source) => source,
            None => T::begin(repository, &self.prefix, self.last.as_ref()),
        };
        loop {
            let next = source.try_next();
            let Some(info) = repository.retry.limited(PAGE_BYTES, next).await? else {
                return Ok(None);
            };
            // Not every store can begin after a key; none may list anything twice.
            if self.last.as_ref().is_none_or(|last| info.key() > last) {
                self.last = Some(info.key().clone());
                self.source = Some(source);
                return Ok(Some(info));
            }
        }
    }

    async fn next(self) -> Result<Option<(T, Self)>, StoreError> {
        let repository = self.repository;
        let object = repository.place(&self.prefix);
        let call = Call {
            operation: T::OPERATION,
            object: &object,
            bytes: PAGE_BYTES,
            effect: Effect::Repeatable,
        };
        let shared = tokio::sync::Mutex::new(self);
        let found =
            repository.retry.run(&call, || async { shared.lock().await.next_once().await }).await?;
        Ok(found.map(|info| (info, shared.into_inner())))
    }
}
