//! A repository in memory, for tests.

use std::{
    collections::BTreeMap,
    ops::{Bound, Range},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream::BoxStream};

use super::{
    Key, ObjectInfo, StoreErrorKind,
    backend::{Backend, Fault, Parts, Stale},
};
use crate::model::Timestamp;

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Key, (Bytes, Timestamp)>,
    uploads: BTreeMap<u64, Started>,
    next_upload: u64,
}

#[derive(Debug)]
struct Started {
    key: Key,
    begun: Timestamp,
    parts: BTreeMap<u32, Bytes>,
}

/// Objects in a map.
#[derive(Debug, Default, Clone)]
pub(super) struct Memory(Arc<Mutex<State>>);

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, key: &Key) -> Result<(Bytes, Timestamp), Fault> {
        let found = self.state().objects.get(key).cloned();
        found.ok_or_else(|| Fault::new(StoreErrorKind::NotFound, "no such object"))
    }
}

impl State {
    fn insert_new(&mut self, key: &Key, body: Bytes) -> Result<(), Fault> {
        if self.objects.contains_key(key) {
            return Err(Fault::new(StoreErrorKind::AlreadyExists, "the key is taken"));
        }
        self.objects.insert(key.clone(), (body, Timestamp::now()));
        Ok(())
    }
}

#[async_trait]
impl Backend for Memory {
    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), Fault> {
        self.state().insert_new(key, body)
    }

    async fn begin(&self, key: &Key, _part_size: usize) -> Result<Arc<dyn Parts>, Fault> {
        let mut state = self.state();
        let id = state.next_upload;
        state.next_upload += 1;
        let started = Started { key: key.clone(), begun: Timestamp::now(), parts: BTreeMap::new() };
        state.uploads.insert(id, started);
        Ok(Arc::new(MemoryParts { memory: self.clone(), id }))
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Fault> {
        let (body, _) = self.object(key)?;
        let size = body.len() as u64;
        if size > limit { Err(Fault::too_large(size, limit)) } else { Ok(body) }
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Fault> {
        let (body, _) = self.object(key)?;
        let past_the_end = || Fault::past_the_end(body.len() as u64, &range);
        let start = usize::try_from(range.start).map_err(|_| past_the_end())?;
        let end = usize::try_from(range.end).map_err(|_| past_the_end())?;
        if end > body.len() {
            return Err(past_the_end());
        }
        Ok(body.slice(start..end))
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, Fault> {
        let (body, modified) = self.object(key)?;
        Ok(ObjectInfo { key: key.clone(), size: body.len() as u64, modified: Some(modified) })
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'static, Result<ObjectInfo, Fault>> {
        let state = self.state();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found: Vec<_> = state
            .objects
            .range((from, Bound::Unbounded))
            .filter(|(key, _)| key.as_str().starts_with(prefix))
            .map(|(key, (body, modified))| {
                let size = body.len() as u64;
                Ok(ObjectInfo { key: key.clone(), size, modified: Some(*modified) })
            })
            .collect();
        futures::stream::iter(found).boxed()
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        let below = |key: &Key| {
            let (folder, _) = key.as_str().strip_prefix(prefix)?.split_once('/')?;
            Some(folder.to_owned())
        };
        Ok(self.state().objects.keys().filter_map(below).collect())
    }

    async fn delete(&self, key: &Key) -> Result<(), Fault> {
        self.state().objects.remove(key);
        Ok(())
    }

    async fn stale(&self, prefix: &str, before: Timestamp) -> Result<Vec<Stale>, Fault> {
        let state = self.state();
        let old = |u: &Started| u.key.as_str().starts_with(prefix) && u.begun < before;
        let found = state.uploads.iter().filter(|(_, u)| old(u));
        let name =
            |(id, u): (&u64, &Started)| Stale { object: u.key.to_string(), id: id.to_string() };
        Ok(found.map(name).collect())
    }

    async fn abort_stale(&self, upload: &Stale) -> Result<(), Fault> {
        if let Ok(id) = upload.id.parse() {
            self.state().uploads.remove(&id);
        }
        Ok(())
    }
}

struct MemoryParts {
    memory: Memory,
    id: u64,
}

fn gone() -> Fault {
    Fault::new(StoreErrorKind::NotFound, "no such upload")
}

#[async_trait]
impl Parts for MemoryParts {
    async fn part(&self, number: u32, body: Bytes) -> Result<(), Fault> {
        let mut state = self.memory.state();
        state.uploads.get_mut(&self.id).ok_or_else(gone)?.parts.insert(number, body);
        Ok(())
    }

    async fn complete(&self, _parts: u32, size: u64) -> Result<(), Fault> {
        let mut state = self.memory.state();
        let upload = state.uploads.remove(&self.id).ok_or_else(gone)?;
        let mut body = BytesMut::with_capacity(usize::try_from(size).unwrap_or(0));
        upload.parts.values().for_each(|part| body.extend_from_slice(part));
        state.insert_new(&upload.key, body.freeze())
    }

    async fn abort(&self) -> Result<(), Fault> {
        self.memory.state().uploads.remove(&self.id).map(drop).ok_or_else(gone)
    }
}
