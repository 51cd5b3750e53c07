//! TLS to everything outside: what is refused and in which words, what works, and that what was
//! agreed on is recorded. The servers are real; a terminator of our own gives each of them any
//! certificate and version.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../end_to_end/authority.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod authority;
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
#[path = "../support/mysql9.rs"]
mod mysql9;
#[path = "../support/synthetic.rs"]
mod synthetic;
#[path = "../support/tools.rs"]
mod tools;

mod databases;
mod servers;
mod stores;
