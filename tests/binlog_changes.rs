//! What transactions did, read from genuine binary logs without a server.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/binlogs.rs"]
mod binlogs;

use backstay::{
    model::ChangeKind,
    mysql::{
        MysqlError,
        replication::{Change, Transaction, Transactions, Wanted},
    },
};
use binlogs::{FILES, fixture};
use proptest::prelude::*;

/// Transactions from the event that begins at `from` on, fed in pieces of `cut` bytes.
fn read(
    file: &[u8],
    from: usize,
    cut: usize,
    wanted: Wanted,
) -> Result<Vec<Transaction>, MysqlError> {
    let mut reader = if from == 4 {
        Transactions::new("bin.000001", wanted)
    } else {
        Transactions::headless("bin.000001", from as u64, wanted)
    };
    let mut found = Vec::new();
    for mut piece in file[from..].chunks(cut) {
        while let Some(transaction) = reader.take(&mut piece)? {
            found.push(transaction);
        }
    }
    Ok(found)
}

fn all(file: &[u8]) -> Vec<Transaction> {
    read(file, 4, file.len(), Wanted::default()).unwrap()
}

fn of(file: &[u8], table: &str, kind: Option<ChangeKind>) -> Vec<Transaction> {
    let wanted = Wanted { table: Some(table.parse().unwrap()), kind };
    read(file, 4, file.len(), wanted).unwrap()
}

/// The end of the name, and what was done.
fn told(transactions: &[Transaction]) -> Vec<String> {
    let change = |change: &Change| {
        let rows = change.rows.map_or_else(String::new, |rows| format!(" {rows}"));
        let least = if change.at_least { "+" } else { "" };
        let text = if change.by_text { " by text" } else { "" };
        format!("{} {}{rows}{least}{text}", change.kind, change.tables.join(","))
    };
    transactions
        .iter()
        .map(|transaction| {
            let gtid = transaction.group.gtid.as_ref().unwrap().to_string();
            let (_, number) = gtid.split_once(':').unwrap_or(("", &gtid));
            let changes: Vec<_> = transaction.changes.iter().map(change).collect();
            format!("{number} {}", changes.join("; "))
        })
        .collect()
}

#[test]
fn what_was_done_is_what_the_servers_were_told_to_do() {
    let mysql = fixture("mysql-9.7.000001");
    assert_eq!(
        told(&all(&mysql)),
        [
            "1 ddl d.*",
            "2 ddl d.t",
            "3 insert d.t 1",
            // Compressed.
            "4 insert d.t 1",
            "audit_1:1 insert d.t 1",
            // Prepared by XA; the commit has a name of its own, and rows in neither.
            "5 insert d.t 1",
            // From another server.
            "77 insert d.t 1",
            "7 delete d.t 1",
        ]
    );
    let rows_query = all(&mysql)[7].changes[0].statement.clone();
    assert_eq!(rows_query.as_deref(), Some("delete from d.t where a=1"));
    assert_eq!(
        told(&all(&fixture("mysql-9.7.000002"))),
        ["audit_1:2 insert d.t 1", "8 insert d.t by text", "9 drop d.t"]
    );
    assert_eq!(
        told(&all(&fixture("mariadb-10.11.000001"))),
        [
            "0-11-1 ddl d.*",
            "0-11-2 ddl d.t",
            "0-11-3 ddl d.m",
            "0-11-4 insert d.t 1",
            "0-11-5 insert d.m 1",
            // Compressed rows.
            "0-11-6 insert d.t 1",
            "3-12-1 insert d.t 1",
            "0-12-7 insert d.t 1",
            "0-11-8 insert d.t 1",
        ]
    );
    assert_eq!(
        told(&all(&fixture("mariadb-10.11.000002"))),
        ["0-11-5000 insert d.t 1", "0-11-5001 insert d.t 1", "0-11-5002 drop d.m"]
    );
    let old = all(&fixture("mysql-8.0.000007.zst"));
    assert_eq!(
        told(&old)[2],
        "4906 update shop.counters 1; insert shop.zipped 1; delete shop.orders 1"
    );
    // Every row was counted to its last byte.
    assert!(old.iter().flat_map(|t| &t.changes).all(|c| c.rows.is_some() && !c.at_least));
}

#[test]
fn only_what_is_wanted_is_told() {
    let file = fixture("mysql-8.0.000007.zst");
    let some = of(&file, "shop.zipped", None);
    assert!(some.len() > 10);
    assert!(some.iter().flat_map(|t| &t.changes).all(|c| c.tables == ["shop.zipped"]));
    let deleted = of(&file, "SHOP.*", Some(ChangeKind::Delete));
    assert!(deleted.len() > 10);
    assert!(deleted.iter().flat_map(|t| &t.changes).all(|c| c.kind == ChangeKind::Delete));
    assert!(of(&file, "shop.nothing", None).is_empty());
    assert!(of(&file, "shop.zipped", Some(ChangeKind::Delete)).is_empty());
    let dropped = of(&fixture("mysql-9.7.000002"), "d.t", Some(ChangeKind::Ddl));
    assert_eq!(told(&dropped), ["9 drop d.t"]);
    // To create a schema does nothing to its tables.
    assert_eq!(
        told(&of(&fixture("mysql-9.7.000001"), "d.t", Some(ChangeKind::Ddl))),
        ["2 ddl d.t"]
    );
}

#[test]
fn it_is_the_same_however_the_bytes_are_cut() {
    for name in FILES {
        let file = fixture(name);
        let whole = all(&file);
        for cut in [1, 7, 1000] {
            assert!(read(&file, 4, cut, Wanted::default()).unwrap() == whole, "{name} by {cut}");
        }
    }
}

#[test]
fn reading_begins_at_any_event() {
    for name in FILES {
        let file = fixture(name);
        let whole = all(&file);
        let mut at = 4;
        while at < file.len() {
            let expected: Vec<_> =
                whole.iter().filter(|found| found.group.begin >= at as u64).cloned().collect();
            let found = read(&file, at, 4096, Wanted::default()).unwrap();
            assert_eq!(told(&found), told(&expected), "{name} from {at}");
            at += u32::from_le_bytes(file[at + 9..at + 13].try_into().unwrap()) as usize;
        }
    }
}

/// A file of our own: the format description of a fixture, and events behind it.
fn built(events: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut file = fixture("mysql-9.7.000001");
    let first = u32::from_le_bytes(file[13..17].try_into().unwrap()) as usize;
    file.truncate(4 + first);
    for (kind, body) in events {
        let length = u32::try_from(19 + body.len() + 4).unwrap();
        let end = u32::try_from(file.len()).unwrap() + length;
        let mut event = vec![0x40, 0x5a, 0x20, 0x69, *kind, 1, 0, 0, 0];
        event.extend_from_slice(&length.to_le_bytes());
        event.extend_from_slice(&end.to_le_bytes());
        event.extend_from_slice(&[0, 0]);
        event.extend_from_slice(body);
        let sum = crc32fast::hash(&event).to_le_bytes();
        file.extend_from_slice(&event);
        file.extend_from_slice(&sum);
    }
    file
}

fn gtid() -> (u8, Vec<u8>) {
    let mut body = vec![0; 25];
    body[17] = 1;
    (33, body)
}

/// `s.t (a BIGINT, b LONGBLOB)`, as number 9.
fn table_map() -> (u8, Vec<u8>) {
    let mut body = vec![9, 0, 0, 0, 0, 0, 0, 0];
    body.extend_from_slice(b"\x01s\0\x01t\0\x02\x08\xfc\x01\x04\x03");
    (19, body)
}

fn delete(rows: &[u8]) -> (u8, Vec<u8>) {
    let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0, 2, 0, 2, 0xff];
    body.extend_from_slice(rows);
    (32, body)
}

fn one_row(blob: usize) -> Vec<u8> {
    let mut row = vec![0xfc];
    row.extend_from_slice(&7u64.to_le_bytes());
    row.extend_from_slice(&u32::try_from(blob).unwrap().to_le_bytes());
    row.resize(row.len() + blob, b'x');
    row
}

#[test]
fn rows_are_counted_in_events_of_any_size() {
    let rows = [one_row(40 << 20), one_row(0), vec![0xff], one_row(3)].concat();
    let file = built(&[gtid(), table_map(), delete(&rows), (16, vec![0; 8])]);
    let found = all(&file);
    assert_eq!(found[0].changes[0].rows, Some(4));
    assert!(!found[0].changes[0].at_least);
    // A row that is cut is not a row that is there; but that there was an event is certain.
    let cut = built(&[gtid(), table_map(), delete(&rows[..rows.len() - 1]), (16, vec![0; 8])]);
    assert_eq!((all(&cut)[0].changes[0].rows, all(&cut)[0].changes[0].at_least), (Some(4), true));
}

#[test]
fn a_type_of_the_future_is_not_counted_but_told() {
    let mut body = table_map().1;
    let kind = body.len() - 5;
    body[kind] = 200;
    let file = built(&[gtid(), (19, body), delete(&one_row(5)), (16, vec![0; 8])]);
    let change = &all(&file)[0].changes[0];
    assert_eq!((change.rows, change.at_least), (Some(1), true));
}

#[test]
fn rows_of_a_table_that_nobody_describes_are_not_passed_over() {
    let file = built(&[gtid(), delete(&one_row(5)), (16, vec![0; 8])]);
    let error = read(&file, 4, file.len(), Wanted::default()).unwrap_err().to_string();
    assert!(error.contains("no event describes"), "{error}");
}

/// A drop of more tables than are looked at may have dropped any.
#[test]
fn a_statement_that_is_too_long_may_name_any_table() {
    let names: Vec<String> = (0..150_000).map(|n| format!("`table_{n}`")).collect();
    let mut body = vec![0; 8];
    body.extend_from_slice(&[1, 0, 0, 0, 0, b's', 0]);
    body.extend_from_slice(format!("DROP TABLE {}", names.join(",")).as_bytes());
    let file = built(&[gtid(), (2, body)]);
    for table in ["s.table_7", "s.table_149999"] {
        let found = of(&file, table, Some(ChangeKind::Drop));
        assert!(found[0].changes[0].at_least, "{table}");
    }
}

/// A compressed transaction that unpacks to far more than it is.
#[test]
fn a_bomb_takes_time_and_no_memory() {
    let row = one_row(200 << 20);
    let mut inside = Vec::new();
    for (kind, body) in [table_map(), delete(&row)] {
        let length = u32::try_from(19 + body.len()).unwrap();
        inside.extend_from_slice(&[0, 0, 0, 0, kind, 1, 0, 0, 0]);
        inside.extend_from_slice(&length.to_le_bytes());
        inside.extend_from_slice(&[0; 6]);
        inside.extend_from_slice(&body);
    }
    let packed = zstd::encode_all(&inside[..], 3).unwrap();
    assert!(packed.len() < 1 << 20);
    let mut body = vec![2, 1, 0, 0];
    body.extend_from_slice(&packed);
    let file = built(&[gtid(), (40, body)]);
    assert_eq!(told(&all(&file)), ["1 delete s.t 1"]);
    let cut = built(&[gtid(), (40, vec![2, 1, 0, 0, 1, 2, 3])]);
    assert!(read(&cut, 4, cut.len(), Wanted::default()).is_err());
}

proptest! {
    /// Whatever a body holds: no panic, and the same whole or in pieces.
    #[test]
    fn hostile_bodies_are_survived(
        kinds in proptest::collection::vec(
            (prop::sample::select(vec![2u8, 18, 19, 23, 24, 25, 29, 30, 31, 32, 39, 40, 160, 165, 166, 170, 171]),
             proptest::collection::vec(any::<u8>(), 0..120)),
            1..6),
        piece in 1usize..40,
    ) {
        let mut events = vec![gtid(), table_map()];
        // Sometimes the number of the table that is there.
        events.extend(kinds.into_iter().map(|(kind, mut body)| {
            if body.len() > 8 && body[7] & 1 == 0 && kind != 40 {
                body[..8].copy_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0]);
            }
            (kind, body)
        }));
        events.push((16, vec![0; 8]));
        let file = built(&events);
        let whole = read(&file, 4, file.len(), Wanted::default()).map_err(|e| e.to_string());
        let pieces = read(&file, 4, piece, Wanted::default()).map_err(|e| e.to_string());
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn hostile_statements_are_survived(text in proptest::collection::vec(any::<u8>(), 0..300), verb in 0usize..8) {
        let verbs = ["DROP TABLE ", "ALTER TABLE ", "DELETE ", "UPDATE ", "RENAME TABLE ", "CREATE ", "WITH ", ""];
        let mut body = vec![0; 8];
        body.extend_from_slice(&[1, 0, 0, 0, 0, b's', 0]);
        body.extend_from_slice(verbs[verb].as_bytes());
        body.extend_from_slice(&text);
        let file = built(&[gtid(), (2, body), (16, vec![0; 8])]);
        prop_assert!(read(&file, 4, file.len(), Wanted::default()).is_ok());
    }
}
