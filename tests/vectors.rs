//! The frozen examples of docs/format.md, good and bad, read by the real reader.
//!
//! `BACKSTAY_WRITE_VECTORS=1 cargo test --test vectors -- --ignored` writes them anew; look at
//! every changed error and hash before committing. Files that are there are kept: a released
//! format never changes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "vectors/bad.rs"]
mod bad;
#[path = "support/forge.rs"]
mod forge;
#[path = "vectors/frames.rs"]
mod frames;
#[path = "vectors/log_bad.rs"]
mod log_bad;
#[path = "vectors/log_good.rs"]
mod log_good;
#[path = "vectors/log_kept.rs"]
mod log_kept;
#[path = "vectors/log_script.rs"]
mod log_script;
#[path = "vectors/logs.rs"]
mod logs;
#[path = "vectors/marks.rs"]
mod marks;
#[path = "vectors/records.rs"]
mod records;
#[path = "vectors/repositories.rs"]
mod repositories;
#[path = "vectors/sealed.rs"]
mod sealed;

use std::{fs, path::PathBuf};

use backstay::format::{ObjectKind, VolumeRecord};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use forge::{CHUNK, DEK, Object, header, plaintext};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What a signed record says that an object is.
#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Volume,
    Tail,
    Segment,
}

impl Kind {
    fn in_header(self) -> ObjectKind {
        match self {
            Self::Volume => ObjectKind::BackupVolume,
            Self::Tail => ObjectKind::LogTail,
            Self::Segment => ObjectKind::LogSegment,
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_volume(&self) -> bool {
        *self == Self::Volume
    }
}

/// One example: volumes (or tails, or segments), the key, and what a reader makes of them.
#[derive(Serialize, Deserialize)]
struct Vector {
    name: String,
    why: String,
    #[serde(default, skip_serializing_if = "Kind::is_volume")]
    kind: Kind,
    cluster: String,
    run: String,
    dek_id: String,
    dek: String,
    volumes: Vec<Stored>,
    /// Nothing: it must be read without error.
    error: Option<String>,
    /// Of what was released, before the error or altogether.
    released_bytes: u64,
    released_sha256: String,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    object: String,
    record: VolumeRecord,
}

/// An example before anyone has read it.
#[derive(Clone)]
struct Case {
    name: String,
    why: &'static str,
    kind: Kind,
    volumes: Vec<(Vec<u8>, VolumeRecord)>,
    dek: [u8; 32],
}

impl Case {
    fn new(
        name: impl Into<String>,
        why: &'static str,
        volumes: Vec<(Vec<u8>, VolumeRecord)>,
    ) -> Self {
        Self { name: name.into(), why, kind: Kind::Volume, volumes, dek: DEK }
    }
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

fn volumes(plains: &[&[u8]]) -> Vec<(Vec<u8>, VolumeRecord)> {
    (0u32..)
        .zip(plains)
        .map(|(n, plain)| {
            let object = Object::seal(&header(n.into()), plain);
            (object.bytes(), object.record(n))
        })
        .collect()
}

fn good() -> Vec<Case> {
    let text = plaintext(4 * CHUNK);
    [
        ("good-empty-stream", "one chunk of 0 bytes", vec![&text[..0]]),
        ("good-one-byte", "the shortest stream", vec![&text[..1]]),
        ("good-one-chunk", "shorter than a chunk", vec![&text[..700]]),
        ("good-full-last-chunk", "two chunks, exactly full", vec![&text[..2 * CHUNK]]),
        ("good-several-chunks", "three chunks, the last short", vec![&text[..2 * CHUNK + 77]]),
        (
            "good-several-volumes",
            "three volumes; only the last ends with a short chunk",
            vec![&text[..CHUNK], &text[CHUNK..3 * CHUNK], &text[3 * CHUNK..3 * CHUNK + 9]],
        ),
    ]
    .into_iter()
    .map(|(name, why, plains)| Case::new(name, why, volumes(&plains)))
    .collect()
}

fn cases() -> Vec<Case> {
    [good(), bad::cases(), sealed::good(), sealed::bad()].concat()
}

async fn judge(case: &Case) -> Vector {
    let (error, released) = forge::read(case.kind.in_header(), &case.volumes, case.dek).await;
    let good = header(0);
    Vector {
        name: case.name.clone(),
        why: case.why.into(),
        kind: case.kind,
        cluster: good.cluster.to_string(),
        run: good.run.to_string(),
        dek_id: good.dek.to_string(),
        dek: hex::encode(case.dek),
        volumes: case
            .volumes
            .iter()
            .map(|(bytes, record)| Stored {
                object: STANDARD.encode(bytes),
                record: record.clone(),
            })
            .collect(),
        error: error.map(|e| e.to_string()),
        released_bytes: released.len() as u64,
        released_sha256: hex::encode(Sha256::digest(&released)),
    }
}

#[tokio::test]
#[ignore = "writes tests/vectors; run by hand"]
async fn write_vectors() {
    if std::env::var_os("BACKSTAY_WRITE_VECTORS").is_none() {
        return;
    }
    fs::create_dir_all(folder("objects")).unwrap();
    for case in cases() {
        let path = folder("objects").join(format!("{}.json", case.name));
        if !path.exists() {
            let text = serde_json::to_string_pretty(&judge(&case).await).unwrap();
            fs::write(path, text + "\n").unwrap();
        }
    }
    records::write().await;
    logs::write().await;
}

#[tokio::test]
async fn every_frozen_object_is_read_as_it_was() {
    let mut seen = 0;
    for entry in fs::read_dir(folder("objects")).unwrap() {
        let vector: Vector =
            serde_json::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        let volumes: Vec<_> = vector
            .volumes
            .iter()
            .map(|v| (STANDARD.decode(&v.object).unwrap(), v.record.clone()))
            .collect();
        let mut dek = [0; 32];
        hex::decode_to_slice(&vector.dek, &mut dek).unwrap();
        let (error, released) = forge::read(vector.kind.in_header(), &volumes, dek).await;
        assert_eq!(error.map(|e| e.to_string()), vector.error, "{}", vector.name);
        assert_eq!(
            hex::encode(Sha256::digest(&released)),
            vector.released_sha256,
            "{}",
            vector.name
        );
        assert_eq!(released.len() as u64, vector.released_bytes, "{}", vector.name);
        assert_eq!(vector.error.is_none(), vector.name.starts_with("good-"), "{}", vector.name);
        seen += 1;
    }
    assert_eq!(seen, cases().len(), "a vector is missing, or one too many");
}

/// The builder is frozen, too: a change that would write other bytes shows here.
#[test]
fn objects_are_still_written_as_the_frozen_ones() {
    for case in good().into_iter().chain(sealed::good()) {
        let path = folder("objects").join(format!("{}.json", case.name));
        let vector: Vector = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let headers = |bytes: &[u8]| bytes[..140].to_vec();
        for ((now, _), then) in case.volumes.iter().zip(&vector.volumes) {
            // Chunks may differ: another zstd compresses otherwise. Header and commitment may not.
            assert_eq!(
                headers(now),
                headers(&STANDARD.decode(&then.object).unwrap()),
                "{}",
                case.name
            );
        }
    }
}
