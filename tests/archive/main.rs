//! `backstay archive` from outside, against real servers: every byte, without gaps, whatever
//! happens. `BACKSTAY_SOAK=1` runs the full counts, otherwise a slice of them. `BACKSTAY_SEED`
//! repeats a run.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![expect(clippy::similar_names, reason = "first and last, waited and awaited")]

#[path = "../end_to_end/chance.rs"]
mod chance;
#[path = "../end_to_end/children.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod children;
#[path = "../end_to_end/home.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod home;
#[path = "../support/keyring.rs"]
mod keyring;
#[path = "../support/load.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod load;
#[path = "../support/mariadb.rs"]
#[expect(dead_code, reason = "other test programs use the rest")]
mod mariadb;
#[path = "../support/minio.rs"]
mod minio;
#[path = "../support/mysql9.rs"]
mod mysql9;
#[path = "../support/tools.rs"]
mod tools;

mod address;
mod archiver;
mod capture;
mod claims;
mod failovers;
mod found;
mod found_large;
mod found_lines;
mod gaps;
mod killed;
mod node;
mod outage;
mod owners;
mod pair;
mod probes;
mod reassembled;
mod renewal;
mod second_reader;
mod services;
mod strangers;
mod tokens;
mod turns;
mod verified;
mod walk;
mod weight;
mod windows;
mod wire;
