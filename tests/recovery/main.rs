//! Point-in-time recovery from outside, against real servers: whatever is asked for, what comes
//! out is what the server was then.
//!
//! `BACKSTAY_SOAK=1` runs the full counts, otherwise a slice of them. `BACKSTAY_SEED` repeats a run.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![expect(clippy::similar_names, reason = "wanted and waited")]

#[path = "../archive/address.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod address;
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
#[path = "../support/keyring.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod keyring;
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
#[path = "../archive/pair.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod pair;
#[path = "../end_to_end/served.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod served;
#[path = "../end_to_end/small_disk.rs"]
mod small_disk;
#[path = "../archive/tokens.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod tokens;
#[path = "../support/tools.rs"]
mod tools;
#[path = "../archive/turns.rs"]
mod turns;

mod bases;
mod failovers;
mod forks;
mod found;
mod full;
mod grants;
mod histories;
mod kills;
mod names;
mod points;
mod refused;
mod report;
mod temporary;
mod traps;
