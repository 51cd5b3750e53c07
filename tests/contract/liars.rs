//! Stores that say "created" and have overwritten: the probe has to catch each of them.

use backstay::store::{StoreErrorKind as Kind, StoreOptions, probe_create_only};

use super::{
    hasty, opened,
    rgw::Rgw,
    script::{Conscience, Script},
};

#[tokio::test]
async fn a_store_that_ignores_the_condition_is_refused() {
    for (conscience, word) in
        [(Conscience::Ignores, "overwrote"), (Conscience::Feigns, "overwrote")]
    {
        let script = Script::start(conscience).await;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials");
        let keys = "[default]\naws_access_key_id = any\naws_secret_access_key = thing\n";
        std::fs::write(&file, keys).unwrap();
        let endpoint = Some(script.endpoint());
        let options = StoreOptions { endpoint, credentials_file: Some(file), ..hasty() };
        let store = opened("s3://bucket/prefix", &options).await;
        let error = probe_create_only(&*store, "", "1").await.unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported, "{conscience:?}: {error}");
        assert!(error.to_string().contains("s3://bucket/prefix"), "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(error.hint.is_some(), "{error}");
    }
}

#[tokio::test]
async fn an_honest_script_passes_so_that_the_refusals_mean_something() {
    let script = Script::start(Conscience::Honest).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    let keys = "[default]\naws_access_key_id = any\naws_secret_access_key = thing\n";
    std::fs::write(&file, keys).unwrap();
    let options =
        StoreOptions { endpoint: Some(script.endpoint()), credentials_file: Some(file), ..hasty() };
    let store = opened("s3://bucket/prefix", &options).await;
    assert!(probe_create_only(&*store, "c/", "1").await.unwrap().removed);
}

/// Ceph honours the condition in plain buckets, and silently ignores it in versioned ones.
#[tokio::test(flavor = "multi_thread")]
async fn ceph_is_believed_in_plain_buckets_and_refused_in_versioned_ones() {
    let rgw = tokio::task::block_in_place(Rgw::start);
    rgw.bucket("plain", false).await;
    rgw.bucket("versioned", true).await;
    let options = StoreOptions {
        endpoint: Some(rgw.endpoint()),
        credentials_file: Some(rgw.credentials_file()),
        ..hasty()
    };
    let store = opened("s3://plain/p", &options).await;
    assert!(probe_create_only(&*store, "", "1").await.unwrap().removed);
    let store = opened("s3://versioned/p", &options).await;
    let error = probe_create_only(&*store, "", "1").await.unwrap_err();
    assert_eq!(error.kind, Kind::Unsupported, "{error}");
    assert!(error.to_string().contains("s3://versioned/p"), "{error}");
    assert!(error.to_string().contains("Ceph"), "{error}");
}
