//! The entry points of all parsers. `tests/fuzz_smoke.rs` includes this file, so it names
//! nothing but the library itself.

use backstay::{
    crypto::keyfile::KeyFile,
    format::{
        AuditRecord, ClusterRecord, Compression, Envelope, Index, KeyRecord, Manifest,
        ObjectHeader, Payload, RunRecord, TRAILER_BYTES, Trailer,
    },
    model::{Flavor, GtidSet},
    mysql::{
        BinlogInfo, Checkpoints, EngineInfo, parse_backup_my_cnf, parse_innodb_position,
        xbstream::{Dialect, Extractor, SyncPolicy, Validator},
    },
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
