//! Genuine binary logs.

use std::{fs, path::Path};

pub(crate) const FILES: [&str; 5] = [
    "mysql-9.7.000001",
    "mysql-9.7.000002",
    "mariadb-10.11.000001",
    "mariadb-10.11.000002",
    "mysql-8.0.000007.zst",
];

/// The bytes of one of them.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/binlogs");
    let bytes = fs::read(folder.join(name)).unwrap();
    // The magic of zstd, or that of binary logs.
    if bytes.starts_with(b"\xfebin") { bytes } else { zstd::decode_all(&bytes[..]).unwrap() }
}
