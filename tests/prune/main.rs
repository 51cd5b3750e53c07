//! Forgetting: whatever the history, the policy and the moment of a crash, what a rule keeps can be
//! restored, and in the end nothing else is there.
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
#[expect(dead_code, reason = "other test programs use the rest")]
mod locked;
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
#[path = "../immutability/policies.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod policies;
#[path = "../end_to_end/served.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod served;
#[path = "../support/tools.rs"]
mod tools;

#[path = "../coverage/archiver.rs"]
mod archiver;
mod bases;
mod chains;
mod copies;
mod copies_real;
mod crashes;
mod fuse;
mod holds;
mod horizon;
mod killed;
mod leftovers;
mod locks;
mod pad;
mod real;
mod stage;
#[path = "../coverage/world.rs"]
mod world;
