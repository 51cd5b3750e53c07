//! The entry points of all parsers. `tests/fuzz_smoke.rs` includes this file, so it names
//! nothing but the library itself.

use backstay::{
    crypto::keyfile::KeyFile,
    format::{
        AuditRecord, CHECKPOINT_EVERY, ClusterRecord, Compression, Envelope, Index, KeyRecord,
        LogEntry, LogRecord, Manifest, ObjectHeader, Payload, RunRecord, TRAILER_BYTES, Trailer,
    },
    model::{Flavor, GtidSet, GtidState, Sha256Digest},
    mysql::{
        BinlogInfo, Checkpoints, EngineInfo, parse_backup_my_cnf, parse_innodb_position,
        replication::{Captured, Events, Transaction, Transactions, Wanted},
        xbstream::{Dialect, Extractor, SyncPolicy, Validator},
    },
    pipeline::{log::LogState, verdict::VerdictReader},
};

/// What reads also writes itself.
pub fn object_header(data: &[u8]) {
    if let Ok(header) = ObjectHeader::decode(data) {
        assert_eq!(header.encode(), data[..header.encode().len()]);
    }
}

/// A trailer, a chunk size, an index. There is one way to write each.
pub fn index(data: &[u8]) {
    let Some((trailer, rest)) = data.split_first_chunk::<TRAILER_BYTES>() else { return };
    let Some((chunk, index)) = rest.split_first_chunk::<4>() else { return };
    let body = u64::from_be_bytes([
        trailer[0], trailer[1], trailer[2], trailer[3], trailer[4], trailer[5], trailer[6],
        trailer[7],
    ]);
    for object_bytes in
        [data.len() as u64, u64::MAX, body.wrapping_add(164 + index.len() as u64 + 16)]
    {
        if let Ok(read) = Trailer::decode(trailer, object_bytes) {
            assert_eq!(&read.encode(), trailer);
            if let Ok(good) =
                Index::decode(index, &read, u32::from_be_bytes(*chunk), Compression::Zstd)
            {
                assert_eq!(good.encode(), index);
            }
        }
    }
}

fn record<P: Payload>(data: &[u8]) {
    if let Ok(opened) = Envelope::decode::<P>(data) {
        let _ = opened.document::<P>();
    }
    // The payload by itself, too: a mutation rarely survives base64.
    if let Ok(stored) = Envelope::seal::<P>(data, "", &[])
        && let Ok(opened) = Envelope::decode::<P>(&stored)
    {
        assert_eq!(opened.payload, data);
        let _ = opened.document::<P>();
    }
}

/// Envelopes, and every record.
pub fn records(data: &[u8]) {
    record::<ClusterRecord>(data);
    record::<RunRecord>(data);
    record::<KeyRecord>(data);
    record::<Manifest>(data);
    record::<AuditRecord>(data);
    record::<LogRecord>(data);
}

/// Lines of JSON, each a record of the log: numbered and linked as they come, so that more than the
/// first is looked at, and folded. A checkpoint stands where one is due.
pub fn log_fold(data: &[u8]) {
    let mut state = LogState::default();
    let mut digest = 0u64;
    for line in data.split(|byte| *byte == b'\n') {
        let Some(mut record) = unsigned::<LogRecord>(line) else { continue };
        record.number = state.head.number + 1;
        record.previous = state.head.sha256;
        if record.number.is_multiple_of(CHECKPOINT_EVERY)
            && let Some(checkpoint) = state.checkpoint_entry()
        {
            record.entry = LogEntry::Checkpoint(checkpoint);
        }
        digest += 1;
        let mut sha256 = Sha256Digest([0; 32]);
        sha256.0[..8].copy_from_slice(&digest.to_be_bytes());
        let mut next = state.clone();
        if next.apply(&record, sha256).is_ok() {
            assert_eq!(next.head.number, record.number);
            state = next;
        }
    }
    // What a checkpoint says of it, it says again when it was read.
    if let Some(checkpoint) = state.checkpoint_entry()
        && let Some(example) = first_record(data)
    {
        let record = LogRecord { entry: LogEntry::Checkpoint(checkpoint.clone()), ..example };
        let read = again(&record).map(|record| record.entry);
        assert_eq!(read, Some(LogEntry::Checkpoint(checkpoint)));
    }
}

fn first_record(data: &[u8]) -> Option<LogRecord> {
    data.split(|byte| *byte == b'\n').find_map(unsigned)
}

/// A payload by itself.
fn unsigned<P: Payload>(payload: &[u8]) -> Option<P> {
    let stored = Envelope::seal::<P>(payload, "", &[]).ok()?;
    Envelope::decode::<P>(&stored).ok()?.document().ok()
}

fn again<P: Payload>(document: &P) -> Option<P> {
    unsigned(&Envelope::prepare(document).ok()?.0)
}

/// What is read is written as it would be read again.
pub fn gtid_state(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (one, two) = text.split_once('|').unwrap_or((text, ""));
    let (Ok(one), Ok(two)) = (one.parse::<GtidState>(), two.parse::<GtidState>()) else { return };
    assert_eq!(one.to_string().parse::<GtidState>().as_ref(), Ok(&one));
    let shared = one.shared_with(&two);
    assert!(shared.is_within(&one));
    let _ = one.missing_from(&two);
    let mut both = one.clone();
    both.merge(&two);
    assert!(one.is_within(&both));
    let _ = (one.meets(&two), one.position(), one.count());
}

/// Events of a binary log, cut into pieces in two ways: what comes out must be the same. With an
/// odd first byte each event is given its length, place and checksum, so that what is inside is read.
pub fn binlog_events(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else { return };
    let stream = if first % 2 == 0 { rest.to_vec() } else { framed(rest) };
    let whole = events(&stream, usize::MAX);
    assert_eq!(whole, events(&stream, 1 + usize::from(first) % 61));
}

/// Transactions of a binary log, cut into pieces in two ways, and from the first event on without
/// the beginning of the file: what comes out must be the same. Bytes as for `binlog_events`, behind
/// the beginning of a transaction and the description of a table.
pub fn binlog_changes(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else { return };
    let mut stream = format_description();
    let body = stream.len();
    let mut gtid = [0; 25];
    gtid[17] = 1;
    put_event(&mut stream, 33, 0, &gtid);
    put_event(&mut stream, 19, 0, TABLE_MAP);
    put_events(&mut stream, rest);
    let whole =
        transactions(Transactions::new("binlog.000001", Wanted::default()), &stream, usize::MAX);
    let pieces = 1 + usize::from(first) % 61;
    let cut = transactions(Transactions::new("binlog.000001", Wanted::default()), &stream, pieces);
    assert_eq!(whole, cut);
    let at = 4 + body as u64;
    let headless = Transactions::headless("binlog.000001", at, Wanted::default());
    assert_eq!(whole, transactions(headless, &stream[body..], pieces));
}

/// `s.t (a BIGINT, b LONGBLOB, c VARCHAR(40), d DECIMAL(14,4), e JSON)` as number 9.
pub const TABLE_MAP: &[u8] =
    b"\x09\0\0\0\0\0\0\0\x01s\0\x01t\0\x05\x08\xfc\x0f\xf6\xf5\x06\x04\x28\0\x0e\x04\x04\x1f";

fn transactions(mut reader: Transactions, stream: &[u8], piece: usize) -> (Vec<Transaction>, bool) {
    let mut found = Vec::new();
    for mut input in stream.chunks(piece) {
        loop {
            match reader.take(&mut input) {
                Ok(Some(transaction)) => found.push(transaction),
                Ok(None) => break,
                Err(_) => return (found, false),
            }
        }
    }
    (found, true)
}

/// What came out up to the last event that came whole: steps, bytes; and the error if any.
fn events(stream: &[u8], piece: usize) -> (Vec<String>, Vec<u8>, Option<String>) {
    let mut events = Events::new("binlog.000001", 4);
    let (mut steps, mut bytes, mut at) = (Vec::new(), Vec::new(), 4);
    let (mut whole, mut error) = ((0, 0), None);
    'all: for mut input in stream.chunks(piece) {
        loop {
            match events.take(&mut input) {
                Ok(None) => break,
                Ok(Some(Captured::Bytes(more))) => bytes.extend_from_slice(&more),
                Ok(Some(step)) => {
                    match &step {
                        Captured::File { offset, .. } => at = *offset,
                        Captured::Event { offset, length, .. } => {
                            assert_eq!(*offset, at);
                            at += length;
                        }
                        Captured::End(end) => assert_eq!(end.end, at),
                        _ => {}
                    }
                    steps.push(format!("{step:?}"));
                    if let Captured::End(_) = step {
                        whole = (steps.len(), bytes.len());
                    }
                }
                Err(failed) => {
                    error = Some(failed.to_string());
                    break 'all;
                }
            }
        }
    }
    steps.truncate(whole.0);
    bytes.truncate(whole.1);
    (steps, bytes, error)
}

/// A format description, and behind it an event for each `kind, flags, length (2 bytes), body`.
fn framed(data: &[u8]) -> Vec<u8> {
    let mut out = format_description();
    put_events(&mut out, data);
    out
}

fn put_events(out: &mut Vec<u8>, data: &[u8]) {
    let mut rest = data;
    while let Some((&[kind, flags, high, low], more)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(more.len());
        let (body, after) = more.split_at(length);
        put_event(out, kind, flags, body);
        rest = after;
    }
}

/// The first event of a file whose events have checksums (MySQL internals, "FORMAT_DESCRIPTION_EVENT").
pub fn format_description() -> Vec<u8> {
    let mut body = vec![4, 0];
    body.extend_from_slice(b"9.7.1");
    body.resize(52, 0);
    body.extend_from_slice(&[0, 0, 0, 0, 19]);
    body.resize(57 + 41, 0);
    body.push(1);
    let mut out = Vec::new();
    put_event(&mut out, 15, 0, &body);
    out
}

/// An event behind those of `out`, which begin at offset 4 of a file.
pub fn put_event(out: &mut Vec<u8>, kind: u8, flags: u8, body: &[u8]) {
    let length = u32::try_from(19 + body.len() + 4).unwrap_or(u32::MAX);
    let end = u32::try_from(4 + out.len()).unwrap_or(u32::MAX).wrapping_add(length);
    let mut event = Vec::from([0x40, 0x5a, 0x20, 0x69, kind, 1, 0, 0, 0]);
    event.extend_from_slice(&length.to_le_bytes());
    event.extend_from_slice(&end.to_le_bytes());
    event.extend_from_slice(&[flags, 0]);
    event.extend_from_slice(body);
    event.extend_from_slice(&crc32fast::hash(&event).to_le_bytes());
    out.extend_from_slice(&event);
}

fn dialect(byte: u8) -> Dialect {
    [Dialect::Percona, Dialect::Mariadb, Dialect::Clone][usize::from(byte % 3)]
}

/// The verdict must not depend on how the stream is cut into pieces.
pub fn xbstream_validator(data: &[u8]) {
    let Some((&first, stream)) = data.split_first() else { return };
    let judge = |piece: usize| {
        let mut validator = Validator::new(dialect(first));
        for bytes in stream.chunks(piece) {
            if let Err(error) = validator.feed(bytes) {
                return Err(error.to_string());
            }
        }
        validator.finish().map(|whole| whole.files()).map_err(|error| error.to_string())
    };
    assert_eq!(judge(usize::MAX), judge(1 + usize::from(first) % 13));
}

/// Into a folder of its own; nothing may appear beside it.
pub fn xbstream_extractor(data: &[u8]) {
    let Some((&first, stream)) = data.split_first() else { return };
    let Ok(outer) = tempfile::tempdir() else { return };
    let inner = outer.path().join("inner");
    if std::fs::create_dir(&inner).is_err() {
        return;
    }
    if let Ok(mut extractor) = Extractor::new(dialect(first), &inner, SyncPolicy::Never)
        && extractor.feed(stream).is_ok()
    {
        let _ = extractor.finish();
    }
    let beside = std::fs::read_dir(outer.path()).map(Iterator::count).unwrap_or_default();
    assert_eq!(beside, 1, "something left its folder");
}

/// What is read is written as it would be read again.
pub fn gtid_set(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for flavor in [Flavor::Mysql, Flavor::Mariadb] {
        if let Ok(set) = GtidSet::parse(flavor, text) {
            assert_eq!(GtidSet::parse(flavor, &set.to_string()), Ok(set));
        }
    }
    if let Ok(mut set) = text.parse::<GtidSet>() {
        let _ = set.add(text);
    }
}

/// What the engines leave beside the data.
pub fn info_files(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for flavor in [Flavor::Mysql, Flavor::Mariadb] {
        let _ = BinlogInfo::parse(flavor, text);
    }
    let _ = parse_innodb_position(text);
    let _ = Checkpoints::parse(text);
    let _ = EngineInfo::parse(text);
    let _ = parse_backup_my_cnf(text);
}

/// An error never tells what stands in the file.
pub fn key_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = KeyFile::parse(text);
}

/// A stream of the agent: it ends with a verdict, or with an error that stays.
pub fn verdict_stream(data: &[u8]) {
    let Ok((_, mut reader)) = VerdictReader::begin(data) else { return };
    let pending = reader.pending();
    let mut out = Vec::new();
    let read = std::io::Read::read_to_end(&mut reader, &mut out);
    assert_eq!(read.is_ok(), pending.given().is_some());
    assert_eq!(std::io::Read::read(&mut reader, &mut [0]).is_ok(), read.is_ok());
}
