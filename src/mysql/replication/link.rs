//! Packets of the client/server protocol over one connection (MySQL internals, "MySQL Packets").

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

/// What bytes travel on.
pub(super) trait Channel: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Channel for T {}

/// Bytes that are read at once; nothing else of a dump is buffered.
const BUFFER: usize = 64 << 10;
/// The most payload of one packet: a longer message goes on in the next one.
pub(super) const FULL: usize = 0xff_ffff;
/// The longest answer that is waited for outside of a dump.
const ANSWER: usize = 1 << 20;

/// A connection, and what was read of it and not yet used.
pub(super) struct Link {
    channel: Box<dyn Channel>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    sequence: u8,
    /// How long [`Link::fill`] has waited for the next bytes, in all its calls.
    waited: Duration,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("buffered", &(self.end - self.start)).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(channel: Box<dyn Channel>) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { channel, buffer, start: 0, end: 0, sequence: 0, waited: Duration::ZERO }
    }

    /// The bare connection, to put TLS over it. Nothing may have been read ahead, or an attacker
    /// could have slipped in bytes before the encryption began.
    pub(super) fn into_channel(self) -> io::Result<(Box<dyn Channel>, u8)> {
        if self.start < self.end {
            return Err(invalid("the server said something before the encryption began"));
        }
        Ok((self.channel, self.sequence))
    }

    pub(super) fn with_sequence(mut self, sequence: u8) -> Self {
        self.sequence = sequence;
        self
    }

    /// What was read and not yet used.
    pub(super) fn unused(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(super) fn used(&mut self, count: usize) {
        self.start += count;
    }

    /// Reads what there is, and waits when there is nothing. It may be cancelled, and then nothing
    /// is lost. The limit holds for the waiting in all calls until bytes come, so that a caller who
    /// cancels each of them still learns that the server has gone silent; the time in
    /// between, when nobody waits, does not count.
    pub(super) async fn fill(&mut self, limit: Duration) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let left = limit.saturating_sub(self.waited);
        let watch = Watch { since: Instant::now(), waited: &mut self.waited };
        let read = self.channel.read(&mut self.buffer[self.end..]);
        let count = tokio::time::timeout(left, read).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("not a byte within {limit:?}"))
        })??;
        drop(watch);
        self.waited = Duration::ZERO;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it"));
        }
        self.end += count;
        Ok(())
    }

    /// The header of the next packet, if it was read: length of the payload.
    pub(super) fn packet(&mut self) -> Option<usize> {
        let [a, b, c, sequence] = *self.unused().first_chunk::<4>()?;
        self.sequence = sequence.wrapping_add(1);
        self.used(4);
        Some(usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16)
    }

    /// One answer of the server. Not for the dump itself, which is of any length.
    pub(super) async fn receive(&mut self, limit: Duration) -> io::Result<Zeroizing<Vec<u8>>> {
        let length = loop {
            match self.packet() {
                Some(length) => break length,
                None => self.fill(limit).await?,
            }
        };
        if length > ANSWER {
            return Err(invalid("the answer is no MySQL packet: is this the server's port?"));
        }
        let mut payload = Zeroizing::new(Vec::with_capacity(length));
        while payload.len() < length {
            if self.unused().is_empty() {
                self.fill(limit).await?;
            }
            let taken = self.unused().len().min(length - payload.len());
            payload.extend_from_slice(&self.unused()[..taken]);
            self.used(taken);
        }
        Ok(payload)
    }

    /// Goes on with an exchange.
    pub(super) async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).ok().filter(|&l| (l as usize) < FULL);
        let Some(length) = length else { return Err(invalid("a message of 16 MiB")) };
        let [a, b, c, _] = length.to_le_bytes();
        let mut packet = Zeroizing::new(Vec::with_capacity(4 + payload.len()));
        packet.extend_from_slice(&[a, b, c, self.sequence]);
        packet.extend_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.channel.write_all(&packet).await?;
        self.channel.flush().await
    }

    /// Begins a new exchange.
    pub(super) async fn command(&mut self, payload: &[u8]) -> io::Result<()> {
        self.sequence = 0;
        self.send(payload).await
    }
}

/// Counts waiting, also when it is cancelled.
struct Watch<'a> {
    since: Instant,
    waited: &'a mut Duration,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        *self.waited += self.since.elapsed();
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
