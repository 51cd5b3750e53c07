//! Several KEKs for one DEK: rewrapping, what it must never break, and what `keys status` says.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod attacks;
mod kills;
mod rewrap;
mod world;
