//! The audit trail: one chain however many write to it, every act in it, and whatever is done to it seen.
//!
//! `BACKSTAY_SOAK=1` verifies a million records instead of some ten thousand.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../end_to_end/children.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod children;
#[path = "../end_to_end/home.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod home;
#[path = "../support/mariadb.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod mariadb;
#[path = "../support/minio.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod minio;
#[path = "../support/synthetic.rs"]
mod synthetic;
#[path = "../support/tools.rs"]
mod tools;

mod chain;
mod export;
mod readers;
mod scale;
mod world;
mod writers;
