//! Frozen logs: what a reader makes of the records of a log, of its last checkpoint, and of the
//! bytes that it holds.

use std::{collections::BTreeMap, fs, sync::Arc};

use backstay::{
    crypto::{
        Dek, RunKey,
        keyfile::{KeyFile, KeyKind},
        kms::{KeyContext, Kms as _, file::FileKms},
        signer::Trust,
    },
    format::LogRange,
    model::WrappedDek,
    pipeline::{
        Finding, Horizon, PipelineError, Progress, Repository,
        log::{LogState, RangeOpener, Scanned, read_archive, refresh, scan, tip},
        purpose,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    folder,
    forge::{self, Released, header},
    log_bad::{self, Bad},
    log_good::{large, small},
    log_kept::kept,
    log_script::{BACKUP, FIRST, SECOND, Who, beside, hash, written},
    repositories::{SIGNER, Stored, name},
};

/// A repository with a log that others differ from in little.
#[derive(Serialize, Deserialize)]
struct Base {
    signer: String,
    kek: serde_json::Value,
    objects: BTreeMap<String, String>,
}

/// What differs from the base, and what a reader says of the result.
#[derive(Serialize, Deserialize)]
struct Frozen {
    why: String,
    base: String,
    /// Records of the base behind this number are not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    up_to: Option<u64>,
    /// Objects that are other ones, or (null) not there.
    changes: BTreeMap<String, Option<String>>,
    /// The log read from its first record on.
    check: Said,
    /// The log read from its last checkpoint on.
    tip: Said,
    /// What the log holds.
    copies: Copies,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    Head(String),
    Error(String),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Copies {
    /// Server and file, SHA-256, whether its last range says that the file is closed.
    Files(Vec<(String, String, bool)>),
    Error(String),
}

impl Frozen {
    fn is_good(&self) -> bool {
        matches!(
            (&self.check, &self.tip, &self.copies),
            (Said::Head(_), Said::Head(_), Copies::Files(_))
        )
    }
}

fn said(result: Result<LogState, PipelineError>) -> Said {
    match result {
        Ok(state) => Said::Head(state.head.to_string()),
        Err(error) => Said::Error(error.to_string()),
    }
}

async fn judge(stored: &Stored, kek: &KeyFile) -> (Said, Said, Copies) {
    let store = forge::memory().await;
    for (key, bytes) in stored {
        store.create(&forge::key(key), Bytes::from(bytes.clone())).await.unwrap();
    }
    let signer = RunKey::from_seed(&SIGNER).unwrap().public_key();
    let repository = Repository::new(store, name(), Trust::of("signer", signer));
    let horizon = repository.horizon().await.unwrap().horizon;
    let check = if horizon == Horizon::default() {
        let mut state = LogState::default();
        refresh(&repository, &mut state).await.map(|_| state)
    } else {
        match scan(&repository, |_, _| ()).await.unwrap() {
            Scanned { broken: Some(Finding { object, why, .. }), .. } => {
                Err(PipelineError::Integrity { object, why })
            }
            Scanned { state, .. } => Ok(state),
        }
    };
    let archive = read_archive(&repository).await;
    let tip = tip(&repository).await;
    if let (Ok(archive), Ok(tip)) = (&archive, &tip) {
        assert_eq!(archive.state, *tip);
    }
    let copies = match &archive {
        Ok(_) => copies(&repository, kek).await,
        Err(error) => Err(error.to_string()),
    };
    (
        said(check),
        said(archive.map(|archive| archive.state)),
        copies.map_or_else(Copies::Error, Copies::Files),
    )
}

/// Every copy of every file, by section 9.9 of docs/format.md.
async fn copies(
    repository: &Repository,
    kek: &KeyFile,
) -> Result<Vec<(String, String, bool)>, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kek");
    kek.write_new(&path).unwrap();
    let kms = FileKms::open(&path).unwrap();
    let archive = read_archive(repository).await.map_err(|e| e.to_string())?;
    let segments = archive.segments.iter().map(|segment| (segment.number, &segment.range));
    let left = archive.state.files.iter().flat_map(|file| &file.tails);
    let tails = left.map(|tail| (tail.number, &tail.range));
    let opener = RangeOpener::new(repository, &kms, Arc::new(Progress::default()));
    // The newest range of each, the bytes, and how many of them are forgotten.
    let mut copies: Vec<(LogRange, Vec<u8>, u64)> = Vec::new();
    for (number, range) in segments.chain(tails) {
        let taken = opener.open(number, Released::default()).await.map_err(|e| e.to_string())?;
        let plain = taken.0.lock().unwrap().clone();
        let is_it = |copy: &(LogRange, Vec<u8>, u64)| {
            (&copy.0.server, &copy.0.file, copy.0.created)
                == (&range.server, &range.file, range.created)
        };
        if range.start == 0 || archive.horizon.begins > 0 && !copies.iter().any(is_it) {
            copies.push((range.clone(), plain, range.start));
            continue;
        }
        let found = copies.iter_mut().rev().find(|copy| is_it(copy));
        let (last, bytes, lacking) = found.ok_or("it has no beginning")?;
        let start = usize::try_from(range.start - *lacking).unwrap();
        let known = bytes.get(start..).ok_or_else(|| format!("{number}: bytes are missing"))?;
        let shared = known.len().min(plain.len());
        if known[..shared] != plain[..shared] {
            return Err(format!("{number}: other bytes than those before"));
        }
        bytes.extend_from_slice(&plain[shared..]);
        *last = range.clone();
    }
    let told = copies.into_iter().map(|(range, bytes, _)| {
        (format!("{}/{}", range.server, range.file), hash(&bytes).to_string(), range.closed)
    });
    Ok(told.collect())
}

fn kek() -> KeyFile {
    KeyFile::new(KeyKind::Symmetric, None, Some([0x4b; 32]))
}

/// The DEKs of all runs, wrapped; the first run's for this purpose.
async fn wraps(kek: &KeyFile, first: &'static str) -> BTreeMap<u8, WrappedDek> {
    let dir = tempfile::tempdir().unwrap();
    kek.write_new(&dir.path().join("kek")).unwrap();
    let kms = FileKms::open(&dir.path().join("kek")).unwrap();
    let mut wraps = BTreeMap::new();
    for who in [FIRST, SECOND, BACKUP] {
        let purpose = if who.id == FIRST.id { first } else { purpose(who.role) };
        let context = KeyContext { cluster: header(0).cluster, dek: who.dek_id(), purpose };
        wraps.insert(who.id, kms.wrap(&context, &Dek::from_bytes(who.dek())).await.unwrap());
    }
    wraps
}

fn encoded(stored: &Stored) -> BTreeMap<String, String> {
    stored.iter().map(|(key, bytes)| (key.clone(), STANDARD.encode(bytes))).collect()
}

/// A base as it is on the disk: the large one is compressed.
fn read_base(base: &str) -> Base {
    let file = fs::read(folder("logs").join(format!("base-{base}.json.zst"))).unwrap();
    serde_json::from_slice(&zstd::decode_all(&file[..]).unwrap()).unwrap()
}

fn number_of(key: &str) -> Option<u64> {
    key.rsplit_once("/log/")?.1.parse().ok()
}

/// The objects of an example.
fn objects(base: &Base, frozen: &Frozen) -> Stored {
    let mut objects = base.objects.clone();
    let last = frozen.up_to.unwrap_or(u64::MAX);
    objects.retain(|key, _| number_of(key).is_none_or(|number| number <= last));
    for (key, change) in &frozen.changes {
        match change {
            Some(bytes) => objects.insert(key.clone(), bytes.clone()),
            None => objects.remove(key),
        };
    }
    objects.iter().map(|(key, text)| (key.clone(), STANDARD.decode(text).unwrap())).collect()
}

/// What has to be changed in the base to make these objects of it.
fn difference(
    base: &Base,
    up_to: Option<u64>,
    objects: &Stored,
) -> BTreeMap<String, Option<String>> {
    let last = up_to.unwrap_or(u64::MAX);
    let kept = |key: &&String| number_of(key).is_none_or(|number| number <= last);
    let gone = base.objects.keys().filter(kept).filter(|key| !objects.contains_key(*key));
    let mut changes: BTreeMap<String, Option<String>> =
        gone.map(|key| (key.clone(), None)).collect();
    for (key, text) in encoded(objects) {
        if base.objects.get(&key) != Some(&text) {
            changes.insert(key, Some(text));
        }
    }
    changes
}

pub(crate) async fn write() {
    fs::create_dir_all(folder("logs")).unwrap();
    let kek = kek();
    let bases = [("small", written(&small())), ("large", written(&large())), ("long", kept())];
    for (name, stored) in bases {
        let path = folder("logs").join(format!("base-{name}.json.zst"));
        if path.exists() {
            continue;
        }
        let wraps = wraps(&kek, "archive").await;
        let mut objects = beside(|who: Who| wraps[&who.id].clone());
        objects.extend(stored);
        let dir = tempfile::tempdir().unwrap();
        kek.write_new(&dir.path().join("kek")).unwrap();
        let base = Base {
            signer: STANDARD.encode(RunKey::from_seed(&SIGNER).unwrap().public_key()),
            kek: serde_json::from_slice(&fs::read(dir.path().join("kek")).unwrap()).unwrap(),
            objects: encoded(&objects),
        };
        let text = serde_json::to_vec_pretty(&base).unwrap();
        fs::write(path, zstd::bulk::compress(&text, 19).unwrap()).unwrap();
    }
    let usurped = wraps(&kek, "backup").await[&FIRST.id].clone();
    for Bad { name, why, base: of, up_to, change } in log_bad::cases() {
        let path = folder("logs").join(format!("{name}.json"));
        if path.exists() {
            continue;
        }
        let base = read_base(of);
        let mut frozen = Frozen {
            why: why.to_owned(),
            base: of.to_owned(),
            up_to,
            changes: BTreeMap::new(),
            check: Said::Head(String::new()),
            tip: Said::Head(String::new()),
            copies: Copies::Files(Vec::new()),
        };
        let mut objects = objects(&base, &frozen);
        change(&mut objects, &usurped);
        frozen.changes = difference(&base, up_to, &objects);
        (frozen.check, frozen.tip, frozen.copies) = judge(&objects, &kek).await;
        fs::write(path, serde_json::to_string_pretty(&frozen).unwrap() + "\n").unwrap();
    }
}

#[tokio::test]
async fn every_frozen_log_is_read_as_it_was() {
    let bases: BTreeMap<_, _> =
        ["small", "large", "long"].map(|name| (name, read_base(name))).into();
    let mut seen = 0;
    for entry in fs::read_dir(folder("logs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let frozen: Frozen = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let base = &bases[frozen.base.as_str()];
        let kek = KeyFile::parse(&base.kek.to_string()).unwrap();
        let (check, tip, copies) = judge(&objects(base, &frozen), &kek).await;
        let shown = path.display();
        let good = path.file_name().unwrap().to_string_lossy().starts_with("good-");
        assert_eq!(frozen.is_good(), good, "{shown}");
        assert_eq!((check, tip, &copies), (frozen.check, frozen.tip, &frozen.copies), "{shown}");
        seen += 1;
    }
    assert_eq!(seen, log_bad::cases().len(), "a vector is missing, or one too many");
}
