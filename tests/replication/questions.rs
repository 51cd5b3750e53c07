//! What an archive asks of a server.

use std::{fs, time::Duration};

use backstay::{
    model::{Flavor, GtidState},
    mysql::{
        MysqlError, Server,
        replication::{Dump, Meaning, SourceIdentity},
    },
};

use crate::{
    capture::{Capture, request},
    source::Source,
};

/// Makes some files, with transactions of several sources where the flavor has them.
async fn work(source: &Source) {
    source.run(&["CREATE DATABASE d", "CREATE TABLE d.t (v LONGBLOB)", "FLUSH BINARY LOGS"]).await;
    let elsewhere: &[&str] = if source.is_mysql() {
        &[
            "SET gtid_next = '9a3225ed-e51b-11f1-86df-02fc00000001:77'",
            "INSERT INTO d.t VALUES ('elsewhere')",
            "SET gtid_next = 'AUTOMATIC:audit_1'",
            "INSERT INTO d.t VALUES ('tagged')",
        ]
    } else {
        // What a failover leaves behind: two servers in one domain; and a second domain.
        &[
            "SET server_id = 12",
            "INSERT INTO d.t VALUES ('other server')",
            "SET gtid_domain_id = 3",
            "INSERT INTO d.t VALUES ('other domain')",
        ]
    };
    source.run(elsewhere).await;
    source.run(&["INSERT INTO d.t VALUES ('own')", "FLUSH BINARY LOGS"]).await;
    source.run(&["INSERT INTO d.t VALUES ('own')"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_what_came_before_them_are_as_captured() {
    for source in Source::both(&[]) {
        work(&source).await;
        let mut server = Server::connect(&source.options()).await.unwrap();
        let logs = server.binary_logs().await.unwrap();
        assert_eq!(
            logs.iter().map(|log| log.name.clone()).collect::<Vec<_>>(),
            source.logs().await
        );
        let flavor = server.flavor();
        let first = request(&logs[0].name, 4);
        let capture = Capture::until_end(&source.options(), &first).await.unwrap();
        let mut so_far = GtidState::empty(flavor);
        for log in &logs {
            let size = fs::metadata(source.datadir().join(&log.name)).unwrap().len();
            // MariaDB notes later which logs a crash would need, and the active one grows.
            let active = log.name == logs[logs.len() - 1].name;
            assert!(log.bytes == size || (active && log.bytes < size), "{log:?}: {size}");
            assert!(!log.encrypted);
            let previous = server.previous_gtids(&log.name).await.unwrap();
            assert_eq!(previous, so_far, "{}", log.name);
            for (_, _, event) in capture.events.iter().filter(|(file, ..)| *file == log.name) {
                if let Meaning::Previous(set) = &event.meaning {
                    assert_eq!(*set, so_far, "{}", log.name);
                }
                if let Some(group) = &event.group {
                    so_far.add(group.gtid.as_ref().unwrap());
                }
            }
        }
        assert_eq!(server.executed().await.unwrap(), so_far);
        let end = server.current_position().await.unwrap().0.unwrap();
        assert_eq!(server.exact_set_at(&end).await.unwrap().gtid_set, Some(so_far.position()));
        assert!(server.previous_gtids("nothing.000009").await.is_err());

        if flavor == Flavor::Mysql {
            assert!(so_far.to_string().contains(":audit_1:1"), "{so_far}");
        } else {
            assert_eq!(so_far.to_string(), "0-12-3,0-11-5,3-12-1");
            // What was applied counts, too, though it was not logged.
            source.run(&["SET GLOBAL gtid_slave_pos = '0-12-3,7-7-7'"]).await;
            let executed = server.executed().await.unwrap();
            assert_eq!(executed.to_string(), "0-12-3,0-11-5,3-12-1,7-7-7");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_a_server_is_and_whether_it_takes_writes() {
    for source in Source::both(&[]) {
        let mut server = Server::connect(&source.options()).await.unwrap();
        let identity = server.server_identity().await.unwrap();
        match server.setting("server_uuid").await.unwrap() {
            Some(uuid) => assert_eq!(identity, uuid),
            None => assert_eq!(identity, "id-11"),
        }
        assert!(server.is_writable().await.unwrap());
        source.run(&["SET GLOBAL read_only = ON"]).await;
        assert!(!server.is_writable().await.unwrap());
        if source.is_mysql() {
            source.run(&["SET GLOBAL super_read_only = ON"]).await;
            assert!(!server.is_writable().await.unwrap());
            source.run(&["SET GLOBAL super_read_only = OFF"]).await;
        }
        source.run(&["SET GLOBAL read_only = OFF"]).await;
        assert!(server.is_writable().await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_a_server_keeps_its_logs() {
    const DAY: Duration = Duration::from_hours(24);
    let [mysql, maria] = Source::both(&[]);
    let mut server = Server::connect(&mysql.options()).await.unwrap();
    assert_eq!(server.log_expiry().await.unwrap(), Some(30 * DAY));
    mysql.run(&["SET GLOBAL binlog_expire_logs_seconds = 5400"]).await;
    assert_eq!(server.log_expiry().await.unwrap(), Some(Duration::from_mins(90)));
    mysql.run(&["SET GLOBAL binlog_expire_logs_auto_purge = OFF"]).await;
    assert_eq!(server.log_expiry().await.unwrap(), None);
    let mut server = Server::connect(&maria.options()).await.unwrap();
    assert_eq!(server.log_expiry().await.unwrap(), None);
    maria.run(&["SET GLOBAL expire_logs_days = 1.5"]).await;
    assert_eq!(server.log_expiry().await.unwrap(), Some(DAY + DAY / 2));
    maria.run(&["SET GLOBAL binlog_expire_logs_seconds = 5400"]).await;
    assert_eq!(server.log_expiry().await.unwrap(), Some(Duration::from_mins(90)));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_is_asked_for_nothing() {
    for source in Source::both(&[]) {
        let (options, request) = (source.options(), request(&source.logs().await[0], 4));
        let mut server = Server::connect(&options).await.unwrap();
        let name = server.server_identity().await.unwrap();
        let server_id = server.setting("server_id").await.unwrap().unwrap().parse().unwrap();
        let uuid = source.is_mysql().then_some(name);
        let right = SourceIdentity { server_id, uuid };
        let mut dump = Dump::start_of(&right, &options, &request).await.unwrap();
        assert_eq!(*dump.source(), right);
        dump.next().await.unwrap();
        let wrong = match &right.uuid {
            Some(_) => SourceIdentity { uuid: Some("another".to_owned()), ..right },
            None => SourceIdentity { server_id: server_id + 1, ..right },
        };
        let refused = Dump::start_of(&wrong, &options, &request).await.unwrap_err();
        assert!(matches!(refused, MysqlError::OtherServer { .. }), "{refused}");
        // Had it been told who we are, it would have ended the dump before.
        tokio::time::sleep(Duration::from_millis(300)).await;
        dump.next().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_reads_is_not_purged() {
    for source in Source::both(&["--max-allowed-packet=64M"]) {
        source.run(&["CREATE DATABASE d", "CREATE TABLE d.t (v LONGBLOB) ENGINE=MyISAM"]).await;
        source
            .run(&["SET binlog_format = ROW", "INSERT INTO d.t VALUES (REPEAT('x', 30000000))"])
            .await;
        source.run(&["FLUSH BINARY LOGS", "FLUSH BINARY LOGS"]).await;
        let logs = source.logs().await;
        let mut server = Server::connect(&source.options()).await.unwrap();
        // More than the system buffers: the server is still in the first file.
        let mut dump = Dump::start(&source.options(), &request(&logs[0], 4)).await.unwrap();
        dump.next().await.unwrap();
        let warnings = server.purge_to(&logs[2]).await;
        if source.is_mysql() {
            let warnings = warnings.unwrap();
            assert!(warnings.len() == 1 && warnings[0].contains("(warning 1867)"), "{warnings:?}");
        } else {
            drop(warnings);
        }
        assert_eq!(source.logs().await, logs);
        drop(dump);
        let mut warnings = Vec::new();
        for _ in 0..100 {
            warnings = server.purge_to(&logs[2]).await.unwrap_or_default();
            if source.logs().await == logs[2..] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(source.logs().await, logs[2..], "{warnings:?}");
        assert!(warnings.is_empty());
        assert!(server.purge_to("nothing.000009").await.is_err());
    }
}
