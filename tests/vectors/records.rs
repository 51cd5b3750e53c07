//! Frozen repositories: every signed record, both wraps, and what may be wrong with them.

use std::{collections::BTreeMap, fs, sync::Arc};

use backstay::{
    crypto::{
        Dek, RunKey,
        keyfile::{KeyFile, KeyKind},
        kms::{KeyContext, Kms as _, file::FileKms},
        signer::Trust,
    },
    model::DekId,
    pipeline::{PipelineError, Repository, Standing, audit::scan, marked_backup},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    folder,
    forge::{self, DEK, header},
    repositories::{SIGNER, Stored, backup, bad, good, name},
};

/// A small repository, and what a reader says of each of its records.
#[derive(Serialize, Deserialize)]
struct Frozen {
    why: String,
    signer: String,
    kek: serde_json::Value,
    objects: BTreeMap<String, String>,
    /// Nothing where the record is believed.
    cluster: Option<String>,
    manifest: Option<String>,
    dek: Option<String>,
    audit: Vec<String>,
    /// What the marks of the backup come to.
    #[serde(default = "free", skip_serializing_if = "is_free")]
    standing: String,
    /// Marks that are not believed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    marks: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drill: Option<String>,
}

fn free() -> String {
    "free".into()
}

fn is_free(standing: &str) -> bool {
    standing == "free"
}

/// What the real reader says.
async fn judge(why: &str, stored: &Stored, kek: &KeyFile) -> Frozen {
    let store = forge::memory().await;
    for (key, bytes) in stored {
        store.create(&forge::key(key), Bytes::from(bytes.clone())).await.unwrap();
    }
    let signer = RunKey::from_seed(&SIGNER).unwrap().public_key();
    let repository = Arc::new(Repository::new(store, name(), Trust::of("signer", signer)));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kek");
    kek.write_new(&path).unwrap();
    let kms = FileKms::open(&path).unwrap();
    let cluster = repository.uuid().await.map(|found| found.map(|_| ()));
    let manifest = match repository.manifest(&backup()).await {
        Ok(Some(found)) => repository.bases(&found.record).await.map(|_| Some(())),
        other => other.map(|found| found.map(|_| ())),
    };
    let drills = repository.drills(9).await.unwrap();
    let said = |result: Result<Option<()>, backstay::pipeline::PipelineError>| match result {
        Ok(Some(())) => None,
        Ok(None) => Some("nothing is there".to_owned()),
        Err(error) => Some(error.to_string()),
    };
    let dek = repository.dek(header(0).dek, &kms).await;
    if let Ok(dek) = &dek {
        assert_eq!(dek.expose(), &DEK);
    }
    let unbelieved = repository.key_findings(header(0).dek).await.unwrap();
    let audit = match scan(&repository, 0, None, |_, _| Ok::<_, PipelineError>(())).await {
        Ok(chain) => chain.findings.iter().map(|f| format!("{}: {}", f.object, f.why)).collect(),
        Err(error) => vec![error.to_string()],
    };
    let (standing, marks) = standing(&repository).await;
    Frozen {
        standing,
        marks,
        why: why.to_owned(),
        signer: STANDARD.encode(signer),
        kek: serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap(),
        objects: stored.iter().map(|(key, bytes)| (key.clone(), STANDARD.encode(bytes))).collect(),
        cluster: said(cluster),
        manifest: said(manifest),
        dek: dek
            .err()
            .map(|e| e.to_string())
            .or_else(|| unbelieved.first().map(|f| format!("{}: {}", f.object, f.why))),
        audit,
        drill: drills.into_iter().find_map(|(_, found)| Some(found.err()?.to_string())),
    }
}

/// What the marks of the backup come to, and which are not believed.
async fn standing(repository: &Repository) -> (String, Vec<String>) {
    // Without a manifest nobody knows what they are about.
    let Ok(Some(found)) = repository.manifest(&backup()).await else {
        return (free(), Vec::new());
    };
    let subject = marked_backup(&found);
    let marks = repository.marks_of(&subject).await.unwrap();
    let listed = repository.backups().await.unwrap();
    let standing = match marks.standing(&subject) {
        Standing::Free => free(),
        Standing::Held(_) => "held".into(),
        Standing::Tombstoned(_) => "tombstoned".into(),
        Standing::Swept(_) => "swept".into(),
    };
    assert_eq!(listed.is_empty(), standing == "swept");
    let why = marks.findings.iter().map(|f| format!("{}: {}", f.object, f.why));
    (standing, why.collect())
}

pub(crate) async fn write() {
    fs::create_dir_all(folder("repositories")).unwrap();
    let x25519 = FileKms::generate_x25519().unwrap();
    let symmetric = KeyFile::new(KeyKind::Symmetric, None, Some([0x4b; 32]));
    let mut cases = Vec::new();
    for (name, kek) in [("x25519", x25519), ("symmetric", symmetric)] {
        let dir = tempfile::tempdir().unwrap();
        kek.write_new(&dir.path().join("kek")).unwrap();
        let kms = FileKms::open(&dir.path().join("kek")).unwrap();
        let context =
            KeyContext { cluster: header(0).cluster, dek: header(0).dek, purpose: "backup" };
        let wrap = kms.wrap(&context, &Dek::from_bytes(DEK)).await.unwrap();
        let base = good(&wrap);
        if name == "symmetric" {
            cases.extend(
                bad(&base, &wrap).into_iter().map(|(n, why, stored)| (n, why, stored, kek.clone())),
            );
            let stranger = KeyFile::new(KeyKind::Symmetric, None, Some([0x4c; 32]));
            cases.push(("bad-kek".into(), "another KEK", base.clone(), stranger));
            let elsewhere = KeyContext { dek: DekId::from_bytes([3; 16]), ..context };
            let moved = kms.wrap(&elsewhere, &Dek::from_bytes(DEK)).await.unwrap();
            cases.push((
                "bad-key-context".into(),
                "wrapped in another context",
                good(&moved),
                kek.clone(),
            ));
        }
        cases.push((format!("good-{name}"), "all is well", base, kek));
    }
    for (name, why, stored, kek) in cases {
        let path = folder("repositories").join(format!("{name}.json"));
        if !path.exists() {
            let text = serde_json::to_string_pretty(&judge(why, &stored, &kek).await).unwrap();
            fs::write(path, text + "\n").unwrap();
        }
    }
}

#[tokio::test]
async fn every_frozen_repository_is_read_as_it_was() {
    let mut seen = 0;
    for entry in fs::read_dir(folder("repositories")).unwrap() {
        let path = entry.unwrap().path();
        let frozen: Frozen = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let kek = KeyFile::parse(&frozen.kek.to_string()).unwrap();
        let stored =
            frozen.objects.iter().map(|(k, b)| (k.clone(), STANDARD.decode(b).unwrap())).collect();
        let now = judge(&frozen.why, &stored, &kek).await;
        let said = |f: &Frozen| {
            (
                f.cluster.clone(),
                [&f.manifest, &f.drill].map(Clone::clone),
                f.dek.clone(),
                f.audit.clone(),
            )
        };
        assert_eq!(said(&now), said(&frozen), "{}", path.display());
        assert_eq!(
            (&now.standing, &now.marks),
            (&frozen.standing, &frozen.marks),
            "{}",
            path.display()
        );
        let well = said(&now) == (None, [None, None], None, Vec::new()) && now.marks.is_empty();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(well, name.starts_with("good-"), "{name}: {:?}", said(&now));
        seen += 1;
    }
    assert!(seen >= 80, "only {seen} repositories: a vector is missing");
}
