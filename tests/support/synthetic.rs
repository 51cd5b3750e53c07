//! A stream as XtraBackup 8.0 writes it, of any size, made as it is read.

use std::io::Read;

/// Payload of a chunk; the engine's own is at most 10 MiB.
const CHUNK: usize = 1 << 20;
const INFO: &[u8] = b"tool_name = xtrabackup\ntool_version = 8.0.35-31\nserver_version = 8.0.35\n";
const LAST: [(&str, &[u8]); 4] = [
    ("xtrabackup_logfile", b"redo"),
    ("xtrabackup_checkpoints", b"backup_type = full-backuped\nfrom_lsn = 0\nto_lsn = 7\n"),
    ("xtrabackup_info", INFO),
    ("xtrabackup_tablespaces", b"{}"),
];

/// A random number generator that a seed repeats (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

pub(crate) struct Synthetic {
    random: Random,
    left: u64,
    offset: u64,
    /// One chunk in so many cannot be compressed.
    noisy: u64,
    stage: usize,
    buffer: Vec<u8>,
    sent: usize,
    payload: Vec<u8>,
}

impl Synthetic {
    /// With one data file of `bytes` bytes.
    pub(crate) fn new(seed: u64, bytes: u64, noisy: u64) -> Self {
        Self {
            random: Random(seed | 1),
            left: bytes,
            offset: 0,
            noisy,
            stage: 0,
            buffer: Vec::new(),
            sent: 0,
            payload: vec![0; CHUNK],
        }
    }

    fn refill(&mut self) {
        self.buffer.clear();
        self.sent = 0;
        if self.left > 0 {
            let size = CHUNK.min(usize::try_from(self.left).unwrap_or(CHUNK));
            let number = self.offset / CHUNK as u64;
            if number.is_multiple_of(self.noisy) {
                for word in self.payload.chunks_mut(8) {
                    word.copy_from_slice(&self.random.next().to_le_bytes()[..word.len()]);
                }
            } else {
                let word = self.random.next().to_le_bytes();
                self.payload.chunks_mut(8).for_each(|w| w.copy_from_slice(&word[..w.len()]));
            }
            payload(&mut self.buffer, "ibdata1", self.offset, &self.payload[..size]);
            self.offset += size as u64;
            self.left -= size as u64;
            return;
        }
        if self.stage == 0 {
            end(&mut self.buffer, "ibdata1");
        } else if let Some((name, text)) = LAST.get(self.stage - 1) {
            payload(&mut self.buffer, name, 0, text);
            end(&mut self.buffer, name);
        }
        self.stage += 1;
    }
}

impl Read for Synthetic {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.sent == self.buffer.len() {
            self.refill();
        }
        let left = &self.buffer[self.sent..];
        let take = left.len().min(out.len());
        out[..take].copy_from_slice(&left[..take]);
        self.sent += take;
        Ok(take)
    }
}

fn head(out: &mut Vec<u8>, letter: u8, path: &str) {
    out.extend_from_slice(b"XBSTCK01\0");
    out.push(letter);
    out.extend_from_slice(&u32::try_from(path.len()).unwrap().to_le_bytes());
    out.extend_from_slice(path.as_bytes());
}

fn payload(out: &mut Vec<u8>, path: &str, offset: u64, bytes: &[u8]) {
    head(out, b'P', path);
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn end(out: &mut Vec<u8>, path: &str) {
    head(out, b'E', path);
}
