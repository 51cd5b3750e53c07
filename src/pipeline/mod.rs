//! From a stream to sealed volumes and a commit, and the reverse.

mod audit;
mod author;
pub mod budget;
mod commit;
mod error;
mod forget;
mod hash;
mod head;
mod horizon;
mod keys;
mod level;
pub mod log;
mod marks;
mod open;
mod progress;
mod repository;
mod run;
mod seal;

pub use audit::{PRUNED, append as append_audit, verify_chain};
pub use author::{Author, Introduction};
pub use commit::{Commit, Committed, Ending, commit};
pub use error::PipelineError;
pub use forget::{Removed, is_locked};
pub use hash::Hasher;
pub use head::{ChainHead, HeadError};
pub use horizon::{Horizon, Horizons};
pub use keys::{KeyRecords, NewestKey, purpose};
pub use level::{Level, compressor};
pub use marks::{Mark, Marks, Standing, marked_backup, marked_run};
pub use open::{Accept, Finding, Objects, OnBad, Opened, StoredObject, open_objects, open_whole};
pub use progress::{Progress, Replaying};
pub use repository::{Found, Repository, key};
pub use run::{Run, RunRequest};
pub use seal::{Inspect, SealRequest, Sealed, seal_stream};
