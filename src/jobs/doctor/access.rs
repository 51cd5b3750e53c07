//! As whom the store knows us, what that identity may do, and how connections are protected. Pure.

use super::{Check, Status};
use crate::{
    jobs::identity::told,
    model::{Access, AccessKind, Connection, Timestamp, TransportSecurity},
    store::StoreError,
};

/// What ends so soon is taken for ended, in seconds.
const SOON: f64 = 300.0;

/// As whom the store knows us, and for how long.
pub(super) fn identity(access: &Result<Access, StoreError>, now: Timestamp) -> Check {
    const CHECK: &str = "store-identity";
    let access = match access {
        Ok(access) => access,
        Err(error) => {
            return Check::fail(
                CHECK,
                error.to_string(),
                "see docs/identities.md on identities: no job could reach the store",
            );
        }
    };
    if access.kind == AccessKind::Local {
        return Check::ok(CHECK, "none is needed: it is on this machine");
    }
    let until = match access.expires_at {
        Some(end) if access.renewable => format!(", until {end}, then renewed"),
        Some(end) => format!(", until {end}"),
        None => String::new(),
    };
    let detail = format!("{}{until}", told(access));
    let remedy = "let the platform give each job an identity (docs/identities.md): keys that do not \
                  end are copied, and nobody notices";
    match access.expires_at.filter(|_| !access.renewable) {
        Some(end) if end.seconds_since(now) < SOON => Check::fail(
            CHECK,
            detail,
            "give new credentials: these have ended, or end within minutes",
        ),
        Some(_) => Check::new(
            CHECK,
            Status::Warn,
            format!("{detail}; nobody renews them"),
            "jobs that last longer fail: let the platform give each job an identity",
        ),
        None if access.kind == AccessKind::Static => {
            Check::new(CHECK, Status::Warn, detail, remedy)
        }
        None => Check::ok(CHECK, detail),
    }
}

/// What this identity may do and, as important, may not.
pub(super) fn rights(
    may_delete: bool,
    may_list: bool,
    aborted: &Result<(), StoreError>,
    local: bool,
) -> Check {
    const CHECK: &str = "store-rights";
    let mut may = vec!["put", "get"];
    may.extend(may_list.then_some("list"));
    may.extend(aborted.is_ok().then_some("abort uploads"));
    let (last, not) = if may_delete { (", and delete", "") } else { ("", "; it may not delete") };
    let detail = format!("it may {}{last}{not}", may.join(", "));
    let warn = |remedy: &str| Check::new(CHECK, Status::Warn, detail.clone(), remedy);
    match aborted {
        _ if local => Check::ok(CHECK, detail.clone()),
        _ if may_delete => warn(
            "take the right to delete away: backup, archive and restore do not need it, and whoever \
             takes this identity over could destroy every backup",
        ),
        Err(_) => warn(
            "grant it to abort uploads (s3:AbortMultipartUpload), or let a lifecycle rule do it: what \
             stopped jobs have half uploaded is kept, and paid for",
        ),
        Ok(()) => Check::ok(CHECK, detail.clone()),
    }
}

/// How the connection to the database is protected.
pub(super) fn database(connection: &Connection) -> Check {
    let warn = |detail, remedy| Check::new("tls", Status::Warn, detail, remedy);
    match connection.security {
        TransportSecurity::Local => Check::ok("tls", "a local socket; nothing leaves the machine"),
        TransportSecurity::TlsVerified => Check::ok(
            "tls",
            format!("{}, and the server's certificate is verified", agreed(connection)),
        ),
        TransportSecurity::TlsUnverified => warn(
            format!("{}, and the server's certificate is not verified", agreed(connection)),
            "leave --mysql-tls out, and give --mysql-tls-ca: anybody could answer",
        ),
        TransportSecurity::Plain | TransportSecurity::Unknown => warn(
            "TCP without TLS".to_owned(),
            "leave --mysql-tls out, and give --mysql-tls-ca, or use --mysql-socket",
        ),
    }
}

/// How another connection is protected; nothing when there was none, or none that left the machine.
pub(super) fn transport(check: &str, connection: &Connection) -> Option<Check> {
    match connection.security {
        TransportSecurity::Local | TransportSecurity::Unknown => None,
        TransportSecurity::TlsVerified => Some(Check::ok(
            check,
            format!("{}, and the certificate is verified", agreed(connection)),
        )),
        TransportSecurity::TlsUnverified | TransportSecurity::Plain => Some(Check::new(
            check,
            Status::Warn,
            "without TLS: requests can be read and answers changed on the way",
            "give an https:// endpoint, and --store-ca for a private authority",
        )),
    }
}

fn agreed(connection: &Connection) -> String {
    match &connection.tls {
        Some(tls) => format!("TLS {} with {}", tls.version, tls.cipher),
        None => "TLS".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Peer, TlsFacts},
        store::StoreErrorKind,
    };

    fn access(kind: AccessKind, ends_in: Option<i64>, renewable: bool) -> Check {
        let now = Timestamp::from_microseconds(0).unwrap();
        let expires_at = ends_in.and_then(|s| Timestamp::from_microseconds(s * 1_000_000));
        let principal = Some("arn:role".to_owned());
        identity(&Ok(Access { kind, principal, expires_at, renewable }), now)
    }

    #[test]
    fn an_identity_that_the_platform_renews_is_well_and_keys_are_not() {
        let check = access(AccessKind::WebIdentity, Some(60), true);
        assert_eq!(check.status, Status::Ok);
        assert!(check.detail.contains("arn:role") && check.detail.contains("renewed"), "{check:?}");
        assert_eq!(access(AccessKind::PodIdentity, None, true).status, Status::Ok);
        assert_eq!(access(AccessKind::Static, None, false).status, Status::Warn);
        assert_eq!(access(AccessKind::Static, Some(7200), false).status, Status::Warn);
        assert_eq!(access(AccessKind::Static, Some(60), false).status, Status::Fail);
        assert_eq!(access(AccessKind::Static, Some(-60), false).status, Status::Fail);
        let ended = StoreError::new(StoreErrorKind::Expired, "ask", "s3://b", "it has ended");
        let now = Timestamp::from_microseconds(0).unwrap();
        assert_eq!(identity(&Err(ended), now).status, Status::Fail);
    }

    #[test]
    fn a_writer_that_may_delete_is_warned_of() {
        let denied = || StoreError::new(StoreErrorKind::Denied, "abort", "s3://b", "no");
        assert_eq!(rights(false, true, &Ok(()), false).status, Status::Ok);
        let check = rights(true, true, &Ok(()), false);
        assert_eq!(check.status, Status::Warn);
        assert!(check.detail.ends_with("and delete"), "{check:?}");
        assert_eq!(rights(true, true, &Ok(()), true).status, Status::Ok);
        let check = rights(false, true, &Err(denied()), false);
        assert!(check.status == Status::Warn && !check.detail.contains("abort"), "{check:?}");
    }

    #[test]
    fn only_a_verified_certificate_or_a_socket_is_quiet() {
        let to = |security| {
            let tls = Some(TlsFacts { version: "1.2".into(), cipher: "C".into() });
            Connection { to: Peer::Database, security, tls }
        };
        let check = database(&to(TransportSecurity::TlsVerified));
        assert_eq!(check.status, Status::Ok);
        assert!(check.detail.contains("TLS 1.2 with C"), "{check:?}");
        for security in [TransportSecurity::TlsUnverified, TransportSecurity::Plain] {
            assert_eq!(database(&to(security)).status, Status::Warn);
            assert_eq!(transport("t", &to(security)).unwrap().status, Status::Warn);
        }
        assert_eq!(database(&to(TransportSecurity::Local)).status, Status::Ok);
        assert!(transport("t", &to(TransportSecurity::Local)).is_none());
    }
}
