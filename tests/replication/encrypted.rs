//! Servers that encrypt their binary logs send them in plain; and those that keep no checksums.

use std::{fs, process::Command};

use backstay::mysql::{MysqlError, Server, replication::Meaning};
use mysql_async::{Row, prelude::Queryable as _};

use crate::{
    capture::{Capture, MAGIC, request},
    keyring::with_keyring,
    load,
    mariadb::{PASSWORD, run, short_dir},
    mysql9::Mysql9,
    source::Source,
    tools::tool,
};

const MARK: &str = "a text that is easily found";

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_log_of_mysql_is_captured_as_mysqlbinlog_fetches_it() {
    let dir = short_dir();
    let program = with_keyring(dir.path());
    let plugins = format!("--plugin-dir={}", dir.path().join("plugins").display());
    let source = Source::Mysql(Mysql9::start_by(&program, &[&plugins, "--binlog-encryption=ON"]));
    work(&source).await;
    let logs = source.logs().await;
    let capture = Capture::until_end(&source.options(), &request(&logs[0], 4)).await.unwrap();
    let raw = dir.path().join("raw-");
    run(Command::new(tool("mysql9/bin/mysqlbinlog"))
        .args(["--no-defaults", "--read-from-remote-server", "--raw", "--user=root"])
        .env("MYSQL_PWD", PASSWORD)
        .arg(format!("--socket={}", source.socket().display()))
        .arg(format!("--result-file={}", raw.display()))
        .args(&logs));
    let mut server = Server::connect(&source.options()).await.unwrap();
    let listed = server.binary_logs().await.unwrap();
    for (name, on_disk) in source.closed().await {
        let captured = &capture.files[&name];
        assert!(on_disk.starts_with(b"\xfdbin"), "{name} is not encrypted");
        assert_eq!(captured.len() + 512, on_disk.len());
        let fetched = fs::read(dir.path().join(format!("raw-{name}"))).unwrap();
        assert!(*captured == fetched, "{name}");
        let log = listed.iter().find(|log| log.name == name).unwrap();
        assert!(log.encrypted && log.bytes == on_disk.len() as u64);
    }
    assert!(capture.files.values().any(|file| contains(file, MARK)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_log_of_mariadb_is_captured_in_plain_event_by_event() {
    let dir = short_dir();
    let keys = dir.path().join("keys");
    fs::write(&keys, format!("1;{}\n", "5a".repeat(32))).unwrap();
    for algorithm in ["AES_CBC", "AES_CTR"] {
        let source = Source::maria(&[
            &format!("--plugin-dir={}", tool("mariadb-plugins").display()),
            "--plugin-load-add=file_key_management",
            &format!("--file-key-management-filename={}", keys.display()),
            &format!("--file-key-management-encryption-algorithm={algorithm}"),
            "--encrypt-binlog=ON",
        ]);
        work(&source).await;
        let logs = source.logs().await;
        let capture = Capture::until_end(&source.options(), &request(&logs[0], 4)).await.unwrap();
        let mut conn = source.conn().await;
        for (name, on_disk) in source.closed().await {
            let captured = &capture.files[&name];
            assert!(*captured != on_disk && !contains(&on_disk, MARK), "{name} is not encrypted");
            assert_eq!(captured.len(), on_disk.len());
            // The events are the server's own; each has the CRC32 that it was written with.
            let rows: Vec<Row> =
                conn.query(format!("SHOW BINLOG EVENTS IN '{name}'")).await.unwrap();
            let shown: Vec<u64> = rows.iter().map(|row| row.get("End_log_pos").unwrap()).collect();
            let ours = capture.events.iter().filter(|(file, ..)| *file == name);
            let ours: Vec<u64> = ours.map(|(.., event)| event.end).collect();
            assert_eq!(ours, shown);
            let marks = capture.events.iter().filter(|(file, _, event)| {
                *file == name && event.meaning == Meaning::StartEncryption
            });
            assert_eq!(marks.count(), 1);
            // From the middle, where the server has to find the key again. It garbles the mark
            // itself when the dump begins there, which is noticed.
            let garbled = Capture::until_end(&source.options(), &request(&name, ours[0])).await;
            assert!(matches!(garbled, Err(MysqlError::Damaged { .. })), "{garbled:?}");
            for &offset in ours.iter().skip(1).step_by(4) {
                let request = request(&name, offset);
                let rest = Capture::until_end(&source.options(), &request).await.unwrap();
                assert!(rest.files[&name] == captured[usize::try_from(offset).unwrap()..]);
            }
        }
        assert!(capture.files.values().any(|file| contains(file, MARK)));
    }
}

/// Some transactions in some files.
async fn work(source: &Source) {
    load::seed(source.socket(), 50).await;
    for _ in 0..2 {
        let insert = format!("INSERT INTO `load`.t0 (k, v) VALUES (1, '{MARK}')");
        source.run(&[&insert, "FLUSH BINARY LOGS"]).await;
    }
}

fn contains(file: &[u8], text: &str) -> bool {
    file.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_checksums_and_one_that_changes_its_mind_are_captured() {
    for source in Source::both(&["--binlog-checksum=NONE"]) {
        work(&source).await;
        source.run(&["SET GLOBAL binlog_checksum = CRC32"]).await;
        work_again(&source).await;
        source.run(&["SET GLOBAL binlog_checksum = NONE"]).await;
        work_again(&source).await;
        let logs = source.logs().await;
        let capture = Capture::until_end(&source.options(), &request(&logs[0], 4)).await.unwrap();
        let closed = source.closed().await;
        for (name, on_disk) in &closed {
            assert!(on_disk.starts_with(MAGIC) && capture.files[name] == *on_disk, "{name}");
        }
        let checksums: Vec<bool> = capture
            .events
            .iter()
            .filter_map(|(.., event)| match &event.meaning {
                Meaning::FormatDescription { checksums, .. } => Some(*checksums),
                _ => None,
            })
            .collect();
        assert!(checksums.contains(&true) && !checksums[0] && !checksums[checksums.len() - 1]);
        let groups = capture.events.iter().filter(|(.., event)| event.group.is_some()).count();
        assert!(groups >= 13, "{groups}");
        // From the middle of each.
        for (name, on_disk) in &closed {
            let ends = capture.events.iter().filter(|(file, ..)| file == name);
            let offset = ends.map(|(.., event)| event.end).nth(2).unwrap();
            let rest = Capture::until_end(&source.options(), &request(name, offset)).await.unwrap();
            assert!(rest.files[name] == on_disk[usize::try_from(offset).unwrap()..]);
        }
    }
}

async fn work_again(source: &Source) {
    source
        .run(&["INSERT INTO `load`.t0 (k, v) VALUES (1, 'once more')", "FLUSH BINARY LOGS"])
        .await;
}
