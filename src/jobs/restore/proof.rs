//! The proof of a base: a server starts on it and says where it stands.

use std::{fs, path::Path};

use serde::Serialize;

use super::{Request, place::Owner};
use crate::{
    format::{Manifest, audit::RestoreDetails},
    jobs::{
        JobError, Position,
        temp_server::{Program, Running, Start},
    },
    model::{BinlogPosition, EngineKind, Flavor, GtidSet, GtidState, ServerFacts},
    mysql::{engines, parse_innodb_position, recovered_position},
    pipeline::audit::told,
};

/// What was expected of the restored server, and what it says.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    /// As the manifest has it.
    pub expected: State,
    /// As the restored server has it.
    pub actual: State,
    /// Whether they are the same; `null` when there was nothing to compare: the binary log was
    /// off, or the stream came from somebody whose positions we cannot know exactly.
    pub equal: Option<bool>,
    /// XA transactions that are prepared, as `XA COMMIT` takes them: their locks are held until
    /// somebody commits them or rolls them back.
    pub open_xa: Vec<String>,
}

impl Proof {
    /// The same in a record.
    pub(in crate::jobs) fn details(&self) -> RestoreDetails {
        let state = |state: &State| {
            let place = state.position.binlog_file.as_ref().zip(state.position.binlog_position);
            let place = place.map(|(file, at)| format!("{file}:{at}"));
            let set = state.gtid_set.clone().filter(|set| !set.is_empty());
            let text: Vec<_> = place.into_iter().chain(set).collect();
            told(&text.join(" "))
        };
        RestoreDetails {
            expected: Some(state(&self.expected)),
            actual: Some(state(&self.actual)),
            equal: self.equal,
            ..RestoreDetails::default()
        }
    }
}

/// Where a server stands.
#[derive(Debug, Clone, Default, Serialize)]
pub struct State {
    /// InnoDB's position: where its last commit ends in the source's binary log.
    #[serde(flatten)]
    pub position: Position,
    /// The set of transactions, where the flavor keeps one.
    pub gtid_set: Option<String>,
}

/// The position that InnoDB had after the engine's prepare step.
pub(super) fn prepared_position(stage: &Path) -> Result<Option<BinlogPosition>, JobError> {
    for name in engines::info_names("binlog_pos_innodb") {
        let path = stage.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(parse_innodb_position(&text)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(JobError::io("read", &path)(error)),
        }
    }
    Ok(None)
}

/// Starts a server on the data directory, asks it, ends it, and compares.
pub(super) async fn run(
    program: &Program,
    request: &Request,
    manifest: &Manifest,
    facts: &ServerFacts,
    prepared: Option<BinlogPosition>,
    owner: &Owner,
) -> Result<Proof, JobError> {
    let mut extra = Vec::new();
    let clone = manifest.engine.kind == EngineKind::Clone;
    if clone {
        extra.push("--plugin-load-add=clone=mysql_clone.so".into());
    }
    if facts.flavor == Flavor::Mysql {
        // It serves nobody, so its notes about certificates and accounts are noise.
        extra.push("--log-error-verbosity=1".into());
    }
    let running = Running::start(
        program,
        &request.datadir,
        facts,
        &Start::to_ask(&extra, owner.ids(), owner.user()),
        &request.progress,
    )
    .await?;
    let mut server = running.connect().await?;
    let mut position =
        prepared.or_else(|| running.log().iter().find_map(|line| recovered_position(line)));
    let mut gtid_set = None;
    // MariaDB's transactions are in no table, but for those that it was given by a replication or a
    // restore. They tell of a server that has written nothing since; InnoDB's position is another
    // server's then.
    if facts.flavor == Flavor::Mysql || facts.innodb_position.is_none() {
        gtid_set = Some(server.executed_set().await?);
        if clone {
            position = Some(server.cloned_position().await?.0);
        }
    }
    if let Some(set) = unnamed(facts, position.as_ref(), gtid_set.as_ref()) {
        server.set_executed(set).await?;
        if gtid_set.is_some() {
            gtid_set = Some(server.executed_set().await?);
        }
    }
    let open_xa = server.open_xa().await?;
    // What a base of a replica knows of its source would begin to replicate it, and keeps the
    // applier from being set up.
    server.forget_applier().await?;
    server.close().await;
    running.shutdown().await?;
    Ok(Proof { open_xa, ..judge(facts, position, gtid_set)? })
}

/// The transactions of a base, when its server has them and does not know all their names: MariaDB
/// knows none, so a replica would not know where to go on, and the server's own next transaction would
/// begin at 1 again. MySQL without a binary log forgot the last one of a base of `XtraBackup`'s. What it
/// has is proven by InnoDB's position.
fn unnamed<'f>(
    facts: &'f ServerFacts,
    position: Option<&BinlogPosition>,
    found: Option<&GtidSet>,
) -> Option<&'f GtidSet> {
    let set = facts.gtid_set.as_ref().filter(|_| facts.gtid_exact)?;
    let is_there = facts.innodb_position.as_ref().zip(position);
    let is_there = is_there.is_some_and(|(most, found)| is_within(facts, found, most));
    let lacks = match found {
        None => true,
        Some(found) => found != set && GtidState::from(found).is_within(&GtidState::from(set)),
    };
    (is_there && lacks).then_some(set)
}

/// Whether InnoDB's position is the one that was recorded, or one that says the same.
fn is_within(facts: &ServerFacts, found: &BinlogPosition, most: &BinlogPosition) -> bool {
    let order = |p: &BinlogPosition| (p.file.clone(), p.position);
    let least = facts.innodb_at_least.as_ref();
    found == most
        || least.is_some_and(|least| order(least) <= order(found) && order(found) <= order(most))
}

/// The proof of a replay: a server started anew, durable again, has the planned transactions,
/// neither more nor fewer.
pub(super) async fn of_replay(
    program: &Program,
    request: &Request,
    facts: &ServerFacts,
    expected: &GtidSet,
    owner: &Owner,
) -> Result<Proof, JobError> {
    let mut extra = Vec::new();
    if facts.flavor == Flavor::Mysql {
        extra.extend(["--log-error-verbosity=1".into(), "--gtid-mode=ON".into()]);
        extra.push("--enforce-gtid-consistency=ON".into());
    }
    let start = Start::to_ask(&extra, owner.ids(), owner.user());
    let running =
        Running::start(program, &request.datadir, facts, &start, &request.progress).await?;
    let mut server = running.connect().await?;
    let actual = server.executed_set().await?;
    let open_xa = server.open_xa().await?;
    server.close().await;
    running.shutdown().await?;
    let state = |set: &GtidSet| State { gtid_set: Some(set.to_string()), ..State::default() };
    if actual != *expected {
        return Err(JobError::integrity(
            format!("the restored server has {actual}, and {expected} was planned"),
            "do not use this data directory; restore anew, and report this",
        ));
    }
    Ok(Proof { expected: state(expected), actual: state(&actual), equal: Some(true), open_xa })
}

/// Compares what was recorded with what was found.
fn judge(
    facts: &ServerFacts,
    position: Option<BinlogPosition>,
    gtid_set: Option<GtidSet>,
) -> Result<Proof, JobError> {
    let expected_position = facts.innodb_position.clone().or_else(|| facts.position.clone());
    let expected_set = facts.gtid_set.clone().filter(|_| gtid_set.is_some());
    // InnoDB knows its own last commit. When it is not known which event group that can have
    // been, a position before the recorded one decides nothing.
    let exact = facts.innodb_position.is_some();
    let same_position = expected_position.as_ref().map(|expected| match &position {
        Some(found) if is_within(facts, found, expected) => Some(true),
        _ if exact => Some(false),
        _ => None,
    });
    let same_set = expected_set.as_ref().map(|expected| match &gtid_set {
        Some(found) if found == expected => Some(true),
        _ if facts.gtid_exact && facts.flavor == Flavor::Mysql => Some(false),
        _ => None,
    });
    let equal = match (same_position, same_set) {
        (Some(Some(false)), _) | (_, Some(Some(false))) => Some(false),
        (Some(Some(true)), Some(Some(true)) | None) | (None | Some(None), Some(Some(true))) => {
            Some(true)
        }
        (None | Some(None), None | Some(None)) | (Some(Some(true)), Some(None)) => None,
    };
    let state = |position: Option<BinlogPosition>, set: Option<GtidSet>| State {
        position: position.into(),
        gtid_set: set.map(|set| set.to_string()),
    };
    let proof = Proof {
        expected: state(expected_position, expected_set),
        actual: state(position, gtid_set),
        equal,
        open_xa: Vec::new(),
    };
    if equal == Some(false) {
        let show = |state: &State| serde_json::to_string(state).unwrap_or_default();
        return Err(JobError::integrity(
            format!(
                "the restored server stands at {}, and the backup at {}",
                show(&proof.actual),
                show(&proof.expected)
            ),
            "do not use this data directory; restore another backup, and report this",
        ));
    }
    Ok(proof)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(innodb: Option<u64>, set: Option<&str>, exact: bool) -> ServerFacts {
        let at = |position| BinlogPosition { file: "binlog.000001".into(), position };
        ServerFacts {
            flavor: Flavor::Mysql,
            version: "9.7.0".parse().unwrap(),
            server_uuid: None,
            server_id: 1,
            position: Some(at(1000)),
            innodb_position: innodb.map(at),
            innodb_at_least: innodb.map(|p| at(p - 100)),
            gtid_set: set.map(|s| s.parse().unwrap()),
            gtid_exact: exact,
            up_since: None,
            is_replica: false,
            lower_case_table_names: Some(0),
            page_size: 16_384,
            data_bytes: 0,
            options: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn names_are_given_back_where_the_data_is_there() {
        const SET: &str = "9a3225ed-e51b-11f1-86df-02fc00000001:1-5";
        let at = |position| BinlogPosition { file: "binlog.000001".into(), position };
        let set = |last: u64| -> GtidSet {
            format!("9a3225ed-e51b-11f1-86df-02fc00000001:1-{last}").parse().unwrap()
        };
        let exact = facts(Some(900), Some(SET), true);
        let given = |facts: &ServerFacts, position, found: Option<u64>| {
            unnamed(facts, Some(&at(position)), found.map(set).as_ref()).is_some()
        };
        assert!(given(&exact, 900, Some(4)) && given(&exact, 900, None));
        assert!(!given(&exact, 900, Some(5)), "it has them all");
        assert!(!given(&exact, 900, Some(6)), "it has more");
        assert!(!given(&exact, 700, Some(4)), "it is not where it should be");
        assert!(!given(&facts(Some(900), Some(SET), false), 900, Some(4)), "nobody knows");
        assert!(!given(&facts(None, Some(SET), true), 900, Some(4)), "nothing proves it");
    }

    #[test]
    fn only_equality_is_a_proof() {
        const SET: &str = "9a3225ed-e51b-11f1-86df-02fc00000001:1-5";
        const LESS: &str = "9a3225ed-e51b-11f1-86df-02fc00000001:1-4";
        let at = |position| Some(BinlogPosition { file: "binlog.000001".into(), position });
        let set = |text: &str| Some(text.parse::<GtidSet>().unwrap());
        let equal =
            |facts: &ServerFacts, position, set| judge(facts, position, set).map(|p| p.equal);
        let exact = facts(Some(900), Some(SET), true);
        assert_eq!(equal(&exact, at(900), set(SET)).unwrap(), Some(true));
        assert_eq!(
            equal(&exact, at(850), set(SET)).unwrap(),
            Some(true),
            "a statement that changed nothing"
        );
        assert!(equal(&exact, at(799), set(SET)).is_err());
        assert!(equal(&exact, at(901), set(SET)).is_err());
        assert!(equal(&exact, at(900), set(LESS)).is_err());
        assert!(equal(&exact, None, set(SET)).is_err());
        let foreign = facts(None, Some(SET), false);
        assert_eq!(equal(&foreign, at(1000), set(SET)).unwrap(), Some(true));
        assert_eq!(equal(&foreign, at(1000), set(LESS)).unwrap(), None);
        assert_eq!(equal(&foreign, at(900), set(LESS)).unwrap(), None);
        let mut off = facts(None, None, true);
        off.position = None;
        assert_eq!(equal(&off, None, set("")).unwrap(), None);
    }
}
