//! The audit chain: numbered records, each with the hash of the one before.

mod act;
mod append;
mod configuration;
mod open;
mod scan;

pub use act::{Act, capped, told};
pub use append::append;
pub use configuration::{Settings, seen};
pub use open::{OpenAct, OpenActs};
pub use scan::{Chain, MOST_FINDINGS, contains, head, record, scan};
