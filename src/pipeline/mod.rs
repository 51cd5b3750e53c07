//! From a stream to sealed volumes and a commit, and the reverse.

pub mod audit;
mod author;
pub mod budget;
mod candidates;
mod commit;
mod error;
mod hash;
mod head;
mod keys;
mod level;
mod locking;
pub mod log;
mod open;
mod progress;
mod repository;
mod run;
mod seal;
mod search;
mod strangers;
pub mod verdict;
pub mod watch;

pub use author::{Author, Introduction};
pub use candidates::Intruder;
pub use commit::{Commit, Committed, Ending, commit};
pub use error::PipelineError;
pub use hash::Hasher;
pub use head::{ChainHead, HeadError};
pub use keys::{KeyRecords, NewestKey, purpose};
pub use level::{Level, compressor};
pub use locking::{Class, LockPolicy, SLACK};
pub use open::{Accept, Finding, Objects, OnBad, Opened, StoredObject, open_objects, open_whole};
pub use progress::{Progress, Replaying};
pub use repository::{Found, Repository, Vouched, key};
pub use run::{Run, RunRequest};
pub use seal::{Inspect, SealRequest, Sealed, seal_stream};
