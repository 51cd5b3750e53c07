//! The rooms `mysql` and `process` against real servers: MariaDB of the system, MySQL 9 of the tools.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod connecting;
#[path = "../support/load.rs"]
mod load;
#[path = "../support/mariadb.rs"]
mod mariadb;
#[path = "../support/mysql9.rs"]
mod mysql9;
#[path = "../support/physical.rs"]
mod physical;
#[path = "../support/tools.rs"]
mod tools;

use std::{fs, path::Path, process::Command, time::Duration};

use backstay::{
    model::{BinlogPosition, Flavor, TransportSecurity},
    mysql::{
        BinlogInfo, Checkpoints, ConnectOptions, EngineInfo, Server, checks, engines,
        xbstream::{CLONE_INFO, Dialect, Writer},
    },
};
use mariadb::{MariaDb, run, short_dir};
use mysql_async::prelude::Queryable as _;
use mysql9::{Mysql9, mysqld};
use physical::{Temp, extract, mariadb_backup, prepare, recovered, tree};

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_backup_under_load_is_whole_and_exact() {
    backup_under_load("MIXED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_backup_of_rows_is_exact_in_innodb_too() {
    backup_under_load("ROW").await;
}

async fn backup_under_load(format: &str) {
    let source = MariaDb::start(&[&format!("--binlog-format={format}")]);
    load::seed(&source.socket, 20_000).await;
    let writers = load::Load::start(&source.socket, 3);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let dir = short_dir();
    let stream = dir.path().join("stream");
    let whole = mariadb_backup(&source.options(), &stream).await;
    assert!(writers.stop().await > 100);

    // The same files as the vendor's own tool extracts, byte by byte.
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let extracted = extract(Dialect::Mariadb, fs::File::open(&stream).unwrap(), &ours);
    assert_eq!(extracted.files(), whole.files());
    fs::create_dir(&theirs).unwrap();
    run(Command::new("mbstream")
        .args(["-x", "-C"])
        .arg(&theirs)
        .stdin(fs::File::open(&stream).unwrap()));
    assert!(tree(&ours) == tree(&theirs), "the trees differ");

    let info = |what: &str| {
        let names = engines::info_names(what);
        String::from_utf8(names.iter().find_map(|name| whole.info(name)).unwrap().to_vec()).unwrap()
    };
    let recorded = BinlogInfo::parse(Flavor::Mariadb, &info("binlog_info")).unwrap();
    assert_eq!(Checkpoints::parse(&info("checkpoints")).unwrap().backup_type, "full-backuped");
    assert!(EngineInfo::parse(&info("info")).unwrap().server_version.is_some());

    let mut server = Server::connect(&source.options()).await.unwrap();
    let exact = server.exact_set_at(&recorded.position).await.unwrap();
    assert_eq!(exact.gtid_set, recorded.gtid_set, "at {}", recorded.position);
    prepare(&ours);
    let (position, sums) = recovered(&ours).await;
    let (earliest, latest) = (exact.innodb_at_least, exact.innodb_position.unwrap());
    if format == "ROW" {
        assert_eq!(position, latest);
        assert_eq!(earliest, Some(latest));
    } else {
        // The writers repeat each other's updates: the last one logged may have changed nothing.
        assert!(earliest.is_none_or(|earliest| earliest.position <= position.position));
        assert!(position.position <= latest.position && position.file == latest.file);
    }
    assert_eq!(sums.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn innodbs_position_is_predicted_after_ddl_myisam_and_rotation() {
    let source = MariaDb::start(&[]);
    let mut conn = load::connect(&source.socket).await;
    for sql in [
        "CREATE DATABASE d",
        "CREATE TABLE d.i (a INT) ENGINE=InnoDB",
        "CREATE TABLE d.m (a INT) ENGINE=MyISAM",
    ] {
        conn.query_drop(sql).await.unwrap();
    }
    let mut server = Server::connect(&source.options()).await.unwrap();
    for (step, sql) in [
        "INSERT INTO d.i VALUES (1)",
        "INSERT INTO d.m VALUES (1)",
        "CREATE TABLE d.later (a INT) ENGINE=InnoDB",
        "FLUSH BINARY LOGS",
        "ALTER TABLE d.i ADD COLUMN b INT, ALGORITHM=COPY",
        "DROP TABLE d.later",
        "INSERT INTO d.i VALUES (2, 2)",
    ]
    .into_iter()
    .enumerate()
    {
        conn.query_drop(sql).await.unwrap();
        let before = load::checksums(&source.socket).await;
        let dir = short_dir();
        let (stream, data) = (dir.path().join("stream"), dir.path().join("data"));
        mariadb_backup(&source.options(), &stream).await;
        extract(Dialect::Mariadb, fs::File::open(&stream).unwrap(), &data);
        prepare(&data);
        let place = server.current_position().await.unwrap().0.unwrap();
        let exact = server.exact_set_at(&place).await.unwrap();
        let (position, sums) = recovered(&data).await;
        assert_eq!(Some(position), exact.innodb_position, "step {step}: {sql}");
        assert_eq!(sums, before, "step {step}: {sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_of_mysql_under_load_is_exact() {
    let source = Mysql9::start(&[]);
    load::seed(&source.socket, 20_000).await;
    let mut server = Server::connect(&source.options()).await.unwrap();
    server.check_clone().await.unwrap();

    let mut conn = load::connect(&source.socket).await;
    conn.query_drop("CREATE TABLE `load`.torn (a INT) ENGINE=MyISAM").await.unwrap();
    let refused = server.check_clone().await.unwrap_err().to_string();
    assert!(refused.contains("load.torn (MyISAM)"), "{refused}");
    conn.query_drop("DROP TABLE `load`.torn").await.unwrap();
    // A user who cannot see tables must not pass for a server without them.
    conn.query_drop("CREATE USER blind@localhost IDENTIFIED BY 'b'").await.unwrap();
    conn.query_drop("GRANT BACKUP_ADMIN ON *.* TO blind@localhost").await.unwrap();
    let blind = ConnectOptions {
        user: "blind".into(),
        password: Some("b".to_owned().into()),
        ..source.options()
    };
    let refused =
        Server::connect(&blind).await.unwrap().check_clone().await.unwrap_err().to_string();
    assert!(refused.contains("GRANT SELECT"), "{refused}");

    let writers = load::Load::start(&source.socket, 3);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let dir = short_dir();
    let cloned = dir.path().join("clone");
    server.clone_into(&cloned).await.unwrap();
    assert!(writers.stop().await > 50);

    let data = dir.path().join("data");
    let stream = Writer::new(&cloned, b"{\"clone\":1}".to_vec()).unwrap();
    let whole = extract(Dialect::Clone, stream, &data);
    assert_eq!(whole.info(CLONE_INFO), Some(&b"{\"clone\":1}"[..]));
    let mut copied = tree(&data);
    copied.remove(Path::new(CLONE_INFO));
    assert!(copied == tree(&cloned), "the trees differ");

    let temp = Temp::start(Flavor::Mysql, &mysqld(), &data);
    let mut restored = Server::connect(&temp.options()).await.unwrap();
    let (place, set) = restored.cloned_position().await.unwrap();
    let exact = server.exact_set_at(&place).await.unwrap();
    assert_eq!(exact.gtid_set.as_ref(), Some(&set), "at {place}");
    assert!(exact.innodb_position.is_some());
    let executed = restored.setting("gtid_executed").await.unwrap().unwrap();
    assert_eq!(executed.parse(), Ok(set));
    assert_eq!(load::checksums(&temp.socket).await.len(), 4);
    temp.stop().await;
    assert!(
        server
            .cloned_position()
            .await
            .unwrap_err()
            .to_string()
            .contains("not started over a clone")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_settings_and_grants_of_both_flavors_are_read() {
    let (mysql, maria) = (Mysql9::start(&[]), MariaDb::start(&[]));
    for (options, flavor, server_id) in
        [(mysql.options(), Flavor::Mysql, 21), (maria.options(), Flavor::Mariadb, 11)]
    {
        let mut server = Server::connect(&options).await.unwrap();
        assert_eq!(server.transport(), TransportSecurity::Local);
        let facts = server.facts().await.unwrap();
        assert_eq!((facts.flavor, facts.server_id, facts.page_size), (flavor, server_id, 16384));
        assert!(facts.position.is_some() && facts.gtid_set.is_some() && facts.data_bytes > 1 << 20);
        assert!(facts.options.contains_key("innodb_data_file_path") && !facts.is_replica);
        assert_eq!(
            facts.server_uuid.is_some(),
            flavor == Flavor::Mysql || server.setting("server_uid").await.unwrap().is_some()
        );
        assert!(
            server.datadir().await.unwrap().is_absolute()
                && server.basedir().await.unwrap().is_absolute()
        );
        assert_eq!(server.setting("no_such_setting").await.unwrap(), None);
        let settings = server.settings().await.unwrap();
        let judged = checks::judge_settings(flavor, &settings);
        let failed: Vec<_> = judged.iter().filter(|f| f.level == checks::Level::Fail).collect();
        assert!(judged.len() > 6 && failed.is_empty(), "{failed:?}");
        let grants = server.grants().await.unwrap();
        let judged =
            checks::judge_backup_grants(flavor, engines::choose(server.version()), &grants);
        assert!(judged.iter().all(|f| f.level == checks::Level::Ok), "{judged:?}");
        let gone = BinlogPosition { file: "nothing.000009".into(), position: 4 };
        assert!(server.exact_set_at(&gone).await.is_err());
        let place = facts.position.unwrap();
        let between = BinlogPosition { position: place.position - 1, ..place.clone() };
        assert!(
            server
                .exact_set_at(&between)
                .await
                .unwrap_err()
                .to_string()
                .contains("no event ends at")
        );
        assert_eq!(server.exact_set_at(&place).await.unwrap().gtid_set, facts.gtid_set);
    }
}
