//! Genuine archives of Percona XtraBackup 8.0: the good ones pass and extract, the bad ones are refused.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::{fs::File, io::Read, path::PathBuf};

use backstay::mysql::xbstream::{
    Dialect, Extractor, SyncPolicy, Validator, WholeStream, XbstreamError,
};

fn archive(name: &str) -> impl Read {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/fixtures/xtrabackup-8.0/archives/{name}.xbstream.zst"));
    zstd::Decoder::new(File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
        .unwrap()
}

fn pump(
    mut from: impl Read,
    mut feed: impl FnMut(&[u8]) -> Result<(), XbstreamError>,
) -> Result<(), XbstreamError> {
    let mut buffer = vec![0; 100_003];
    loop {
        match from.read(&mut buffer).unwrap() {
            0 => return Ok(()),
            n => feed(&buffer[..n])?,
        }
    }
}

fn validate(name: &str) -> Result<WholeStream, XbstreamError> {
    let mut validator = Validator::new(Dialect::Percona);
    pump(archive(name), |bytes| validator.feed(bytes))?;
    validator.finish()
}

#[test]
fn genuine_archives_are_whole() {
    for (name, files, stream_bytes) in [
        ("full", 137, 83_846_668),
        ("full_parallel4", 137, 84_325_989),
        ("full_compress", 137, 4_507_945),
        ("incr1", 151, 16_425_841),
        ("incr2", 151, 21_220_269),
    ] {
        let whole = validate(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((whole.files(), whole.stream_bytes()), (files, stream_bytes), "{name}");
        assert!(whole.payload_bytes() < whole.stream_bytes());
    }
}

#[test]
fn the_information_files_are_kept_as_they_were() {
    let whole = validate("full").unwrap();
    let text = |name: &str| String::from_utf8(whole.info(name).unwrap().to_vec()).unwrap();
    assert!(text("xtrabackup_info").contains("\nserver_version = 8.0.14\n"));
    assert!(
        text("xtrabackup_checkpoints").starts_with("backup_type = full-backuped\nfrom_lsn = 0\n")
    );
    assert_eq!(
        text("xtrabackup_binlog_info"),
        "binlog.000005\t899\t9a3225ed-e51b-11f1-86df-02fc00000001:1-3414\n"
    );
    assert!(whole.info("backup-my.cnf").is_some() && whole.info("xtrabackup_logfile").is_none());
    // Compressed ones are not passed off as plain.
    assert!(validate("full_compress").unwrap().info("xtrabackup_info").is_none());
}

#[test]
fn streams_that_the_engine_did_not_finish_are_refused() {
    for name in ["fail_epipe", "fail_sigterm"] {
        assert!(
            matches!(validate(name), Err(XbstreamError::Cut { .. } | XbstreamError::Open { .. })),
            "{name}"
        );
    }
    // Well formed to the last byte, and yet no backup: the server died under it.
    let error = validate("fail_mysqld_killed").unwrap_err();
    assert!(matches!(error, XbstreamError::NotFinished { .. }), "{error}");
    assert!(error.to_string().contains("xtrabackup_checkpoints"), "{error}");
}

#[test]
fn genuine_archives_are_extracted() {
    for name in ["full", "incr2"] {
        let dir = tempfile::tempdir().unwrap();
        let mut extractor =
            Extractor::new(Dialect::Percona, dir.path(), SyncPolicy::Never).unwrap();
        pump(archive(name), |bytes| extractor.feed(bytes)).unwrap();
        let whole = extractor.finish().unwrap();
        let (mut files, mut bytes, mut folders) = (0, 0, vec![dir.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir().unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    files += 1;
                    bytes += entry.metadata().unwrap().len();
                }
            }
        }
        assert_eq!((files, bytes), (whole.files(), whole.payload_bytes()), "{name}");
        assert!(dir.path().join("xtrabackup_tablespaces").is_file());
    }
}
