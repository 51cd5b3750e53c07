//! The server that is read: who it is, what it has, whether it is still the one at its address.

use crate::{
    format::LogServer,
    jobs::JobError,
    model::{BinlogName, BinlogPosition, GtidState, ServerName},
    mysql::{ConnectOptions, Server},
};

use super::plan::{ListedFile, Seen};

/// The server at an address, as the log names it.
pub(super) async fn identify(server: &mut Server) -> Result<LogServer, JobError> {
    let name = server.server_identity().await?;
    let name: ServerName = name
        .parse()
        .map_err(|e| JobError::preflight(format!("{e}"), "give the server a server_id"))?;
    let id = server.setting("server_id").await?.and_then(|id| id.parse().ok());
    Ok(LogServer {
        name,
        flavor: server.flavor(),
        version: server.version().clone(),
        server_id: id.unwrap_or_default(),
    })
}

/// What the server has, as far as it takes to decide where to read on.
pub(super) async fn see(server: &mut Server, frontier: &GtidState) -> Result<Seen, JobError> {
    // What is executed is asked for first: what is committed meanwhile is in the files then.
    let executed = server.executed().await?;
    let identity = identify(server).await?;
    let mut files = Vec::new();
    for log in server.binary_logs().await? {
        let name: BinlogName = log.name.parse().map_err(|e| {
            JobError::preflight(format!("{e}"), "give --log-bin a base name of these characters")
        })?;
        files.push(ListedFile { name, bytes: log.bytes });
    }
    if files.is_empty() {
        return Err(JobError::preflight(
            format!("server {} lists no binary log", identity.name),
            "start it with --log-bin",
        ));
    }
    let mut previous = Vec::new();
    for file in files.iter().rev() {
        let before = server.previous_gtids(file.name.as_str()).await?;
        let within = before.is_within(frontier);
        previous.push((file.name.clone(), before));
        if within && !frontier.is_empty() {
            break;
        }
    }
    Ok(Seen { server: identity, files, previous, executed })
}

/// Whether the server may be archived, and what to say about it; once for each server.
pub(super) async fn preflight(server: &mut Server) -> Result<(), JobError> {
    use crate::mysql::checks::{Level, judge_archive_grants, judge_settings};
    let settings = server.settings().await?;
    let grants = server.grants().await?;
    let mut found = judge_settings(server.flavor(), &settings);
    found.extend(judge_archive_grants(server.flavor(), &grants));
    for finding in found.iter().filter(|finding| finding.level == Level::Warn) {
        tracing::warn!(setting = finding.name, value = finding.value, "{}", finding.remedy);
    }
    let failed: Vec<_> = found.iter().filter(|finding| finding.level == Level::Fail).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let what = failed.iter().map(|f| format!("{} is {}", f.name, f.value));
    let hint = failed.iter().map(|f| f.remedy.clone());
    Err(JobError::preflight(
        format!("this server cannot be archived: {}", what.collect::<Vec<_>>().join(", ")),
        hint.collect::<Vec<_>>().join("; "),
    ))
}

/// A new connection, and whoever answers there now.
pub(super) async fn connect(options: &ConnectOptions) -> Result<(Server, LogServer), JobError> {
    let mut server = Server::connect(options).await?;
    let identity = identify(&mut server).await?;
    Ok((server, identity))
}

/// Bytes of the server's log between two places in it.
pub(super) async fn bytes_between(
    server: &mut Server,
    from: &BinlogPosition,
    to: &BinlogPosition,
) -> Result<u64, JobError> {
    if from.file == to.file {
        return Ok(to.position.saturating_sub(from.position));
    }
    let files = server.binary_logs().await?;
    let at = |name: &str| files.iter().position(|file| file.name == name);
    let (Some(first), Some(last)) = (at(&from.file), at(&to.file)) else { return Ok(to.position) };
    let whole: u64 = files[first..last.max(first)].iter().map(|file| file.bytes).sum();
    Ok(whole.saturating_sub(from.position) + to.position)
}
