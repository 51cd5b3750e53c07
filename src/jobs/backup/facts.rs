//! What the manifest says of the server: its own words, and the stream's.

use super::source::{End, Server as Facts};
use crate::{
    format::BaseRecord,
    jobs::JobError,
    model::{BinlogPosition, EngineKind, Flavor, ServerFacts, ServerVersion},
    mysql::{
        BinlogInfo, Checkpoints, EngineInfo, Server, engines, parse_backup_my_cnf,
        xbstream::WholeStream,
    },
};

/// One of the engine's small files, as it was in the stream.
fn info<'a>(stream: &'a WholeStream, what: &str) -> Option<std::borrow::Cow<'a, str>> {
    engines::info_names(what).iter().find_map(|name| stream.info(name)).map(String::from_utf8_lossy)
}

/// `to_lsn` of the backup.
pub(super) fn to_lsn(stream: &WholeStream) -> Option<u64> {
    Checkpoints::parse(&info(stream, "checkpoints")?).ok().map(|c| c.to_lsn)
}

/// An increment cannot be restored without its base, so it must be the increment that was asked
/// for, and of a stream of somebody else's none at all.
pub(super) fn must_be(base: Option<&BaseRecord>, stream: &WholeStream) -> Result<(), JobError> {
    let checkpoints = info(stream, "checkpoints").and_then(|text| Checkpoints::parse(&text).ok());
    if let Some(base) = base {
        return match checkpoints {
            Some(found)
                if found.backup_type == "incremental"
                    && found.from_lsn == base.from_lsn
                    && found.to_lsn >= found.from_lsn =>
            {
                Ok(())
            }
            found => Err(JobError::source(
                format!(
                    "the engine was to begin at LSN {} of backup {}, and says of its stream: {found:?}",
                    base.from_lsn, base.backup_id
                ),
                "take a full backup, and report this",
            )),
        };
    }
    match checkpoints {
        Some(found) if found.backup_type == "incremental" => Err(JobError::usage(
            "the stream is an increment, which cannot be restored by itself",
            "stream a full backup",
        )),
        _ => Ok(()),
    }
}

/// The facts at the instant of the backup: the position that the engine recorded, and the
/// exact set of transactions up to it.
pub(in crate::jobs) async fn complete(
    end: &End,
    stream: &WholeStream,
) -> Result<ServerFacts, JobError> {
    let (facts, connect) = match &end.server {
        Facts::Asked(facts, connect) => (facts, connect),
        Facts::Told(told) => return believe(told, end.engine, stream),
        Facts::Unknown => return from_stream(end.engine, stream),
    };
    let mut facts = ServerFacts::clone(facts);
    if end.engine == EngineKind::Clone {
        return Ok(facts);
    }
    facts.position = None;
    facts.gtid_set = None;
    let Some(text) = info(stream, "binlog_info").filter(|text| !text.trim().is_empty()) else {
        return Ok(facts);
    };
    let recorded = BinlogInfo::parse(facts.flavor, &text)?;
    let mut server = Server::connect(connect).await?;
    // The engine's recorded set can lag its recorded position: derive it from the position.
    let exact = server.exact_set_at(&recorded.position).await?;
    facts.gtid_set = exact.gtid_set.or(recorded.gtid_set);
    let named = facts.gtid_set.as_ref().is_some_and(|set| !set.is_empty());
    if facts.flavor == Flavor::Mariadb && !named {
        // It has written nothing; what it was given by a restore stands elsewhere.
        let given = server.unlogged().await?.position();
        facts.gtid_set = Some(given).filter(|set| !set.is_empty()).or(facts.gtid_set);
    }
    server.close().await;
    facts.gtid_exact = true;
    facts.innodb_position = exact.innodb_position;
    facts.innodb_at_least = exact.innodb_at_least;
    facts.position = Some(recorded.position);
    Ok(facts)
}

/// What our agent said, where the stream itself does not say otherwise.
fn believe(
    told: &ServerFacts,
    engine: EngineKind,
    stream: &WholeStream,
) -> Result<ServerFacts, JobError> {
    let recorded = match info(stream, "binlog_info").filter(|text| !text.trim().is_empty()) {
        _ if engine == EngineKind::Clone => told.position.clone(),
        Some(text) => Some(BinlogInfo::parse(told.flavor, &text)?.position),
        None => None,
    };
    if recorded == told.position {
        return Ok(told.clone());
    }
    let place = |at: Option<&BinlogPosition>| at.map_or("nowhere".into(), ToString::to_string);
    Err(JobError::source(
        format!(
            "the agent says that the backup stands at {}, and the backup itself says {}",
            place(told.position.as_ref()),
            place(recorded.as_ref())
        ),
        "is the agent of this very version?",
    ))
}

/// What a stream says of its server when there is nobody to ask.
fn from_stream(engine: EngineKind, stream: &WholeStream) -> Result<ServerFacts, JobError> {
    let unknown = || {
        JobError::usage(
            "the stream does not say in plain which server it is from",
            "check --engine, and run it without --compress and --encrypt: the stream is compressed and encrypted here",
        )
    };
    let about = info(stream, "info").ok_or_else(unknown)?;
    let about = EngineInfo::parse(&about)?;
    let version: ServerVersion = about.server_version.ok_or_else(unknown)?;
    let flavor = match engine {
        EngineKind::MariadbBackup => Flavor::Mariadb,
        EngineKind::Xtrabackup | EngineKind::Clone => Flavor::Mysql,
    };
    let binlog: Option<BinlogInfo> =
        match info(stream, "binlog_info").filter(|text| !text.trim().is_empty()) {
            Some(text) => Some(BinlogInfo::parse(flavor, &text)?),
            None => None,
        };
    let position: Option<BinlogPosition> = binlog.as_ref().map(|b| b.position.clone());
    let options = stream
        .info("backup-my.cnf")
        .map(|text| parse_backup_my_cnf(&String::from_utf8_lossy(text)));
    let options = options.unwrap_or_default();
    Ok(ServerFacts {
        flavor,
        version,
        server_uuid: options.get("server_uuid").cloned(),
        server_id: options.get("server_id").and_then(|id| id.parse().ok()).unwrap_or_default(),
        position,
        innodb_position: None,
        innodb_at_least: None,
        gtid_set: binlog.and_then(|b| b.gtid_set),
        gtid_exact: false,
        up_since: None,
        is_replica: false,
        lower_case_table_names: None,
        page_size: options
            .get("innodb_page_size")
            .and_then(|size| size.parse().ok())
            .unwrap_or(16_384),
        data_bytes: stream.payload_bytes(),
        options: options.into_iter().filter(|(name, _)| BOUND.contains(&name.as_str())).collect(),
    })
}

/// Options of `backup-my.cnf` that a restored server is started with.
const BOUND: [&str; 4] = [
    "innodb_checksum_algorithm",
    "innodb_data_file_path",
    "innodb_page_size",
    "innodb_undo_tablespaces",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::xbstream::{Dialect, Validator};

    fn genuine(name: &str) -> WholeStream {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join("tests/fixtures/xtrabackup-8.0/archives").join(name);
        let stream = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
        let mut validator = Validator::new(Dialect::Percona);
        validator.feed(&stream).unwrap();
        validator.finish().unwrap()
    }

    #[test]
    fn an_increment_must_be_the_one_that_was_asked_for() {
        let full = genuine("full.xbstream.zst");
        let increment = genuine("incr1.xbstream.zst");
        let base = |from_lsn| BaseRecord {
            backup_id: "full".parse().unwrap(),
            manifest_sha256: crate::model::Sha256Digest([0; 32]),
            from_lsn,
        };
        let from = to_lsn(&full).unwrap();
        assert!(must_be(Some(&base(from)), &increment).is_ok());
        assert!(must_be(Some(&base(from + 1)), &increment).is_err());
        assert!(must_be(Some(&base(from)), &full).is_err());
        assert!(must_be(None, &full).is_ok());
        assert!(must_be(None, &increment).is_err());
    }
}
