//! The server that is read: who it is, what it has, whether it is still the one at its address.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::{
    format::LogServer,
    jobs::JobError,
    model::{BinlogName, BinlogPosition, Flavor, GtidState, ServerName, Timestamp},
    mysql::{
        ConnectOptions, MysqlError, Server,
        replication::{Captured, Dump, DumpRequest, Meaning, SourceIdentity},
    },
    pipeline::{
        PipelineError, Repository,
        log::{FileState, LogState, read_archive},
    },
};

use super::plan::{Beginning, ListedFile, Seen};

/// How long it may take until a dump begins.
const DUMP: Duration = Duration::from_secs(15);
/// An address may lead each connection to another server: how long the right one is tried for at
/// once, and how often. After that whoever asked for it decides.
const PATIENCE: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(100);

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
pub(super) async fn see(
    server: &mut Server,
    connect: &ConnectOptions,
    log: &LogState,
) -> Result<Seen, JobError> {
    // What is executed is asked for first: what is committed meanwhile is in the files then.
    let executed = server.executed().await?;
    let unlogged = server.unlogged().await?;
    let identity = identify(server).await?;
    let mut files = Vec::new();
    for log in server.binary_logs().await? {
        let name: BinlogName = log.name.parse().map_err(|e| {
            JobError::preflight(format!("{e}"), "give --log-bin a base name of these characters")
        })?;
        files.push(ListedFile { name, bytes: log.bytes });
    }
    let Some(oldest) = files.first().map(|file| file.name.clone()) else {
        return Err(JobError::preflight(
            format!("server {} lists no binary log", identity.name),
            "start it with --log-bin",
        ));
    };
    let mut previous = Vec::new();
    for file in files.iter().rev() {
        let before = server.previous_gtids(file.name.as_str()).await?;
        let within = before.is_within(&log.frontier);
        previous.push((file.name.clone(), before));
        if within && !log.frontier.is_empty() {
            break;
        }
    }
    let (mut known, mut beginning) = (None, None);
    if let Some(open) = super::plan::last_read(log, &identity.name) {
        if files.iter().any(|file| file.name == open.file) {
            known = Some(begins(connect, &open.file, &identity).await?);
        }
        beginning = Some(begins(connect, &oldest, &identity).await?);
    }
    Ok(Seen { server: identity, files, previous, executed, unlogged, known, beginning })
}

/// A dump of this server and no other.
pub(super) async fn dump(
    connect: &ConnectOptions,
    request: &DumpRequest,
    server: &LogServer,
) -> Result<Dump, JobError> {
    let source = on_the_wire(server);
    patiently(request, || Dump::start_of(&source, connect, request)).await
}

/// Who the server says to be on any connection to it.
fn on_the_wire(server: &LogServer) -> SourceIdentity {
    let uuid = (server.flavor == Flavor::Mysql).then(|| server.name.to_string());
    SourceIdentity { server_id: server.server_id, uuid }
}

/// Begins a dump, as often as another server answers at the address, for a while.
async fn patiently<F>(request: &DumpRequest, mut dump: impl FnMut() -> F) -> Result<Dump, JobError>
where
    F: Future<Output = Result<Dump, MysqlError>>,
{
    let began = Instant::now();
    loop {
        match tokio::time::timeout(DUMP, dump()).await {
            Ok(Err(MysqlError::OtherServer { .. })) if began.elapsed() < PATIENCE => {
                tokio::time::sleep(AGAIN).await;
            }
            Ok(dump) => return Ok(dump?),
            Err(_) => {
                let doing = format!("reading the binary log {}", request.file);
                return Err(MysqlError::Timeout { doing, after: DUMP }.into());
            }
        }
    }
}

/// What a binary log of the server begins with.
pub(super) async fn begins(
    connect: &ConnectOptions,
    file: &BinlogName,
    server: &LogServer,
) -> Result<Beginning, JobError> {
    let request = DumpRequest {
        file: file.to_string(),
        offset: 4,
        heartbeat: Duration::from_secs(5),
        until_end: true,
    };
    let source = on_the_wire(server);
    let mut dump = patiently(&request, || Dump::look(&source, connect, &request)).await?;
    let mut begun = None;
    loop {
        match dump.next().await? {
            Captured::End(end) => match end.meaning {
                Meaning::FormatDescription { created, .. } => {
                    begun = Timestamp::from_microseconds(i64::from(created) * 1_000_000);
                }
                Meaning::Previous(previous) => {
                    let created = begun.ok_or_else(|| unreadable(file))?;
                    return Ok(Beginning { created, previous });
                }
                _ => {}
            },
            Captured::Eof => return Err(unreadable(file).into()),
            _ => {}
        }
    }
}

/// Where a new history begins: with the newest of the server's files that is archived under the
/// same beginning, since everything before it is then archived as it is; else with its oldest file, and with
/// nothing in common. The names of transactions prove nothing here: they were given twice.
pub(super) async fn branch(
    repository: &Repository,
    connect: &ConnectOptions,
    seen: &Seen,
) -> Result<(BinlogName, GtidState), JobError> {
    let archive = read_archive(repository).await?;
    let mut archived: HashMap<BinlogName, Vec<Beginning>> = HashMap::new();
    let mut add = |server: &ServerName, file: &BinlogName, created, previous: &GtidState| {
        if *server == seen.server.name {
            let beginning = Beginning { created, previous: previous.clone() };
            archived.entry(file.clone()).or_default().push(beginning);
        }
    };
    for segment in &archive.segments {
        let range = &segment.range;
        if let Some(opening) = &range.opening {
            add(&range.server, &range.file, range.created, &opening.previous);
        }
    }
    for FileState { open, .. } in &archive.state.files {
        add(&open.server, &open.file, open.created, &open.opening.previous);
    }
    for ListedFile { name, .. } in seen.files.iter().rev() {
        let Some(known) = archived.get(name) else { continue };
        let begins = begins(connect, name, &seen.server).await?;
        if known.contains(&begins) {
            return Ok((name.clone(), begins.previous));
        }
    }
    let oldest = seen.files.first().ok_or(PipelineError::Worker)?;
    Ok((oldest.name.clone(), GtidState::empty(seen.server.flavor)))
}

fn unreadable(file: &BinlogName) -> MysqlError {
    MysqlError::Unsupported {
        what: format!("reading the first events of binary log {file}"),
        why: "it does not begin with its format and the transactions before it".into(),
    }
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
#[derive(Debug)]
pub(super) struct Met {
    pub(super) server: Server,
    pub(super) identity: LogServer,
    pub(super) is_writable: bool,
}

/// Connects to the server of this name, or to any that takes writes. When there is neither for a
/// while, whoever was there last comes back.
pub(super) async fn meet(
    options: &ConnectOptions,
    wanted: Option<&ServerName>,
) -> Result<Met, JobError> {
    let began = Instant::now();
    loop {
        let mut server = Server::connect(options).await?;
        let identity = identify(&mut server).await?;
        let is_writable = server.is_writable().await?;
        let right = is_writable || wanted == Some(&identity.name);
        if right || began.elapsed() >= PATIENCE {
            return Ok(Met { server, identity, is_writable });
        }
        server.close().await;
        tokio::time::sleep(AGAIN).await;
    }
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
