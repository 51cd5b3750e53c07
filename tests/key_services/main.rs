//! Keys in services: Vault's transit, AWS KMS, Google's Cloud KMS and Azure's Key Vault. What they do,
//! what they refuse, and whole backups with them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../support/aws_kms.rs"]
mod aws_kms;
#[path = "../end_to_end/children.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod children;
#[path = "../support/cloud_kms.rs"]
mod cloud_kms;
#[path = "../end_to_end/home.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod home;
#[path = "../support/key_vault.rs"]
mod key_vault;
#[path = "../support/mariadb.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod mariadb;
#[path = "../support/minio.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod minio;
#[path = "../support/relay.rs"]
mod relay;
#[path = "../support/tools.rs"]
mod tools;
#[path = "../support/transit.rs"]
mod transit;

mod aws;
mod azure;
mod azure_login;
mod cycle;
mod gcp;
mod gcp_login;
mod rights;
mod stage;
mod vault;
mod vault_cycle;
mod vault_login;
mod vectors;
