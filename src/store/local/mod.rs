//! A repository in a folder.
//!
//! An object is written under a temporary name beside its place, flushed to the disk, and
//! then linked to its name, which fails when the name is taken. The folder is flushed last,
//! so what is reported as written survives a loss of power. Temporary names hold a `~`,
//! which no key can, and are therefore never listed.
//!
//! The folder above the repository has to exist; the repository's own is made, for its
//! owner alone, when it is first written to. Folders that become empty stay, unseen. Unlike
//! in an object store, `a` and `a/b` cannot both be objects.

mod fault;
mod tree;
mod write;

use std::{
    fs::File,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use self::{fault::fault, tree::Tree, write::LocalParts};
use super::{
    Key, ObjectInfo, StoreErrorKind,
    backend::{Backend, Fault, Parts, Stale},
};
use crate::model::Timestamp;

#[derive(Debug, Clone)]
pub(super) struct Local {
    tree: Tree,
}

impl Local {
    /// Looks at the folder above, and touches nothing.
    pub(super) fn new(root: &Path) -> Result<Self, Fault> {
        let above = root.parent().unwrap_or(root);
        let configuration = |text| Fault::new(StoreErrorKind::Configuration, text);
        let name = root.file_name().ok_or_else(|| {
            configuration("the path has to name a folder that may be made".to_owned())
        })?;
        match std::fs::canonicalize(above) {
            Ok(folder) if folder.is_dir() => Ok(Self { tree: Tree { root: folder.join(name) } }),
            Ok(_) => Err(configuration(format!("{} is not a folder", above.display()))),
            Err(error) => {
                Err(Fault::new(StoreErrorKind::NoBucket, format!("{}: {error}", above.display()))
                    .hint("make that folder, or mount what should be there, first"))
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tree) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let tree = self.tree.clone();
        blocking(move || work(&tree)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Fault::new(StoreErrorKind::Other, format!("file work was cut short: {error}")))
    })
}

fn open(tree: &Tree, key: &Key) -> Result<(File, u64, Option<Timestamp>), Fault> {
    let (folders, name) = tree::split(key);
    let folder = tree.folder(folders, false)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file: File = openat(&folder, name, flags, Mode::empty()).map_err(fault)?.into();
    let meta = file.metadata().map_err(fault)?;
    if !meta.is_file() {
        return Err(Fault::new(StoreErrorKind::NotFound, "no such file"));
    }
    Ok((file, meta.len(), meta.modified().ok().and_then(tree::timestamp)))
}

fn read(file: &File, range: Range<u64>) -> Result<Bytes, Fault> {
    let length = usize::try_from(range.end - range.start)
        .map_err(|_| Fault::new(StoreErrorKind::Other, "more bytes than memory can hold"))?;
    let mut body = vec![0; length];
    file.read_exact_at(&mut body, range.start).map_err(fault)?;
    Ok(body.into())
}

#[async_trait]
impl Backend for Local {
    async fn put_new(&self, key: &Key, body: Bytes) -> Result<(), Fault> {
        let key = key.clone();
        self.blocking(move |tree| write::put_new(tree, &key, &body)).await
    }

    async fn begin(&self, key: &Key, part_size: usize) -> Result<Arc<dyn Parts>, Fault> {
        let key = key.clone();
        let temporary = self.blocking(move |tree| write::Temporary::begin(tree, &key)).await?;
        Ok(Arc::new(LocalParts::new(temporary, part_size)))
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Fault> {
        let key = key.clone();
        let get = move |tree: &Tree| {
            let (file, size, _) = open(tree, &key)?;
            if size > limit {
                return Err(Fault::too_large(size, limit));
            }
            read(&file, 0..size)
        };
        self.blocking(get).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Fault> {
        let key = key.clone();
        let get = move |tree: &Tree| {
            let (file, size, _) = open(tree, &key)?;
            if range.end > size {
                return Err(Fault::past_the_end(size, &range));
            }
            read(&file, range)
        };
        self.blocking(get).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, Fault> {
        let key = key.clone();
        let head = move |tree: &Tree| {
            let (_, size, modified) = open(tree, &key)?;
            Ok(ObjectInfo { key, size, modified })
        };
        self.blocking(head).await
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'static, Result<ObjectInfo, Fault>> {
        let walk = tree::Walk::new(self.tree.clone(), prefix.to_owned(), after.cloned());
        // A step reads at most a few folders, so that a long list is never held whole.
        futures::stream::try_unfold(walk, |mut walk| async {
            let (page, walk) = blocking(move || Ok((walk.page()?, walk))).await?;
            Ok::<_, Fault>((!page.is_empty()).then_some((page, walk)))
        })
        .flat_map(|page| match page {
            Ok(page) => futures::stream::iter(page.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(fault) => futures::stream::iter(vec![Err(fault)]),
        })
        .boxed()
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, Fault> {
        let prefix = prefix.to_owned();
        self.blocking(move |tree| tree.folders_with_objects(&prefix)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), Fault> {
        let key = key.clone();
        let delete = move |tree: &Tree| {
            let (folders, name) = tree::split(&key);
            let folder = tree.folder(folders, false)?;
            unlinkat(&folder, name, AtFlags::empty()).map_err(fault)?;
            tree::flush(&folder)
        };
        self.blocking(delete).await
    }

    async fn stale(&self, prefix: &str, before: Timestamp) -> Result<Vec<Stale>, Fault> {
        let prefix = prefix.to_owned();
        self.blocking(move |tree| tree.temporaries(&prefix, before)).await
    }

    async fn abort_stale(&self, upload: &Stale) -> Result<(), Fault> {
        let upload = upload.clone();
        let remove = move |tree: &Tree| {
            let folder = tree.folder(&upload.object, false)?;
            match unlinkat(&folder, upload.id.as_str(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(error) => Err(fault(error)),
            }
        };
        self.blocking(remove).await
    }
}

/// The folder that a `file:` URL names.
pub(super) fn root_of(url: &url::Url) -> Option<PathBuf> {
    url.to_file_path().ok().filter(|path| path.is_absolute())
}
