//! What is captured is what the server has in its files, byte by byte.

use std::{fs, time::Duration};

use backstay::mysql::replication::Captured;

use crate::{
    capture::{Capture, request},
    load,
    source::Source,
};

#[tokio::test(flavor = "multi_thread")]
async fn closed_files_are_captured_as_they_are_under_load() {
    for source in Source::both(&["--max-binlog-size=65536"]) {
        load::seed(source.socket(), 500).await;
        let writers = load::Load::start(source.socket(), 3);
        let mut logs = Vec::new();
        while logs.len() < 9 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            source.run(&["FLUSH BINARY LOGS"]).await;
            logs = source.logs().await;
        }
        let capture = Capture::until_end(&source.options(), &request(&logs[0], 4)).await.unwrap();
        assert!(writers.stop().await > 20);
        let closed = source.closed().await;
        let mut compared = 0;
        for (name, bytes) in closed {
            // The dump may have ended in one that was closed since.
            let Some(captured) = capture.files.get(&name) else { continue };
            if capture.files.keys().next_back() == Some(&name) {
                assert!(is_prefix(captured, &bytes), "{name} as far as it was dumped");
            } else {
                assert!(*captured == bytes, "{name}: {} for {}", captured.len(), bytes.len());
                compared += 1;
            }
        }
        assert!(compared > 6, "{compared}");
    }
}

/// All but the in-use flag (byte 21), which a server clears when it closes a file.
fn is_prefix(captured: &[u8], file: &[u8]) -> bool {
    let mut file = file[..captured.len()].to_vec();
    file[21] &= !1;
    captured == file
}

#[tokio::test(flavor = "multi_thread")]
async fn the_active_file_is_captured_without_its_flag() {
    for source in Source::both(&[]) {
        source.run(&["CREATE DATABASE d", "CREATE TABLE d.t (a INT)"]).await;
        let logs = source.logs().await;
        let last = logs.last().unwrap();
        let capture = Capture::until_end(&source.options(), &request(last, 4)).await.unwrap();
        let file = fs::read(source.datadir().join(last)).unwrap();
        assert_eq!(file[21] & 1, 1, "it is in use");
        assert_eq!(capture.files[last].len(), file.len());
        assert!(is_prefix(&capture.files[last], &file));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_from_any_event_on_is_the_rest_of_the_file() {
    for source in Source::both(&[]) {
        load::seed(source.socket(), 100).await;
        source.run(&["FLUSH BINARY LOGS"]).await;
        let (name, file) = source.closed().await.pop_last().unwrap();
        let whole = Capture::until_end(&source.options(), &request(&name, 4)).await.unwrap();
        let ends: Vec<u64> = whole
            .events
            .iter()
            .filter(|(file, ..)| *file == name)
            .map(|(.., end)| end.end)
            .collect();
        assert!(ends.len() > 15, "{}", ends.len());
        for &offset in ends.iter().step_by(3) {
            let part =
                Capture::until_end(&source.options(), &request(&name, offset)).await.unwrap();
            assert!(part.files[&name] == file[usize::try_from(offset).unwrap()..], "{offset}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_server_sends_heartbeats() {
    for source in Source::both(&[]) {
        let mut request = request(source.logs().await.last().unwrap(), 4);
        request.until_end = false;
        let mut dump =
            backstay::mysql::replication::Dump::start(&source.options(), &request).await.unwrap();
        let (mut end, mut heard) = (0, 0);
        while heard < 2 {
            match dump.next().await.unwrap() {
                Captured::End(event) => end = event.end,
                Captured::Heartbeat { file, position } => {
                    assert_eq!((&file, position), (&request.file, end));
                    heard += 1;
                }
                _ => {}
            }
        }
    }
}
