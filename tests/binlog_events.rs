//! Genuine binary logs, read without a server: the same events however the bytes are cut, and no
//! damage that is not noticed.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "support/binlogs.rs"]
mod binlogs;

use backstay::mysql::{
    MysqlError,
    replication::{Captured, EventEnd, Events, Meaning},
};
use binlogs::{FILES, fixture};

/// The events of a file and their bytes, which are fed in pieces of `cut` bytes.
fn read(file: &[u8], cut: usize) -> Result<(Vec<EventEnd>, Vec<u8>), MysqlError> {
    let mut events = Events::new("bin.000001", 4);
    let (mut ends, mut bytes) = (Vec::new(), file[..4].to_vec());
    for mut piece in file[4..].chunks(cut) {
        while let Some(captured) = events.take(&mut piece)? {
            match captured {
                Captured::Bytes(piece) => bytes.extend_from_slice(&piece),
                Captured::End(end) => ends.push(end),
                Captured::Event { offset, .. } => assert_eq!(offset, bytes.len() as u64),
                other => panic!("{other:?}"),
            }
        }
        assert!(piece.is_empty());
    }
    assert_eq!(events.is_between(), ends.last().is_some_and(|end| end.end == file.len() as u64));
    Ok((ends, bytes))
}

#[test]
fn events_are_the_same_however_the_bytes_are_cut() {
    for name in FILES {
        let file = fixture(name);
        let (whole, bytes) = read(&file, file.len()).unwrap();
        assert!(bytes == file, "{name}");
        for cut in [1, 2, 3, 7, 19, 20, 1000, 65_536] {
            let (events, bytes) = read(&file, cut).unwrap();
            assert!(events == whole && bytes == file, "{name} cut by {cut}");
        }
    }
}

/// Name, begin and end of each group.
fn groups(file: &[u8]) -> Vec<(String, u64, u64)> {
    let (events, _) = read(file, file.len()).unwrap();
    let groups = events.into_iter().filter_map(|event| event.group);
    groups.map(|group| (group.gtid.unwrap().to_string(), group.begin, group.end)).collect()
}

/// As the servers themselves show these files (`SHOW BINLOG EVENTS`).
#[test]
fn groups_are_those_that_the_servers_showed() {
    let own = |rest: &str| format!("dc5e693e-e5ba-11f1-a8e0-02fc00000001:{rest}");
    let other = "9a3225ed-e51b-11f1-86df-02fc00000001:77".to_owned();
    let expected = [
        (own("1"), 158, 334),
        (own("2"), 334, 535),
        (own("3"), 535, 812),
        (own("4"), 812, 1071),
        (own("audit_1:1"), 1071, 1355),
        (own("5"), 1355, 1736),
        (own("6"), 1736, 1900),
        (other, 1900, 2195),
        (own("7"), 2195, 2521),
    ];
    assert_eq!(groups(&fixture("mysql-9.7.000001")), expected);
    let expected = [(own("audit_1:2"), 288, 631), (own("8"), 631, 964), (own("9"), 964, 1164)];
    assert_eq!(groups(&fixture("mysql-9.7.000002")), expected);
    let expected = [
        ("0-11-1", 322, 445),
        ("0-11-2", 445, 602),
        ("0-11-3", 602, 753),
        ("0-11-4", 753, 967),
        ("0-11-5", 967, 1206),
        ("0-11-6", 1206, 1476),
        ("3-12-1", 1476, 1702),
        ("0-12-7", 1702, 1934),
        ("0-11-8", 1934, 2236),
        ("0-11-9", 2236, 2363),
    ];
    let found = groups(&fixture("mariadb-10.11.000001"));
    let found: Vec<_> =
        found.iter().map(|(name, begin, end)| (name.as_str(), *begin, *end)).collect();
    assert_eq!(found, expected);
}

fn previous(file: &[u8]) -> String {
    let (events, _) = read(file, file.len()).unwrap();
    let set = events.into_iter().find_map(|event| match event.meaning {
        Meaning::Previous(set) => Some(set.to_string()),
        _ => None,
    });
    set.unwrap()
}

#[test]
fn what_came_before_is_read_in_each_encoding() {
    assert_eq!(previous(&fixture("mysql-9.7.000001")), "");
    assert_eq!(
        previous(&fixture("mysql-9.7.000002")),
        "9a3225ed-e51b-11f1-86df-02fc00000001:77,dc5e693e-e5ba-11f1-a8e0-02fc00000001:1-7:audit_1:1"
    );
    // Domain 0 has been written to by two servers.
    assert_eq!(previous(&fixture("mariadb-10.11.000002")), "0-12-7,0-11-9,3-12-1");
    let old = fixture("mysql-8.0.000007.zst");
    let groups = groups(&old);
    let (source, first) = groups[0].0.split_once(':').unwrap();
    let last: u64 = first.parse::<u64>().unwrap() - 1;
    assert_eq!(previous(&old), format!("{source}:1-{last}"));
    assert_eq!(groups.len(), 186);
}

#[test]
fn files_say_who_wrote_them_and_what_follows() {
    for (name, version, next) in [
        ("mysql-9.7.000001", "9.7.4-2", "binlog.000002"),
        ("mariadb-10.11.000001", "10.11.19-MariaDB-0+deb12u1-log", "bin.000002"),
        ("mysql-8.0.000007.zst", "8.0.14", "binlog.000008"),
    ] {
        let file = fixture(name);
        let (events, _) = read(&file, file.len()).unwrap();
        let first = &events[0].meaning;
        let Meaning::FormatDescription { server_version, checksums, created } = first else {
            panic!("{first:?}");
        };
        assert_eq!((server_version.as_str(), *checksums), (version, true));
        assert_eq!(*created, events[0].timestamp);
        let last = &events.last().unwrap().meaning;
        assert_eq!(*last, Meaning::Rotate { next: next.to_owned() });
        assert!(!events.last().unwrap().in_group);
    }
}

#[test]
fn stamps_are_microseconds_where_the_server_tells_them() {
    let file = fixture("mysql-9.7.000001");
    let (events, _) = read(&file, file.len()).unwrap();
    let foreign = events.iter().filter_map(|event| event.group.as_ref());
    let foreign = foreign.filter(|group| group.begin == 1900);
    let foreign = foreign.collect::<Vec<_>>()[0];
    assert_eq!(foreign.original_committed_at.unwrap().as_microseconds(), 1_700_000_000_123_456);
    assert!(foreign.committed_at.as_microseconds() > 1_795_000_000_000_000);
    let file = fixture("mariadb-10.11.000002");
    let (events, _) = read(&file, file.len()).unwrap();
    let stamps: Vec<String> = events
        .iter()
        .filter_map(|event| event.group.as_ref())
        .map(|group| group.committed_at.to_string())
        .collect();
    assert_eq!(stamps[1], "2001-09-09T01:46:40Z");
}

/// Each bit of the small files; nothing of it passes, and what was called complete is true.
#[test]
fn no_flipped_bit_passes() {
    for name in &FILES[..4] {
        let file = fixture(name);
        let (truth, _) = read(&file, file.len()).unwrap();
        for at in 4..file.len() {
            for bit in 0..8 {
                let mut bad = file.clone();
                bad[at] ^= 1 << bit;
                // The one bit that a server clears when it closes the file.
                if (at, bit) == (21, 0) {
                    assert!(read(&bad, bad.len()).unwrap() == (truth.clone(), file.clone()));
                    continue;
                }
                let mut events = Events::new("bin.000001", 4);
                let mut input = &bad[4..];
                let mut ends = Vec::new();
                let whole = loop {
                    match events.take(&mut input) {
                        Ok(Some(Captured::End(end))) => ends.push(end),
                        Ok(Some(_)) => {}
                        Ok(None) => break events.is_between(),
                        Err(MysqlError::Damaged { .. }) => break false,
                        Err(other) => panic!("{other}"),
                    }
                };
                // A flag can make the last event one that the server made up: its end is missing.
                assert!(!whole || ends.len() < truth.len(), "{name}: byte {at} bit {bit}");
                assert!(truth.starts_with(&ends), "{name}: byte {at} bit {bit}");
            }
        }
    }
}

fn damage(file: &[u8]) -> String {
    match read(file, file.len()) {
        Err(MysqlError::Damaged { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_that_a_server_leaves_out_is_missed() {
    let file = fixture("mariadb-10.11.000001");
    // The annotation of a statement, which MariaDB sends on demand only.
    let without = [&file[..795], &file[850..]].concat();
    assert!(damage(&without).contains("left something out"));
}

#[test]
fn an_event_that_is_not_in_the_file_is_left_out_if_it_is_whole() {
    let file = fixture("mariadb-10.11.000001");
    for at in [795, file.len() - 41] {
        let mut odd = file.clone();
        odd[at + 17] |= 0x20;
        assert!(damage(&odd).contains("between two events does not match its CRC32"));
    }
    // A copy of what is not looked at, with a checksum of its own.
    let mut made_up = file[795..850].to_vec();
    made_up[17] |= 0x20;
    let sum = crc32fast::hash(&made_up[..51]).to_le_bytes();
    made_up[51..].copy_from_slice(&sum);
    let more = [&file[..795], &made_up, &file[795..]].concat();
    let mut events = Events::new("bin.000001", 4);
    let (mut input, mut bytes) = (&more[4..], more[..4].to_vec());
    while let Some(captured) = events.take(&mut input).unwrap() {
        if let Captured::Bytes(piece) = captured {
            bytes.extend_from_slice(&piece);
        }
    }
    assert!(bytes == file);
}
