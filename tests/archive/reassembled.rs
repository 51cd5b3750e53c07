//! What the archive holds, put together again.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use backstay::{
    crypto::{kms::file::FileKms, signer::Trust},
    pipeline::{
        Accept, PipelineError, Progress, Repository,
        log::{Archive, RangeOpener, read_archive},
    },
    store::{self, StoreOptions},
};

use crate::home::Home;

/// Takes bytes.
#[derive(Default)]
pub(crate) struct Taken(pub(crate) Vec<u8>);

impl Accept for Taken {
    fn accept(&mut self, plain: &[u8]) -> Result<(), PipelineError> {
        self.0.extend_from_slice(plain);
        Ok(())
    }
}

/// The cluster of a home, as a reader with all rights sees it.
pub(crate) async fn repository(home: &Home) -> Repository {
    let flag = |name: &str| {
        let at = home.flags.iter().position(|flag| flag == name)?;
        home.flags.get(at + 1).cloned()
    };
    let secret = |name: &str| home.env.iter().find(|(n, _)| n == name).map(|(_, value)| value);
    let credentials_file = secret("AWS_ACCESS_KEY_ID").map(|id| {
        let (path, key) = (home.path("reader"), secret("AWS_SECRET_ACCESS_KEY").unwrap());
        let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {key}\n");
        std::fs::write(&path, text).unwrap();
        path
    });
    let options = StoreOptions {
        endpoint: flag("--store-endpoint"),
        region: flag("--store-region"),
        credentials_file,
        ..StoreOptions::default()
    };
    let store = store::open(&flag("--repo").unwrap(), &options).await.unwrap();
    let trust = Trust::read(&home.path("kek.trust")).unwrap();
    Repository::new(store, "c".parse().unwrap(), trust)
}

/// The log, and the bytes of every file in it by server and name, in the order of its epochs.
pub(crate) async fn files(home: &Home) -> (Archive, BTreeMap<(String, String), Vec<u8>>) {
    let repository = repository(home).await;
    let kms = FileKms::open(&home.path("kek")).unwrap();
    let archive = read_archive(&repository).await.unwrap();
    let opener = RangeOpener::new(&repository, &kms, Arc::new(Progress::default()));
    let mut files: BTreeMap<(String, String), Vec<u8>> = BTreeMap::new();
    let segments = archive.segments.iter().map(|segment| (segment.number, &segment.range));
    let tails = archive.state.files.iter().flat_map(|file| &file.tails);
    let tails = tails.map(|tail| (tail.number, &tail.range));
    for (number, range) in segments.chain(tails) {
        let file = files.entry((range.server.to_string(), range.file.to_string())).or_default();
        let bytes = opener.open(number, Taken::default()).await.unwrap().0;
        assert_eq!(bytes.len() as u64, range.end - range.start);
        let start = usize::try_from(range.start).unwrap();
        assert!(start <= file.len(), "{} {start}: {} bytes before it", range.file, file.len());
        // A file that was read again from its beginning has the same bytes.
        let known = &file[start..file.len().min(start + bytes.len())];
        assert!(bytes.starts_with(known), "{} {start}: it was archived differently", range.file);
        let add = bytes[known.len()..].to_vec();
        file.extend(add);
    }
    (archive, files)
}

/// Compares every file of the server's folder with the archive; the last one may still be open.
pub(crate) fn assert_same(
    files: &BTreeMap<(String, String), Vec<u8>>,
    server: &str,
    folder: &Path,
    base: &str,
) -> usize {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            name.strip_prefix(&format!("{base}.")).is_some_and(|n| n.parse::<u32>().is_ok())
        })
        .collect();
    names.sort();
    for name in &names {
        let disk = std::fs::read(folder.join(name)).unwrap();
        let archived = files
            .get(&(server.to_owned(), name.clone()))
            .unwrap_or_else(|| panic!("{name} of {server} is not archived: {:?}", files.keys()));
        let mut disk_masked = disk.clone();
        // The in-use flag of the format description: set in the active file, and in one that a
        // crashed MariaDB has left. No dump has it.
        disk_masked[21] &= !1;
        if *archived != disk_masked {
            let at = archived.iter().zip(&disk_masked).position(|(a, b)| a != b);
            panic!(
                "{name}: {} bytes archived, {} on disk, first difference at {at:?}",
                archived.len(),
                disk.len()
            );
        }
    }
    names.len()
}
