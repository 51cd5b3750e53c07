use std::io::{self, Read};

use super::*;
use crate::model::{Peer, TransportSecurity};

/// A stream as docs/serve.md has it.
const FROZEN: &[u8] = include_bytes!("../../../tests/vectors/streams/complete.stream");
const DATA: &[u8] = b"XBSTCK01: any bytes at all";

fn facts() -> ServerFacts {
    serde_json::from_value(serde_json::json!({
        "flavor": "mariadb", "version": "10.11.14-MariaDB", "server_id": 11,
        "position": {"file": "bin.000001", "position": 342}, "gtid_set": "0-11-5",
        "gtid_exact": true, "page_size": 16384, "data_bytes": 0,
    }))
    .unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn the_head() -> Head {
    Head {
        version: VERSION,
        agent_version: "0.1.0".into(),
        engine: EngineKind::MariadbBackup,
        engine_version: Some("10.11.14-MariaDB".into()),
        started_at: at("2026-11-27T07:00:00Z"),
        database: Connection::new(Peer::Database, TransportSecurity::Local),
        tls: Some(TlsFacts { version: "1.3".into(), cipher: "TLS13_AES_256_GCM_SHA384".into() }),
        server: facts(),
    }
}

fn complete(bytes: u64, sha256: [u8; 32], exit_status: i32) -> Bytes {
    verdict(&Said::Complete {
        version: VERSION,
        exit_status,
        engine_version: Some("10.11.14-MariaDB".into()),
        bytes,
        sha256: Sha256Digest(sha256),
        finished_at: at("2026-11-27T07:00:09Z"),
        server: Box::new(facts()),
    })
    .unwrap()
}

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

fn digest() -> [u8; 32] {
    Sha256::digest(DATA).into()
}

/// Magic and head, then these frames.
fn stream(frames: &[Bytes]) -> Vec<u8> {
    [&[magic(), head(&the_head()).unwrap()], frames].concat().concat()
}

fn frozen() -> Vec<u8> {
    let (first, second) = DATA.split_at(10);
    stream(&[data(first), keep_alive(), data(second), complete(DATA.len() as u64, digest(), 0)])
}

/// Everything that the reader gives, and its verdict.
fn read(bytes: &[u8]) -> io::Result<(Vec<u8>, Option<Verdict>)> {
    let (_, mut reader) = VerdictReader::begin(bytes)?;
    let pending = reader.pending();
    let mut out = Vec::new();
    let read = reader.read_to_end(&mut out);
    assert_eq!(read.is_ok(), pending.given().is_some());
    if read.is_err() {
        assert!(reader.read(&mut [0]).is_err(), "a broken stream stays broken");
    }
    read.map(|_| (out, pending.given()))
}

fn fails(bytes: &[u8], words: &str) {
    let error = read(bytes).unwrap_err().to_string();
    assert!(error.contains(words), "no `{words}` in `{error}`");
}

#[test]
fn the_frozen_stream_is_written_and_read() {
    assert!(frozen() == FROZEN, "the format of the stream has changed");
    let (head, _) = VerdictReader::begin(FROZEN).unwrap();
    assert_eq!(head, the_head());
    let (out, given) = read(FROZEN).unwrap();
    let given = given.unwrap();
    assert_eq!((out.as_slice(), given.bytes()), (DATA, DATA.len() as u64));
    assert_eq!((given.server(), given.engine_version()), (&facts(), Some("10.11.14-MariaDB")));
}

#[test]
#[ignore = "writes the frozen stream anew"]
fn write_the_frozen_stream() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/streams/complete.stream");
    std::fs::write(path, frozen()).unwrap();
}

#[test]
fn every_cut_is_seen() {
    for length in 0..FROZEN.len() {
        assert!(read(&FROZEN[..length]).is_err(), "cut at {length}");
    }
    fails(&FROZEN[..FROZEN.len() - 1], "ended within its verdict");
    fails(&stream(&[data(DATA)]), "ended without a verdict");
}

#[test]
fn what_was_received_must_be_what_was_sent() {
    let n = DATA.len() as u64;
    fails(&stream(&[data(&DATA[1..]), complete(n, digest(), 0)]), "25 were received");
    fails(&stream(&[data(DATA), data(DATA), complete(n, digest(), 0)]), "52 were received");
    let mut other = DATA.to_vec();
    for at in 0..other.len() {
        other[at] ^= 1;
        fails(&stream(&[data(&other), complete(n, digest(), 0)]), "SHA-256 differs");
        other[at] ^= 1;
    }
    fails(&[FROZEN, b"K\0\0\0\0"].concat(), "behind its verdict");
}

#[test]
fn a_failure_is_told_in_the_agents_words() {
    let said = Said::Failed { version: VERSION, error: "mariadb-backup failed:\nno space".into() };
    fails(
        &stream(&[data(DATA), verdict(&said).unwrap()]),
        "failed: mariadb-backup failed: no space",
    );
    fails(&stream(&[complete(0, Sha256::digest(b"").into(), 1)]), "ended with status 1");
}

#[test]
fn frames_out_of_place_are_refused() {
    let head = head(&the_head()).unwrap();
    fails(b"HTTP/1.1", "no stream of a backstay agent");
    fails(&[magic(), data(DATA)].concat(), "before its head");
    fails(&stream(&[head]), "a second head");
    fails(&stream(&[Bytes::from_static(b"Q\0\0\0\0")]), "unknown type (0x51)");
    fails(&stream(&[Bytes::from_static(b"D\0\0\0\0")]), "a frame of 0 bytes");
    fails(&stream(&[Bytes::from_static(b"D\0\x10\0\x01")]), "a frame of 1048577 bytes");
    fails(&stream(&[Bytes::from_static(b"K\0\0\0\x01x")]), "a frame of 1 bytes");
    // A length alone makes nobody set memory aside.
    fails(&stream(&[Bytes::from_static(b"V\xff\xff\xff\xff")]), "a frame of 4294967295 bytes");
    fails(&stream(&[Bytes::from_static(b"V\0\0\0\x02{}")]), "not understood");
    let newer = super::head(&Head { version: 2, ..the_head() }).unwrap();
    fails(&[magic(), newer].concat(), "of version 2");
}

#[test]
fn much_data_becomes_several_frames() {
    let many = vec![7; 2 * MAX_DATA + 1];
    assert_eq!(data(&many).len(), many.len() + 3 * 5);
    let end = complete(many.len() as u64, Sha256::digest(&many).into(), 0);
    assert_eq!(read(&stream(&[data(&many), end])).unwrap().0, many);
    assert!(data(&[]).is_empty());
}
