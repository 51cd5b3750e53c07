//! Dumping takes no more memory for large events, and works beyond 4 GiB, where the protocol's
//! offsets end. A program of its own, because it looks at its own memory.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "shared by test programs; none uses all of it")]
#[path = "support/load.rs"]
mod load;
#[expect(dead_code, reason = "shared by test programs; none uses all of it")]
#[path = "support/mariadb.rs"]
mod mariadb;
#[path = "support/mysql9.rs"]
mod mysql9;
#[path = "support/tools.rs"]
mod tools;

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
    time::{Duration, Instant},
};

use backstay::mysql::{
    ConnectOptions, MysqlError,
    replication::{Captured, Dump, DumpRequest, Group},
};
use mariadb::MariaDb;
use mysql_async::prelude::Queryable as _;
use mysql9::Mysql9;

/// What a dump may add to the memory of a process, in bytes.
const LIMIT: u64 = 4 << 20;

/// The most memory that this process has had, in bytes (`VmHWM`, proc(5)).
fn peak() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

/// Forgets the peak until now.
fn reset_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// Dumps one file, and compares it with the one on disk, piece by piece.
async fn dump_and_compare(options: &ConnectOptions, path: &Path) -> (Vec<Group>, u64) {
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let request = DumpRequest {
        file: name.clone(),
        offset: 4,
        heartbeat: Duration::from_secs(5),
        until_end: true,
    };
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 64 << 10];
    file.read_exact(&mut buffer[..4]).unwrap();
    let mut dump = Dump::start(options, &request).await.unwrap();
    let (mut groups, mut largest, mut ours, mut end) = (Vec::new(), 0, false, 4);
    loop {
        match dump.next().await.unwrap() {
            Captured::File { name: other, .. } => ours = other == name,
            Captured::Event { length, .. } if ours => largest = largest.max(length),
            Captured::Bytes(bytes) if ours => {
                let buffer = &mut buffer[..bytes.len()];
                file.read_exact(buffer).unwrap();
                assert!(*buffer == bytes[..], "after {end}");
            }
            Captured::End(event) if ours => {
                end = event.end;
                groups.extend(event.group);
            }
            Captured::Eof => break,
            _ => {}
        }
    }
    assert_eq!(end, fs::metadata(path).unwrap().len());
    (groups, largest)
}

async fn measure(what: &str, options: &ConnectOptions, path: &Path) -> (Vec<Group>, u64) {
    dump_and_compare(options, path).await; // once, for all that is made only once
    reset_peak();
    let (before, began) = (peak(), Instant::now());
    let (groups, largest) = dump_and_compare(options, path).await;
    let grown = peak() - before;
    let size = fs::metadata(path).unwrap().len();
    println!(
        "{what}: {size} bytes, the largest event {largest}, in {:?}: {} KiB of memory more",
        began.elapsed(),
        grown >> 10
    );
    assert!(grown <= LIMIT, "{grown} bytes more");
    (groups, largest)
}

/// One event of 300 MB, on both flavors, and no more memory than for small ones.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_300_mb_takes_no_memory() {
    let extra = ["--max-allowed-packet=1G", "--max-binlog-size=1G"];
    let (mysql, maria) = (Mysql9::start(&extra), MariaDb::start(&extra));
    for (what, socket, options) in
        [("MySQL", &mysql.socket, mysql.options()), ("MariaDB", &maria.socket, maria.options())]
    {
        let mut conn = load::connect(socket).await;
        for sql in [
            "CREATE DATABASE d",
            "CREATE TABLE d.t (v LONGBLOB) ENGINE=MyISAM",
            "SET SESSION binlog_format = ROW",
            "INSERT INTO d.t VALUES (REPEAT('x', 300000000))",
            "FLUSH BINARY LOGS",
        ] {
            conn.query_drop(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
        let names: Vec<mysql_async::Row> = conn.query("SHOW BINARY LOGS").await.unwrap();
        let first: String = names[0].get(0).unwrap();
        let path = socket.with_file_name("data").join(first);
        let (groups, largest) = measure(what, &options, &path).await;
        assert!(largest > 300_000_000 && groups.len() == 3);
    }
}

/// 5 GB in one transaction, and so in one file. With `BACKSTAY_SOAK=1` only: it takes minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_more_than_4_gib_is_captured_to_its_end() {
    if std::env::var_os("BACKSTAY_SOAK").is_none() {
        println!("only with BACKSTAY_SOAK=1");
        return;
    }
    for maria in [false, true] {
        let extra = ["--max-allowed-packet=1G", "--max-binlog-size=1G"];
        let (_mysql, _maria, socket, options);
        if maria {
            let server = MariaDb::start(&[&extra[..], &["--innodb-log-file-size=2G"]].concat());
            (socket, options) = (server.socket.clone(), server.options());
            _maria = server;
        } else {
            let server = Mysql9::start(&[&extra[..], &["--innodb-redo-log-capacity=2G"]].concat());
            (socket, options) = (server.socket.clone(), server.options());
            _mysql = server;
        }
        let mut conn = load::connect(&socket).await;
        for sql in [
            "CREATE DATABASE d",
            "CREATE TABLE d.t (v LONGBLOB)",
            "SET SESSION binlog_format = ROW",
            "FLUSH BINARY LOGS",
            "BEGIN",
        ] {
            conn.query_drop(sql).await.unwrap();
        }
        for _ in 0..56 {
            conn.query_drop("INSERT INTO d.t VALUES (REPEAT('x', 90000000))").await.unwrap();
        }
        conn.query_drop("COMMIT").await.unwrap();
        let names: Vec<mysql_async::Row> = conn.query("SHOW BINARY LOGS").await.unwrap();
        let name: String = names[1].get(0).unwrap();
        let path = socket.with_file_name("data").join(&name);
        let (groups, _) = measure(if maria { "MariaDB" } else { "MySQL" }, &options, &path).await;
        assert!(groups.len() == 1 && groups[0].end > 5_000_000_000, "{groups:?}");
        let request = DumpRequest {
            file: name,
            offset: groups[0].end,
            heartbeat: Duration::from_secs(5),
            until_end: true,
        };
        let refused = Dump::start(&options, &request).await.unwrap_err();
        assert!(matches!(refused, MysqlError::Unsupported { .. }), "{refused}");
    }
}
