//! Whether a backup can be an increment, and on what: log sequence numbers belong to one life of one
//! server, and nothing in them tells it from another.

use super::Request;
use crate::{
    format::{BaseRecord, Manifest},
    jobs::{Committed, JobError, choose::condemned},
    model::{BackupId, EngineKind, ServerFacts, Timestamp},
    pipeline::{Found, Repository, Standing},
};

/// How far two readings of when a server was started may lie apart: it tells whole seconds.
const SAME_START_SECONDS: f64 = 2.0;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Incremental {
    /// The backup to stand on; the newest good one when none is named.
    pub base: Option<BackupId>,
    /// How many backups a chain has at most, the full one counted.
    pub chain_length: u32,
}

/// What the backup will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Everything, since nobody asked for an increment.
    Full,
    /// Everything, though an increment was asked for.
    FullBecause(String),
    /// What changed since this base.
    On(BaseRecord),
}

impl Kind {
    pub(super) fn base(&self) -> Option<&BaseRecord> {
        match self {
            Self::On(base) => Some(base),
            _ => None,
        }
    }
}

/// Decides, with what the repository has.
pub(super) async fn decide(
    request: &Request,
    wanted: &Incremental,
    engine: EngineKind,
    facts: &ServerFacts,
) -> Result<Kind, JobError> {
    let repository = &request.repository;
    let Some(found) = candidate(repository, wanted).await? else {
        return Ok(Kind::FullBecause("there is no good backup to stand on".into()));
    };
    let links = repository.bases(&found.record).await?.len();
    let most = usize::try_from(wanted.chain_length).unwrap_or(usize::MAX);
    let id = &found.record.backup_id;
    let why = if links + 1 >= most {
        Some(format!("the chain of backup {id} has {} backups already", links + 1))
    } else if let Some(mark) = repository.standing(&found).await?.condemned() {
        Some(condemned(id, mark))
    } else {
        unfit(&found.record, engine, facts)
    };
    match why {
        None => Ok(Kind::On(BaseRecord {
            backup_id: id.clone(),
            manifest_sha256: found.sha256,
            from_lsn: found.record.engine.to_lsn.unwrap_or_default(),
        })),
        Some(why) if wanted.base.is_some() => Err(JobError::preflight(
            format!("backup {id} cannot be the base of an increment: {why}"),
            "leave out --base: then a full backup is taken when none can be stood on",
        )),
        Some(why) => Ok(Kind::FullBecause(why)),
    }
}

/// The base that was named, or the newest that is good.
async fn candidate(
    repository: &Repository,
    wanted: &Incremental,
) -> Result<Option<Found<Manifest>>, JobError> {
    if let Some(id) = &wanted.base {
        return Ok(Some(crate::jobs::choose(repository, Some(id)).await?));
    }
    let committed = Committed::read(repository).await?;
    for (id, found) in repository.backups().await? {
        let Ok(found) = found else { continue };
        if committed.contradicts(&id, Some(&found)).is_none()
            && repository.standing(&found).await?.condemned().is_none()
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Looks again, once an increment is listed, at what it stands on. Whoever removes backups looks
/// for increments after saying that one goes: so one of the two sees the other.
pub(super) async fn look_again(
    repository: &Repository,
    manifest: &Manifest,
) -> Result<(), JobError> {
    let Some(base) = &manifest.base else { return Ok(()) };
    let mut chain = repository.bases(manifest).await?;
    while let Some(below) = chain.pop() {
        let Some(found) = repository.manifest(&below.backup_id).await? else { continue };
        if let Standing::Swept(mark) = repository.standing(&found).await? {
            return Err(JobError::source(
                format!(
                    "backup {} has been removed since {}, while an increment of {} was made on it",
                    below.backup_id, mark.at, base.backup_id
                ),
                "take another backup: where none can be stood on, a full one is taken",
            ));
        }
    }
    Ok(())
}

/// Why a backup cannot be stood on by one of this server, as it runs now; pure.
fn unfit(base: &Manifest, engine: EngineKind, now: &ServerFacts) -> Option<String> {
    let id = &base.backup_id;
    let Some(then) = &base.server else {
        return Some(format!("backup {id} does not say which server it is of"));
    };
    if base.engine.kind != engine {
        return Some(format!("backup {id} was made by {}", base.engine.kind));
    }
    if base.engine.to_lsn.is_none() {
        return Some(format!("backup {id} does not say where it ended"));
    }
    let name = |facts: &ServerFacts| (facts.flavor, facts.server_uuid.clone(), facts.server_id);
    if name(then) != name(now) {
        return Some(format!("backup {id} is of another server"));
    }
    if then.version != now.version || then.page_size != now.page_size {
        let (then, now) = (&then.version, &now.version);
        return Some(format!("the server of backup {id} was {then}, and is {now}"));
    }
    let started = |at: Timestamp| format!("the server was started at {at}, after backup {id}");
    match (then.up_since, now.up_since) {
        (Some(then), Some(now)) if now.seconds_since(then).abs() <= SAME_START_SECONDS => None,
        // What happened to its files meanwhile nobody knows: they may be another backup's.
        (Some(_), Some(now)) => Some(started(now)),
        _ => Some(format!("it is not known since when the server of backup {id} had been running")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Flavor;

    fn facts() -> ServerFacts {
        serde_json::from_value(serde_json::json!({
            "flavor": "mariadb", "version": "10.11.14-MariaDB", "server_id": 7, "page_size": 16384,
            "server_uuid": "u", "data_bytes": 1, "up_since": "2026-11-20T10:00:00Z",
        }))
        .unwrap()
    }

    fn base(server: Option<ServerFacts>) -> Manifest {
        let id = "0a".repeat(16);
        let mut manifest: Manifest = serde_json::from_value(serde_json::json!({
            "version": 1, "backup_id": "b", "attempt": id, "cluster_uuid": id, "run_id": id, "dek_id": id,
            "started_at": "2026-11-21T10:00:00Z", "finished_at": "2026-11-21T10:01:00Z",
            "engine": {"kind": "mariadb-backup", "to_lsn": 4711},
            "source": {"kind": "local", "database_transport": "local", "stream_transport": "local"},
            "proof": "exit", "files": 1, "bytes_read": 0, "payload_bytes": 0, "bytes_stored": 0,
            "volumes": [], "tool_version": "0.1.0",
        }))
        .unwrap();
        manifest.server = server;
        manifest
    }

    #[test]
    fn only_the_same_life_of_the_same_server_can_be_stood_on() {
        let now = |change: fn(&mut ServerFacts)| {
            let mut facts = facts();
            change(&mut facts);
            unfit(&base(Some(self::facts())), EngineKind::MariadbBackup, &facts)
        };
        assert_eq!(now(|_| {}), None);
        // Seconds are cut.
        assert_eq!(now(|f| f.up_since = "2026-11-20T10:00:01Z".parse().ok()), None);
        for (words, change) in [
            (
                "started at",
                (|f| f.up_since = "2026-11-21T11:00:00Z".parse().ok()) as fn(&mut ServerFacts),
            ),
            ("not known", |f| f.up_since = None),
            ("another server", |f| f.server_id = 8),
            ("another server", |f| f.server_uuid = Some("v".into())),
            ("another server", |f| f.flavor = Flavor::Mysql),
            ("was 10.11.14-MariaDB", |f| f.version = "10.11.15-MariaDB".parse().unwrap()),
        ] {
            let why = now(change).unwrap();
            assert!(why.contains(words), "{why}");
        }
        let engine = EngineKind::MariadbBackup;
        assert!(unfit(&base(None), engine, &facts()).is_some());
        assert!(unfit(&base(Some(facts())), EngineKind::Xtrabackup, &facts()).is_some());
        let mut nowhere = base(Some(facts()));
        nowhere.engine.to_lsn = None;
        assert!(unfit(&nowhere, engine, &facts()).is_some());
    }
}
