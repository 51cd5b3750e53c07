//! `keys new`, `keys rewrap`, `keys status`: KEKs, and which DEKs they open.

mod new;
pub mod rewrap;
pub mod status;

pub use new::{Kind, NewKeys, NewTrust, beside, new, pin, trust};
