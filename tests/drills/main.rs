//! Drills from outside, against real servers: what is said to be recoverable is recovered, what is not
//! as it should be makes them fail, and nothing stays behind.
//!
//! `BACKSTAY_SOAK=1` runs the full counts, otherwise a slice of them. `BACKSTAY_SEED` repeats a run.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../archive/archiver.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod archiver;
#[path = "../end_to_end/chance.rs"]
mod chance;
#[path = "../end_to_end/children.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod children;
#[path = "../end_to_end/home.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod home;
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
#[path = "../archive/node.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod node;
#[path = "../end_to_end/served.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod served;
#[path = "../end_to_end/small_disk.rs"]
mod small_disk;
#[path = "../support/tools.rs"]
mod tools;

mod estimates;
mod failing;
mod increments;
mod manners;
mod points;
mod scene;
