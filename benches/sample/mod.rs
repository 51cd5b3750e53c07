//! A stream to measure with.

use std::{
    error::Error,
    fs::{self, File},
    io::{BufWriter, Read as _, Write as _},
    path::Path,
};

use backstay::mysql::xbstream::Writer;

/// A stream of our own over files that look like a database's: pages of rows, most of their
/// bytes random digits, some repeated, some empty.
pub(crate) fn stream(folder: &Path, bytes: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let tables = folder.join("tables");
    fs::create_dir(&tables)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for table in 0..4 {
        let mut file = BufWriter::new(File::create(tables.join(format!("t{table}")))?);
        let mut written = 0;
        let mut page = Vec::with_capacity(16 << 10);
        let mut id = 0u32;
        while written < bytes / 4 {
            page.clear();
            page.extend_from_slice(&next().to_le_bytes());
            page.extend_from_slice(&[0; 86]);
            while page.len() < 15_000 {
                id += 1;
                page.extend_from_slice(&[0x78, 0x3c, 0, 0, 0, 0x10]);
                page.extend_from_slice(&id.to_be_bytes());
                for _ in 0..15 {
                    write!(page, "{:011}-", next() % 100_000_000_000)?;
                }
            }
            page.resize(16 << 10, 0);
            file.write_all(&page)?;
            written += page.len();
        }
        file.flush()?;
    }
    let mut stream = Vec::with_capacity(bytes + (1 << 20));
    Writer::new(&tables, b"sample".to_vec())?.read_to_end(&mut stream)?;
    Ok(stream)
}
