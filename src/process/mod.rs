//! Children: started, listened to, ended, and proven to have ended well.
//!
//! Every child leads a process group of its own, sees an environment of a few
//! allowed variables, and is ended with all its descendants: by [`Child::stop`],
//! when the [`Child`] is dropped, and, through the [`shim`](set_shim), when this
//! process is killed in any way.

mod capture;
mod child;
mod error;
mod shim;
mod spawner;
mod stderr;
#[cfg(test)]
mod tests;

pub use capture::capture;
pub use child::{Child, CleanExit, Killer};
pub use error::ProcessError;
pub use shim::{CHILD_SUBCOMMAND, die_with_parent_then_exec, set_shim};
pub use spawner::{Input, Output};
