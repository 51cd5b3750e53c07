//! 4.2: is data protected on the way?

use super::of;
use crate::{
    jobs::report::{
        document::{ConnectionUse, Evidence, Statement},
        facts::Facts,
    },
    model::{Peer, TransportSecurity},
};

pub(super) fn protected(facts: &Facts) -> Vec<Statement> {
    let used = &facts.trail.connections;
    if used.is_empty() {
        return vec![Statement::not_shown("No act of the period tells of a connection.")];
    }
    let mut said: Vec<Statement> = used.iter().map(one).collect();
    // The worst first.
    said.sort_by_key(|statement| std::cmp::Reverse(statement.status));
    said
}

fn one((used, evidence): &(ConnectionUse, Evidence)) -> Statement {
    let connection = &used.connection;
    let acts = of(used.acts, "act", "acts");
    let to = match connection.to {
        Peer::Store => "the object store",
        Peer::Kms => "the KEK's service",
        Peer::Signer => "the signer's service",
        Peer::Database => "the database server",
        Peer::Source => "the agent that streams",
    };
    let (last, run) = (used.last_at, used.last_run);
    let statement = match (connection.security, &connection.tls) {
        (TransportSecurity::Local, _) => {
            Statement::holds(format!("{acts} reached {to} without leaving the machine."))
        }
        (TransportSecurity::TlsVerified, Some(tls)) if is_strong(&tls.version) => {
            Statement::holds(format!(
                "{acts} reached {to} over TLS {} with {}; its certificate was verified.",
                tls.version, tls.cipher
            ))
        }
        (TransportSecurity::TlsVerified, Some(tls)) => Statement::fails(format!(
            "{acts} reached {to} over TLS {} with {}, which is not strong; the last one at {last} by run {run}.",
            tls.version, tls.cipher
        )),
        (TransportSecurity::TlsVerified, None) => Statement::not_shown(format!(
            "{acts} reached {to} over TLS, and its certificate was verified; which version and cipher they \
             agreed on is not recorded."
        )),
        (TransportSecurity::TlsUnverified, _) => Statement::fails(format!(
            "{acts} reached {to} over TLS without verifying its certificate; the last one at {last} by run {run}."
        )),
        (TransportSecurity::Plain, _) => Statement::fails(format!(
            "{acts} reached {to} without encryption; the last one at {last} by run {run}."
        )),
        (TransportSecurity::Unknown, _) => {
            Statement::not_shown(format!("How {acts} reached {to} is not known."))
        }
    };
    statement.shown_by([evidence.clone()])
}

/// Whether a version of TLS is one that is still to be used.
fn is_strong(version: &str) -> bool {
    matches!(version, "1.2" | "1.3")
}
