//! Every parser over mutations of good inputs, on the stable toolchain: none may panic.
//!
//! The same entry points, with the fuzzer's guidance, are in `fuzz/`; `./dev fuzz` runs them, from
//! the good inputs that are written here when `BACKSTAY_FUZZ_CORPUS` names a folder.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets are crates of their own")]
mod targets;

use std::{fs, path::PathBuf};

use backstay::{
    crypto::keyfile::{KeyFile, KeyKind},
    format::{ClusterRecord, Compression, Envelope, ObjectHeader, ObjectKind, Trailer},
    model::{ClusterUuid, DekId, RunId, Timestamp},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

const ROUNDS: u32 = 3_000;

/// xorshift64*: seeded, so that a failure comes again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let n = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(n).unwrap() % sides.max(1)
    }
}

fn mutate(dice: &mut Dice, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len() + 1);
        match dice.roll(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, u8::try_from(dice.roll(256)).unwrap()),
            2 => bytes.extend_from_slice(&good[..dice.roll(good.len() + 1)]),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 if at + 8 <= bytes.len() => {
                bytes[at..at + 8].fill([0, 0xff, 0x7f, b'9'][dice.roll(4)]);
            }
            _ if at < bytes.len() => bytes[at] ^= 1 << dice.roll(8),
            _ => {}
        }
    }
    bytes
}

/// Where the fuzzer begins.
fn plant(target: &str, seeds: &[Vec<u8>]) {
    let Some(corpus) = std::env::var_os("BACKSTAY_FUZZ_CORPUS") else { return };
    let folder = PathBuf::from(corpus).join(target);
    fs::create_dir_all(&folder).unwrap();
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
    }
}

fn smoke(name: &str, target: fn(&[u8]), seeds: &[Vec<u8>]) {
    plant(name, seeds);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ u64::from(crc32fast::hash(name.as_bytes())));
    for seed in seeds {
        target(seed);
        for _ in 0..ROUNDS {
            target(&mutate(&mut dice, seed));
        }
    }
}

/// An xbstream of two files, a hole, a rename and a removal, by hand.
fn xbstream() -> Vec<u8> {
    let mut out = Vec::new();
    let head = |out: &mut Vec<u8>, letter: u8, path: &[u8]| {
        out.extend_from_slice(b"XBSTCK01\0");
        out.push(letter);
        out.extend_from_slice(&u32::try_from(path.len()).unwrap().to_le_bytes());
        out.extend_from_slice(path);
    };
    for (path, body) in
        [(&b"db/t.ibd"[..], &b"0123456789"[..]), (b"xtrabackup_info", b"uuid = a\n")]
    {
        head(&mut out, b'P', path);
        out.extend_from_slice(&(body.len() as u64).to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
        out.extend_from_slice(body);
        head(&mut out, b'S', path);
        out.extend_from_slice(&16_384u64.to_le_bytes());
        head(&mut out, b'E', path);
    }
    head(&mut out, b'R', b"db/t.ibd");
    out.extend_from_slice(&8u32.to_le_bytes());
    out.extend_from_slice(b"db/u.ibd");
    head(&mut out, b'D', b"db/u.ibd");
    // The first byte of the input chooses the dialect.
    [&[1], &out[..]].concat()
}

fn key_file() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kek");
    KeyFile::new(KeyKind::Symmetric, None, Some([7; 32])).write_new(&path).unwrap();
    fs::read(path).unwrap()
}

fn record() -> Vec<u8> {
    let good = header();
    let record = ClusterRecord {
        version: 1,
        cluster_uuid: good.cluster,
        run_id: good.run,
        created_at: "2026-11-20T20:43:17Z".parse::<Timestamp>().unwrap(),
    };
    let (payload, _) = Envelope::prepare(&record).unwrap();
    Envelope::seal::<ClusterRecord>(&payload, "hint", &[7; 64]).unwrap()
}

fn header() -> ObjectHeader {
    ObjectHeader {
        compression: Compression::Zstd,
        chunk_size: 1024,
        cluster: ClusterUuid::from_bytes([1; 16]),
        run: RunId::from_bytes([2; 16]),
        kind: ObjectKind::BackupVolume,
        sequence: 0,
        dek: DekId::from_bytes([3; 16]),
        salt: [4; 32],
    }
}

#[test]
fn headers() {
    smoke("object_header", targets::object_header, &[header().encode().to_vec()]);
}

#[test]
fn trailers_and_indexes() {
    let trailer = Trailer { body_bytes: 256, chunks: 1 }.encode();
    let index = [&trailer[..], &1024u32.to_be_bytes(), &[0, 0, 1, 0, 0, 0, 4, 0]].concat();
    smoke("index", targets::index, &[index]);
}

#[test]
fn records() {
    smoke("records", targets::records, &[record()]);
}

/// The payloads of a frozen log, a line each.
fn log() -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/logs");
    let base =
        zstd::decode_all(&fs::read(folder.join("base-small.json.zst")).unwrap()[..]).unwrap();
    let base: serde_json::Value = serde_json::from_slice(&base).unwrap();
    let decode = |text: &serde_json::Value| STANDARD.decode(text.as_str().unwrap()).unwrap();
    let mut lines = Vec::new();
    for (key, stored) in base["objects"].as_object().unwrap() {
        if key.contains("/log/") {
            let stored = decode(stored);
            let end = stored.iter().position(|byte| *byte == b'\n').unwrap();
            let envelope: serde_json::Value = serde_json::from_slice(&stored[..end]).unwrap();
            lines.push(decode(&envelope["payload"]));
        }
    }
    lines.join(&b'\n')
}

#[test]
fn logs_are_folded() {
    let mut dice = Dice(11);
    let log = log();
    plant("log_fold", std::slice::from_ref(&log));
    targets::log_fold(&log);
    for _ in 0..300 {
        targets::log_fold(&mutate(&mut dice, &log));
    }
}

#[test]
fn gtid_states() {
    let (a, b) = ("3e11fa47-71ca-11e1-9e33-c80aa9429562", "3e11fa47-71ca-11e1-9e33-c80aa9429563");
    let mysql = format!("{a}:1-5:7:tag_1:9-12|{a}:1-3,{b}:1");
    smoke(
        "gtid_state",
        targets::gtid_state,
        &[mysql.into(), b"0-1-100,0-2-7|0-1-90,3-1-1".to_vec()],
    );
}

/// Bodies of a list of earlier transactions, a GTID, a statement, a commit, a rotation.
fn binlog() -> [Vec<u8>; 2] {
    let mut gtid = vec![0; 42];
    gtid[17] = 1;
    let mut query = vec![0; 13];
    query.extend_from_slice(b"\0BEGIN");
    let mut rotate = 4u64.to_le_bytes().to_vec();
    rotate.extend_from_slice(b"binlog.000002");
    let bodies: [(u8, &[u8]); 5] =
        [(35, &[0; 8]), (33, &gtid), (2, &query), (16, &[7; 8]), (4, &rotate)];
    let (mut framed, mut raw) = (vec![1], vec![0]);
    let mut stream = targets::format_description();
    for (kind, body) in bodies {
        framed.extend_from_slice(&[kind, 0]);
        framed.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(body);
        targets::put_event(&mut stream, kind, 0, body);
    }
    raw.extend_from_slice(&stream);
    [raw, framed]
}

#[test]
fn binlogs_are_read() {
    smoke("binlog_events", targets::binlog_events, &binlog());
}

/// Rows of each encoding, statements, and a compressed transaction, behind the description of
/// their table.
fn changes() -> Vec<u8> {
    let row = b"\xe0\x07\0\0\0\0\0\0\0\x02\0\0\0hi\x03abc\x80\0\0\0\x01\0\x01\x02\0\0\0{}";
    let old = [b"\x09\0\0\0\0\0\0\0\x05\x1f".as_slice(), row, row].concat();
    let new = [b"\x09\0\0\0\0\0\x01\0\x02\0\x05\x1f".as_slice(), row].concat();
    let update = [b"\x09\0\0\0\0\0\0\0\x02\0\x05\x1f\x1f".as_slice(), row, row].concat();
    let mut query = vec![0; 8];
    query.extend_from_slice(&[1, 0, 0, 0, 0, b's', 0]);
    query.extend_from_slice(b"DROP TABLE IF EXISTS `t`, s.u /* generated */");
    let mut inside = Vec::new();
    inside.extend_from_slice(&[0, 0, 0, 0, 32, 1, 0, 0, 0]);
    inside.extend_from_slice(&u32::try_from(19 + new.len()).unwrap().to_le_bytes());
    inside.extend_from_slice(&[0; 6]);
    inside.extend_from_slice(&new);
    let packed = [&[2, 1, 0, 0][..], &zstd::encode_all(&inside[..], 3).unwrap()].concat();
    let bodies: [(u8, &[u8]); 6] =
        [(25, &old), (32, &new), (31, &update), (2, &query), (40, &packed), (16, &[7; 8])];
    let mut framed = vec![1];
    for (kind, body) in bodies {
        framed.extend_from_slice(&[kind, 0]);
        framed.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(body);
    }
    framed
}

#[test]
fn changes_are_read() {
    smoke("binlog_changes", targets::binlog_changes, &[changes()]);
}

#[test]
fn streams_are_validated() {
    smoke("xbstream_validator", targets::xbstream_validator, &[xbstream()]);
}

#[test]
fn streams_are_extracted() {
    let few = xbstream();
    plant("xbstream_extractor", std::slice::from_ref(&few));
    let mut dice = Dice(7);
    for _ in 0..200 {
        targets::xbstream_extractor(&mutate(&mut dice, &few));
    }
}

#[test]
fn gtid_sets() {
    let mysql = b"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7:tag_1:9-12".to_vec();
    smoke("gtid_set", targets::gtid_set, &[mysql, b"0-1-100,1-2-18446744073709551615".to_vec()]);
}

#[test]
fn info_files() {
    let checkpoints =
        b"backup_type = full-backuped\nfrom_lsn = 0\nto_lsn = 48217\nlast_lsn = 48217\n";
    let info = b"uuid = a\ntool_version = 8.0.35\nbinlog_pos = filename 'b.1', position '157', GTID of the last change '0-1-2'\n";
    smoke(
        "info_files",
        targets::info_files,
        &[b"binlog.000002\t157\t0-1-2\n".to_vec(), checkpoints.to_vec(), info.to_vec()],
    );
}

#[test]
fn key_files() {
    smoke("key_file", targets::key_file, &[key_file()]);
}

#[test]
fn verdict_streams() {
    let good = include_bytes!("vectors/streams/complete.stream").to_vec();
    smoke("verdict_stream", targets::verdict_stream, &[good]);
}
