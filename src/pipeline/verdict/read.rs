//! Frames, taken apart, and the verdict held against what came before it.

use std::{
    io::{self, Read},
    sync::{Arc, OnceLock},
};

use sha2::{Digest, Sha256};

use super::{Head, Kind, MAGIC, Said, VERSION, Verdict};

/// Reads the backup out of a stream. It ends only behind a verdict that it has believed; every
/// other end is an error.
pub struct VerdictReader<R> {
    source: R,
    /// Bytes of the present data frame that are still to come.
    left: usize,
    bytes: u64,
    hash: Sha256,
    state: State,
    verdict: Arc<OnceLock<Verdict>>,
}

/// A verdict that is still to come.
#[derive(Debug, Clone)]
pub struct Pending(Arc<OnceLock<Verdict>>);

impl Pending {
    /// The verdict, once the reader has come to its end.
    #[must_use]
    pub fn given(&self) -> Option<Verdict> {
        self.0.get().cloned()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Flowing,
    Ended,
    Broken,
}

impl<R> std::fmt::Debug for VerdictReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerdictReader")
            .field("bytes", &self.bytes)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<R: Read> VerdictReader<R> {
    /// Reads up to the head.
    ///
    /// # Errors
    /// When this is no such stream, it ends here, or the source fails.
    pub fn begin(mut source: R) -> io::Result<(Head, Self)> {
        let mut magic = [0; MAGIC.len()];
        fill(&mut source, &mut magic, "before it began")?;
        if magic != *MAGIC {
            return Err(broken("it is no stream of a backstay agent"));
        }
        loop {
            match frame(&mut source)? {
                (Kind::KeepAlive, _) => {}
                (Kind::Head, length) => {
                    let head: Head = document(&mut source, length, "head")?;
                    check_version("head", head.version)?;
                    let reader = Self {
                        source,
                        left: 0,
                        bytes: 0,
                        hash: Sha256::new(),
                        state: State::Flowing,
                        verdict: Arc::default(),
                    };
                    return Ok((head, reader));
                }
                (Kind::Data | Kind::Verdict, _) => {
                    return Err(broken("something comes before its head"));
                }
            }
        }
    }

    /// Where the verdict will be.
    #[must_use]
    pub fn pending(&self) -> Pending {
        Pending(Arc::clone(&self.verdict))
    }

    fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            match frame(&mut self.source)? {
                (Kind::Data, length) => self.left = length,
                (Kind::KeepAlive, _) => {}
                (Kind::Head, _) => return Err(broken("it has a second head")),
                (Kind::Verdict, length) => {
                    self.end(length)?;
                    return Ok(0);
                }
            }
        }
        let room = buffer.len().min(self.left);
        let count = retry(&mut self.source, &mut buffer[..room])?;
        if count == 0 && room > 0 {
            return Err(cut("within a frame"));
        }
        self.hash.update(&buffer[..count]);
        self.left -= count;
        self.bytes += count as u64;
        Ok(count)
    }

    fn end(&mut self, length: usize) -> io::Result<()> {
        match document::<Said>(&mut self.source, length, "verdict")? {
            Said::Failed { error, .. } => Err(failed(&error)),
            Said::Complete {
                version, exit_status, engine_version, bytes, sha256, server, ..
            } => {
                check_version("verdict", version)?;
                if exit_status != 0 {
                    return Err(broken(format!(
                        "the agent calls it complete, and its engine ended with status {exit_status}"
                    )));
                }
                if bytes != self.bytes {
                    return Err(broken(format!(
                        "the agent sent {bytes} bytes, and {} were received",
                        self.bytes
                    )));
                }
                if sha256.0 != <[u8; 32]>::from(self.hash.clone().finalize()) {
                    return Err(broken("it is not what the agent sent: its SHA-256 differs"));
                }
                if retry(&mut self.source, &mut [0])? != 0 {
                    return Err(broken("there are bytes behind its verdict"));
                }
                let verdict = Verdict { engine_version, bytes, server: *server };
                let _ = self.verdict.set(verdict);
                Ok(())
            }
        }
    }
}

impl<R: Read> Read for VerdictReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.state {
            State::Ended => return Ok(0),
            State::Broken => return Err(broken("it was broken before")),
            State::Flowing => {}
        }
        let read = self.next(buffer);
        self.state = match &read {
            Ok(0) => State::Ended,
            Ok(_) => State::Flowing,
            Err(_) => State::Broken,
        };
        read
    }
}

fn frame(source: &mut impl Read) -> io::Result<(Kind, usize)> {
    let mut head = [0; 5];
    fill(source, &mut head, "without a verdict")?;
    let [letter, length @ ..] = head;
    let kind = Kind::of(letter)
        .ok_or_else(|| broken(format!("a frame of an unknown type ({letter:#04x})")))?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !kind.allows(length) {
        return Err(broken(format!("a frame of {length} bytes is not allowed there")));
    }
    Ok((kind, length))
}

fn document<T: serde::de::DeserializeOwned>(
    source: &mut impl Read,
    length: usize,
    what: &str,
) -> io::Result<T> {
    // `length` was held against its limit.
    let mut json = vec![0; length];
    fill(source, &mut json, &format!("within its {what}"))?;
    serde_json::from_slice(&json).map_err(|e| broken(format!("its {what} is not understood: {e}")))
}

fn check_version(what: &str, version: u32) -> io::Result<()> {
    if version == VERSION {
        return Ok(());
    }
    Err(broken(format!(
        "its {what} is of version {version}, and this program knows {VERSION} alone: use programs of one version"
    )))
}

fn fill(source: &mut impl Read, buffer: &mut [u8], whence: &str) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match retry(source, &mut buffer[done..])? {
            0 => return Err(cut(whence)),
            count => done += count,
        }
    }
    Ok(())
}

fn retry(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn cut(whence: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the agent's stream ended {whence}"))
}

fn broken(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the agent's stream is not right: {why}"))
}

/// The agent's words, which are not ours: no control characters, and not too many.
fn failed(error: &str) -> io::Error {
    let words: String =
        error.chars().map(|c| if c.is_control() { ' ' } else { c }).take(4000).collect();
    io::Error::other(format!("the agent says that the backup failed: {words}"))
}
