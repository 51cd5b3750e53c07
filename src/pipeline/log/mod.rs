//! The cluster's binlog log: extending it, and reading what it covers.

mod bytes;
mod coverage;
mod numbered;
mod object;
mod reader;
mod scan;
mod segment;
mod state;
mod stored;
mod writer;

pub use bytes::RangeOpener;
pub use coverage::{ArchivedFile, Base, Broken, Coverage, End, Line, Lines, Piece, Place};
pub(in crate::pipeline) use reader::exists;
pub use reader::{Archive, checkpoint, read_archive, record, refresh, stored_record, tip};
pub use scan::{Scanned, contains, scan};
pub use segment::{SegmentSealer, TailSealer};
pub use state::{Applied, FileState, LogState, Owner, TailRef};
pub use stored::FoundRecord;
pub use writer::LogWriter;
