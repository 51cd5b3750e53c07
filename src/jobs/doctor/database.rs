//! The database server and the engine beside it.

use super::{Check, Request, access, judge};
use crate::{
    jobs::backup::{check_clone, engine_for, find_engine},
    model::{EngineKind, ServerFacts, Timestamp},
    mysql::{
        MysqlError, Server,
        checks::{judge_backup_grants, judge_settings},
        engines,
    },
};

/// Looks at the server. Returns the bytes of its data, when it was reached.
pub(super) async fn look(request: &Request, checks: &mut Vec<Check>) -> Option<u64> {
    let server = match request.database.take("server") {
        Err(check) => Err(check),
        Ok(options) => Server::connect(options).await.map_err(|error| {
            Check::fail("server", error.to_string(), "check the --mysql-… options and the server")
        }),
    };
    let mut server = match server {
        Ok(server) => server,
        Err(check) => {
            checks.push(check);
            return None;
        }
    };
    let (at, version) = (server.endpoint().to_string(), server.version().to_string());
    checks.push(Check::ok("server", format!("{at} answers; version {version}")));
    checks.push(access::database(server.connection()));
    checks.push(clock(&mut server).await.unwrap_or_else(|e| unread("clock", &e)));
    let kind = engine_for(request.engine, server.version());
    match server.settings().await {
        Ok(settings) => checks.extend(
            judge_settings(server.flavor(), &settings).iter().map(|f| judge::finding("setting", f)),
        ),
        Err(error) => checks.push(unread("settings", &error)),
    }
    match server.grants().await {
        Ok(grants) => checks.extend(
            judge_backup_grants(server.flavor(), kind, &grants)
                .iter()
                .map(|f| judge::finding("grant", f)),
        ),
        Err(error) => checks.push(unread("grants", &error)),
    }
    let facts = server.facts().await;
    let bytes = facts.as_ref().ok().map(|facts| facts.data_bytes).filter(|bytes| *bytes > 0);
    checks.push(match (kind, facts) {
        (EngineKind::Clone, Ok(facts)) => clone(&mut server, &facts, request).await,
        (EngineKind::Clone, Err(error)) => unread("engine", &error),
        _ => engine(&server, kind).await,
    });
    server.close().await;
    bytes
}

fn unread(check: &str, error: &MysqlError) -> Check {
    Check::fail(check, error.to_string(), "grant the user to ask, or see the server's log")
}

async fn clock(server: &mut Server) -> Result<Check, MysqlError> {
    let before = Timestamp::now();
    let theirs = server.utc_now().await?;
    let after = Timestamp::now();
    let asked_for = after.seconds_since(before);
    Ok(judge::clock(theirs.seconds_since(before) - asked_for / 2.0, asked_for))
}

async fn clone(server: &mut Server, facts: &ServerFacts, request: &Request) -> Check {
    match check_clone(server, facts, request.scratch.as_deref()).await {
        Ok(means) => Check::ok(
            "engine",
            format!(
                "clone: the server can be cloned as it is, and {} starts on the copy",
                means.program.path().display()
            ),
        ),
        Err(error) => Check::fail("engine", error.to_string(), "or give another --engine"),
    }
}

async fn engine(server: &Server, kind: EngineKind) -> Check {
    let remedy = format!("install the {kind} of the server's own version, or give --engine");
    match find_engine(kind).await {
        Err(error) => Check::fail("engine", error.to_string(), remedy),
        Ok(engine) => match engines::check_version(&engine, server.version()) {
            Ok(()) => Check::ok(
                "engine",
                format!("{kind} {} at {}", engine.version, engine.program.display()),
            ),
            Err(error) => Check::fail("engine", error.to_string(), remedy),
        },
    }
}
