//! Backups that nobody can remove or replace: under a lock that a real store enforces, with
//! identities of no more rights than they need, and against whoever writes over everything.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../end_to_end/children.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod children;
#[path = "../end_to_end/home.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod home;
#[path = "../support/load.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod load;
#[path = "../support/locked.rs"]
mod locked;
#[path = "../support/mariadb.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod mariadb;
#[path = "../support/minio.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod minio;
#[path = "../support/mysql9.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod mysql9;
#[path = "../support/rgw.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod rgw;
#[path = "../end_to_end/served.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod served;
#[path = "../support/tools.rs"]
mod tools;

mod attacks;
mod ceph;
mod hidden;
mod hostile;
mod narrow;
mod options;
mod policies;
mod stage;
