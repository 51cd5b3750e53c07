//! Memory: the simplest store there is, and the others' reference.

use super::{hasty, opened, promises};

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    let store = opened("memory:", &hasty()).await;
    let traits = promises::Traits {
        part_size: 100,
        many: 2_500,
        finds_uploads: true,
        forgets_folders: true,
    };
    promises::keeps_them_all(&store, &traits).await;
}

#[tokio::test]
async fn each_memory_is_its_own() {
    let (one, other) = (opened("memory:", &hasty()).await, opened("memory:", &hasty()).await);
    one.create(&super::key("a"), "x".into()).await.unwrap();
    assert!(other.head(&super::key("a")).await.is_err());
}
