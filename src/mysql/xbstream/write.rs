//! Makes a stream of a folder: for engines that leave a folder, such as `CLONE`.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Read},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::{
    XbstreamError,
    chunk::{MAGIC, check_path},
    last_files,
};

/// The last file of a stream of ours; its presence says that all others are there.
pub const CLONE_INFO: &str = last_files::CLONE_INFO;

/// Payload of a chunk, in bytes.
const CHUNK: usize = 4 << 20;

/// The stream of a folder, to be read. Files come sorted by name, and
/// [`CLONE_INFO`] last. It holds one chunk (4 MiB) and the list of names in memory.
#[derive(Debug)]
pub struct Writer {
    root: PathBuf,
    waiting: VecDeque<PathBuf>,
    open: Option<(Vec<u8>, File, u64)>,
    info: Option<Vec<u8>>,
    buffer: Vec<u8>,
    sent: usize,
}

impl Writer {
    /// The stream of everything below `root`, ended by `info`. Nothing may change below
    /// `root` while it is read.
    ///
    /// # Errors
    /// When the folder cannot be read, or holds anything but files and folders.
    pub fn new(root: &Path, info: Vec<u8>) -> Result<Self, XbstreamError> {
        let mut waiting = Vec::new();
        list(root, Path::new(""), &mut waiting)?;
        waiting.sort();
        if info.is_empty() {
            let why = "the information that ends the stream is empty".to_owned();
            return Err(XbstreamError::Read { path: PathBuf::from(CLONE_INFO), why });
        }
        Ok(Self {
            root: root.to_owned(),
            waiting: waiting.into(),
            open: None,
            info: Some(info),
            buffer: Vec::with_capacity(CHUNK + 1024),
            sent: 0,
        })
    }

    /// Fills the buffer with the next chunk; leaves it empty at the end of the stream.
    fn refill(&mut self) -> io::Result<()> {
        self.buffer.clear();
        self.sent = 0;
        if let Some((path, file, offset)) = &mut self.open {
            let head = payload_head(&mut self.buffer, path);
            let read = file.by_ref().take(CHUNK as u64).read_to_end(&mut self.buffer)?;
            if read > 0 {
                seal(&mut self.buffer, head, *offset);
                *offset += read as u64;
            } else {
                self.buffer.clear();
                head_of(&mut self.buffer, b'E', path);
                self.open = None;
            }
            return Ok(());
        }
        if let Some(path) = self.waiting.pop_front() {
            let file = File::open(self.root.join(&path))?;
            self.open = Some((path.as_os_str().as_bytes().to_vec(), file, 0));
            return self.refill();
        }
        if let Some(info) = self.info.take() {
            let head = payload_head(&mut self.buffer, CLONE_INFO.as_bytes());
            self.buffer.extend_from_slice(&info);
            seal(&mut self.buffer, head, 0);
            head_of(&mut self.buffer, b'E', CLONE_INFO.as_bytes());
        }
        Ok(())
    }
}

impl Read for Writer {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.sent == self.buffer.len() {
            self.refill()?;
        }
        let left = &self.buffer[self.sent..];
        let take = left.len().min(out.len());
        out[..take].copy_from_slice(&left[..take]);
        self.sent += take;
        Ok(take)
    }
}

fn list(root: &Path, below: &Path, files: &mut Vec<PathBuf>) -> Result<(), XbstreamError> {
    let wrong = |path: &Path, why: String| XbstreamError::Read { path: root.join(path), why };
    let entries = fs::read_dir(root.join(below)).map_err(|e| wrong(below, e.to_string()))?;
    for entry in entries {
        let entry = entry.map_err(|e| wrong(below, e.to_string()))?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type().map_err(|e| wrong(&path, e.to_string()))?;
        if kind.is_dir() {
            list(root, &path, files)?;
        } else if !kind.is_file() {
            return Err(wrong(&path, "it is neither a file nor a folder".to_owned()));
        } else {
            check_path(path.as_os_str().as_bytes()).map_err(|why| wrong(&path, why.to_owned()))?;
            if path.as_os_str() == CLONE_INFO {
                return Err(wrong(&path, "its name is reserved".to_owned()));
            }
            files.push(path);
        }
    }
    Ok(())
}

fn head_of(buffer: &mut Vec<u8>, letter: u8, path: &[u8]) {
    buffer.extend_from_slice(MAGIC);
    buffer.extend_from_slice(&[0, letter]);
    buffer.extend_from_slice(&u32::try_from(path.len()).unwrap_or(u32::MAX).to_le_bytes());
    buffer.extend_from_slice(path);
}

/// Writes the head of a payload chunk, and returns where its length belongs.
fn payload_head(buffer: &mut Vec<u8>, path: &[u8]) -> usize {
    head_of(buffer, b'P', path);
    let at = buffer.len();
    buffer.extend_from_slice(&[0; 20]);
    at
}

/// Fills in length, offset and checksum of the payload that follows the head.
fn seal(buffer: &mut [u8], at: usize, offset: u64) {
    let length = (buffer.len() - at - 20) as u64;
    let crc = crc32fast::hash(&buffer[at + 20..]);
    buffer[at..at + 8].copy_from_slice(&length.to_le_bytes());
    buffer[at + 8..at + 16].copy_from_slice(&offset.to_le_bytes());
    buffer[at + 16..at + 20].copy_from_slice(&crc.to_le_bytes());
}
