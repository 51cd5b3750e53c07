//! Google Cloud Storage, against a script of its XML API: no faithful server exists.

use backstay::store::{StoreErrorKind as Kind, StoreOptions};

use super::{
    hasty, key, opened, promises,
    script::{Conscience, Script},
};

/// Where to go and who to be: nobody, since the script asks for no signature.
fn options(script: &Script, dir: &tempfile::TempDir) -> StoreOptions {
    let file = dir.path().join("service-account.json");
    let account =
        r#"{"private_key": "", "private_key_id": "", "client_email": "", "disable_oauth": true}"#;
    std::fs::write(&file, account).unwrap();
    StoreOptions { endpoint: Some(script.endpoint()), credentials_file: Some(file), ..hasty() }
}

#[tokio::test(flavor = "multi_thread")]
async fn google_keeps_the_contract() {
    let (script, dir) = (Script::start(Conscience::Honest).await, tempfile::tempdir().unwrap());
    let store = opened("gs://bucket/some/prefix", &options(&script, &dir)).await;
    let traits = promises::Traits {
        part_size: 10_000,
        many: 1_050,
        finds_uploads: false,
        forgets_folders: true,
    };
    promises::keeps_them_all(&store, &traits).await;
    assert_eq!(script.unfinished(), 2, "of the two that were left on purpose");
}

#[tokio::test]
async fn failures_of_google_are_counted_by_us_alone() {
    let (script, dir) = (Script::start(Conscience::Honest).await, tempfile::tempdir().unwrap());
    let options = StoreOptions { attempts: 3, ..options(&script, &dir) };
    let store = opened("gs://bucket", &options).await;
    script.fail(&[503, 500]);
    store.create(&key("a"), "x".into()).await.unwrap();
    let before = script.requests();
    script.fail(&[503; 9]);
    let error = store.get(&key("a"), 1).await.unwrap_err();
    assert_eq!((error.kind, error.attempts), (Kind::Unavailable, 3), "{error}");
    assert_eq!(script.requests() - before, 3, "the library below must not retry as well");
}

#[tokio::test]
async fn refusals_of_google_say_what_to_do() {
    let (script, dir) = (Script::start(Conscience::Honest).await, tempfile::tempdir().unwrap());
    for (url, kind) in [("gs://missing", Kind::NoBucket), ("gs://forbidden", Kind::Denied)] {
        let store = opened(url, &options(&script, &dir)).await;
        let error = store.create(&key("a"), "x".into()).await.unwrap_err();
        assert_eq!((error.kind, error.attempts), (kind, 1), "{error}");
        assert!(error.hint.is_some(), "{error}");
    }
}
