//! The promises of the store's port, kept by every kind of store.
//!
//! `promises` is the contract; one module a store runs it, and adds what only that store
//! can get wrong. The servers are real where there is one that is faithful.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of this is tests; the configured exception covers only functions marked so"
)]

#[path = "../support/azurite.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod azurite;
#[path = "../support/locked.rs"]
mod locked;
#[path = "../support/minio.rs"]
mod minio;
#[path = "../support/rgw.rs"]
mod rgw;
#[path = "../support/tools.rs"]
mod tools;

mod azure;
mod faults;
mod google;
mod liars;
mod local;
mod memory;
mod promises;
mod relay;
mod s3;
mod s3_connect;
mod script;
mod versions;

use std::{sync::Arc, time::Duration};

use backstay::store::{Key, Store, StoreOptions, open};

fn key(text: impl Into<String>) -> Key {
    Key::new(text).unwrap()
}

/// Options for tests: as by default, less patient.
fn hasty() -> StoreOptions {
    StoreOptions {
        retry_for: Duration::from_secs(5),
        stall_timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(2),
        ..StoreOptions::default()
    }
}

async fn opened(url: &str, options: &StoreOptions) -> Arc<dyn Store> {
    open(url, options).await.unwrap()
}
