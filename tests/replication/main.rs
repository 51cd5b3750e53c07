//! Binary logs by the replication protocol, against real servers: MariaDB of the system, MySQL 9
//! of the tools.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod bytes;
mod capture;
mod encrypted;
mod faults;
mod groups;
#[path = "../support/keyring.rs"]
mod keyring;
#[expect(dead_code, reason = "shared by test programs; none uses all of it")]
#[path = "../support/load.rs"]
mod load;
#[expect(dead_code, reason = "shared by test programs; none uses all of it")]
#[path = "../support/mariadb.rs"]
mod mariadb;
#[path = "../support/mysql9.rs"]
mod mysql9;
mod proxy;
mod questions;
mod secure;
mod source;
#[path = "../support/tools.rs"]
mod tools;
