//! Azure Blob Storage, as Azurite plays it.

use std::sync::Arc;

use backstay::store::{Store, StoreErrorKind as Kind, StoreOptions};

use super::{azurite::Azurite, hasty, key, opened, promises};

fn options(azurite: &Azurite) -> StoreOptions {
    StoreOptions {
        endpoint: Some(azurite.endpoint()),
        credentials_file: Some(azurite.credentials_file()),
        ..hasty()
    }
}

async fn store(url: &str, azurite: &Azurite) -> Arc<dyn Store> {
    opened(url, &options(azurite)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_keeps_the_contract() {
    let azurite = Azurite::start();
    azurite.container("contract").await;
    let traits = promises::Traits {
        part_size: 100_000,
        many: 5_050,
        finds_uploads: false,
        forgets_folders: true,
    };
    promises::keeps_them_all(&store("az://contract/some/prefix", &azurite).await, &traits).await;
    errors_say_what_to_do(&azurite).await;
}

async fn errors_say_what_to_do(azurite: &Azurite) {
    let missing = store("az://missing/prefix", azurite).await;
    let error = missing.create(&key("a"), "x".into()).await.unwrap_err();
    assert_eq!(error.kind, Kind::NoBucket, "{error}");
    let error = missing.get(&key("a"), 1).await.unwrap_err();
    assert!(matches!(error.kind, Kind::NoBucket | Kind::NotFound), "{error}");
    let file = azurite.wrong_credentials_file();
    let secret = std::fs::read_to_string(&file).unwrap();
    let secret = secret.rsplit(" = ").next().unwrap().trim();
    let wrong = StoreOptions { credentials_file: Some(file), ..options(azurite) };
    let stranger = opened("az://contract/prefix", &wrong).await;
    let error = stranger.create(&key("a"), "x".into()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unauthenticated, "{error}");
    assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
}
