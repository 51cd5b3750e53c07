//! The program itself, from outside, against real servers and a real S3 server: whole cycles,
//! and everything that can be killed, killed.
//!
//! `BACKSTAY_SOAK=1` runs the full counts, otherwise a slice of them. `BACKSTAY_SEED` repeats a run.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../support/load.rs"]
mod load;
#[path = "../support/mariadb.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod mariadb;
#[path = "../support/minio.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod minio;
#[path = "../support/mysql9.rs"]
mod mysql9;
#[path = "../support/tools.rs"]
mod tools;

mod agent;
mod authority;
mod break_glass;
mod chance;
mod children;
mod clone_preflight;
mod exporter;
mod exporter_minio;
mod full_cycle;
mod home;
mod https;
mod https_server;
mod interrupts;
mod kills;
mod ledger;
mod manager;
mod outage;
mod preflight;
mod progress_file;
mod proxy;
mod reference;
mod retried_jobs;
mod secrets;
mod serve;
mod serve_kills;
mod served;
mod small_disk;
mod streams;
mod termination;
mod tls;
