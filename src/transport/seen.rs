//! What the last connection was like, for whoever has to tell.

use std::sync::{Mutex, PoisonError};

use crate::model::{Connection, Peer, TlsFacts, TransportSecurity};

/// How the last connection was protected; nothing before there was one.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Option<(TransportSecurity, Option<TlsFacts>)>>);

impl Seen {
    /// A connection has come about.
    pub fn record(&self, security: TransportSecurity, tls: Option<TlsFacts>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((security, tls));
    }

    /// The last one, as one to this peer.
    #[must_use]
    pub fn connection(&self, to: Peer) -> Connection {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            Some((security, tls)) => Connection { to, security, tls },
            None => Connection::new(to, TransportSecurity::Unknown),
        }
    }
}
