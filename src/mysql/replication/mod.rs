//! Binary logs by the replication protocol, byte by byte as the server has them.
//!
//! [`Dump`] is a replica's side of one connection: handshake, registration, `COM_BINLOG_DUMP`
//! by file and offset. It yields the bytes of each event as they come, in pieces, so that an
//! event of 1 GB takes no more memory than a small one, and beside them what the event means.
//! What the server adds for replicas alone (events that it makes up, a format description that
//! it sends again) is left out, so that the bytes are those of its file.

mod auth;
mod captured;
mod changes;
mod dump;
mod events;
mod fields;
mod groups;
mod gtids;
mod handshake;
mod header;
mod identity;
mod link;
mod meaning;
mod refusal;
mod relay;
mod secure;
mod tagged;

pub use captured::{Captured, EventEnd, Group, Meaning};
pub use changes::{
    Change, Definition, EventChange, EventChangeKind, TemporaryTables, Transaction, Transactions,
    Wanted, event_change,
};
pub use dump::{Dump, DumpRequest};
pub use events::Events;
pub use identity::{ReplicaIdentity, SourceIdentity};
pub use relay::{RELAY_BASE, RelayRole, has_checksums, is_of_a_start, relay_head, relay_name};
