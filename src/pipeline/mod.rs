//! From a stream to sealed volumes and a commit, and the reverse.

mod audit;
mod author;
pub mod budget;
mod chain;
mod commit;
mod drills;
mod error;
mod hash;
mod head;
mod keys;
mod level;
pub mod log;
mod open;
mod progress;
mod repository;
mod run;
mod seal;

pub use audit::{append as append_audit, verify_chain};
pub use author::{Author, Introduction};
pub use commit::{Commit, Committed, Ending, commit};
pub use drills::{FoundDrill, store_drill};
pub use error::PipelineError;
pub use hash::Hasher;
pub use head::{ChainHead, HeadError};
pub use keys::{KeyRecords, NewestKey, purpose};
pub use level::{Level, compressor};
pub use open::{Accept, Finding, Objects, OnBad, Opened, StoredObject, open_objects, open_whole};
pub use progress::{Items, Progress, Replaying};
pub use repository::{Found, Repository, key};
pub use run::{Run, RunRequest};
pub use seal::{Inspect, SealRequest, Sealed, seal_stream};
