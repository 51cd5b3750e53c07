//! Forgetting: whatever the history, the policy and the moment of a crash, what a rule keeps can be
//! restored, and in the end nothing else is there.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../coverage/archiver.rs"]
mod archiver;
mod bases;
mod crashes;
mod fuse;
mod holds;
mod horizon;
mod leftovers;
mod stage;
#[path = "../coverage/world.rs"]
mod world;
