//! Where objects live: one port, one contract, and a folder for each kind of store.

mod error;
mod key;
mod port;

pub use error::{StoreError, StoreErrorKind};
pub use key::{Key, KeyError};
pub use port::{ObjectInfo, Store, Upload};
