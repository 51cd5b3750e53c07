//! S3, as MinIO speaks it.

use std::sync::Arc;

use backstay::store::{Store, StoreErrorKind as Kind, StoreOptions, open};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::{
    hasty, key,
    minio::{Minio, REGION},
    opened, promises,
    script::{Conscience, Script},
};

/// Options for a MinIO of the tests.
pub(crate) fn options(minio: &Minio) -> StoreOptions {
    StoreOptions {
        endpoint: Some(minio.endpoint()),
        region: Some(REGION.to_owned()),
        credentials_file: Some(minio.credentials_file()),
        ..hasty()
    }
}

/// A store in a bucket of its own on the shared server.
pub(crate) async fn store(bucket: &str) -> Arc<dyn Store> {
    let minio = Minio::shared();
    minio.bucket(bucket, false).await;
    opened(&format!("s3://{bucket}/some/prefix"), &options(minio)).await
}

const TRAITS: promises::Traits = promises::Traits {
    part_size: 5 << 20,
    many: 2_500,
    finds_uploads: true,
    forgets_folders: true,
};

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract() {
    promises::keeps_them_all(&store("contract").await, &TRAITS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_with_versions_keeps_the_contract_too() {
    let minio = Minio::shared();
    minio.bucket("versioned", true).await;
    let options = StoreOptions { sign_payloads: true, ..options(minio) };
    let store = opened("s3://versioned", &options).await;
    let fewer = promises::Traits { many: 50, forgets_folders: false, ..TRAITS };
    promises::keeps_them_all(&store, &fewer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_holds_the_checksum_of_the_whole() {
    use aws_sdk_s3::types::ChecksumMode;
    let store = store("checksums").await;
    let body = Bytes::from(vec![7; (5 << 20) + 3]);
    store.create(&key("small"), body.clone()).await.unwrap();
    let upload = store.upload(&key("large"), 5 << 20).await.unwrap();
    upload.part(1, body.slice(5 << 20..)).await.unwrap();
    upload.part(0, body.slice(..5 << 20)).await.unwrap();
    upload.complete().await.unwrap();
    let client = Minio::shared().client();
    for name in ["small", "large"] {
        let request = client.head_object().bucket("checksums").key(format!("some/prefix/{name}"));
        let head = request.checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
        // Over the whole at once, where ours was put together from those of the parts.
        let expected = crc32fast::hash(&body).to_be_bytes();
        assert_eq!(head.checksum_crc32(), Some(STANDARD.encode(expected).as_str()), "{name}");
    }
}

#[tokio::test]
async fn a_missing_bucket_is_named() {
    let store = opened("s3://no-such-bucket/p", &options(Minio::shared())).await;
    let errors = [
        store.create(&key("a"), "x".into()).await.unwrap_err(),
        store.get(&key("a"), 1).await.unwrap_err(),
        store.list_folders("").await.unwrap_err(),
        store.upload(&key("a"), 5 << 20).await.err().unwrap(),
    ];
    for error in errors {
        assert_eq!(error.kind, Kind::NoBucket, "{error}");
        assert!(error.to_string().contains("s3://no-such-bucket/p"), "{error}");
        assert_eq!(error.attempts, 1);
    }
}

#[tokio::test]
async fn wrong_credentials_are_named_and_never_shown() {
    let minio = Minio::shared();
    minio.bucket("credentials", false).await;
    let right = std::fs::read_to_string(minio.credentials_file()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let wrong_secret = "geheim-und-falsch";
    let secret = right.rsplit(" = ").next().unwrap().trim();
    for (name, text, word) in [
        ("secret", right.replace(secret, wrong_secret), "SignatureDoesNotMatch"),
        ("id", right.replace("backstay-tests", "somebody-else"), "InvalidAccessKeyId"),
        ("nothing", String::new(), "credential"),
    ] {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        let options = StoreOptions { credentials_file: Some(file), ..options(minio) };
        let store = opened("s3://credentials/p", &options).await;
        let error = store.create(&key("a"), "x".into()).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unauthenticated, "{error}");
        assert_eq!(error.attempts, 1, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(error.hint.is_some(), "{error}");
        for hidden in [wrong_secret, secret] {
            assert!(!format!("{error} {error:?} {store:?}").contains(hidden), "{error:?}");
        }
    }
    let options =
        StoreOptions { credentials_file: Some("/nowhere/at/all".into()), ..options(minio) };
    let error = open("s3://credentials/p", &options).await.unwrap_err();
    assert_eq!(error.kind, Kind::Configuration, "{error}");
}

#[tokio::test]
async fn the_right_region_is_told() {
    let minio = Minio::shared();
    minio.bucket("region", false).await;
    let options = StoreOptions { region: Some("us-east-1".to_owned()), ..options(minio) };
    let store = opened("s3://region/p", &options).await;
    let error = store.create(&key("a"), "x".into()).await.unwrap_err();
    assert_eq!(error.kind, Kind::WrongRegion, "{error}");
    assert!(error.to_string().contains(&format!("--store-region {REGION}")), "{error}");
}

#[tokio::test]
async fn a_payload_is_hashed_once_and_signed_only_when_asked() {
    let script = Script::start(Conscience::Honest).await;
    let body = Bytes::from_static(b"a payload");
    let crc = STANDARD.encode(crc32fast::hash(&body).to_be_bytes());
    for (sign_payloads, signed_as) in [(false, "UNSIGNED-PAYLOAD"), (true, SHA256_OF_PAYLOAD)] {
        let endpoint = Some(script.endpoint());
        let options = StoreOptions { endpoint, sign_payloads, ..options(Minio::shared()) };
        let store = opened("s3://bucket", &options).await;
        store.create(&key(format!("{sign_payloads}")), body.clone()).await.unwrap();
        let create = script.last_put();
        let upload = store.upload(&key("upload"), 100).await.unwrap();
        upload.part(0, body.clone()).await.unwrap();
        let part = script.last_put();
        upload.abort().await.unwrap();
        for headers in [create, part] {
            let header = |name: &str| headers.get(name).map(|v| v.to_str().unwrap());
            assert_eq!(header("x-amz-content-sha256"), Some(signed_as));
            assert_eq!(header("x-amz-checksum-crc32"), Some(crc.as_str()));
            // Either would mean that the SDK reads the payload once more.
            assert_eq!((header("x-amz-trailer"), header("content-encoding")), (None, None));
        }
    }
}

/// As `printf 'a payload' | sha256sum` tells it.
const SHA256_OF_PAYLOAD: &str = "d0c27dd3ba9c7d7f7be628d7bec50b9dc6ae296d21315ea880bce1d3042ff571";
