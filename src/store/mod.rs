//! Where objects live: one port, one contract, and a folder for each kind of store.
//!
//! A [`Store`] is opened by its URL with [`open`]. Below the port, `backend` says what a
//! kind of store has to do once; `repository` and `transfer` make a store of any backend:
//! there, and only there, calls are tried again, timed, and their doubts settled.

mod backend;
mod cloud;
mod error;
mod identity;
mod keep;
mod key;
mod listing;
mod local;
mod memory;
mod open;
mod options;
mod port;
mod probe;
mod repository;
mod retry;
mod s3;
mod transfer;
mod versions;

pub use error::{StoreError, StoreErrorKind};
pub use keep::{
    BucketLock, DefaultRetention, Erased, Keep, KeepError, Kept, ServerEncryption, StorageClass,
};
pub use key::{Key, KeyError};
pub use open::open;
pub use options::StoreOptions;
pub use port::{ObjectInfo, Store, Upload};
pub use probe::{Honesty, probe_abort, probe_create_only, probe_keeping};
pub use versions::{Version, VersionId, Versions};
