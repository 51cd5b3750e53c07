//! From a stream to sealed volumes and a commit, and the reverse.

mod audit;
pub mod budget;
mod commit;
mod error;
mod hash;
mod keys;
mod level;
mod open;
mod progress;
mod repository;
mod run;
mod seal;

pub use audit::{AuditHead, append as append_audit, verify_chain};
pub use commit::{Commit, Committed, Ending, commit};
pub use error::PipelineError;
pub use hash::Hasher;
pub use keys::PURPOSE as KEY_PURPOSE;
pub use level::{Level, compressor};
pub use open::{Accept, Finding, OnBad, Opened, Volumes, open_volumes};
pub use progress::Progress;
pub use repository::{Found, Repository, key};
pub use run::{Run, RunRequest};
pub use seal::{Inspect, SealRequest, Sealed, seal_stream};
