//! Local files: what only a file system can get wrong.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::Arc,
};

use backstay::{
    model::Timestamp,
    store::{Store, StoreErrorKind as Kind, open},
};
use futures::TryStreamExt;

use super::{hasty, key, opened, promises};

async fn at(path: &Path) -> Arc<dyn Store> {
    opened(&format!("file://{}", path.display()), &hasty()).await
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

fn files_below(path: &Path) -> usize {
    let entries = fs::read_dir(path).unwrap().map(|e| e.unwrap().path());
    entries.map(|p| if p.is_dir() { files_below(&p) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn local_files_keep_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let store = at(&dir.path().join("repository")).await;
    let traits = promises::Traits {
        part_size: 10_000,
        many: 2_500,
        finds_uploads: true,
        forgets_folders: true,
    };
    promises::keeps_them_all(&store, &traits).await;
}

#[tokio::test]
async fn the_repository_appears_at_the_first_write_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    let store = at(&root).await;
    assert!(store.list_folders("").await.unwrap().is_empty());
    assert!(!root.exists(), "reading makes nothing");
    store.create(&key("a/b/c"), "x".into()).await.unwrap();
    let upload = store.upload(&key("a/d"), 10).await.unwrap();
    upload.part(0, "y".into()).await.unwrap();
    upload.complete().await.unwrap();
    for (path, expected) in
        [("", 0o700), ("a", 0o700), ("a/b", 0o700), ("a/b/c", 0o600), ("a/d", 0o600)]
    {
        assert_eq!(mode(&root.join(path)), expected, "{path:?}");
    }
    assert_eq!(files_below(&root), 2, "no temporary file is left");
}

#[tokio::test]
async fn a_missing_folder_above_is_an_error_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/missing/repository", dir.path().display());
    let error = open(&url, &hasty()).await.unwrap_err();
    assert_eq!(error.kind, Kind::NoBucket, "{error}");
    assert!(error.hint.is_some());
}

#[tokio::test]
async fn links_inside_the_repository_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("repository"), dir.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "geheim").unwrap();
    let store = at(&root).await;
    store.create(&key("real/object"), "x".into()).await.unwrap();
    symlink(&outside, root.join("folder")).unwrap();
    symlink(outside.join("secret"), root.join("real/file")).unwrap();
    for name in ["folder/secret", "real/file"] {
        let error = store.get(&key(name), 100).await.unwrap_err();
        assert_eq!(error.kind, Kind::Configuration, "{error}");
    }
    store.create(&key("folder/new"), "x".into()).await.unwrap_err();
    assert!(!outside.join("new").exists());
    let listed: Vec<_> = store.list("", None).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(store.list_folders("").await.unwrap(), ["real"]);
}

#[tokio::test]
async fn what_others_put_there_is_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("lost+found")).unwrap();
    fs::write(dir.path().join("lost+found/x"), "x").unwrap();
    fs::write(dir.path().join("a b"), "x").unwrap();
    let store = at(dir.path()).await;
    assert!(store.list("", None).try_collect::<Vec<_>>().await.unwrap().is_empty());
    assert!(store.list_folders("").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_upload_in_use_survives_the_sweep_and_a_dead_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = at(dir.path()).await;
    let upload = store.upload(&key("a/b"), 10).await.unwrap();
    upload.part(0, "x".into()).await.unwrap();
    let hour = 3_600_000_000;
    let an_hour_ago = Timestamp::now().as_microseconds() - hour;
    let an_hour_ago = Timestamp::from_microseconds(an_hour_ago).unwrap();
    assert_eq!(store.abort_uploads("", an_hour_ago).await.unwrap(), 0);
    let old = std::time::SystemTime::now() - std::time::Duration::from_hours(2);
    for entry in fs::read_dir(dir.path().join("a")).unwrap() {
        fs::File::options()
            .write(true)
            .open(entry.unwrap().path())
            .unwrap()
            .set_modified(old)
            .unwrap();
    }
    assert_eq!(store.abort_uploads("", an_hour_ago).await.unwrap(), 1);
    assert_eq!(files_below(dir.path()), 0);
}

#[tokio::test]
async fn a_full_disk_is_named_and_leaves_nothing_behind() {
    // The kernel's own full disk: every write to a file system of this size fails.
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("small");
    fs::create_dir(&target).unwrap();
    let options = ["-t", "tmpfs", "-o", "size=64k", "backstay-test"];
    let mounted = std::process::Command::new("mount").args(options).arg(&target).output().unwrap();
    if !mounted.status.success() {
        // Without the right to mount, the mapping of the error is all that can be tested;
        // its unit test does.
        return;
    }
    let store = at(&target).await;
    let error = store.create(&key("a"), vec![1; 200_000].into()).await;
    let left = files_below(&target);
    let upload = store.upload(&key("b"), 200_000).await.unwrap();
    let part = upload.part(0, vec![1; 200_000].into()).await;
    upload.abort().await.unwrap();
    let unmounted = std::process::Command::new("umount").arg(&target).status().unwrap();
    assert!(unmounted.success());
    for error in [error.unwrap_err(), part.unwrap_err()] {
        assert!(error.to_string().contains("full"), "{error}");
        assert_eq!(error.attempts, 1, "waiting frees no disk");
    }
    assert_eq!(left, 0);
}
