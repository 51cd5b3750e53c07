//! Where the bytes of a chunk go: in one piece, or in runs with holes between (sparse chunks).

use super::sink::{Problem, Sink};

/// The runs of one chunk: (hole before, bytes), the next one last.
#[derive(Debug, Default)]
pub(super) struct Runs {
    waiting: Vec<(u32, u32)>,
    left: u64,
}

impl Runs {
    /// One run without a hole.
    pub(super) fn solid(bytes: u64) -> Self {
        Self { waiting: Vec::new(), left: bytes }
    }

    pub(super) fn push(&mut self, hole: u32, bytes: u32) {
        self.waiting.push((hole, bytes));
    }

    /// All runs are known: how many bytes they cover.
    pub(super) fn close(&mut self) -> u64 {
        self.waiting.reverse();
        self.waiting.iter().map(|&(_, bytes)| u64::from(bytes)).sum()
    }

    /// Hands bytes on, with the holes between them.
    pub(super) fn deliver(
        &mut self,
        mut bytes: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), Problem> {
        while !bytes.is_empty() {
            self.advance(sink)?;
            if self.left == 0 {
                return Err("it has more bytes than its map".into());
            }
            let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            let (now, rest) = bytes.split_at(take);
            sink.data(now)?;
            self.left -= now.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Moves on to the next run that has bytes; at the end of the map, past its last hole.
    pub(super) fn advance(&mut self, sink: &mut impl Sink) -> Result<(), Problem> {
        while self.left == 0 {
            let Some((hole, bytes)) = self.waiting.pop() else { return Ok(()) };
            sink.skip(u64::from(hole))?;
            self.left = u64::from(bytes);
        }
        Ok(())
    }
}
