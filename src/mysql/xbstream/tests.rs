//! Small streams made by hand: any split, any cut, any flipped bit.

use std::{fs, io::Read as _, path::Path};

use proptest::prelude::*;

use super::*;

fn head(letter: u8, flags: u8, path: &str) -> Vec<u8> {
    let mut chunk = b"XBSTCK01".to_vec();
    chunk.extend([flags, letter]);
    chunk.extend(u32::try_from(path.len()).unwrap().to_le_bytes());
    chunk.extend(path.as_bytes());
    chunk
}

fn payload(path: &str, offset: u64, bytes: &[u8], flags: u8) -> Vec<u8> {
    let mut chunk = head(b'P', flags, path);
    chunk.extend((bytes.len() as u64).to_le_bytes());
    chunk.extend(offset.to_le_bytes());
    chunk.extend(crc32fast::hash(bytes).to_le_bytes());
    chunk.extend(bytes);
    chunk
}

fn sparse(path: &str, offset: u64, map: &[(u32, u32)], bytes: &[u8]) -> Vec<u8> {
    let mut chunk = head(b'S', 0, path);
    let entries: Vec<u8> =
        map.iter().flat_map(|(s, l)| [s.to_le_bytes(), l.to_le_bytes()].concat()).collect();
    chunk.extend(u32::try_from(map.len()).unwrap().to_le_bytes());
    chunk.extend((bytes.len() as u64).to_le_bytes());
    chunk.extend(offset.to_le_bytes());
    chunk.extend(crc32fast::hash(&[&entries, bytes].concat()).to_le_bytes());
    chunk.extend(entries);
    chunk.extend(bytes);
    chunk
}

fn end(path: &str) -> Vec<u8> {
    head(b'E', 0, path)
}

fn seek(path: &str, offset: u64) -> Vec<u8> {
    [head(b'S', 0, path), offset.to_le_bytes().to_vec()].concat()
}

fn rename(from: &str, to: &str) -> Vec<u8> {
    let length = u32::try_from(to.len()).unwrap().to_le_bytes();
    [&head(b'R', 0, from)[..], &length, to.as_bytes()].concat()
}

fn file(path: &str, bytes: &[u8]) -> Vec<u8> {
    [payload(path, 0, bytes, 0), end(path)].concat()
}

const LAST: [&str; 4] =
    ["xtrabackup_logfile", "xtrabackup_checkpoints", "xtrabackup_info", "xtrabackup_tablespaces"];

fn percona(body: &[Vec<u8>]) -> Vec<u8> {
    [body.concat(), LAST.map(|name| file(name, b"x = y\n")).concat()].concat()
}

fn mariadb(body: &[Vec<u8>]) -> Vec<u8> {
    let last = ["ib_logfile0", "mariadb_backup_checkpoints", "mariadb_backup_info"];
    [body.concat(), last.map(|name| file(name, b"x = y\n")).concat()].concat()
}

/// Two files side by side, one in a folder and with a hole; every file has contents.
fn good() -> Vec<u8> {
    percona(&[
        payload("d/t.ibd", 0, b"first", 0),
        payload("ibdata1", 0, &[7; 40], 0),
        sparse("d/t.ibd", 5, &[(3, 4), (0, 2), (9, 0)], b"second"),
        end("ibdata1"),
        payload("d/t.ibd", 23, b"!", 0),
        end("d/t.ibd"),
    ])
}

fn check(dialect: Dialect, stream: &[u8]) -> Result<WholeStream, XbstreamError> {
    let mut validator = Validator::new(dialect);
    validator.feed(stream)?;
    validator.finish()
}

fn extract(dialect: Dialect, stream: &[u8], dir: &Path) -> Result<WholeStream, XbstreamError> {
    let mut extractor = Extractor::new(dialect, dir, SyncPolicy::EachFile)?;
    extractor.feed(stream)?;
    extractor.finish()
}

fn refusal(dialect: Dialect, stream: &[u8]) -> String {
    check(dialect, stream).unwrap_err().to_string()
}

#[test]
fn a_whole_stream_passes_and_is_extracted() {
    let dir = tempfile::tempdir().unwrap();
    let whole = extract(Dialect::Percona, &good(), dir.path()).unwrap();
    assert_eq!((whole.files(), whole.payload_bytes()), (6, 5 + 40 + 6 + 1 + 24));
    assert_eq!(whole.info("xtrabackup_info"), Some(&b"x = y\n"[..]));
    assert_eq!(whole.info("xtrabackup_logfile"), None);
    let expected = b"first\0\0\0second\0\0\0\0\0\0\0\0\0!";
    assert_eq!(fs::read(dir.path().join("d/t.ibd")).unwrap(), expected);
    assert_eq!(fs::read(dir.path().join("ibdata1")).unwrap(), [7; 40]);
    let twice = extract(Dialect::Percona, &good(), dir.path()).unwrap_err();
    assert!(twice.to_string().contains("must be empty"), "{twice}");
}

#[test]
fn any_cut_of_a_good_stream_is_refused() {
    let stream = good();
    for at in 0..stream.len() {
        assert!(check(Dialect::Percona, &stream[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn any_flipped_bit_is_refused() {
    let stream = good();
    for bit in 0..stream.len() * 8 {
        let mut damaged = stream.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(check(Dialect::Percona, &damaged).is_err(), "bit {bit} of byte {}", bit / 8);
    }
}

#[test]
fn any_flipped_bit_is_refused_or_harmless_in_mariadbs_dialect() {
    let stream = mariadb(&[
        payload("d/t.ibd", 0, b"first", 0),
        seek("d/t.ibd", 9),
        payload("d/t.ibd", 9, b"x", 0),
        end("d/t.ibd"),
    ]);
    check(Dialect::Mariadb, &stream).unwrap();
    for bit in 0..stream.len() * 8 {
        let mut damaged = stream.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // Flag 0x02 on the first chunk of a file changes nothing: it says to begin the file anew.
        let flags = stream[..=bit / 8].ends_with(b"XBSTCK01\0") && bit % 8 == 1;
        assert!(
            check(Dialect::Mariadb, &damaged).is_err() || flags,
            "bit {bit} of byte {}",
            bit / 8
        );
    }
}

#[test]
fn text_after_the_end_is_refused() {
    for text in ["x", "\n", "error: the stream was aborted", "XBSTCK0"] {
        let stream = [good(), text.as_bytes().to_vec()].concat();
        assert!(check(Dialect::Percona, &stream).is_err(), "{text}");
    }
    let error = refusal(Dialect::Percona, &[good(), b"xtrabackup: error: gone".to_vec()].concat());
    assert!(error.contains("something else was appended"), "{error}");
}

#[test]
fn a_file_is_written_once_and_without_gaps() {
    let again = percona(&[file("a", b"1"), file("a", b"2")]);
    assert!(refusal(Dialect::Percona, &again).contains("complete before"));
    let dotted = percona(&[file("a", b"1"), file("./a", b"2")]);
    assert!(refusal(Dialect::Percona, &dotted).contains("complete before"));
    let gap = percona(&[payload("a", 0, b"1", 0), payload("a", 2, b"2", 0), end("a")]);
    assert!(refusal(Dialect::Percona, &gap).contains("where 1 must follow"));
    let late = percona(&[payload("a", 4, b"1", 0), end("a")]);
    assert!(refusal(Dialect::Percona, &late).contains("where 0 must follow"));
    let open = percona(&[payload("a", 0, b"1", 0)]);
    assert!(refusal(Dialect::Percona, &open).contains("`a`"));
}

#[test]
fn nothing_leaves_the_folder() {
    for path in ["../a", "/etc/a", "d/../../a", "a\0b"] {
        assert!(
            refusal(Dialect::Percona, &percona(&[file(path, b"x")])).contains("its path"),
            "{path}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("d")).unwrap();
    assert!(extract(Dialect::Percona, &good(), dir.path()).is_err());
    std::os::unix::fs::symlink(outside.path().join("f"), dir.path().join("ibdata1")).unwrap();
    assert!(extract(Dialect::Percona, &percona(&[file("ibdata1", b"x")]), dir.path()).is_err());
    assert_eq!(outside.path().read_dir().unwrap().count(), 0);
}

#[test]
fn what_no_folder_can_hold_is_refused() {
    let under_a_file = percona(&[file("a", b"1"), file("a/b", b"2")]);
    assert!(refusal(Dialect::Percona, &under_a_file).contains("is a file"));
    let over_a_folder = percona(&[file("a/b", b"1"), file("a", b"2")]);
    assert!(refusal(Dialect::Percona, &over_a_folder).contains("that of a folder"));
    let long = percona(&[file(&"x".repeat(256), b"1")]);
    assert!(refusal(Dialect::Percona, &long).contains("255 bytes"));
}

#[test]
fn missing_or_empty_last_files_are_refused() {
    for left_out in LAST {
        let rest =
            LAST.iter().filter(|n| **n != left_out).map(|n| file(n, b"x")).collect::<Vec<_>>();
        assert!(refusal(Dialect::Percona, &rest.concat()).contains(left_out));
        let empty = [rest, vec![end(left_out)]].concat();
        assert!(refusal(Dialect::Percona, &empty.concat()).contains(left_out));
    }
    assert!(check(Dialect::Mariadb, &good()).is_err());
    assert!(check(Dialect::Mariadb, b"").is_err());
}

#[test]
fn an_unknown_chunk_is_skipped_only_when_it_says_so() {
    let mut unknown = payload("a", 0, b"zz", 1);
    unknown[9] = b'Z';
    assert_eq!(
        check(Dialect::Percona, &percona(std::slice::from_ref(&unknown))).unwrap().files(),
        4
    );
    unknown[8] = 0;
    assert!(refusal(Dialect::Percona, &percona(&[unknown])).contains("unknown"));
}

#[test]
fn mariadbs_seek_rename_remove_and_rewrite_do_as_mbstream_does() {
    let stream = mariadb(&[
        file("a", b"hello"),
        payload("s", 0, b"hello", 0),
        seek("s", 1),
        payload("s", 1, b"XY", 0),
        end("s"),
        [payload("a", 0, b"new", 2), end("a")].concat(),
        file("d/old", b"old"),
        rename("d/old", "e/new"),
        file("gone", b"x"),
        head(b'D', 0, "gone"),
        head(b'D', 0, "never"),
        rename("never", "was"),
    ]);
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(extract(Dialect::Mariadb, &stream, dir.path()).unwrap().files(), 6);
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    assert_eq!(
        (read("a"), read("s"), read("e/new")),
        (b"new".to_vec(), b"hXYlo".to_vec(), b"old".to_vec())
    );
    assert!(!dir.path().join("gone").exists() && !dir.path().join("d/old").exists());
    let open = mariadb(&[payload("a", 0, b"x", 0), head(b'D', 0, "a"), end("a")]);
    assert!(refusal(Dialect::Mariadb, &open).contains("still open"));
}

#[test]
fn impossible_lengths_are_refused_before_memory_is_taken() {
    let mut long = payload("a", 0, b"", 0);
    let at = long.len() - 20;
    long[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(refusal(Dialect::Percona, &long).contains("too many"));
    let mut map = sparse("a", 0, &[], b"");
    let at = map.len() - 24;
    map[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(refusal(Dialect::Percona, &map).contains("sparse map"));
}

#[test]
fn a_folder_becomes_a_stream_and_a_folder_again() {
    let from = tempfile::tempdir().unwrap();
    fs::create_dir_all(from.path().join("d/e")).unwrap();
    let large: Vec<u8> = (0..9_000_000u32).map(|n| (n % 251) as u8).collect();
    fs::write(from.path().join("d/large.ibd"), &large).unwrap();
    fs::write(from.path().join("d/e/empty"), b"").unwrap();
    fs::write(from.path().join("ibdata1"), b"small").unwrap();
    fs::create_dir_all(from.path().join("mysql/nothing")).unwrap();
    let mut stream = Vec::new();
    Writer::new(from.path(), b"{}".to_vec()).unwrap().read_to_end(&mut stream).unwrap();
    let to = tempfile::tempdir().unwrap();
    let whole = extract(Dialect::Clone, &stream, to.path()).unwrap();
    assert_eq!((whole.files(), whole.info(CLONE_INFO)), (4, Some(&b"{}"[..])));
    assert_eq!(fs::read(to.path().join("d/large.ibd")).unwrap(), large);
    assert_eq!(fs::read(to.path().join("d/e/empty")).unwrap(), b"");
    assert!(to.path().join("mysql/nothing").is_dir());
    let at = stream.windows(5).position(|w| w == b"mysql").unwrap();
    stream[at] ^= 1;
    assert!(refusal(Dialect::Clone, &stream).contains("checksum"));
    stream[at] ^= 1;
    let cut = stream.len() - 30;
    assert!(check(Dialect::Clone, &stream[..cut]).is_err());
}

proptest! {
    #[test]
    fn any_split_of_a_stream_reads_the_same(cuts in prop::collection::vec(1usize..60, 1..200)) {
        let stream = good();
        let mut validator = Validator::new(Dialect::Percona);
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            validator.feed(now).unwrap();
            rest = later;
            if rest.is_empty() { break; }
        }
        let whole = validator.finish().unwrap();
        prop_assert_eq!((whole.files(), whole.payload_bytes()), (6, 76));
    }

    #[test]
    fn noise_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(check(Dialect::Percona, &bytes).is_err());
        let mut stream = good();
        let at = bytes.len() % stream.len();
        stream.splice(at..at, bytes.iter().copied());
        prop_assert_eq!(check(Dialect::Percona, &stream).is_ok(), bytes.is_empty());
    }
}
