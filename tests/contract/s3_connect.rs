//! Ways to an S3 server: TLS with a private authority, the bucket in the host name, proxies.

use std::process::Command;

use backstay::store::{StoreErrorKind as Kind, StoreOptions, open};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::{key, minio::Minio, opened, s3::options, tools::free_port};

struct Authority {
    ca: String,
    certificate: String,
    key: String,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    Authority { ca: issuer.pem(), certificate: leaf.pem(), key: key.serialize_pem() }
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_named_and_only_then() {
    let (ours, other) = (authority("ours"), authority("another"));
    let minio = Minio::start(Some((&ours.certificate, &ours.key)));
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let with = |ca| StoreOptions { ca_file: ca, ..options(&minio) };
    for ca in [None, Some(file("other.pem", &other.ca))] {
        let store = opened("s3://private/p", &with(ca)).await;
        let error = store.create(&key("a"), "x".into()).await.unwrap_err();
        assert_eq!(error.kind, Kind::Tls, "{error}");
        assert_eq!(error.attempts, 1, "{error}");
        assert!(error.to_string().contains("--store-ca"), "{error}");
        assert!(error.to_string().contains("UnknownIssuer"), "the root cause: {error}");
    }
    let store = opened("s3://private/p", &with(Some(file("ca.pem", &ours.ca)))).await;
    let error = store.get(&key("a"), 1).await.unwrap_err();
    assert_eq!(error.kind, Kind::NoBucket, "{error}");
    for (name, text) in [
        ("empty.pem", ""),
        ("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ] {
        let error = open("s3://private/p", &with(Some(file(name, text)))).await.unwrap_err();
        assert_eq!(error.kind, Kind::Configuration, "{error}");
    }
}

#[tokio::test]
async fn plain_http_where_tls_is_spoken_is_explained() {
    let minio = Minio::shared();
    let endpoint = Some(minio.endpoint().replace("http://", "https://"));
    let store = opened("s3://bucket/p", &StoreOptions { endpoint, ..options(minio) }).await;
    let error = store.get(&key("a"), 1).await.unwrap_err();
    assert_eq!(error.kind, Kind::Tls, "{error}");
}

/// No resolver knows `bucket.localhost`, so the server is made the proxy, which needs a
/// process with an environment of its own.
#[tokio::test]
async fn the_bucket_may_be_in_the_host_name_and_a_proxy_in_between() {
    let minio = Minio::shared();
    minio.bucket("in-the-host-name", false).await;
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "s3_connect::behind_a_proxy", "--ignored", "--nocapture"])
        .env("http_proxy", minio.endpoint())
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .env("TEST_STORE_CREDENTIALS", minio.credentials_file())
        .env("TEST_STORE_PORT", minio.port().to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
    let client = minio.client();
    let found = client.list_objects_v2().bucket("in-the-host-name").send().await.unwrap();
    assert_eq!(found.contents()[0].key(), Some("p/a"));
}

#[tokio::test]
#[ignore = "run by another test, with a proxy in its environment"]
async fn behind_a_proxy() {
    let var = |name| std::env::var(name).unwrap();
    let options = StoreOptions {
        endpoint: Some(format!("http://localhost:{}", var("TEST_STORE_PORT"))),
        region: Some(super::minio::REGION.to_owned()),
        path_style: Some(false),
        credentials_file: Some(var("TEST_STORE_CREDENTIALS").into()),
        ..super::hasty()
    };
    let store = opened("s3://in-the-host-name/p", &options).await;
    store.create(&key("a"), "x".into()).await.unwrap();
    assert_eq!(store.get(&key("a"), 1).await.unwrap(), "x");
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_not_unclear() {
    let minio = Minio::shared();
    let endpoint = Some(format!("http://127.0.0.1:{}", free_port()));
    let retry_for = std::time::Duration::from_secs(1);
    let options = StoreOptions { endpoint, retry_for, ..options(minio) };
    let store = opened("s3://bucket/p", &options).await;
    let error = store.create(&key("a"), "x".into()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{error}");
    assert!(error.attempts > 1, "{error}");
    assert!(error.to_string().contains("onnection refused"), "the root cause: {error}");
}
