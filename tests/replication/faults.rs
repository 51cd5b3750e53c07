//! What goes wrong on the way is an error, and which one is told.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use backstay::mysql::{
    ConnectOptions, Endpoint, MysqlError,
    replication::{Captured, Dump},
};

use crate::{
    capture::{Capture, request},
    load,
    mariadb::{root, run},
    proxy::Proxy,
    source::Source,
};

/// The first error of a dump that should have one.
async fn error_of(options: &ConnectOptions, file: &str, offset: u64) -> MysqlError {
    Capture::until_end(options, &request(file, offset)).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_apart() {
    for source in Source::both(&[]) {
        let options = source.options();
        let base = if source.is_mysql() { "binlog" } else { "bin" };
        source.run(&["FLUSH BINARY LOGS", "FLUSH BINARY LOGS"]).await;
        let logs = source.logs().await;
        source.run(&[&format!("PURGE BINARY LOGS TO '{}'", logs[1])]).await;
        for gone in [logs[0].as_str(), &format!("{base}.000099"), "nothing.000001"] {
            let error = error_of(&options, gone, 4).await;
            assert!(matches!(&error, MysqlError::Purged { file, .. } if file == gone), "{error}");
        }
        let error = error_of(&options, &logs[1], 1 << 30).await;
        assert!(matches!(error, MysqlError::PastEnd { offset: 0x4000_0000, .. }), "{error}");
        for offset in [0, 3, 1 << 32] {
            let error = error_of(&options, &logs[1], offset).await;
            assert!(matches!(error, MysqlError::Unsupported { .. }), "{error}");
        }
        // Inside an event.
        for offset in [5, 30, 140] {
            let error = error_of(&options, &logs[1], offset).await;
            let told = matches!(error, MysqlError::DumpRefused { .. } | MysqlError::Damaged { .. });
            assert!(told, "{offset}: {error}");
        }
        source.run(&["CREATE USER weak@localhost IDENTIFIED BY 'weak'"]).await;
        let weak = ConnectOptions {
            user: "weak".to_owned(),
            password: Some("weak".to_owned().into()),
            ..options
        };
        let error = error_of(&weak, &logs[1], 4).await;
        let told = error.to_string();
        assert!(matches!(error, MysqlError::AccessDenied { .. }), "{told}");
        assert!(told.contains("`weak`") && told.contains("GRANT REPLICATION SLAVE"), "{told}");
    }
    let off = Source::maria(&["--skip-log-bin"]);
    let error = error_of(&off.options(), "bin.000001", 4).await;
    assert!(matches!(error, MysqlError::DumpRefused { code: 1236, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_is_lost_and_what_came_is_a_part_of_its_file() {
    for source in Source::both(&[]) {
        load::seed(source.socket(), 100).await;
        let logs = source.logs().await;
        let mut request = request(logs.last().unwrap(), 4);
        request.until_end = false;
        let mut dump = Dump::start(&source.options(), &request).await.unwrap();
        let mut capture = Capture::default();
        let work = async {
            let mut conn = source.conn().await;
            for n in 0.. {
                let sql = format!("INSERT INTO `load`.t0 (k, v) VALUES ({n}, REPEAT('x', 300))");
                if mysql_async::prelude::Queryable::query_drop(&mut conn, sql).await.is_err() {
                    break;
                }
            }
        };
        let read = async {
            loop {
                match dump.next().await {
                    Ok(captured) => capture.take(captured),
                    Err(error) => break error,
                }
            }
        };
        let kill = async {
            tokio::time::sleep(Duration::from_millis(800)).await;
            run(Command::new("kill").args(["-KILL", &source.pid().to_string()]));
        };
        let ((), error, ()) = tokio::join!(work, read, kill);
        assert!(matches!(error, MysqlError::Lost { .. }), "{error}");
        let mut file = std::fs::read(source.datadir().join(&request.file)).unwrap();
        file[21] &= !1;
        assert!(file.starts_with(&capture.files[&request.file]));
        assert!(capture.events.len() > 50);
        let again = Dump::start(&source.options(), &request).await.unwrap_err();
        assert!(matches!(again, MysqlError::Unreachable { .. }), "{again}");
    }
}

/// The caller looks at other things between, and cancels each wait: the server's silence is
/// noticed all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_lost_after_a_while() {
    let source = Source::maria(&[]);
    let mut request = request(source.logs().await.last().unwrap(), 4);
    (request.until_end, request.heartbeat) = (false, Duration::from_millis(200));
    let mut dump = Dump::start(&source.options(), &request).await.unwrap();
    while !matches!(dump.next().await.unwrap(), Captured::Heartbeat { .. }) {}
    let signal = |name: &str| run(Command::new("kill").args([name, &source.pid().to_string()]));
    signal("-STOP");
    let began = Instant::now();
    let error = loop {
        tokio::select! {
            next = dump.next() => if let Err(error) = next { break error },
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    };
    signal("-CONT");
    assert!(matches!(error, MysqlError::Lost { .. }), "{error}");
    let took = began.elapsed().as_secs_f64();
    assert!((10.0..13.0).contains(&took), "{took} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_flipped_bit_goes_unnoticed() {
    for source in Source::both(&[]) {
        load::seed(source.socket(), 3).await;
        source.run(&["FLUSH BINARY LOGS"]).await;
        let logs = source.logs().await;
        let request = request(&logs[0], 4);
        let truth = Capture::until_end(&source.options(), &request).await.unwrap();
        let size: usize = truth.files.values().map(Vec::len).sum();
        let (mut caught, mut harmless) = (0, 0);
        // All bits of the first bytes, and then one of many bytes.
        let places = (0..160).flat_map(|byte| (0..8).map(move |bit| (byte, bit)));
        let places = places.step_by(5).chain((160..size).step_by(29).map(|byte| (byte, byte % 8)));
        for (byte, bit) in places {
            let proxy = Proxy::start(source.port(), byte, bit).await;
            let options = root(Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: proxy.port });
            let options = ConnectOptions {
                tls: backstay::mysql::Tls {
                    mode: backstay::mysql::TlsMode::Disabled,
                    ..options.tls
                },
                ..options
            };
            let mut capture = Capture::default();
            let mut dump = Dump::start(&options, &request).await.unwrap();
            let ended = loop {
                match dump.next().await {
                    Ok(Captured::Eof) => break Ok(()),
                    Ok(captured) => capture.take(captured),
                    Err(error) => break Err(error),
                }
            };
            match ended {
                Err(MysqlError::Unsupported { .. } | MysqlError::Unreachable { .. }) => {
                    panic!("byte {byte} bit {bit}: {ended:?}")
                }
                Err(_) => caught += 1,
                // The number of a packet, for instance.
                Ok(()) => {
                    // MariaDB notes a while later which logs a crash would need.
                    assert!(
                        capture.files[&logs[0]] == truth.files[&logs[0]],
                        "byte {byte} bit {bit}"
                    );
                    assert!(capture.events.starts_with(&truth.events), "byte {byte} bit {bit}");
                    harmless += 1;
                }
            }
            // Whatever was called complete is true.
            for (file, _, event) in &capture.events {
                let (ours, end) = (&capture.files[file], usize::try_from(event.end).unwrap());
                let (ours, true_ones) = (&ours[..end], &truth.files[file]);
                let same = true_ones.starts_with(ours) || ours.starts_with(true_ones);
                assert!(same, "byte {byte} bit {bit}");
            }
        }
        assert!(caught > 200 && harmless * 5 < caught, "{caught} caught, {harmless} harmless");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_dump_of_a_process_ends_the_first() {
    for source in Source::both(&[]) {
        let mut request = request(source.logs().await.last().unwrap(), 4);
        request.until_end = false;
        let mut first = Dump::start(&source.options(), &request).await.unwrap();
        first.next().await.unwrap();
        let mut second = Dump::start(&source.options(), &request).await.unwrap();
        second.next().await.unwrap();
        let error = loop {
            if let Err(error) = first.next().await {
                break error;
            }
        };
        let ended = matches!(error, MysqlError::DumpRefused { .. } | MysqlError::Lost { .. });
        assert!(ended, "{error}");
    }
}
